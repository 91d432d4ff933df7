package prepare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/cause"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// linkHostTree puts the host's own tree in the place of one made here. It is
// done anew each time: it takes no time, and links into a host's root must not
// outlive the mount.
func (o Options) linkHostTree(ctx context.Context, t kernel.Target, src source.Tree, tree Tree, in inputs) (_ Tree, err error) {
	out := tree.Output
	if err := discard(out); err != nil {
		return Tree{}, failed(err, "could not clear "+out)
	}
	defer func() {
		if err != nil {
			_ = discard(out)
		}
	}()
	if tree.Source, tree.Output, err = hosttree.Link(t.Tree, out, src.ByLoader); err != nil {
		return Tree{}, failed(err, "could not link the host's build tree")
	}
	if err := writeSymvers(out, t); err != nil {
		return Tree{}, failed(err, "could not write Module.symvers")
	}
	if err := o.tryCompiler(ctx, t, tree); err != nil {
		return Tree{}, err
	}
	tree.Headers, err = in.hostHeaders(t)
	return tree, err
}

// hostHeaders is Tree.Headers of a tree that the host's own headers are in.
func (in inputs) hostHeaders(t kernel.Target) (string, error) {
	digest, err := hosttree.Headers(t.Tree)
	return in.headers(digest), failed(err, "could not read the headers of the host's build tree")
}

// tryCompiler has another compiler than the kernel's compile for the tree, which was
// configured for what the kernel's can do: a tree that is prepared here asks its own.
func (o Options) tryCompiler(ctx context.Context, t kernel.Target, tree Tree) error {
	if t.Compiler.Major == 0 || o.compilesAs(t.Compiler) {
		return nil
	}
	prefix, _ := splitCross(o.Compiler)
	dir := filepath.Join(tree.Output, ".trial")
	var said cause.Finder
	err := tree.Compile(ctx, t, o.Runner, Unit{
		Name: "trial", Text: []byte("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n"), Dir: dir, Output: &said,
	})
	if err == nil {
		err = beneath.RemoveAll(dir)
		return failed(err, "could not remove what the compiler was tried with")
	}
	if ctx.Err() != nil || !errors.As(err, new(*command.ExitError)) {
		return stage.Wrap(stage.Prepare, err, "could not try "+o.Compiler, "run builder in its own image, which has kbuild's tools")
	}
	why := "it ended with an error"
	if line := said.Cause(); line != "" {
		why = line
	}
	return stage.New(stage.Prepare,
		fmt.Sprintf("the kernel was built by gcc %s, and %s, the nearest that this image has, does not compile for its tree: %s", t.Compiler.Version, o.Compiler, why),
		anotherImage(t.Compiler.Major, t.Arch, prefix))
}

// fromHostSource prepares the tree from the sources of the host's own, which
// are copied anew each time, too.
func (o Options) fromHostSource(ctx context.Context, t kernel.Target, src source.Tree, tree Tree, in inputs) (Tree, error) {
	dir := tree.Output + ".source"
	src.Dir, tree.Source, in.Source = dir, dir, dir
	if err := beneath.RemoveAll(dir); err != nil {
		return Tree{}, failed(err, "could not clear "+dir)
	}
	err := failed(hosttree.Copy(t.Tree, dir), "could not copy the host's build tree")
	if err == nil {
		tree.Headers, err = in.hostHeaders(t)
	}
	if err == nil {
		tree, err = o.fromSource(ctx, t, src, tree, in)
	}
	if err != nil {
		_ = beneath.RemoveAll(dir)
		return Tree{}, err
	}
	return tree, nil
}
