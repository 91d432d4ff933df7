package prepare

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/askonce"
)

// Unit is a C file to be compiled against a tree, as a module's would be.
type Unit struct {
	// Name is the unit's: NAME.c is compiled to NAME.o.
	Name string
	// Text is the C file.
	Text []byte
	// Flags are for the compiler, after all of kbuild's.
	Flags []string
	// Dir is a folder of the unit's own, which is made anew; the caller removes it.
	Dir string
	// Output receives what make and the compiler print.
	Output io.Writer
}

// Compile has kbuild compile a unit for the target that the tree is of. The error is
// a [command.ExitError] where the compiler refuses it.
func (t Tree) Compile(ctx context.Context, target kernel.Target, r command.Runner, u Unit) error {
	if err := beneath.RemoveAll(u.Dir); err != nil {
		return err
	}
	// Before 5.4 kbuild notes in the second of them what a module is made of, and makes it
	// for whole modules only.
	for _, dir := range []string{u.Dir, filepath.Join(u.Dir, ".tmp_versions")} {
		if err := beneath.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	once, err := askonce.Makefile(t.Source)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		// It is not linked, so that objtool has nothing to do for it.
		"Kbuild":      []byte("obj-m := " + u.Name + ".o\nOBJECT_FILES_NON_STANDARD := y\n"),
		u.Name + ".c": u.Text,
		onceFile:      once,
	} {
		if err := beneath.WriteFile(filepath.Join(u.Dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return r.Run(ctx, command.Command{
		Args: t.make(target, "M="+u.Dir, u.Name+".o"),
		Env: append(environment[:len(environment):len(environment)],
			"KCFLAGS="+strings.Join(u.Flags, " "), "MAKEFILES="+filepath.Join(u.Dir, onceFile), "TMPDIR="+u.Dir),
		Reads:  t.reads(target),
		Writes: []string{u.Dir}, Output: u.Output,
	})
}

// Make has kbuild make goals of the kernel's own in a tree that was prepared of its whole
// source, such as "drivers/pci/pci.o", and go on where one cannot be made: the error is
// then a [command.ExitError].
func (t Tree) Make(ctx context.Context, target kernel.Target, r command.Runner, jobs int, goals []string, output io.Writer) error {
	args := append([]string{"LOCALVERSION=", "-k", "-j" + strconv.Itoa(jobs)}, goals...)
	return r.Run(ctx, command.Command{
		Args:   t.make(target, args...),
		Env:    append(environment[:len(environment):len(environment)], "MAKEFILES="+filepath.Join(t.Output, onceFile), "TMPDIR="+t.Output),
		Reads:  t.reads(target),
		Writes: []string{t.Output}, Output: output,
	})
}

// make is the command for some goals in the tree.
func (t Tree) make(target kernel.Target, args ...string) []string {
	argv := append([]string{"make", "-C", t.Source, "ARCH=" + kbuildArch[target.Arch], "CC=" + t.Compiler}, crossArguments(t.Compiler)...)
	if t.Output != t.Source {
		argv = append(argv, "O="+t.Output)
	}
	return append(argv, args...)
}

// reads are what make reads in the tree.
func (t Tree) reads(target kernel.Target) []string {
	return append(command.WithLinked(append(target.Tree.Folders(), t.Source, t.Output)...), target.Tree.Loader.Folders()...)
}
