package job

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/stage"
)

// strip takes the debugging information out of modules whose ready-made core
// objects brought it along: what is compiled here has none.
func (b *build) strip(ctx context.Context) error {
	for _, path := range b.built.Files {
		m, err := ko.Open(path)
		if err != nil || len(m.Debug) == 0 {
			continue // what is no module is the check stage's to find
		}
		var output bytes.Buffer
		c := command.Command{Args: []string{"strip", "--strip-debug", path}, Env: []string{"LC_ALL=C"}, Output: &output}
		if err := b.Runner.Run(ctx, c); err != nil {
			return stage.Wrap(stage.Build, fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String())),
				"the debugging information cannot be taken out of the modules", "keep it with --debug-info")
		}
		zerolog.Ctx(ctx).Debug().Str("module", path).Msg("debugging information taken out")
	}
	return nil
}
