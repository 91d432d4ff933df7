package job

import (
	"context"
	"os"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// SourceResult is the source that [Source] left behind.
type SourceResult struct {
	// Dir is the top of the tree.
	Dir string `json:"dir"`
	// Reused says that it was there already.
	Reused bool `json:"reused"`
	// Rung, Repository, Ref, Commit and Version are those of source.Tree.
	Rung       string `json:"rung"`
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	Commit     string `json:"commit"`
	Version    string `json:"version"`
}

// Source checks out the source of the host's kernel and stops: the stages detect
// and source of [Build], for a share that is to be ready, or to be looked at. It
// needs no driver package. Of the options it takes Share, Host, Source, Offline,
// Pause, NoWait and Runner.
func Source(ctx context.Context, o Options) (SourceResult, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return SourceResult{}, err
	}
	b, err := newBuild(o, s, false)
	if err != nil {
		return SourceResult{}, err
	}
	if err := s.Writable(); err != nil {
		return SourceResult{}, err
	}
	defer giveToOwner(ctx, s)
	err = stage.Run(ctx, stage.Detect, func(ctx context.Context) (err error) {
		b.target, err = b.Host.detect(ctx, s.Exports())
		return err
	})
	if err != nil {
		return SourceResult{}, err
	}
	if err := b.locked(ctx, func() error { return stage.Run(ctx, stage.Source, b.checkOut) }); err != nil {
		return SourceResult{}, err
	}
	t := b.source
	return SourceResult{t.Dir, t.Reused, t.Rung, t.Repository, t.Ref, t.Commit, t.Version}, nil
}

func (b *build) checkOut(ctx context.Context) error {
	return b.takeSource(ctx, source.Checkout)
}

// takeSource leaves the kernel source in the share by one of package source's
// two ways to do so.
func (b *build) takeSource(ctx context.Context, take func(context.Context, kernel.Target, source.Options) (source.Tree, error)) error {
	o := b.Source
	o.Dir, o.Scratch, o.Runner = b.share.Linux(), b.scratch, b.Runner
	o.Room = func(bytes, files uint64) error {
		return b.room(ctx, stage.Source, share.Space{Bytes: bytes, Files: files})
	}
	var err error
	if b.source, err = take(ctx, b.target, o); err != nil {
		return b.share.Explain(stage.Source, err)
	}
	zerolog.Ctx(ctx).Info().Str("ref", b.source.Ref).Str("commit", b.source.Commit).Bool("reused", b.source.Reused).
		Str("rung", b.source.Rung).Msg("kernel source")
	if b.source.Dir != o.Dir || b.source.Reused {
		return nil // not the share's, or as it was
	}
	return b.share.Chown(ctx, b.source.Dir)
}

// completing runs a stage, and where it fails for want of a file that was not
// checked out, completes the source, prepares it again and gives the stage
// another go. It happens once: a whole source lacks nothing.
func (b *build) completing(tool string, work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := work(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		missing := b.missing(ctx, tool)
		if missing == "" {
			return err
		}
		zerolog.Ctx(ctx).Warn().Str("path", missing).Err(err).Msg("the kernel source lacks a file that this build needs: completing it")
		if err := b.takeSource(ctx, source.Complete); err != nil {
			return err
		}
		if err := b.prepare(ctx); err != nil || tool == prepareTool {
			return err
		}
		// The installer compiles in the driver's folder, and would take what it
		// made there for good.
		if err := os.RemoveAll(b.driver.Dir); err != nil {
			return stage.Wrap(stage.Build, err, "the driver cannot be unpacked anew", "check the share")
		}
		if b.driver, err = cuda.Unpack(ctx, b.pkg, b.driver.Dir); err != nil {
			return b.share.Explain(stage.Build, err)
		}
		return work(ctx)
	}
}

// missing is the file of the kernel source that a tool's log complains of and
// that was not checked out, or "".
func (b *build) missing(ctx context.Context, tool string) string {
	log, err := os.Open(b.logFile(tool))
	if err != nil {
		return "" // it failed before it had one
	}
	defer log.Close()
	missing, err := source.Missing(b.source, log)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot tell whether the kernel source lacks a file")
	}
	return missing
}
