package prepare

import (
	"context"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

// linkHostTree puts the host's own tree in the place of one made here. It is
// done anew each time: it takes no time, and links into a host's root must not
// outlive the mount.
func linkHostTree(t kernel.Target, tree Tree, byLoader bool) (_ Tree, err error) {
	out := tree.Output
	if err := discard(out); err != nil {
		return Tree{}, failed(err, "could not clear "+out)
	}
	defer func() {
		if err != nil {
			_ = discard(out)
		}
	}()
	if tree.Source, tree.Output, err = hosttree.Link(t.Tree, out, byLoader); err != nil {
		return Tree{}, failed(err, "could not link the host's build tree")
	}
	if err := writeSymvers(out, t); err != nil {
		return Tree{}, failed(err, "could not write Module.symvers")
	}
	return tree, nil
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
		tree, err = o.fromSource(ctx, t, src, tree, in)
	}
	if err != nil {
		_ = beneath.RemoveAll(dir)
		return Tree{}, err
	}
	return tree, nil
}
