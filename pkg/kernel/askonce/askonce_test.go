package askonce

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kernelMakefile is of Linux 6.1 what asks, and of Linux 6.12 what does not.
// Each answer says how often was asked: each is asked for the environment of
// every command, too.
const kernelMakefile = `
srctree := .
pound := \#
KERNELRELEASE = $(shell echo release >>"$$ASKED"; cat release 2> /dev/null)
PAHOLE_FLAGS	= $(shell PAHOLE=$(PAHOLE) $(srctree)/pahole-flags.sh)
CC_VERSION_TEXT = $(subst $(pound),,$(shell echo version >>"$$ASKED"; echo 'gcc (#1) 12.2' 2>/dev/null | head -n 1))
SIMPLE := $(shell echo simple >>"$$ASKED"; echo simple)
two-lines = $(shell echo \
	two)
ifdef SIMPLE
RUSTC_VERSION_TEXT = none
else
RUSTC_VERSION_TEXT = $(shell echo wrong)
endif
VENDOR = $(shell echo vendor)
VENDOR := $(VENDOR) own
export KERNELRELEASE PAHOLE_FLAGS CC_VERSION_TEXT
all:
	@echo "$$KERNELRELEASE, $$PAHOLE_FLAGS, $$CC_VERSION_TEXT"
	@echo '$(KERNELRELEASE), $(PAHOLE_FLAGS), $(CC_VERSION_TEXT), $(SIMPLE), $(two-lines), $(RUSTC_VERSION_TEXT)'
	@echo "$(VENDOR)"
	@echo 6.2 >release
	@echo $(KERNELRELEASE) $(shell echo "$$KERNELRELEASE")
`

const paholeFlags = `#!/bin/sh
echo pahole >>"$ASKED"
echo "--btf $PAHOLE, a=b $$"
`

// questions are kbuild's own functions, as of Linux 6.1, and calls of them; the
// compiler says no to -mno, and notes that it was asked.
const questions = `
TMPOUT = .tmp_$$$$
try-run = $(shell set -e;		\
	TMP=$(TMPOUT)/tmp;		\
	trap "rm -rf $(TMPOUT)" EXIT;	\
	mkdir -p $(TMPOUT);		\
	if ($(1)) >/dev/null 2>&1;	\
	then echo "$(2)";		\
	else echo "$(3)";		\
	fi)
__cc-option = $(call try-run,\
	$(1) -Werror $(2) $(3) -c -x c /dev/null -o "$$TMP",$(3),$(4))
cc-option = $(call __cc-option, $(CC),\
	$(KBUILD_CPPFLAGS) $(KBUILD_CFLAGS),$(1),$(2))
cc-disable-warning = $(call try-run,\
	$(CC) -Werror $(KBUILD_CPPFLAGS) $(KBUILD_CFLAGS) -W$(strip $(1)) -c -x c /dev/null -o "$$TMP",-Wno-$(strip $(1)))
comma := ,
hash := \#

FLAGS = $(call cc-option,-fyes) $(call cc-option,-mno,-minstead) $(call cc-disable-warning,pointer-sign) $(call cc-option,-Wa$(comma)-D'a=b:c$(hash)d')
all:
	@echo $(FLAGS)
	@echo $(FLAGS)
	@echo $(call cc-option,-a_b) $(call cc-option,-a b)
	$(eval KBUILD_CFLAGS := -mno)
	@echo $(FLAGS) none
`

const askedCompiler = `#!/bin/sh
echo "$@" >>"$ASKED"
case "$*" in *-mno*) exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
echo >"$2"
`

// ask runs make on a makefile, alone or after ours, and returns what it says and
// how often it asked what.
func ask(t *testing.T, makefile string, ours bool, changing ...string) (said string, asked map[string]int) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"Makefile": makefile, "cc": askedCompiler, "pahole-flags.sh": paholeFlags, "release": "6.1\n", "asked": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "make", "--silent", "CC="+filepath.Join(dir, "cc"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKEFILES=", "TMPDIR="+dir, "ASKED="+filepath.Join(dir, "asked"))
	if ours {
		content, err := Makefile(dir, changing...)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "once.mk")
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "MAKEFILES="+file)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil {
		t.Fatal(err)
	}
	asked = map[string]int{}
	for line := range strings.Lines(string(text)) {
		asked[strings.Fields(line)[0]]++
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*_*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return string(out), asked
}

// TestProbes holds make's answers with each question asked once against those
// of kbuild alone.
func TestProbes(t *testing.T) {
	t.Parallel()
	want, each := ask(t, questions, false)
	got, once := ask(t, questions, true)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with each question asked once (-want +got):\n%s", diff)
	}
	if each["-Werror"] != 14 || once["-Werror"] != 10 {
		t.Errorf("the compiler was asked %d times, and %d times with each question once; want 14 and 10", each["-Werror"], once["-Werror"])
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	alone, each := ask(t, kernelMakefile, false)
	got, once := ask(t, kernelMakefile, true, "KERNELRELEASE")
	number := regexp.MustCompile(`a=b \d+`) // the script's process is another each time
	if diff := cmp.Diff(number.ReplaceAllString(alone, "a=b"), number.ReplaceAllString(got, "a=b")); diff != "" {
		t.Errorf("with each question asked once (-want +got):\n%s", diff)
	}
	if once["pahole"] != 1 || once["version"] != 1 || once["simple"] != 1 {
		t.Errorf("asked %v, want each once but the release", once)
	}
	if each["pahole"] < 2 || once["release"] < 2 {
		t.Errorf("asked %v without, and %v with all but the release", each, once)
	}
	if _, all := ask(t, kernelMakefile, true); all["release"] != 1 {
		t.Errorf("the release was asked %d times, want once", all["release"])
	}
}

func TestNoMakefile(t *testing.T) {
	t.Parallel()
	content, err := Makefile(t.TempDir())
	if err != nil || string(content) != fixed {
		t.Errorf("of a folder without a makefile: %v\n%s", err, content)
	}
}
