package prepare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options say where and with what a tree is prepared.
type Options struct {
	// Runner runs make and asks the compiler for its version; required.
	Runner command.Runner
	// Dir is the folder that holds prepared trees, one beneath it for each
	// release and config.
	Dir string
	// Compiler is the program to compile with, such as "gcc-12"; see
	// [ChooseCompiler].
	Compiler string
	// Jobs is make's -j; 0 means as many as this process may use processors.
	Jobs int
	// LogFile receives all that make prints, from its beginning; empty keeps
	// nothing.
	LogFile string
	// AllowDrift goes on where kbuild changes an option of the host's config
	// that may change what is compiled; the tree then lists them.
	AllowDrift bool
}

// DriftCheck is the name of the check that AllowDrift overrides.
const DriftCheck = "config-drift"

// Tree is a prepared tree.
type Tree struct {
	// Source and Output are the two halves of an out-of-tree build: what was
	// checked out, and what kbuild made of it.
	Source, Output string
	// Compiler is the program, "gcc-12"; CompilerVersion the first line that
	// it says of itself.
	Compiler, CompilerVersion string
	// Release is include/config/kernel.release, equal to the host's.
	Release string
	// Drift lists the options that kbuild changed in the host's config and
	// that Options.AllowDrift let pass, sorted by name.
	Drift []drift.Change
	// WithoutRust says that the host's kernel has Rust, and this tree does
	// without: see [drift.LosesRust].
	WithoutRust bool
	// Reused says that an earlier run had prepared it.
	Reused bool
	// Headers is a digest of what the tree's headers are made from, and of the compiler:
	// what compiles against one tree does against another of the same. It says nothing of
	// Module.symvers.
	Headers string
}

// Prepare makes the tree of a target from its source, or finds the one that
// an earlier run made from the same inputs. Its errors are *stage.Error of
// the stage prepare.
//
// The tree is made where it stays, not renamed into place, because kbuild
// writes the absolute names of both halves into it. A stamp that is written
// last, and removed first, tells a whole tree from a half-made one.
func Prepare(ctx context.Context, t kernel.Target, src source.Tree, o Options) (Tree, error) {
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	version, err := CompilerVersion(ctx, o.Runner, o.Compiler)
	if err != nil {
		return Tree{}, err
	}
	in := inputs{
		Recipe:          recipe,
		Release:         t.Release.Full,
		Config:          t.Config.Digest,
		Exports:         t.Exports.Digest,
		Source:          src.Dir,
		Commit:          src.Identity(),
		Compiler:        o.Compiler,
		CompilerVersion: version,
	}
	tree := Tree{
		Source:          src.Dir,
		Output:          filepath.Join(o.Dir, folder(t)),
		Compiler:        o.Compiler,
		CompilerVersion: version,
		Release:         t.Release.Full,
		Headers:         in.headers(),
	}
	switch src.Rung {
	case source.RungHostTree:
		return o.linkHostTree(ctx, t, src, tree, in)
	case source.RungHostSource:
		return o.fromHostSource(ctx, t, src, tree, in)
	}
	return o.fromSource(ctx, t, src, tree, in)
}

// fromSource prepares the tree, unless it is there.
func (o Options) fromSource(ctx context.Context, t kernel.Target, src source.Tree, tree Tree, in inputs) (Tree, error) {
	var found findings
	var err error
	if found, tree.Reused = reusable(tree.Output, in); tree.Reused {
		// Which modules are loaded does not make it another tree, but what
		// they export may be known only now.
		err = failed(writeSymvers(tree.Output, t), "could not write Module.symvers")
		if err == nil {
			err = o.judge(ctx, found, t, src)
		}
	} else {
		found, err = makeTree(ctx, t, src, tree.Output, in, o)
	}
	if err != nil {
		return Tree{}, err
	}
	tree.Drift, tree.WithoutRust = found.Drift, found.WithoutRust
	return tree, nil
}

// folder is the name of a target's tree: its release for people, and enough
// of its config's digest to keep two configs of one release apart.
func folder(t kernel.Target) string {
	_, digest, _ := strings.Cut(t.Config.Digest, ":")
	return t.Release.Full + "-" + digest[:min(12, len(digest))]
}

// makeTree makes the tree from nothing and leaves nothing when it fails: a
// half-made tree is of no use, and disk is scarce.
func makeTree(ctx context.Context, t kernel.Target, src source.Tree, out string, in inputs, o Options) (_ findings, err error) {
	config, err := hostConfig(t, src)
	if err != nil {
		return findings{}, err
	}
	if err := discard(out); err != nil {
		return findings{}, failed(err, "could not clear "+out)
	}
	defer func() {
		if err != nil {
			_ = discard(out)
		}
	}()
	if err := beneath.MkdirAll(out, 0o755); err != nil {
		return findings{}, failed(err, "could not make the build tree")
	}
	if err := beneath.WriteFile(filepath.Join(out, ".config"), config, 0o644); err != nil {
		return findings{}, failed(err, "could not write the kernel's config")
	}
	kbuild, err := newKbuild(t, src, out, o)
	if err != nil {
		return findings{}, err
	}
	defer kbuild.Close()
	if err := kbuild.Make(ctx, "olddefconfig"); err != nil {
		return findings{}, err
	}
	after, err := command.ReadLeft(filepath.Join(out, ".config"), leftLimit)
	if err != nil {
		return findings{}, failed(err, "could not read back the kernel's config")
	}
	found := findings{drift.Compare(t.Config.Text, after), drift.LosesRust(t.Config.Text, after)}
	if err := o.judge(ctx, found, t, src); err != nil {
		return findings{}, err
	}
	if err := kbuild.Make(ctx, "modules_prepare"); err != nil {
		return findings{}, err
	}
	if err := checkRelease(out, t.Release.Full); err != nil {
		return findings{}, err
	}
	if err := writeSymvers(out, t); err != nil {
		return findings{}, failed(err, "could not write Module.symvers")
	}
	if err := writeStamp(out, stamp{Inputs: in, findings: found}); err != nil {
		return findings{}, failed(err, "could not record the prepared tree")
	}
	return found, nil
}

// checkRelease compares what kbuild will write into every module's vermagic
// with what the kernel will compare it to.
func checkRelease(out, want string) error {
	got, err := kernelRelease(out)
	if err != nil {
		return failed(err, "kbuild left no release behind")
	}
	if got != want {
		return stage.New(stage.Prepare,
			fmt.Sprintf("the prepared tree calls itself %s and the host's kernel %s, so that kernel would refuse its modules", got, want),
			"check that the source is the one the kernel was built from, or name its tag with --source-ref")
	}
	return nil
}

// leftLimit is far above the size of what make left and is read: a config.
const leftLimit = 4 << 20

// kernelRelease is the release of the tree in out.
func kernelRelease(out string) (string, error) {
	b, err := command.ReadLeft(filepath.Join(out, "include", "config", "kernel.release"), leftLimit)
	return strings.TrimSpace(string(b)), err
}

// writeSymvers gives the tree the list that a full build of the kernel would
// have left. A driver's tests of the kernel read it to learn what it offers, and
// modpost to fill in each module's depends.
func writeSymvers(out string, t kernel.Target) error {
	f, err := beneath.Create(filepath.Join(out, "Module.symvers"), 0o644)
	if err != nil {
		return err
	}
	return errors.Join(t.Exports.WriteSymvers(f, t.Release), f.Close())
}

// failed is an error of the machine's: a disk, a permission.
func failed(err error, reason string) error {
	hint := ""
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		hint = "free some space on the share: a prepared tree takes about 30 MB"
	}
	return stage.Wrap(stage.Prepare, err, reason, hint)
}
