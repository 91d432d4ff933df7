package stage

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// Run brackets one stage in the log: what starts, and how long it took. What
// fails is the caller's to report, once.
func Run(ctx context.Context, name Name, work func(context.Context) error) error {
	log := zerolog.Ctx(ctx).With().Str("stage", string(name)).Logger()
	log.Info().Msg("started")
	begin := time.Now()
	if err := work(log.WithContext(ctx)); err != nil {
		return err
	}
	log.Info().Float64("seconds", seconds(time.Since(begin))).Msg("finished")
	return nil
}

// seconds is a duration to the hundredth, which is what a reader of the log
// can use.
func seconds(d time.Duration) float64 {
	return d.Round(10 * time.Millisecond).Seconds()
}
