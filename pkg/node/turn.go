package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// How long a run waits for its turn, and how often it tries. A load takes seconds;
// of a driver that hangs in the kernel, nobody knows.
const (
	turnWait = 15 * time.Minute
	turnPoll = 200 * time.Millisecond
)

// turnKind is the kind of failure of a run that had no turn. It is of the share
// stage, as that of a build is that waits for another: both are to be tried again.
const turnKind = "turn"

// takeTurn waits until no other run of this host has the turn by a file, which it
// makes, and takes it until done is called. Only root can open the file: whoever can
// read one can lock it, and keep it so. Where it cannot be made, everybody goes at
// once.
//
// Nothing else on a host is there to lock by for those who have not its /run: a
// container's sysfs, proc, /dev and abstract sockets are its own, and any local user
// may lock what lies in a share, or whoever owns that puts another file there. What
// keeps two such loads apart is the kernel, which takes each module once: the slower
// one goes on with what is left, or is refused for another version.
func takeTurn(ctx context.Context, file string, wait time.Duration) (done func(), err error) {
	log := zerolog.Ctx(ctx)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		log.Debug().Err(err).Str("file", file).Msg("no turns are taken: there is nothing to lock")
		return func() {}, nil
	}
	// An earlier builder let others read it.
	if err := f.Chmod(0o600); err != nil {
		log.Debug().Err(err).Str("file", file).Msg("others may open it as well")
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(stage.Wrap(stage.Load, err, "no turn can be taken among the loads of this host by "+file, "check the file system that it is on"), f.Close())
		case !told:
			log.Info().Str("file", file).Stringer("at_most", wait).Msg("waiting for another run of builder on this host")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-over.C:
			_ = f.Close()
			return nil, &stage.Error{Stage: stage.Share, Kind: turnKind,
				Reason: fmt.Sprintf("another load or unload on this host holds %s and did not end within %s, so nothing was begun", file, wait),
				Hint:   "look at what that run waits for (fuser -v names it, the kernel's log may say why), end it, and try again"}
		case <-time.After(turnPoll):
		}
	}
}
