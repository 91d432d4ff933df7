package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/crcs"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// checksumTool is make, where it computes checksums of the source.
const checksumTool = "source-crcs"

// sourceCRCsOf says whether the source's checksums are asked for, of a kernel that has
// any.
func (s site) sourceCRCsOf(t kernel.Target) bool { return s.SourceCRCs && t.Config.Bool("MODVERSIONS") }

func (p project) wantsSourceCRCs() bool { return p.sourceCRCsOf(p.target) }

// sourceCRCs computes the checksums of what the modules import from the kernel's source.
// Where that cannot be done it says why.
func (p project) sourceCRCs(ctx context.Context, in compiled, mods []modules.Module) (sums map[string][]uint32, unknown string, err error) {
	if !p.wantsSourceCRCs() {
		if p.SourceCRCs {
			zerolog.Ctx(ctx).Info().Msg("--source-crcs has nothing to compute: the kernel has no symbol versions (MODVERSIONS is not set)")
		}
		return nil, "", nil
	}
	tree := in.source // of which the whole is there
	if tree.Rung == source.RungHostTree || tree.Rung == source.RungHostSource {
		return nil, "the host's tree has headers and no source to compute checksums from: name the kernel's source with --source", nil
	}
	symbols := modules.Imported(mods)
	files, err := crcs.Exporters(tree.Dir, p.target.Arch, symbols)
	if err != nil {
		return nil, "", stage.Wrap(stage.Check, err, "the kernel's source cannot be searched for what the modules import", "let builder read all of it")
	}
	if len(files) == 0 {
		return nil, "the source has none of the files that export what the modules import", nil
	}
	jobs := p.jobs()
	zerolog.Ctx(ctx).Info().Int("symbols", len(symbols)).Int("files", len(files)).Int("jobs", jobs).
		Str("takes", about(len(files)*crcs.PerFile/jobs)).Msg("computing the checksums of imported symbols from the source that exports them")
	// A tree of its own: what is compiled there is no part of one that modules are built
	// against.
	dir := filepath.Join(p.scratch, "crcs")
	defer beneath.RemoveAll(dir)
	prepared, err := prepare.Prepare(ctx, p.target, tree, prepare.Options{
		Runner: p.Runner, Dir: dir, Compiler: p.compiler.Command, Jobs: p.jobs(), LogFile: p.logFile(checksumTool), AllowDrift: true,
	})
	if err != nil {
		return nil, "", p.share.Explain(stage.Check, err)
	}
	log, err := beneath.Create(p.logFile(checksumTool), 0o644)
	if err != nil {
		return nil, "", stage.Wrap(stage.Check, err, "the log of make cannot be written", "let the share's owner, as whom builder works there, write to it")
	}
	defer log.Close()
	task := progress.Begin(ctx, "source checksums", "files", int64(len(files)))
	defer task.End()
	sums, err = crcs.Compute(ctx, crcs.Options{
		Runner: p.Runner, Target: p.target, Tree: prepared, Files: files, Jobs: jobs, Log: io.MultiWriter(log, compiledLines{task.Lines()}),
	})
	switch {
	case errors.Is(err, crcs.ErrNone):
		return nil, fmt.Sprintf("%s: see %s", strings.ReplaceAll(err.Error(), "\n", ": "), p.logFile(checksumTool)), nil
	case err != nil && ctx.Err() != nil:
		return nil, "", ctx.Err()
	case err != nil:
		return nil, "", stage.Wrap(stage.Check, err, "the checksums of the source cannot be computed", "look at the cause, or leave out --source-crcs")
	}
	return sums, "", nil
}

// about is a time for people, in seconds, as nobody should take it for exact.
func about(seconds int) string {
	if seconds < 90 {
		return fmt.Sprintf("about %d s", max(10, (seconds+5)/10*10))
	}
	return fmt.Sprintf("about %d minutes", (seconds+59)/60)
}

// compiledLines passes on, of what make prints, the lines that say that a file is
// compiled.
type compiledLines struct{ io.Writer }

func (c compiledLines) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  CC ") {
			if _, err := io.WriteString(c.Writer, line); err != nil {
				return 0, err
			}
		}
	}
	return len(text), nil
}
