package job

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

// Step is what one step of a build would do.
type Step struct {
	Stage stage.Name `json:"stage"`
	// Does is a sentence for people.
	Does string `json:"does"`
}

// step is one thing that a build does.
type step[In, Out any] struct {
	stage stage.Name
	// plan says for people what do would do, and is an error where do could
	// only fail. It changes nothing.
	plan func(context.Context) ([]string, error)
	// do does it with what the step before it has made.
	do func(context.Context, In) (Out, error)
}

// steps are those of a build, in order: all of them are planned before the first
// is done, so that what could only fail at the end fails before the work.
type steps[In, Out any] struct {
	plan func(context.Context) ([]Step, error)
	do   func(context.Context, *brackets, In) (Out, error)
}

// begin makes a list of steps of the first one.
func begin[In, Out any](s step[In, Out]) steps[In, Out] {
	return steps[In, Out]{
		plan: s.says,
		do:   s.done,
	}
}

// then adds a step, which is handed what the last one makes.
func then[In, Between, Out any](before steps[In, Between], s step[Between, Out]) steps[In, Out] {
	return steps[In, Out]{
		plan: func(ctx context.Context) ([]Step, error) {
			list, err := before.plan(ctx)
			if err != nil {
				return nil, err
			}
			more, err := s.says(ctx)
			return append(list, more...), err
		},
		do: func(ctx context.Context, b *brackets, in In) (Out, error) {
			between, err := before.do(ctx, b, in)
			if err != nil {
				return *new(Out), err
			}
			return s.done(ctx, b, between)
		},
	}
}

// says is the step's plan.
func (s step[In, Out]) says(ctx context.Context) ([]Step, error) {
	does, err := s.plan(withStage(ctx, s.stage))
	var list []Step
	for _, sentence := range does {
		list = append(list, Step{s.stage, sentence})
	}
	return list, filesError(s.stage, err)
}

// done is the step, done in its stage.
func (s step[In, Out]) done(ctx context.Context, b *brackets, in In) (Out, error) {
	out, err := s.do(b.enter(ctx, s.stage), in)
	return out, filesError(s.stage, err)
}

// filesError makes an error of the file system that nobody has explained one of its stage.
// Whoever else may write to a share can cause one at any moment, so it is no bug.
func filesError(name stage.Name, err error) error {
	if errors.As(err, new(*stage.Error)) || !errors.As(err, new(*fs.PathError)) && !errors.As(err, new(*os.LinkError)) {
		return err
	}
	return stage.Wrap(name, err, "a file or folder that builder works with failed it",
		"look at it, have nobody else write to the share during a run, and run again")
}

func withStage(ctx context.Context, name stage.Name) context.Context {
	return zerolog.Ctx(ctx).With().Str("stage", string(name)).Logger().WithContext(ctx)
}

// brackets are a build's in the log: a line where a stage begins and one where it
// ends, however many steps it has. A dry run has none.
type brackets struct {
	dry  bool
	name stage.Name
	ctx  context.Context
	end  func()
}

// enter begins a stage, and ends the one before, unless that is it. The context is
// for what the stage does.
func (b *brackets) enter(ctx context.Context, name stage.Name) context.Context {
	switch {
	case b.dry:
		return withStage(ctx, name)
	case b.name != name:
		b.leave()
		b.name = name
		b.ctx, b.end = stage.Begin(ctx, name)
	}
	return b.ctx
}

// leave ends the stage that was entered.
func (b *brackets) leave() {
	if b.end != nil {
		b.end()
	}
	b.name, b.end = "", nil
}
