package conftest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var call = Call{Program: "/usr/local/bin/builder", Known: "/opt/share/.builder/scratch/known", Notes: "/opt/share/.builder/scratch/notes"}

// script is of conftest.sh what it does with files, in drivers 470.256.02 to 595.45.04.
const script = `#!/bin/sh
    echo "$CONFTEST_PREAMBLE
    $CODE" > conftest$$.c
    $CC $CFLAGS -c conftest$$.c > /dev/null 2>&1
    rm -f conftest$$.c
    if [ -f conftest$$.o ]; then
        rm -f conftest$$.o
        echo "#undef ${DEF}"
    fi
    if [ ! -f conftest$$.o ]; then
        exit 1
    fi
`

func TestMakefile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, kbuild, want string }{
		{"470.256.02", `
NV_CONFTEST_SCRIPT := $(src)/conftest.sh
NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) \
 "$(CC)" $(ARCH) $(NV_KERNEL_SOURCES) $(NV_KERNEL_OUTPUT)

NV_CFLAGS_FROM_CONFTEST := $(shell $(NV_CONFTEST_CMD) build_cflags)
	@$(NV_CONFTEST_CMD) compile_tests '$(NV_CONFTEST_CFLAGS)' \
`, `override NV_CONFTEST_CMD = /bin/sh $(NV_CONFTEST_SCRIPT) \
 "/usr/local/bin/builder @conftest /opt/share/.builder/scratch/known /opt/share/.builder/scratch/notes $(strip $(CC))" $(ARCH) $(NV_KERNEL_SOURCES) $(NV_KERNEL_OUTPUT)
`},
		{"595.45.04", `
NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) "$(strip $(CC))" $(ARCH) $(NV_KERNEL_SOURCES) $(NV_KERNEL_OUTPUT)
`, `override NV_CONFTEST_CMD = /bin/sh $(NV_CONFTEST_SCRIPT) "/usr/local/bin/builder @conftest /opt/share/.builder/scratch/known /opt/share/.builder/scratch/notes $(strip $(CC))" $(ARCH) $(NV_KERNEL_SOURCES) $(NV_KERNEL_OUTPUT)
`},
	} {
		got, err := call.Makefile([]byte(tt.kbuild), []byte(script))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
		}
	}
}

// What is not known to be as it was is left alone.
func TestNoMakefile(t *testing.T) {
	t.Parallel()
	const kbuild = "NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) \"$(CC)\" $(ARCH)\n"
	if _, err := call.Makefile([]byte(kbuild), []byte(script)); err != nil {
		t.Fatal(err)
	}
	spaced := call
	spaced.Known = "/opt/my$share/known"
	for _, tt := range []struct {
		name, kbuild, script string
		call                 Call
		says                 string
	}{
		{"a path that a shell expands", kbuild, script, spaced, "would not take"},
		{"no call", "", script, call, "Kbuild does not call conftest.sh"},
		{"two calls", kbuild + kbuild, script, call, "Kbuild does not call conftest.sh"},
		{"a call without a compiler", "NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) $(ARCH)\n", script, call, "Kbuild does not call conftest.sh"},
		{"a call with two", strings.Replace(kbuild, "$(ARCH)", `"$(CC)"`, 1), script, call, "Kbuild does not call conftest.sh"},
		{"a look into an object file", kbuild, script + "nm conftest$$.o | grep -q init\n", call, "does more with an object file"},
		{"an object file that is kept", kbuild, script + "mv conftest$$.o kept.o\n", call, "does more with an object file"},
	} {
		got, err := tt.call.Makefile([]byte(tt.kbuild), []byte(tt.script))
		if err == nil || !strings.Contains(err.Error(), tt.says) || got != nil {
			t.Errorf("%s: error %v, want one that says %q\n%s", tt.name, err, tt.says, got)
		}
	}
}

// TestLookOnce has make build as much of a driver as takes it long: objects wait for headers,
// each of many tests, which all wait for one header of many parts.
//
// How often make looks hangs on which of two commands ends first; of so many objects it is some
// ten times fewer in any order, and a fifth is far from both.
func TestLookOnce(t *testing.T) {
	t.Parallel()
	const kbuild = `
.SECONDARY:
some := $(foreach a,0 1 2 3,$(addprefix $(a),0 1 2 3 4))
tests := $(addprefix $(obj)/conftest/compile-tests/,$(addsuffix .h,$(some)))
parts := $(addprefix $(obj)/conftest/header_presence/,$(addsuffix .part,$(some)))
$(obj)/all: $(addprefix $(obj)/,$(addsuffix .o,$(some)))
	touch $@
$(obj)/%.o: | $(obj)/conftest/functions.h $(obj)/conftest/types.h
	touch $@
$(obj)/conftest/functions.h $(obj)/conftest/types.h: $(tests)
	touch $@
$(obj)/conftest/compile-tests/%.h: $(obj)/conftest/headers.h
	touch $@
$(obj)/conftest/headers.h: $(parts)
	touch $@
$(parts): $(obj)/conftest/uts_release
	touch $@
$(obj)/conftest/uts_release:
	touch $@
`
	looks := func(name, first string) (n int, features string) {
		dir := t.TempDir()
		for _, folder := range []string{"conftest/compile-tests", "conftest/header_presence"} {
			if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for file, text := range map[string]string{"first": first, "Kbuild": kbuild + "\n$(info $(.FEATURES))\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "make", "-rRd", "-j2", "-f", filepath.Join(dir, "Kbuild"), "obj="+dir)
		cmd.Env = append(os.Environ(), "MAKEFILES="+filepath.Join(dir, "first"), "LC_ALL=C", "MAKEFLAGS=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "all")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// As make has it since 4.4, and before.
		return strings.Count(string(out), "Pruning file") + strings.Count(string(out), " was considered already."), string(out)
	}
	without, features := looks("as it is", "")
	with, _ := looks("with it", LookOnce)
	// The make of Debian 12 does not know it, and is none the worse; the image's does
	// (TestMakeOfTheImage).
	if strings.Contains(features, "notintermediate") && with*5 > without {
		t.Errorf("make looks %d times, and without it %d times", with, without)
	}
	t.Logf("%d looks, and %d without, by a make that knows it: %t", with, without, strings.Contains(features, "notintermediate"))
}
