package source

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
)

// hostTree returns the tree that the host has for building modules, or says
// why it does not serve. It reads a few files and runs a few small programs.
func (l *ladder) hostTree(ctx context.Context, t kernel.Target) (Tree, string) {
	if l.Ref != "" {
		return Tree{}, "--source-ref names another source"
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
	if use == hosttree.AsSource {
		tree.Rung = RungHostSource
		zerolog.Ctx(ctx).Info().Err(err).Msg("the host's own tree serves as a source only")
	}
	return tree, ""
}
