package job

import (
	"context"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// stageSpace is what a stage adds to the share's disk at its fullest.
type stageSpace struct {
	stage stage.Name
	does  string
	// need was measured with 535.261.03, proprietary and open, on 6.1.192, but
	// for the firmware: 115 MB of the driver's, as 610.57.04 has. Debug is instead
	// of it where debugging information is kept.
	need, debug share.Space
}

// stageSpaces are in the order of the stages. What the source takes is known to
// package source, and nothing to those that find it there.
var stageSpaces = []stageSpace{
	{stage: stage.Driver, does: "unpacking the driver", need: share.Space{Bytes: 270e6 + 115e6, Files: 1000}},
	{stage: stage.Source, does: "fetching the kernel source"},
	{stage: stage.Prepare, does: "preparing the kernel tree", need: share.Space{Bytes: 25e6, Files: 7000}},
	{stage: stage.Build, does: "compiling", need: share.Space{Bytes: 160e6, Files: 800}, debug: share.Space{Bytes: 490e6, Files: 800}},
	{stage: stage.Publish, does: "publishing", need: share.Space{Bytes: 70e6, Files: 30}, debug: share.Space{Bytes: 140e6, Files: 30}},
}

// needSpace is an error of the stage where the share has no space for what is left to
// do from it on, with the libraries to lay out, and before that for fetched: a
// driver's package in the driver stage, the kernel's source in its own.
func (s site) needSpace(ctx context.Context, from stage.Name, fetched, libraries share.Space) error {
	need, does := spaceFrom(from, fetched, libraries, s.Debug)
	return s.need(ctx, from, need, does)
}

// spaceFrom is what the stages from one on will take, with the libraries to lay out
// in the end, and what they do. A third is added: drivers and kernels differ, and
// others write to the disk as well.
func spaceFrom(from stage.Name, fetched, libraries share.Space, debug bool) (need share.Space, does string) {
	var words []string
	if from == stage.Driver && fetched != (share.Space{}) {
		words = append(words, "downloading the driver")
	}
	need = fetched.Plus(libraries)
	for _, s := range stageSpaces[slices.IndexFunc(stageSpaces, func(s stageSpace) bool { return s.stage == from }):] {
		if s.stage == stage.Source && from != stage.Source {
			continue // it may be there
		}
		words = append(words, s.does)
		if debug && s.debug != (share.Space{}) {
			s.need = s.debug
		}
		need = need.Plus(s.need)
	}
	return need.Times(4, 3), list(words)
}

// needToPublish is the same for the last stage, when the sizes are known.
func (s site) needToPublish(ctx context.Context, m modules.Manifest, libraries share.Space) error {
	need := share.Space{Bytes: 2e6, Files: 30} // the manifest and the indexes, amply
	for _, e := range m.Modules {
		need.Bytes += uint64(e.Size)
	}
	return s.need(ctx, stage.Publish, need.Plus(libraries), "publishing")
}

// need says what is going to be taken, and is an error where it is not there.
func (s site) need(ctx context.Context, name stage.Name, need share.Space, what string) error {
	if err := s.share.Need(name, need, what); err != nil {
		return err
	}
	said := "not known"
	if free, err := s.share.Free(); err == nil && free.Bytes != share.Unknown {
		said = progress.Size(free.Bytes)
	}
	zerolog.Ctx(ctx).Info().Str("needs", progress.Size(need.Bytes)).Str("free", said).Msg("disk space for " + what)
	return nil
}

// list joins what is done as a sentence does.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
