package share

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/k8sp/cuda/internal/beneath"
)

// Where the file system has no locks, the lock is the folder .builder/lock.d
// with a file in it that its holder rewrites now and then:
//
//   - Taking it is renaming a folder of one's own, file inside, to lock.d. A
//     rename over a folder that is not empty fails on every file system, so
//     one of two wins.
//   - A holder whose file has not changed for staleAfter is dead. Both times
//     of that comparison are the share's own clock, since a laptop's and its
//     VM's differ.
//   - A dead holder's folder is moved to a name made of its token, and stays
//     there while the one who moved it has the lock. Who judged the same
//     holder dead, but was slower, fails at that same rename and cannot take
//     away the new holder's lock.
const (
	heartbeat  = 10 * time.Second
	staleAfter = 2 * time.Minute
)

// tryFolderLock takes the lock folder or returns an errHeld.
func (s *Share) tryFolderLock() (*Lock, error) {
	mine, err := s.newLockFolder()
	if err != nil {
		return nil, err
	}
	taken, err := s.enterLockFolder(mine)
	if err != nil {
		_ = beneath.RemoveAll(mine)
		return nil, err
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		taken.beat(s.heartbeat, stop)
	}()
	return &Lock{share: s, held: taken.held, release: func() error {
		close(stop)
		<-done
		return taken.leave()
	}}, nil
}

// lockFolder is a lock folder that this run holds.
type lockFolder struct {
	share *Share
	token string
	// file stays open: after a laptop slept past staleAfter, and another run
	// took over, the heartbeat goes to the folder that was moved away.
	file *os.File
}

// newLockFolder makes a folder with a holder's file in it, under a name of its
// own; that name is its token.
func (s *Share) newLockFolder() (string, error) {
	dir, err := beneath.MkdirTemp(s.Private(), minePrefix)
	if err != nil {
		return "", err
	}
	if err := beneath.WriteFile(filepath.Join(dir, filepath.Base(dir)), thisRun().encode(), 0o600); err != nil {
		_ = beneath.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// enterLockFolder renames mine to the lock's name, moving a dead holder's
// folder out of the way first.
func (s *Share) enterLockFolder(mine string) (*lockFolder, error) {
	l := &lockFolder{share: s, token: filepath.Base(mine)}
	if beneath.Rename(mine, s.lockFolder()) != nil {
		if err := s.evict(mine); err != nil {
			return nil, err
		}
		if err := beneath.Rename(mine, s.lockFolder()); err != nil {
			return nil, errHeld{} // another run was quicker
		}
	}
	f, err := beneath.OpenRW(filepath.Join(s.lockFolder(), l.token))
	l.file = f
	return l, err
}

// evict moves the folder of a dead holder away, and returns an errHeld where
// the holder lives.
func (s *Share) evict(mine string) error {
	token, by, age, err := s.inspectLockFolder(mine)
	if err != nil {
		return err
	}
	if age < staleAfter {
		return errHeld{by}
	}
	if err := beneath.Rename(s.lockFolder(), s.deadFolder(token)); err != nil {
		return errHeld{} // another run was quicker
	}
	return nil
}

// inspectLockFolder says who holds the lock and how long ago, by the share's
// clock, it was last heard of. mine tells that clock: its file is rewritten.
func (s *Share) inspectLockFolder(mine string) (token string, by holder, age time.Duration, err error) {
	// Other systems leave files of their own anywhere (.DS_Store, .nfs…).
	found, err := beneath.Glob(s.lockFolder(), minePrefix+"*")
	if err != nil {
		return "", holder{}, 0, err
	}
	found = append(found, s.lockFolder()) // its own age, where no holder's file is there
	token = filepath.Base(found[0])
	// Opening, rather than asking for attributes by name, makes an NFS
	// client ask its server.
	f, err := beneath.Open(found[0])
	if err != nil {
		return "", holder{}, 0, errHeld{} // changing hands just now
	}
	defer f.Close()
	beat, err := f.Stat()
	if err != nil {
		return "", holder{}, 0, err
	}
	now, err := touch(filepath.Join(mine, filepath.Base(mine)))
	if err != nil {
		return "", holder{}, 0, err
	}
	return token, readHolder(f), now.Sub(beat.ModTime()), nil
}

// touch rewrites a holder's file and returns the time the share gave it.
func touch(path string) (time.Time, error) {
	if err := beneath.WriteFile(path, thisRun().encode(), 0o600); err != nil {
		return time.Time{}, err
	}
	f, err := beneath.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// beat rewrites the holder's file until stop is closed.
func (l *lockFolder) beat(every time.Duration, stop <-chan struct{}) {
	text := thisRun().encode()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			// A write that fails is as good as none: others see a dead
			// holder, which is what a holder without its share is.
			_, _ = l.file.WriteAt(text, 0)
			_ = l.file.Sync()
		}
	}
}

// held says whether the lock is still this run's.
func (l *lockFolder) held() bool {
	_, err := beneath.Lstat(filepath.Join(l.share.lockFolder(), l.token))
	return err == nil
}

// leave gives the lock up, if it is still this run's.
func (l *lockFolder) leave() error {
	_ = l.file.Close()
	if !l.held() {
		return nil // taken over while this run slept
	}
	lock := l.share.lockFolder()
	dead, _ := beneath.Glob(l.share.Private(), deadPrefix+"*")
	for _, dir := range dead {
		_ = beneath.RemoveAll(dir)
	}
	gone := l.share.leftFolder(l.token)
	if err := beneath.Rename(lock, gone); err != nil {
		return fmt.Errorf("leave the share: %w", err)
	}
	return beneath.RemoveAll(gone)
}
