package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
)

// machine stands in for make and pahole: it compiles what has no declaration of the
// symbols in undeclared, and an object has the types of a small source.
type machine struct {
	t          *testing.T
	undeclared []string
	says       string // in place of all that
	pahole     error
	compiled   []string // the units, in turn
	env        []string
}

func (m *machine) Run(_ context.Context, c command.Command) error {
	if c.Args[0] == "pahole" {
		return m.pahole
	}
	dir := c.Writes[0]
	text, err := os.ReadFile(filepath.Join(dir, "types.c"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.compiled, m.env = append(m.compiled, string(text)), c.Env
	failed := &command.ExitError{Program: "make", Code: 2, State: "exit status 2"}
	if m.says != "" {
		fmt.Fprint(c.Output, m.says)
		return failed
	}
	wrong := false
	for i, line := range strings.Split(string(text), "\n") {
		if found := regexp.MustCompile(`typeof\((\w+)\)`).FindStringSubmatch(line); found != nil && slices.Contains(m.undeclared, found[1]) {
			fmt.Fprintf(c.Output, "%s/types.c:%d:16: error: ‘%s’ undeclared here (not in a function)\n", dir, i+1, found[1])
			wrong = true
		}
	}
	if wrong {
		return failed
	}
	object := imagetest.Kernel{BTF: typestest.New().Modules(m.t)}.Vmlinux(m.t)
	return os.WriteFile(filepath.Join(dir, "types.o"), object, 0o644)
}

func (m *machine) options(t *testing.T) Options {
	source := t.TempDir()
	return Options{
		Runner: m, Target: kernel.Target{Arch: kernel.X86_64},
		Tree:    prepare.Tree{Source: source, Output: source, Compiler: "gcc-12"},
		Objects: written(t, objects), Imports: []string{"_printk", "__fentry__", "pci_enable_device", "a.b"}, Scratch: t.TempDir(),
	}
}

// paholeFound puts a pahole on PATH, which nothing runs.
func paholeFound(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pahole"), []byte("#!/bin/false\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

func TestTypes(t *testing.T) {
	paholeFound(t)
	m := &machine{t: t, undeclared: []string{"__fentry__"}}
	o := m.options(t)
	record, err := Types(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !record.Declares("pci_enable_device") {
		t.Error("the record lacks a declaration")
	}
	first := `#include <linux/module.h>
#include <asm/io.h>
#include <linux/pci.h>
#include <generated/utsrelease.h>
#include <uapi/drm/drm_mode.h>
#undef _printk
#undef __fentry__
#undef pci_enable_device
struct builder_imports {
	typeof(_printk) *_printk;
	typeof(__fentry__) *__fentry__;
	typeof(pci_enable_device) *pci_enable_device;
};
`
	want := []string{first, strings.NewReplacer("#undef __fentry__\n", "", "\ttypeof(__fentry__) *__fentry__;\n", "").Replace(first)}
	if diff := cmp.Diff(want, m.compiled); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(m.env, func(s string) bool {
		return strings.HasPrefix(s, "KCFLAGS=") && strings.Contains(s, "-fno-eliminate-unused-debug-types")
	}) {
		t.Errorf("compiled with %q", m.env)
	}
	if left, err := os.ReadDir(o.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What cannot be found out is no failure of the job, and says why.
func TestTypesUnknown(t *testing.T) {
	for name, tt := range map[string]struct {
		machine machine
		change  func(*Options)
		says    string
	}{
		"no records": {machine{}, func(o *Options) { o.Objects = t.TempDir() }, "kbuild left no record"},
		"an error in a header": {machine{says: "/usr/src/linux/include/linux/pci.h:7:1: error: unknown type name ‘u33’\n"}, nil,
			"does not compile: /usr/src/linux/include/linux/pci.h:7:1: error: unknown type name"},
		"an error in a line of no symbol": {machine{says: "/s/types.c:1:10: fatal error: linux/module.h: No such file or directory\n"}, nil, "does not compile: "},
		"no errors":                       {machine{says: "make: *** [Makefile:1: types.o] Error 2\n"}, nil, "does not compile"},
		"pahole fails":                    {machine{pahole: &command.ExitError{Program: "pahole", Code: 1, State: "exit status 1"}}, nil, "pahole does not make BTF (pahole: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			paholeFound(t)
			m := tt.machine
			m.t = t
			o := m.options(t)
			if tt.change != nil {
				tt.change(&o)
			}
			_, err := Types(t.Context(), o)
			var unknown *UnknownError
			if !errors.As(err, &unknown) || !strings.Contains(unknown.Reason, tt.says) {
				t.Errorf("%v, want one that says %q", err, tt.says)
			}
			if len(m.compiled) > 1 {
				t.Errorf("compiled %d times", len(m.compiled))
			}
		})
	}
	t.Run("no pahole", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		m := &machine{t: t}
		if _, err := Types(t.Context(), m.options(t)); !errors.As(err, new(*UnknownError)) || !strings.Contains(err.Error(), "no pahole") {
			t.Error(err)
		}
	})
	t.Run("a machine that cannot run make", func(t *testing.T) {
		paholeFound(t)
		m := &machine{t: t, pahole: errors.New("out of memory")}
		if _, err := Types(t.Context(), m.options(t)); err == nil || errors.As(err, new(*UnknownError)) {
			t.Errorf("%v: that is not of the modules", err)
		}
	})
}
