package retry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// tries is how often in a row nothing may come of trying.
	tries = 5
	// patience is how long a server's wish to be left alone is heeded; whoever
	// waits for longer should know.
	patience = 5 * time.Minute
)

// Loop says how to try again. Its zero value is fit for use.
type Loop struct {
	// Pause is how long to wait before the second try; it doubles with each
	// after that. Zero means a second.
	Pause time.Duration
	// Again hears of each failure that is tried again after a wait. Nil does
	// not.
	Again func(err error, wait time.Duration)
}

// Do calls try until it succeeds, fails in a way that is not [Temporary], or has
// failed five times in a row without progress. The context's end ends it, and
// is its error.
func (l Loop) Do(ctx context.Context, try func() (progress bool, err error)) error {
	first := l.Pause
	if first == 0 {
		first = time.Second
	}
	pause := first
	for n := 1; ; n++ {
		progress, err := try()
		var t *Temporary
		switch {
		case err == nil || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case !errors.As(err, &t):
			return err
		case progress:
			n, pause = 1, first
		}
		if n == tries {
			return fmt.Errorf("%w (tried %d times)", err, tries)
		}
		wait := max(pause, t.After)
		if wait > patience {
			return fmt.Errorf("%w, and asks to wait %s", err, t.After.Round(time.Second))
		}
		pause *= 2
		if l.Again != nil {
			l.Again(err, wait)
		}
		if err := Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Sleep waits, or returns the context's error where that ends before.
func Sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
