package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// DefaultDir is where the image expects the share to be mounted.
const DefaultDir = "/opt/share"

// Share is an existing share. Its methods are safe to use from one goroutine
// at a time.
type Share struct {
	dir      string
	uid, gid int

	// What the operating system does, for tests of the shares that are hard
	// to come by.
	create func(dir, pattern string) (*os.File, error)
	lchown func(path string, uid, gid int) error
	statfs func(path string, st *unix.Statfs_t) error
	flock  func(fd, how int) error
	// heartbeat is how often the holder of a lock's folder is heard of.
	heartbeat time.Duration
}

// Open returns the share at dir, [DefaultDir] where it is empty. The folder
// must exist: an absent one is a forgotten mount, and results written into a
// container's own file system would be lost with it.
func Open(dir string) (*Share, error) {
	if dir == "" {
		dir = DefaultDir
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, stage.New(stage.Usage, fmt.Sprintf("there is no share at %s, so there is nothing to read from and nowhere to leave modules", dir),
			fmt.Sprintf("mount a folder there (docker run -v DIR:%s …), or name another with --share", dir))
	case err != nil:
		return nil, stage.Wrap(stage.Usage, err, "the share cannot be read", "check its mount")
	case !info.IsDir():
		return nil, stage.New(stage.Usage, fmt.Sprintf("the share %s is not a folder", dir), "mount a folder there, or name another with --share")
	}
	s := &Share{dir: dir, create: os.CreateTemp, lchown: os.Lchown, statfs: unix.Statfs, flock: unix.Flock, heartbeat: heartbeat}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = int(st.Uid), int(st.Gid)
	}
	return s, nil
}

// Owner is the user, and the group, that the share belongs to.
func (s *Share) Owner() (uid, gid int) { return s.uid, s.gid }

// Writable says whether results can be left in the share, by trying. It is
// for before the work: minutes of compiling must not end in this error.
func (s *Share) Writable() error {
	err := s.MkdirAll(s.Private())
	if err == nil {
		err = s.probe()
	}
	if err == nil {
		return nil
	}
	return s.notWritable(err)
}

func (s *Share) notWritable(err error) error {
	if explained := s.Explain(stage.Publish, err); explained != err {
		return explained
	}
	return stage.Wrap(stage.Publish, err, fmt.Sprintf("the share %s cannot be written, so modules could not be left there", s.dir),
		"let the container's root write to it")
}

// MayBeWritten is [Share.Writable] as far as it can be told without writing: for a
// run that only says what it would do.
func (s *Share) MayBeWritten() error {
	err := unix.Access(s.dir, unix.W_OK)
	if err == nil || err == unix.EACCES && os.Geteuid() == 0 {
		return nil // root may write what a server lets it
	}
	return s.notWritable(err)
}

func (s *Share) probe() error {
	f, err := s.create(s.Private(), probePrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("builder was here\n")
	err = errors.Join(err, f.Close())
	// The run that holds the share clears what others left.
	if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Explain turns an error of the file system that has a plain cause (full, over
// quota, read-only) into a [stage.Error] that says so and what to do; any
// other error is returned as it is.
func (s *Share) Explain(name stage.Name, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return stage.Wrap(name, err, fmt.Sprintf("the share %s is full", s.dir),
			fmt.Sprintf("free space there (`builder prune` shows what can be made again, and %s may be deleted when nothing runs), or mount a larger share", s.Private()))
	case errors.Is(err, unix.EROFS):
		return stage.Wrap(name, err, fmt.Sprintf("the share %s is read-only, so modules could not be left there", s.dir),
			"mount it without :ro, and check that its file system did not go read-only after an error")
	}
	return err
}
