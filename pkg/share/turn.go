package share

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// turnPoll is how often one who waits for a turn tries again.
const turnPoll = 200 * time.Millisecond

// Turn waits until nobody else has the turn by a file of the share, which it
// makes, and takes it until done is called. Unlike [Share.Lock] it is no right to
// write results: loaders of one host take turns by it, while a build for another
// may go on. A share that has no locks, or cannot be written, has no turns:
// everybody goes at once.
func (s *Share) Turn(ctx context.Context, file string) (done func(), err error) {
	if err := s.MkdirAll(filepath.Dir(file)); err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("file", file).Msg(noTurns)
		return func() {}, nil
	}
	return takeTurn(ctx, file, func(f *os.File) (held bool, err error) {
		return s.tryFile(f)
	})
}

// TakeTurn is [Share.Turn] by a file that is in no share, and whose folder is
// there.
func TakeTurn(ctx context.Context, file string) (done func(), err error) {
	return takeTurn(ctx, file, func(f *os.File) (held bool, err error) {
		return lockTried(f, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	})
}

// noTurns is said where there is nothing to take turns by.
const noTurns = "its folder cannot be written: no turns are taken by this file"

func takeTurn(ctx context.Context, file string, try func(*os.File) (held bool, err error)) (done func(), err error) {
	log := zerolog.Ctx(ctx)
	f, err := beneath.OpenLock(file)
	if err != nil {
		log.Debug().Err(err).Str("file", file).Msg(noTurns)
		return func() {}, nil
	}
	for told := false; ; told = true {
		held, err := try(f)
		switch {
		case noLocks(err):
			log.Debug().Err(err).Str("file", file).Msg("its file system has no locks: no turns are taken by this file")
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
