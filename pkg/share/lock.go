package share

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// LockOptions say how to come by the lock; the zero value waits.
type LockOptions struct {
	// NoWait refuses at once, with exit code 75, when another run holds the
	// share.
	NoWait bool
	// Wait is for how long to wait; zero means [DefaultWait]. Whoever may write to
	// the share can hold its lock for ever.
	Wait time.Duration
	// Poll is how often a waiting run tries again, after some quicker tries; zero
	// means a second.
	Poll time.Duration
}

// LockedKind is the kind of failure of a run that another one did not let begin.
const LockedKind = "locked"

// DefaultWait is above what several builds take in turn.
const DefaultWait = time.Hour

// pause is how long to wait after a try; the first is 0.
func (o LockOptions) pause(try int) time.Duration {
	most := o.Poll
	if most <= 0 {
		most = time.Second
	}
	return min(firstPoll<<min(try, 16), most)
}

// Lock is the right to write to the share, and the scratch that comes with it.
type Lock struct {
	share   *Share
	scratch string
	held    func() bool // nil: as long as this process lives
	release func() error
}

// errHeld is another run's hold on the lock.
type errHeld struct{ by holder }

func (e errHeld) Error() string { return "held by " + e.by.String() }

// firstPoll is when a waiting run tries again for the first time: a holder may be
// about to leave.
const firstPoll = 20 * time.Millisecond

// Lock takes the share for this run. It waits while another run has it, until
// ctx ends. A run that died does not block it: the lock is the kernel's, which
// ends with its holder; only where the file system has none is it a folder with
// a heartbeat (see folderlock.go).
func (s *Share) Lock(ctx context.Context, o LockOptions) (*Lock, error) {
	if err := s.Writable(); err != nil {
		return nil, err
	}
	told, begun, limit := false, time.Now(), cmp.Or(o.Wait, DefaultWait)
	for try := 0; ; try++ {
		lock, err := s.tryLock(ctx)
		var held errHeld
		switch {
		case err == nil:
			return lock, nil
		case !errors.As(err, &held):
			return nil, stage.Wrap(stage.Share, s.Explain(stage.Share, err), "the share cannot be locked", "check that no other builder runs, and delete "+s.Private())
		case o.NoWait:
			return nil, stage.OfKind(LockedKind, stage.New(stage.Share, fmt.Sprintf("another builder holds the share %s: %s", s.dir, held.by),
				"wait for it to end and run again, or leave out --no-wait"))
		case time.Since(begun) > limit:
			return nil, stage.OfKind(LockedKind, stage.New(stage.Share, fmt.Sprintf("another builder has held the share %s for all of %s: %s", s.dir, limit, held.by),
				"look whether it still runs, and whether another program has locked "+s.lockFile()+"; or wait longer with --wait"))
		}
		if !told {
			zerolog.Ctx(ctx).Info().Str("share", s.dir).Stringer("holder", held.by).Msg("waiting for another builder to leave the share")
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(o.pause(try)):
		}
	}
}

// tryLock takes the lock or returns an errHeld.
func (s *Share) tryLock(ctx context.Context) (*Lock, error) {
	f, err := beneath.OpenLock(s.lockFile())
	if err != nil {
		return nil, err
	}
	switch held, err := s.tryFile(f); {
	case held:
		defer f.Close()
		return nil, errHeld{readHolder(f)}
	case noLocks(err):
		_ = f.Close()
		zerolog.Ctx(ctx).Debug().Err(err).Msg("the share has no file locks; using a folder with a heartbeat")
		return s.tryFolderLock()
	case err != nil:
		_ = f.Close()
		return nil, err
	}
	ranged, held, err := s.lockRange()
	if held || err != nil {
		defer f.Close()
		if held {
			err = errHeld{readHolder(f)}
		}
		return nil, err
	}
	// Only for the sentence that others read; the lock holds without it.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(thisRun().encode(), 0)
	return &Lock{share: s, release: func() error { return errors.Join(ranged.Close(), f.Close()) }}, nil
}

// lockRange locks a second file in the other way that there is, by a range of
// its bytes, until it is closed. An NFS client has the server lock that way
// whatever it was asked for, and on the server itself that and flock do not
// know of each other (flock(2)).
func (s *Share) lockRange() (f *os.File, held bool, err error) {
	f, err = beneath.OpenLock(s.rangeFile())
	if err != nil {
		return nil, false, err
	}
	held, err = lockTried(f, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	switch {
	case held:
		return nil, true, f.Close()
	case err != nil && !noLocks(err): // without it flock is alone
		return nil, false, errors.Join(err, f.Close())
	}
	return f, false, nil
}

// tryFile tries to lock a file until it is closed; held says that another has
// it locked.
func (s *Share) tryFile(f *os.File) (held bool, err error) {
	return lockTried(f, s.flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

// lockTried tells, of what came of trying to lock a file, whether another has it
// locked, and what else went wrong.
func lockTried(f *os.File, err error) (held bool, _ error) {
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR): // EWOULDBLOCK is the same
		return true, nil
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return false, nil
}

// noLocks tells a file system without locks (NFS without its lock service,
// some host-shared ones) from a lock that somebody holds.
func noLocks(err error) bool {
	return errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

// Scratch is an empty folder for this run, on the share's file system and gone
// after [Lock.Unlock]. Its path is always the same: compilers write paths into
// what they make, and the same inputs shall give the same modules. What a run
// that died left there is removed now.
func (l *Lock) Scratch() (string, error) {
	if l.scratch != "" {
		return l.scratch, nil
	}
	dir := l.share.Scratch()
	if err := beneath.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove what an earlier run left: %w", err)
	}
	left, err := beneath.Glob(l.share.Private(), probePrefix+"*")
	for _, name := range left {
		err = errors.Join(err, beneath.RemoveAll(name))
	}
	if err != nil {
		return "", fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if err := l.share.MkdirAll(dir); err != nil {
		return "", err
	}
	l.scratch = dir
	return dir, nil
}

// Check fails where another run has the share by now: this one slept, on a laptop
// that was closed, for longer than a folder is taken for a lock. Its error is of
// the share stage.
func (l *Lock) Check() error {
	if l.held == nil || l.held() {
		return nil
	}
	return stage.New(stage.Share, fmt.Sprintf("another builder has taken the share %s over while this one did not run", l.share.dir),
		"run again; nothing was published")
}

// Unlock removes the scratch and lets the next run have the share. Where another
// run has it already, the scratch is that one's and stays. A second call does
// nothing.
func (l *Lock) Unlock() error {
	if l.release == nil {
		return nil
	}
	var err error
	if l.scratch != "" && l.Check() == nil {
		err = beneath.RemoveAll(l.scratch)
	}
	err = errors.Join(err, l.release())
	l.release = nil
	return err
}

// holder is who has the lock, for people: nothing is decided by it.
type holder struct {
	Host    string    `json:"host"` // a container's id, usually
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

func thisRun() holder {
	host, _ := os.Hostname()
	return holder{Host: host, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second)}
}

// String names the holder, or says that it did not.
func (h holder) String() string {
	if h.Host == "" {
		return "a run that has not said who it is"
	}
	return fmt.Sprintf("process %d of %s, since %s", h.PID, hostName(h.Host), h.Started.Format(time.RFC3339))
}

// hostName is what a file says is a host's name, as far as it can be one: whoever
// writes to the share may have written it, and it goes to the log.
func hostName(text string) string {
	const longest = 253 // as a domain's name
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._", r)) {
			return r
		}
		return '?'
	}, text)
	return name[:min(len(name), longest)]
}

func (h holder) encode() []byte {
	b, _ := json.Marshal(h) // plain data: cannot fail
	return append(b, '\n')
}

// readHolder reads as much as a holder writes; the zero value where it wrote
// nothing yet, or something else is there.
func readHolder(r io.ReaderAt) holder {
	var h holder
	if json.NewDecoder(io.NewSectionReader(r, 0, 4096)).Decode(&h) != nil {
		return holder{}
	}
	return h
}
