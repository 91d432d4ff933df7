package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
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
	held, err := beneath.Hold(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, stage.New(stage.Usage, fmt.Sprintf("there is no share at %s, so there is nothing to read from and nowhere to leave modules", dir),
			fmt.Sprintf("mount a folder there (docker run -v DIR:%s …), or name another with --share", dir))
	case errors.Is(err, unix.ENOTDIR):
		return nil, stage.New(stage.Usage, fmt.Sprintf("the share %s is not a folder", dir), "mount a folder there, or name another with --share")
	case err != nil:
		return nil, stage.Wrap(stage.Usage, err, "the share cannot be read", "check its mount")
	}
	s := &Share{dir: held.Dir(), create: beneath.CreateTemp, statfs: unix.Statfs, flock: unix.Flock, heartbeat: heartbeat}
	s.uid, s.gid = held.Owner()
	runtime.AddCleanup(s, func(held *beneath.Held) { _ = held.Release() }, held)
	return s, s.folders()
}

// folders refuses a share in which one of builder's own folders leads elsewhere.
func (s *Share) folders() error {
	for _, name := range []string{cudaFolder, linuxFolder, modulesFolder, driverFolder, cdiFolder, privateFolder} {
		path := filepath.Join(s.dir, name)
		info, err := beneath.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return stage.Wrap(stage.Usage, err, "the share cannot be read", "check its mount")
		}
		if !info.IsDir() {
			return stage.New(stage.Usage, fmt.Sprintf("%s is %s where builder has a folder of its own, and it follows no link and replaces no file there", path, whatItIs(info.Mode())),
				"move it away; a folder that is to be on another disk can be mounted there")
		}
	}
	return nil
}

func whatItIs(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a link"
	case mode.IsRegular():
		return "a file"
	}
	return "something else"
}

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
		"let its owner, as whom builder works there, write to it")
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
	if gone := beneath.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Explain turns an error of the file system that has a plain cause (full, over
// quota, read-only, files of somebody else's, a link where none is followed) into a
// [stage.Error] that says so and what to do; any other error is returned as it is.
func (s *Share) Explain(name stage.Name, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return stage.Wrap(name, err, fmt.Sprintf("the share %s is full", s.dir),
			fmt.Sprintf("free space there (`builder prune` shows what can be made again, and %s may be deleted when nothing runs), or mount a larger share", s.Private()))
	case errors.Is(err, unix.EACCES) && s.uid != 0:
		return stage.Wrap(name, err, fmt.Sprintf("something in the share %s is not user %d's, to whom the share belongs and as whom builder works there", s.dir, s.uid),
			fmt.Sprintf("give them all of it, on the host: chown -R %d:%d %s", s.uid, s.gid, s.dir))
	case errors.Is(err, unix.EROFS):
		return stage.Wrap(name, err, fmt.Sprintf("the share %s is read-only, so modules could not be left there", s.dir),
			"mount it without :ro, and check that its file system did not go read-only after an error")
	case errors.Is(err, unix.ELOOP):
		return stage.Wrap(name, err, fmt.Sprintf("in the share %s there is a link where builder has a file or folder of its own", s.dir),
			"remove the link, have nobody else write there during a run, and run again")
	}
	return err
}
