package job

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/stage"
)

// sayConfined says what other people's programs are not held back from here: the
// makefiles of the kernel's source and of the driver, and its installer.
func (s site) sayConfined(ctx context.Context) error {
	if s.confined == nil {
		return nil
	}
	report, err := s.confined.Report(ctx, s.share.Dir())
	if err != nil {
		return stage.Wrap(stage.Detect, err, "the kernel's and the driver's own programs cannot be run apart from this container's files",
			"run the container as root, and leave out --cap-drop")
	}
	log := zerolog.Ctx(ctx).With().Int("uid", report.UID).Int("gid", report.GID).Int("landlock", report.Landlock).Stringer("missing", report).Logger()
	if exposed := report.Exposed(); exposed != "" {
		log.Warn().Msg("what the kernel's source and the driver's package run is not held back wholly: " + exposed)
		return nil
	}
	log.Debug().Msg("what the kernel's source and the driver's package run sees nothing that it was not given")
	return nil
}

// installable refuses, before minutes of other work, a container in which the
// installer cannot have what it insists on.
func (s site) installable(ctx context.Context) error {
	if s.confined == nil {
		return nil
	}
	report, err := s.confined.Report(ctx, s.share.Dir())
	if err != nil || report.Isolated { // in a view of its own it gets that there
		return err
	}
	return cuda.Installable()
}
