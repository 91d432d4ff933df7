package share

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
)

// turnPoll is how often one who waits for a turn tries again.
const turnPoll = 200 * time.Millisecond

// Turn waits until nobody else has the turn by a file of the share, which it makes,
// and takes it until done is called. Unlike [Share.Lock] it is no right to write results: loaders of one
// host take turns by it, while a build for another may go on. A share that has
// no locks, or cannot be written, has no turns: everybody goes at once.
func (s *Share) Turn(ctx context.Context, file string) (done func(), err error) {
	log := zerolog.Ctx(ctx)
	if err := s.MkdirAll(filepath.Dir(file)); err != nil {
		log.Debug().Err(err).Msg("the share cannot be written: no turns are taken")
		return func() {}, nil
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		log.Debug().Err(err).Msg("the share cannot be written: no turns are taken")
		return func() {}, nil
	}
	_ = s.Chown(ctx, f.Name())
	for told := false; ; told = true {
		held, err := s.tryFile(f)
		switch {
		case noLocks(err):
			log.Debug().Err(err).Msg("the share has no file locks: no turns are taken")
		case err != nil:
			return nil, errors.Join(err, f.Close())
		}
		if !held {
			return func() { _ = f.Close() }, nil
		}
		if !told {
			log.Info().Msg("waiting for another run of builder on this host")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(turnPoll):
		}
	}
}
