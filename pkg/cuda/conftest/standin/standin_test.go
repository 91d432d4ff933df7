package standin

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

// compiler writes down how it was called and what it read, and does as it was told.
const compiler = `#!/bin/sh
for last; do :; done
input=
if [ "$last" = - ]; then input=$(cat); fi
echo "$*|$input" >>"$CALLS"
if [ "$LEAVES" ]; then echo object >"${last%.c}.o"; fi
if [ "$SAYS" ]; then echo "$SAYS" >&2; fi
if [ "$ENDS" = killed ]; then kill -9 $$; fi
exit "$ENDS"
`

// text is a test's, as conftest.sh writes it.
const text = `#include "conftest/headers.h"
    #if defined(NV_LINUX_MM_H_PRESENT)
    # include <linux/mm.h>
    #endif
    int conftest(void) { return 1; }
`

// driver is where a driver's sources are, with what conftest.sh has made there.
type driver struct {
	*testing.T
	dir string
}

func unpack(t *testing.T, files map[string]string) driver {
	t.Helper()
	all := map[string]string{
		"driver/kernel/conftest/headers.h":    "#define NV_LINUX_MM_H_PRESENT\n#undef NV_DRM_DRMP_H_PRESENT\n",
		"driver/kernel/conftest12.c":          text,
		"driver/kernel/common/inc/nv-linux.h": "",
		"gcc-12":                              compiler,
		"known":                               "",
		"notes/.keep":                         "",
	}
	for name, content := range files {
		all[name] = content
	}
	root := testkit.WriteTree(t, all)
	if err := os.Chmod(filepath.Join(root, "gcc-12"), 0o755); err != nil {
		t.Fatal(err)
	}
	return driver{t, filepath.Join(root, "driver", "kernel")}
}

func (d driver) path(name string) string { return filepath.Join(d.dir, "..", "..", name) }

// called is what a call of the stand-in came to.
type called struct {
	Code   int
	Stderr string
	Object bool
	// Calls are the compiler's, Notes what was noted, without the question.
	Calls string
	Notes string
}

// call calls the stand-in as conftest.sh does.
func (d driver) call(stdin string, environment []string, args ...string) (c called) {
	d.Helper()
	self, err := os.Executable()
	if err != nil {
		d.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{Word, d.path("known"), d.path("notes"), d.path("gcc-12")}, args...)...)
	cmd.Dir, cmd.Stdin = d.dir, strings.NewReader(stdin)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "CALLS=" + d.path("calls"), "ENDS=0"}, environment...)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		d.Fatal(err)
	}
	c.Code, c.Stderr = cmd.ProcessState.ExitCode(), said.String()
	_, err = os.Stat(filepath.Join(d.dir, "conftest12.o"))
	c.Object = err == nil
	calls, _ := os.ReadFile(d.path("calls")) // there need be none
	c.Calls = strings.ReplaceAll(string(calls), d.dir, "DIR")
	for _, name := range d.notes() {
		c.Notes += strings.TrimLeft(name, "0123456789abcdef")
	}
	for _, name := range []string{d.path("calls"), filepath.Join(d.dir, "conftest12.o")} {
		if err := os.RemoveAll(name); err != nil {
			d.Fatal(err)
		}
	}
	return c
}

func (d driver) notes() (names []string) {
	d.Helper()
	entries, err := os.ReadDir(d.path("notes"))
	if err != nil {
		d.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".keep" {
			names = append(names, e.Name())
		}
	}
	return names
}

// learn makes known what was noted, as builder does for the next build.
func (d driver) learn() {
	d.Helper()
	for _, name := range d.notes() {
		line := strings.Replace(name, ".", " ", 1) + "\n"
		if err := errors.Join(os.WriteFile(d.path("known"), []byte(line), 0o644), os.Remove(d.path("notes/"+name))); err != nil {
			d.Fatal(err)
		}
	}
}

// Each question is asked once, and then answered as the compiler did.
func TestAnswered(t *testing.T) {
	t.Parallel()
	compiles, preprocesses := []string{"-D__KERNEL__", "-O2", "-c", "conftest12.c"}, []string{"-E", "-M", "-D__KERNEL__", "-"}
	const none = "conftest12.c:3:12: fatal error: linux/mm.h: No such file or directory\ncompilation terminated."
	for _, tt := range []struct {
		name, stdin     string
		args, with      []string
		asked, answered called
	}{
		{"what compiles", "", compiles, []string{"LEAVES=it"},
			called{Object: true, Calls: "-D__KERNEL__ -O2 -c conftest12.c|\n", Notes: ".y"}, called{Object: true, Notes: ".k"}},
		{"what does not", "", compiles, []string{"ENDS=1", "SAYS=/linux/include/linux/mm.h:7:1: error: unknown type name 'vm'"},
			called{Code: 1, Stderr: "/linux/include/linux/mm.h:7:1: error: unknown type name 'vm'\n", Calls: "-D__KERNEL__ -O2 -c conftest12.c|\n", Notes: ".n"},
			called{Code: 1, Notes: ".k"}},
		{"what includes a header that is not there", "", compiles, []string{"ENDS=1", "SAYS=" + none},
			called{Code: 1, Stderr: none + "\n", Calls: "-D__KERNEL__ -O2 -c conftest12.c|\n", Notes: ".n"}, called{Code: 1, Notes: ".k"}},
		{"a header", "#include <linux/mm.h>\n", preprocesses, nil,
			called{Calls: "-E -M -D__KERNEL__ -|#include <linux/mm.h>\n", Notes: ".y"}, called{Notes: ".k"}},
		{"no header", "#include <linux/mm.h>\n", preprocesses, []string{"ENDS=1", "SAYS=<stdin>:1:10: fatal error: linux/mm.h: No such file or directory"},
			called{Code: 1, Stderr: "<stdin>:1:10: fatal error: linux/mm.h: No such file or directory\n", Calls: "-E -M -D__KERNEL__ -|#include <linux/mm.h>\n", Notes: ".n"},
			called{Code: 1, Notes: ".k"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := unpack(t, nil)
			if diff := cmp.Diff(tt.asked, d.call(tt.stdin, tt.with, tt.args...)); diff != "" {
				t.Errorf("asked: %s", diff)
			}
			d.learn()
			if diff := cmp.Diff(tt.answered, d.call(tt.stdin, tt.with, tt.args...)); diff != "" {
				t.Errorf("answered: %s", diff)
			}
		})
	}
}

// A compiler that could not do its work has not answered.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for _, with := range [][]string{
		{"ENDS=1"},
		{"ENDS=1", "SAYS=gcc-12: fatal error: Killed signal terminated program cc1"},
		{"ENDS=1", "SAYS=cc1: out of memory allocating 65536 bytes after a total of 3 bytes"},
		{"ENDS=1", "SAYS=/linux/include/linux/mm.h:7:10: fatal error: linux/vm.h: Input/output error"},
		{"ENDS=1", "SAYS=conftest12.c:1:1: warning: unused"},
		{"ENDS=1", "SAYS={standard input}: Fatal error: can't write 12 bytes to section .text: No space left on device"},
		{"ENDS=4", "SAYS=conftest12.c:1:1: error: internal compiler error: in emit"},
		{"ENDS=1", "LEAVES=it", "SAYS=conftest12.c:1:1: error: what is this"},
		{"ENDS=0"},
		{"ENDS=killed"},
	} {
		d := unpack(t, nil)
		if c := d.call("", with, "-D__KERNEL__", "-c", "conftest12.c"); c.Notes != "" || c.Calls == "" || c.Code == 0 != (with[0] == "ENDS=0") {
			t.Errorf("%q: %+v", with, c)
		}
	}
}

// What is no question, and what an answer for all drivers cannot be given to, is the
// compiler's.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	compiles := []string{"-D__KERNEL__", "-IDIR/common/inc", "-Iinclude", "-c", "conftest12.c"}
	for _, tt := range []struct {
		name  string
		files map[string]string
		args  []string
	}{
		{"whether there is a compiler", nil, []string{"-c", "conftest12.c"}},
		{"its version", nil, []string{"--version"}},
		{"nothing", nil, nil},
		{"what a text comes to", nil, []string{"-D__KERNEL__", "-E", "-P", "conftest12.c"}},
		{"with an output of its own", nil, []string{"-D__KERNEL__", "-o", "conftest12.o", "-c", "conftest12.c"}},
		{"another file", nil, []string{"-D__KERNEL__", "-c", "nv-conftest12.c"}},
		{"a file that is not there", nil, []string{"-D__KERNEL__", "-c", "conftest13.c"}},
		{"before headers.h is made", map[string]string{"driver/kernel/conftest/headers.h": "-> nowhere"}, compiles},
		{"with a header of its own", map[string]string{"driver/kernel/conftest12.c": text + "#include \"conftest12.h\"\n"}, compiles},
		{"with a name that is a macro's", map[string]string{"driver/kernel/conftest12.c": text + "#include NAME\n"}, compiles},
		{"of what is included next", map[string]string{"driver/kernel/conftest12.c": text + "#include_next <linux/mm.h>\n"}, compiles},
		{"whether a header is there", map[string]string{"driver/kernel/conftest12.c": text + "#if __has_include(<linux/mm.h>)\n#endif\n"}, compiles},
		{"a driver that has such a header", map[string]string{"driver/kernel/common/inc/linux/mm.h": ""}, compiles},
		{"the same by a relative path", map[string]string{"driver/kernel/include/linux/mm.h": ""}, compiles},
		{"the same at the top", map[string]string{"driver/kernel/linux/mm.h": ""}, compiles},
		{"a text without end", map[string]string{"driver/kernel/conftest12.c": strings.Repeat(" ", limit)}, compiles},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := unpack(t, tt.files)
			var args []string
			for _, arg := range tt.args {
				args = append(args, strings.ReplaceAll(arg, "DIR", d.dir))
			}
			c := d.call("", []string{"ENDS=3", "SAYS=said"}, args...)
			if want := (called{Code: 3, Stderr: "said\n", Calls: strings.Join(tt.args, " ") + "|\n"}); c != want {
				t.Errorf("%+v, want %+v", c, want)
			}
		})
	}
	d := unpack(t, nil)
	long := "#include <linux/mm.h>" + strings.Repeat(" ", limit) + "."
	if c := d.call(long, nil, "-E", "-M", "-D__KERNEL__", "-"); c.Calls != "-E -M -D__KERNEL__ -|"+long+"\n" || c.Notes != "" {
		t.Errorf("of %d bytes the compiler reads %d, and %q is noted", len(long), len(c.Calls), c.Notes)
	}
}

func TestNoCompiler(t *testing.T) {
	t.Parallel()
	d := unpack(t, nil)
	if err := os.Remove(d.path("gcc-12")); err != nil {
		t.Fatal(err)
	}
	if c := d.call("", nil, "--version"); c.Code != 127 || !strings.Contains(c.Stderr, "gcc-12: ") {
		t.Errorf("%+v", c)
	}
}

// key is a question's, of a driver that is unpacked in a folder.
func key(t *testing.T, files map[string]string, args ...string) string {
	t.Helper()
	d := unpack(t, files)
	for i, arg := range args {
		args[i] = strings.NewReplacer("SOURCES", d.dir, "DRIVER", filepath.Dir(d.dir)).Replace(arg)
	}
	q, _, asks := read(args, d.dir, strings.NewReader(""))
	if !asks {
		t.Fatalf("%q is no question", args)
	}
	return q.key()
}

// TestKey: what is the same question of another driver, and what is not.
func TestKey(t *testing.T) {
	t.Parallel()
	ask := func(t *testing.T, files map[string]string, more ...string) string {
		args := []string{"-D__KERNEL__", "-ISOURCES/common/inc", "-ISOURCES", "-ffile-prefix-map=DRIVER/=", `-DNV_VERSION_STRING="535.261.03"`,
			`-DKBUILD_BASENAME="#conftest77"`, "-c", "conftest12.c"}
		for i := range args {
			for _, m := range more {
				if from, to, replaces := strings.Cut(m, " => "); replaces {
					args[i] = strings.ReplaceAll(args[i], from, to)
				}
			}
		}
		return key(t, files, args...)
	}
	want := ask(t, nil)
	for _, tt := range []struct {
		name  string
		files map[string]string
		args  []string
		same  bool
	}{
		{"unpacked elsewhere", nil, nil, true},
		{"of another version", nil, []string{"535.261.03 => 535.274.02"}, true},
		{"by another process", map[string]string{"driver/kernel/conftest13.c": text}, []string{"conftest12 => conftest13", "conftest77 => conftest7"}, true},
		{"that knows of another header", map[string]string{"driver/kernel/conftest/headers.h": "#define NV_LINUX_MM_H_PRESENT\n#define NV_CRYPTO_SIG_H_PRESENT\n"}, nil, true},
		{"that has another header of its own", map[string]string{"driver/kernel/common/inc/nv-new.h": ""}, nil, true},
		{"while kbuild tries something", map[string]string{"driver/kernel/.tmp_77/tmp": ""}, nil, true},
		{"where a header is not that it asks about", map[string]string{"driver/kernel/conftest/headers.h": "#undef NV_LINUX_MM_H_PRESENT\n"}, nil, false},
		{"whose headers.h has more", map[string]string{"driver/kernel/conftest/headers.h": "#define NV_LINUX_MM_H_PRESENT\n#include <linux/fs.h>\n"}, nil, false},
		{"whose headers.h has values", map[string]string{"driver/kernel/conftest/headers.h": "#define NV_LINUX_MM_H_PRESENT 1\n"}, nil, false},
		{"with another flag", nil, []string{"-ffile-prefix-map=DRIVER/= => -O2"}, false},
		{"with another text", map[string]string{"driver/kernel/conftest12.c": text + " "}, nil, false},
		{"with a folder that the kernel may have, too", map[string]string{"driver/kernel/common/inc/linux/nv-new.h": ""}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := ask(t, tt.files, tt.args...); got == want != tt.same {
				t.Errorf("the key is the same: %v, want %v", got == want, tt.same)
			}
		})
	}
	// A text that asks for the version.
	asks := map[string]string{"driver/kernel/conftest12.c": text + "char v[] = NV_VERSION_STRING;\n"}
	if ask(t, asks) == ask(t, asks, "535.261.03 => 535.274.02") {
		t.Error("two versions have one key")
	}
}
