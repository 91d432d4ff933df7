package source

import (
	"context"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
)

// hostTree returns the tree that the host has for building modules; its Rung is
// empty where it does not serve. It also says why. It reads a few files and
// runs a few small programs.
func (l *ladder) hostTree(ctx context.Context, t kernel.Target) (Tree, string) {
	if l.Ref != "" {
		return Tree{}, "--source-ref names another source"
	}
	if l.place != anyPlace {
		return Tree{}, "--source names another source"
	}
	runner := l.Runner
	if runner == nil {
		runner = command.Exec{}
	}
	use, err := hosttree.Check(ctx, t, runner)
	if use == hosttree.Unusable {
		return Tree{}, err.Error()
	}
	v, versionErr := readVersion(t.Tree.Source)
	if versionErr != nil {
		return Tree{}, versionErr.Error()
	}
	tree := Tree{Dir: t.Tree.Source, Rung: RungHostTree, Version: v.String(), Reused: true}
	if use == hosttree.AsSource && !v.builds(t.Release) {
		return Tree{}, err.Error() + ", and what is prepared anew from it would be a " + v.String()
	}
	if use == hosttree.AsSource {
		tree.Rung = RungHostSource
		return tree, "is this kernel's own, but has to be prepared anew: " + err.Error()
	}
	return tree, "is this kernel's own"
}
