package share

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// turn is by what the turns of these tests are taken.
func turn(s *Share) string { return s.LoadLock("host", "boot") }

func TestTurn(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Turn(t.Context(), turn(s))
	if err != nil {
		t.Fatal(err)
	}
	// Another file is another turn, and so is the right to write.
	for _, take := range []func() (func(), error){
		func() (func(), error) { return s.Turn(t.Context(), s.LoadLock("host", "other")) },
		func() (func(), error) {
			l, err := s.Lock(t.Context(), LockOptions{NoWait: true})
			if err != nil {
				return nil, err
			}
			return func() { _ = l.Unlock() }, nil
		},
	} {
		other, err := take()
		if err != nil {
			t.Fatal(err)
		}
		other()
	}
	var over atomic.Bool
	waited := make(chan bool)
	go func() {
		next, err := s.Turn(t.Context(), turn(s))
		if err != nil {
			t.Error(err)
		} else {
			next()
		}
		waited <- over.Load()
	}()
	over.Store(true)
	done()
	if !<-waited {
		t.Error("a turn was taken before its time")
	}
}

func TestTurnEndsWithItsContext(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Turn(t.Context(), turn(s))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Turn(ctx, turn(s)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestTurnWithoutLocks is a share on NFS without its lock service.
func TestTurnWithoutLocks(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.flock = func(int, int) error { return unix.ENOLCK }
	for range 2 {
		if _, err := s.Turn(t.Context(), turn(s)); err != nil {
			t.Error(err)
		}
	}
	s.flock = func(int, int) error { return unix.EBADF }
	if _, err := s.Turn(t.Context(), turn(s)); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
}

// TestTurnOutsideOfAShare is the turn by a file that is in no share: whoever takes
// it waits for others, and there is none where nobody can write.
func TestTurnOutsideOfAShare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "boot.lock")
	done, err := TakeTurn(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := TakeTurn(ctx, file); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	done()
	for _, file := range []string{file, filepath.Join(t.TempDir(), "none/boot.lock")} {
		done, err := TakeTurn(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		done()
	}
}
