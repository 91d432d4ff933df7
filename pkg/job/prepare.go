package job

import (
	"context"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// prepared is a driver and the tree to build it against.
type prepared struct {
	sourced
	tree prepare.Tree
}

// preparing makes the tree to build against.
func (p project) preparing() step[sourced, prepared] {
	return step[sourced, prepared]{
		stage: stage.Prepare,
		plan: func(context.Context) ([]string, error) {
			return []string{fmt.Sprintf("an output tree beneath %s, with %s", p.share.Prepared(), p.compiler.Command)}, nil
		},
		do: func(ctx context.Context, s sourced) (prepared, error) {
			return completing(ctx, p, s, prepareTool, p.prepare, p.prepare)
		},
	}
}

func (p project) prepare(ctx context.Context, s sourced) (prepared, error) {
	if p.compiler.Warning != "" {
		zerolog.Ctx(ctx).Warn().Msg(p.compiler.Warning)
	}
	if err := p.judgeSource(ctx, s.source); err != nil {
		return prepared{}, err // before the compile
	}
	if err := p.needSpace(ctx, stage.Prepare, share.Space{}, p.libraries.space(s.toLayOut)); err != nil {
		return prepared{}, err
	}
	tree, err := prepare.Prepare(ctx, p.target, s.source, prepare.Options{
		Runner: p.Runner, Dir: p.share.Prepared(), Compiler: p.compiler.Command, Jobs: p.jobs(),
		LogFile: p.logFile(prepareTool), AllowDrift: slices.Contains(p.Allow, prepare.DriftCheck),
	})
	if err != nil {
		return prepared{}, p.share.Explain(stage.Prepare, err)
	}
	zerolog.Ctx(ctx).Info().Str("compiler", tree.CompilerVersion).Bool("reused", tree.Reused).Msg("kernel tree prepared")
	return prepared{s, tree}, nil
}

// judgeSource says early what vouches for the source. Where the kernel's types are to be
// seen, these do so once there is something to hold against them.
func (p project) judgeSource(ctx context.Context, tree source.Tree) error {
	if p.typesSeen() {
		return nil
	}
	vouched := sourceCheck(p.target, tree, nil)
	warnOfSource(ctx, vouched)
	return modules.Judge(vouched, p.policy())
}

// typesSeen says whether the kernel's types can vouch for the source, later.
func (p project) typesSeen() bool { return len(p.target.Types.BTF) > 0 }
