package job

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
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
// Pause, NoWait, Wait and Runner.
func Source(ctx context.Context, o Options) (SourceResult, error) {
	s, err := newSite(o, false)
	if err != nil {
		return SourceResult{}, err
	}
	b := &brackets{}
	t, err := s.Host.detect(b.enter(ctx, stage.Detect), s.exportsCache(), cuda.MayUse)
	if err != nil {
		return SourceResult{}, err
	}
	if err := s.sayConfined(ctx); err != nil {
		return SourceResult{}, err
	}
	b.leave()
	var tree source.Tree
	err = s.locked(ctx, func(s site) (err error) {
		_, tree, err = run(ctx, b, s, begin(s.sourceOf(t)), share.Space{})
		return err
	})
	if err != nil {
		return SourceResult{}, err
	}
	b.leave()
	return SourceResult{tree.Dir, tree.Reused, tree.Rung, tree.Repository, tree.Ref, tree.Commit, tree.Version}, nil
}

// sourceOf has the source of a kernel be in the share, beside libraries that are to
// be laid out later. It is looked for when the build is planned.
func (s site) sourceOf(t kernel.Target) step[share.Space, source.Tree] {
	var found source.Found
	return step[share.Space, source.Tree]{
		stage: stage.Source,
		plan: func(ctx context.Context) (says []string, err error) {
			o := s.sourceOptions()
			o.Full = o.Full || s.sourceCRCsOf(t)
			found, err = source.Find(ctx, t, o)
			for _, step := range found.Steps {
				says = append(says, fmt.Sprintf("%s: %s %s", step.Rung, step.Where, step.Reason))
			}
			return says, err
		},
		do: func(ctx context.Context, libraries share.Space) (source.Tree, error) {
			return s.took(ctx, func(ctx context.Context) (source.Tree, error) { return found.Take(ctx, s.sourceSpace(ctx, libraries)) })
		},
	}
}

// sourceOptions are the user's, with the share's folders.
func (s site) sourceOptions() source.Options {
	o := s.Source
	o.Dir, o.Scratch, o.Runner = s.share.Linux(), s.scratch, s.Runner
	return o
}

// sourceSpace says whether there is space for a source and what is left to do.
func (s site) sourceSpace(ctx context.Context, libraries share.Space) source.Space {
	return func(bytes, files uint64) error {
		return s.needSpace(ctx, stage.Source, share.Space{Bytes: bytes, Files: files}, libraries)
	}
}

// took gives a source that was taken to the share's owner.
func (s site) took(ctx context.Context, take func(context.Context) (source.Tree, error)) (source.Tree, error) {
	tree, err := take(ctx)
	if err != nil {
		return source.Tree{}, s.share.Explain(stage.Source, err)
	}
	zerolog.Ctx(ctx).Info().Str("ref", tree.Ref).Str("commit", tree.Commit).Bool("reused", tree.Reused).
		Str("rung", tree.Rung).Msg("kernel source")
	return tree, nil
}

// sourced is a driver and the source of the kernel to build it for.
type sourced struct {
	unpacked
	source source.Tree
}

// checkingOut is [site.sourceOf] beside a driver.
func (p project) checkingOut() step[unpacked, sourced] {
	s := p.sourceOf(p.target)
	return step[unpacked, sourced]{
		stage: s.stage,
		plan:  s.plan,
		do: func(ctx context.Context, u unpacked) (sourced, error) {
			tree, err := s.do(ctx, p.libraries.space(u.toLayOut))
			return sourced{u, tree}, err
		},
	}
}

// completing does something that needs the kernel's source. Where it fails for want
// of a file that was not checked out, as its tool's log complains, the source is
// completed and it is done anew. It happens once: a whole source lacks nothing.
func completing[Out any](ctx context.Context, p project, s sourced, tool string, do, anew func(context.Context, sourced) (Out, error)) (Out, error) {
	before := p.logged(tool)
	out, err := do(ctx, s)
	if err == nil || ctx.Err() != nil || p.logged(tool) == before {
		return out, err // it is done, or failed before its tool said a word
	}
	missing := p.missing(ctx, s.source, tool)
	if missing == "" {
		return out, err
	}
	zerolog.Ctx(ctx).Warn().Str("path", missing).Err(err).Msg("the kernel source lacks a file that this build needs: completing it")
	s.source, err = p.took(ctx, func(ctx context.Context) (source.Tree, error) {
		o := p.sourceOptions()
		o.Space = p.sourceSpace(ctx, p.libraries.space(s.toLayOut))
		return source.Complete(ctx, p.target, o)
	})
	if err != nil {
		return out, err
	}
	return anew(ctx, s)
}

// logged tells one log of a tool from the next.
func (p project) logged(tool string) string {
	info, err := beneath.Lstat(p.logFile(tool))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes at %s", info.Size(), info.ModTime())
}

// missing is the file of the kernel source that a tool's log complains of and
// that was not checked out, or "".
func (p project) missing(ctx context.Context, tree source.Tree, tool string) string {
	log, err := beneath.Open(p.logFile(tool))
	if err != nil {
		return "" // it failed before it had one
	}
	defer log.Close()
	missing, err := source.Missing(tree, log)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot tell whether the kernel source lacks a file")
	}
	return missing
}
