# Read before the kernel's makefiles and a driver's, by every make of a build
# (see MAKEFILES in make's manual): what kbuild asks a shell is asked once, for
# as long as one make runs.

# kbuild's try-run compiles something to see whether the compiler takes a flag,
# and make waits for it. A driver's Kbuild has three of these in a variable that
# is expanded anew for each of some 375 tests. A question is the whole of a
# command with its two answers, so with other flags it is another. "override"
# keeps kbuild from defining it again.
override try-run = $(call askonce,askonce-answer-$(call askonce-name,$1|$2|$3|),$1,$2,$3)
askonce = $(if $(filter undefined,$(origin $1)),$(eval $1 := $$(call askonce-try-run,$$2,$$3,$$4)))$($1)

# kbuild's own, but that its folder is where TMPDIR says.
askonce-try-run = $(shell set -e; \
	DIR="$${TMPDIR:-/tmp}/.probe_$$$$"; TMP="$$DIR/tmp"; TMPO="$$DIR/tmp.o"; \
	trap 'rm -rf "$$DIR"' EXIT; \
	mkdir -p "$$DIR"; \
	if ($1) >/dev/null 2>&1; \
	then echo "$2"; \
	else echo "$3"; \
	fi)

# A name that make takes for one variable, and no two questions share.
askonce-name = $(subst $(askonce-space),_S,$(subst $(askonce-tab),_T,$(subst $(askonce-newline),_N,$(subst =,_E,$(subst :,_C,$(subst $$,_D,$(subst $(askonce-hash),_H,$(subst _,_U,$1))))))))
askonce-hash := \#
askonce-space := $() $()
askonce-tab := $()	$()
define askonce-newline


endef
