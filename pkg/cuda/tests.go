package cuda

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/cuda/conftest"
)

// standin is what the driver's tests of the kernel call in the place of the compiler,
// where Answers are given: package conftest.
type standin struct {
	// makefile has them call it, reads are what it needs.
	makefile []byte
	reads    []string
}

// standIn prepares the stand-in. Where it cannot be had, the tests are all asked anew.
func (o BuildOptions) standIn(ctx context.Context, d Driver, place workplace) standin {
	if o.Answers == nil {
		return standin{}
	}
	s, err := o.tryStandIn(ctx, d, place)
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("answers to the driver's tests of the kernel are neither used nor kept")
		return standin{}
	}
	return s
}

func (o BuildOptions) tryStandIn(ctx context.Context, d Driver, place workplace) (standin, error) {
	builder, err := os.Executable()
	if err != nil {
		return standin{}, err
	}
	sources := filepath.Join(d.Dir, d.SourceDir(o.ModuleType))
	kbuild, err := beneath.ReadFile(filepath.Join(sources, "Kbuild"))
	if err != nil {
		return standin{}, err
	}
	script, err := beneath.ReadFile(filepath.Join(sources, "conftest.sh"))
	if err != nil {
		return standin{}, err
	}
	call := conftest.Call{Program: builder, Known: filepath.Join(o.Scratch, "conftest.known"), Notes: place.notes()}
	s := standin{reads: []string{call.Program, call.Known}}
	if s.makefile, err = call.Makefile(kbuild, script); err != nil {
		return standin{}, err
	}
	if err := beneath.WriteFile(call.Known, o.Answers.Known.Lines(), 0o644); err != nil {
		return standin{}, err
	}
	// A compiler that could not be run would be an answer to everything.
	return s, o.Runner.Run(ctx, command.Command{
		Args: append(call.Args(), cmp.Or(o.Compiler, "cc"), "--version"), Env: []string{"LC_ALL=C"},
		Reads: s.reads, Writes: []string{place.notes()},
	})
}

// learn reads what the driver's tests were answered.
func (o BuildOptions) learn(ctx context.Context, place workplace) {
	if o.Answers == nil {
		return
	}
	if err := o.Answers.Learn(place.notes()); err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("what the driver's tests of the kernel were answered is not to be seen")
		return
	}
	zerolog.Ctx(ctx).Debug().Int("known", len(o.Answers.Used)).Int("asked", len(o.Answers.Learned)).Msg("the driver's tests of the kernel")
}
