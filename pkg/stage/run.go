package stage

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// Begin brackets a stage in the log: it says that the stage started, and end, which
// is called where it succeeds, says how long it took. What fails is the caller's to
// report, once. The context's log names the stage.
func Begin(ctx context.Context, name Name) (_ context.Context, end func()) {
	log := zerolog.Ctx(ctx).With().Str("stage", string(name)).Logger()
	log.Info().Msg("started")
	began := time.Now()
	return log.WithContext(ctx), func() {
		log.Info().Float64("seconds", seconds(time.Since(began))).Msg("finished")
	}
}

// Run is [Begin] around work.
func Run(ctx context.Context, name Name, work func(context.Context) error) error {
	ctx, end := Begin(ctx, name)
	if err := work(ctx); err != nil {
		return err
	}
	end()
	return nil
}

// seconds is a duration to the hundredth, which is what a reader of the log
// can use.
func seconds(d time.Duration) float64 {
	return d.Round(10 * time.Millisecond).Seconds()
}
