package share

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

var quick = LockOptions{Poll: time.Millisecond}

// kinds are the two ways in which a share can be locked.
func kinds(t *testing.T, test func(t *testing.T, open func() *Share)) {
	for name, flock := range map[string]func(int, int) error{
		"flock":  unix.Flock,
		"folder": func(int, int) error { return unix.ENOLCK },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, func() *Share {
				s, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				s.flock = flock
				return s
			})
		})
	}
}

func TestLockRefusesASecondRun(t *testing.T) {
	kinds(t, func(t *testing.T, open func() *Share) {
		first, err := open().Lock(t.Context(), quick)
		if err != nil {
			t.Fatal(err)
		}
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		_, err = open().Lock(t.Context(), LockOptions{NoWait: true})
		failure(t, err, 75, "another builder holds the share", host, "--no-wait")

		if err := first.Unlock(); err != nil {
			t.Fatal(err)
		}
		if err := first.Unlock(); err != nil {
			t.Errorf("a second Unlock: %v", err)
		}
		second, err := open().Lock(t.Context(), LockOptions{NoWait: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Unlock(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLockWaitsAndSaysSo(t *testing.T) {
	kinds(t, func(t *testing.T, open func() *Share) {
		first, err := open().Lock(t.Context(), quick)
		if err != nil {
			t.Fatal(err)
		}
		log := &telling{told: make(chan struct{})}
		ctx := zerolog.New(log).WithContext(t.Context())
		done := make(chan error, 1)
		go func() {
			second, err := open().Lock(ctx, quick)
			if err == nil {
				err = second.Unlock()
			}
			done <- err
		}()
		select {
		case err := <-done:
			t.Fatalf("the second run did not wait: %v", err)
		case <-log.told:
		}
		if err := first.Unlock(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "waiting for another builder"); n != 1 {
			t.Errorf("said %d times that it waits: %s", n, log)
		}
	})
}

// telling is a log that tells of the line that says that a run waits.
type telling struct {
	strings.Builder
	once sync.Once
	told chan struct{}
}

func (l *telling) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("waiting for another builder")) {
		defer l.once.Do(func() { close(l.told) })
	}
	return l.Builder.Write(line)
}

func TestLockWaitEndsWithTheContext(t *testing.T) {
	kinds(t, func(t *testing.T, open func() *Share) {
		first, err := open().Lock(t.Context(), quick)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := open().Lock(ctx, quick); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v", err)
		}
	})
}

func TestLockOneAtATime(t *testing.T) {
	kinds(t, func(t *testing.T, open func() *Share) {
		const runs = 8
		var inside atomic.Int32
		done := make(chan error, runs)
		for range runs {
			go func() {
				lock, err := open().Lock(t.Context(), quick)
				if err != nil {
					done <- err
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d runs hold the share", n)
				}
				time.Sleep(time.Millisecond)
				inside.Add(-1)
				done <- lock.Unlock()
			}()
		}
		for range runs {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLockOtherErrors(t *testing.T) {
	s := open(t)
	s.flock = func(int, int) error { return unix.EIO }
	_, err := s.Lock(t.Context(), quick)
	failure(t, err, 75, "cannot be locked", "delete "+s.Private())
}

func TestScratchIsFreshAndThrownAway(t *testing.T) {
	s := open(t)
	left := filepath.Join(s.Private(), "scratch", "left", "by", "a", "crash")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(s.Private(), "writable-123")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := lock.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Fatalf("scratch holds %v, %v", entries, err)
	}
	if _, err := os.Lstat(probe); !os.IsNotExist(err) {
		t.Errorf("the probe of a run that was killed is still there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "object.o"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := lock.Scratch(); err != nil || again != dir {
		t.Errorf("a second Scratch = %s, %v", again, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "object.o")); err != nil {
		t.Errorf("a second Scratch emptied it: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("scratch is still there: %v", err)
	}
}

// ageFolderLock makes the holder look dead: its file has not changed for long.
func ageFolderLock(t *testing.T, s *Share) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.lockFolder(), "lock-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("lock folder holds %v, %v", files, err)
	}
	old := time.Now().Add(-staleAfter - time.Minute)
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
}

func noFlock(t *testing.T, dir string) *Share {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.flock = func(int, int) error { return unix.ENOLCK }
	return s
}

func TestFolderLockOutlivesNoDeadHolder(t *testing.T) {
	dir := t.TempDir()
	s := noFlock(t, dir)
	dead, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	ageFolderLock(t, s)
	lock, err := noFlock(t, dir).Lock(t.Context(), LockOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}

	// It only slept: when it wakes and leaves, the new holder stays.
	if err := dead.Unlock(); err != nil {
		t.Fatal(err)
	}
	_, err = noFlock(t, dir).Lock(t.Context(), LockOptions{NoWait: true})
	failure(t, err, 75, "another builder holds")

	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Private())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// Two runs judge the same holder dead; the slower one must not evict the
// quicker.
func TestFolderLockSlowJudgeLoses(t *testing.T) {
	dir := t.TempDir()
	s := noFlock(t, dir)
	if _, err := s.Lock(t.Context(), quick); err != nil {
		t.Fatal(err)
	}
	ageFolderLock(t, s)
	mine, err := s.newLockFolder()
	if err != nil {
		t.Fatal(err)
	}
	token, _, age, err := s.inspectLockFolder(mine)
	if err != nil || age < staleAfter {
		t.Fatalf("age %v, %v", age, err)
	}
	if _, err := noFlock(t, dir).Lock(t.Context(), LockOptions{NoWait: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.lockFolder(), filepath.Join(s.Private(), "dead-"+token)); err == nil {
		t.Error("the slower run evicted the quicker one")
	}
}

// Whoever slept past its lock leaves alone what is the next one's.
func TestFolderLockTakenOver(t *testing.T) {
	dir := t.TempDir()
	sleeper, next := noFlock(t, dir), noFlock(t, dir)
	slept, err := sleeper.Lock(t.Context(), LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slept.Scratch(); err != nil {
		t.Fatal(err)
	}
	if err := slept.Check(); err != nil {
		t.Fatal(err)
	}
	ageFolderLock(t, sleeper)
	lock, err := next.Lock(t.Context(), LockOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	scratch, err := lock.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(scratch, "object.o")
	if err := os.WriteFile(object, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dead, _ := filepath.Glob(filepath.Join(next.Private(), "dead-*"))

	if err := slept.Check(); stage.ExitCode(err) != 75 || !strings.Contains(err.Error(), "has taken the share "+dir+" over") {
		t.Errorf("the sleeper's check: %v", err)
	}
	if err := slept.Unlock(); err != nil {
		t.Error(err)
	}
	for _, path := range append(dead, object, next.lockFolder()) {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the sleeper has removed what is the next one's: %v", err)
		}
	}
	if len(dead) != 1 {
		t.Errorf("moved away: %v", dead)
	}
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}

// An NFS client's lock is one of a range at the server, which does not count
// as flock there.
func TestLockKnowsThatOfAnNFSClient(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Lock(t.Context(), LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client := noFlock(t, dir)
	client.flock = func(int, int) error { return nil } // the server's does not hinder it
	if _, err := client.Lock(t.Context(), LockOptions{NoWait: true}); stage.ExitCode(err) != 75 {
		t.Errorf("a second run: %v", err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	lock, err := client.Lock(t.Context(), LockOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}

// TestFolderLockHeartbeat: whoever has the lock is heard of for as long.
func TestFolderLockHeartbeat(t *testing.T) {
	s := noFlock(t, t.TempDir())
	s.heartbeat = time.Millisecond
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it does not end with the first
		age(t, time.Hour, s.lockFolder()) // its file counts
		ageFolderLock(t, s)
		for tries := 0; stale(s.lockFolder(), time.Now()); tries++ {
			if tries == 1000 {
				t.Fatal("no heartbeat was seen")
			}
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := noFlock(t, s.Dir()).Lock(t.Context(), LockOptions{NoWait: true}); stage.ExitCode(err) != 75 {
		t.Errorf("a second run: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockPause(t *testing.T) {
	for _, tt := range []struct {
		poll time.Duration
		try  int
		want time.Duration
	}{
		{0, 0, firstPoll},
		{0, 1, 2 * firstPoll},
		{0, 2, 4 * firstPoll},
		{0, 1000, time.Second},
		{-1, 1000, time.Second},
		{1, 0, 1},
		{time.Minute, 1, 2 * firstPoll},
		{time.Minute, 1000, time.Minute},
	} {
		if got := (LockOptions{Poll: tt.poll}).pause(tt.try); got != tt.want {
			t.Errorf("polling every %v waits for %v after try %d, want %v", tt.poll, got, tt.try, tt.want)
		}
	}
}

func TestFolderLockIgnoresOthersFiles(t *testing.T) {
	s := noFlock(t, t.TempDir())
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.lockFolder(), ".DS_Store"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = s.Lock(t.Context(), LockOptions{NoWait: true})
	failure(t, err, 75, "another builder holds")
	ageFolderLock(t, s)
	again, err := s.Lock(t.Context(), LockOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = lock.Unlock()
	if err := again.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestHolderWords(t *testing.T) {
	for text, want := range map[string]string{
		`{"host":"3f2a","pid":1,"started":"2026-01-02T03:04:05Z"}`: "process 1 of 3f2a, since 2026-01-02T03:04:05Z",
		"":              "a run that has not said who it is",
		"\x00\x01 junk": "a run that has not said who it is",
	} {
		if got := readHolder(strings.NewReader(text)).String(); got != want {
			t.Errorf("%q reads %q, want %q", text, got, want)
		}
	}
}

// TestLockWaitsSoLong: whoever can open the lock's file can hold it for ever.
func TestLockWaitsSoLong(t *testing.T) {
	kinds(t, func(t *testing.T, open func() *Share) {
		first, err := open().Lock(t.Context(), quick)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Unlock()
		_, err = open().Lock(t.Context(), LockOptions{Wait: 20 * time.Millisecond, Poll: time.Millisecond})
		failure(t, err, 75, "for all of 20ms", "process "+strconv.Itoa(os.Getpid()), "--wait")
	})
}

// TestHolderForgesNoLine: what is in the lock's file is the share owner's to write,
// and is told to people.
func TestHolderForgesNoLine(t *testing.T) {
	s := open(t)
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	forged := `{"host": "a\n2026-01-01 INF \u001b[31mall is well\u2028` + strings.Repeat("x", 1000) + `", "pid": 1}`
	if err := os.WriteFile(s.lockFile(), []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Lock(t.Context(), LockOptions{NoWait: true})
	failure(t, err, 75, "process 1 of a?2026-01-01?INF???31mall?is?well?xxx")
	if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x1b\u2028") {
		t.Errorf("error %q", err)
	}
}

// TestLocksAreTheirOwners: who cannot open a lock's file cannot hold it, also where
// an earlier builder made it.
func TestLocksAreTheirOwners(t *testing.T) {
	s := open(t)
	leave(t, s, ".builder/lock")
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	for _, path := range []string{s.lockFile(), s.rangeFile()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is of mode %v", path, info.Mode())
		}
	}
}

// TestFoldersThatLeadElsewhere are refused before anything is done.
func TestFoldersThatLeadElsewhere(t *testing.T) {
	for _, name := range []string{"cuda", "linux", "modules", "driver", "cdi", ".builder"} {
		for kind, make := range map[string]func(path, elsewhere string) error{
			"a link": func(path, elsewhere string) error { return os.Symlink(elsewhere, path) },
			"a file": func(path, _ string) error { return os.WriteFile(path, nil, 0o644) },
		} {
			dir, elsewhere := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, name)
			if err := make(path, elsewhere); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			failure(t, err, 2, path+" is "+kind, "Move it away")
			if left, err := os.ReadDir(elsewhere); err != nil || len(left) != 0 {
				t.Errorf("%v, %v", left, err)
			}
		}
	}
}

// TestLockIsNoProcesss: who the file says has the lock does not have it for that, also
// where a process of that number runs by now, on this host or another.
func TestLockIsNoProcesss(t *testing.T) {
	s := open(t)
	leave(t, s, ".builder/lock")
	dead := holder{Host: thisRun().Host, PID: os.Getpid(), Started: time.Now()}
	if err := os.WriteFile(s.lockFile(), dead.encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock(t.Context(), LockOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// TestFolderLockWhoseHolderWakes: a container that was paused for longer than a
// heartbeat may be late, and wakes when another has the lock, publishes nothing and
// takes nothing from the other. So it is where the share's clock was set forward.
func TestFolderLockWhoseHolderWakes(t *testing.T) {
	first, second := open(t), (*Share)(nil)
	first.flock = func(int, int) error { return unix.ENOLCK }
	first.heartbeat = time.Hour // it is paused
	lock, err := first.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	if second, err = Open(first.Dir()); err != nil {
		t.Fatal(err)
	}
	second.flock = first.flock
	files, err := filepath.Glob(filepath.Join(first.lockFolder(), "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	age(t, staleAfter+time.Minute, files...)
	other, err := second.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Scratch(); err != nil {
		t.Fatal(err)
	}
	failure(t, lock.Check(), 75, "another builder has taken the share", "nothing was published")
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(second.Scratch()); err != nil {
		t.Errorf("the other's scratch: %v", err)
	}
	if err := other.Check(); err != nil {
		t.Error(err)
	}
	if err := other.Unlock(); err != nil {
		t.Error(err)
	}
}
