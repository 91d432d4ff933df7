package prepare

import (
	"os"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

// linkHostTree puts the host's own tree in the place of one made here. It is
// done anew each time: it takes no time, and links into a host's root must not
// outlive the mount.
func linkHostTree(t kernel.Target, tree Tree) (_ Tree, err error) {
	out := tree.Output
	if err := discard(out); err != nil {
		return Tree{}, failed(err, "could not clear "+out)
	}
	defer func() {
		if err != nil {
			_ = discard(out)
		}
	}()
	if tree.Source, tree.Output, err = hosttree.Link(t.Tree, out); err != nil {
		return Tree{}, failed(err, "could not link the host's build tree")
	}
	if err := writeSymvers(out, t); err != nil {
		return Tree{}, failed(err, "could not write Module.symvers")
	}
	return tree, nil
}

// copyHostSource makes the source of a host's tree one to prepare from, also
// anew each time.
func copyHostSource(t kernel.Target, src source.Tree, dir string) (source.Tree, error) {
	if err := os.RemoveAll(dir); err != nil {
		return source.Tree{}, failed(err, "could not clear "+dir)
	}
	if err := hosttree.Copy(t.Tree, dir); err != nil {
		return source.Tree{}, failed(err, "could not copy the host's build tree")
	}
	src.Dir = dir
	return src, nil
}
