package matrix

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// Build makes one cell: [job.Build].
type Build func(context.Context, job.Options) (job.Result, error)

// Run builds every pair of a file, those of one kernel one after the other, by build.
// Base are the options that they have in common; those that a file gives are not looked
// at in it.
//
// The table is whole: what was not come to is in it as [NotRun]. Only options that make
// no sense have none, and an error of the stage usage. The error is nil where each pair was
// built or is known not to; of the first that failed otherwise, with all of them as
// findings; or what ended the run: a share that another run holds, or the context's end.
func Run(ctx context.Context, f File, base job.Options, build Build) (Table, error) {
	t := f.table()
	for _, k := range f.Kernels {
		for _, d := range f.Drivers {
			if err := k.options(d, base).Check(); err != nil {
				return Table{}, about(err, k.Name, d.Name)
			}
		}
	}
	for i, k := range f.Kernels {
		cells := t.Cells[i*len(f.Drivers):][:len(f.Drivers)]
		for j, d := range f.Drivers {
			log := zerolog.Ctx(ctx).With().Str("cell", fmt.Sprintf("%d/%d", i*len(f.Drivers)+j+1, len(t.Cells))).Logger()
			log.Info().Str("kernel", k.Name).Str("driver", d.Name).Msg("building")
			err := cells[j].make(log.WithContext(ctx), func(ctx context.Context) (job.Result, error) { return build(ctx, k.options(d, base)) })
			if ctx.Err() != nil {
				return t, ctx.Err()
			}
			var failure *stage.Error
			if errors.As(err, &failure) && failure.Stage == stage.Share {
				return t, err
			}
			if errors.As(err, &failure) && failure.Stage == stage.Detect {
				share(cells[j], cells[j+1:])
				break // nothing is known of this kernel, whichever driver
			}
		}
	}
	return t, t.failure()
}

// about is an error that says which pair it is of.
func about(err error, kernel, driver string) error {
	var failure *stage.Error
	if !errors.As(err, &failure) {
		return err
	}
	said := *failure
	said.Reason = fmt.Sprintf("kernel %s with driver %s: %s", kernel, driver, said.Reason)
	return &said
}

// share has others of a kernel fail as one did.
func share(one Cell, others []Cell) {
	for i := range others {
		kernel, driver := others[i].Kernel, others[i].Driver
		others[i] = one
		others[i].Kernel, others[i].Driver, others[i].Seconds = kernel, driver, 0
	}
}

// make builds a cell, and fills it in.
func (c *Cell) make(ctx context.Context, build func(context.Context) (job.Result, error)) error {
	began := time.Now()
	result, err := build(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	if err == nil {
		c.fill(result)
		return nil
	}
	log := zerolog.Ctx(ctx)
	c.Verdict, c.Says = Failed, err.Error()
	if failure := (*stage.Error)(nil); errors.As(err, &failure) {
		c.Stage, c.Kind, c.Says, c.Do = failure.Stage, failure.Kind, failure.Sentence(), failure.Hint
		if failure.Kind == breaks.Check {
			c.Verdict = KnownBreak
		}
	}
	log.Warn().Str("stage", string(c.Stage)).Str("next", c.Do).Msg(c.Says)
	return err
}

// fill takes what a build left behind.
func (c *Cell) fill(r job.Result) {
	c.Release, c.Version, c.ModuleType = r.Release, r.Driver, r.ModuleType
	c.Reused, c.Manifest, c.Artefact = r.Reused, r.Manifest, r.Artefact
	c.Verdict = Proven
	for _, g := range modules.Summarize(r.Checks) {
		switch g.Verdict {
		case modules.Failed:
			c.Verdict = Built
			c.Allowed = append(c.Allowed, g.Checks...)
		case modules.NotCheckable:
			c.Verdict = Built
			c.Unchecked = append(c.Unchecked, g)
		}
	}
}

// failure is the error of what failed; nil where nothing did.
func (t Table) failure() error {
	var all *stage.Error
	failed := 0
	for _, c := range t.Cells {
		if c.Verdict != Failed {
			continue
		}
		failed++
		if all == nil {
			all = &stage.Error{Stage: c.Stage, Kind: "matrix", Hint: c.Do}
		}
		all.Findings = append(all.Findings, stage.Finding{Name: c.Kernel + ", driver " + c.Driver, Says: c.Says, Do: c.Do})
	}
	if all == nil {
		return nil
	}
	first := all.Findings[0]
	all.Reason = fmt.Sprintf("%d of %d builds failed, the first for kernel %s: %s", failed, len(t.Cells), first.Name, first.Says)
	return all
}
