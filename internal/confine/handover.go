package confine

import (
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// In a share of root's a command's folders are its user's while it runs, and ours
// between two commands, so that nobody can put anything into them then. (In another
// share they are its owner's, whom commands run as.) What is in them stays ours, but
// for what an earlier command of ours left and nobody has touched since: a file
// that somebody else has put there while it ran is not given to anybody. It can
// be read, if its mode lets that, and replaced.
//
// All is done by descriptor: the share's owner may exchange a folder for a link
// at any moment.

// handover gives folders to commands and takes them back.
type handover struct {
	mu   sync.Mutex
	left map[file]unix.Timespec // files that commands left, and when they last changed
}

// file is which file something is.
type file struct{ dev, ino uint64 }

// handed are folders that are a command's while it runs.
type handed struct {
	*handover
	folders  []*os.File
	uid, gid int // ours
	to       int // the user that has them
}

// hand gives folders to a user, with those in them.
func (o *handover) hand(paths []string, uid, gid int) (*handed, error) {
	h := &handed{handover: o, uid: os.Geteuid(), gid: os.Getegid(), to: uid}
	if uid == h.uid {
		return h, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, path := range paths {
		f, err := open(path)
		if err == nil && isOf(f, uid) {
			f.Close()
			continue
		}
		if err == nil {
			h.folders = append(h.folders, f)
			err = h.give(f, uid, gid)
		}
		if err != nil {
			h.takeAll()
			return nil, err
		}
	}
	return h, nil
}

// isOf says whether a folder is a user's already, as all is in a share that is not
// root's: there is nothing to give then, and nothing to take back.
func isOf(f *os.File, uid int) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == uid
}

// back takes the folders back, with all that is in them. What cannot be taken
// fails where it is used.
func (h *handed) back() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takeAll()
}

func (h *handed) takeAll() {
	for _, f := range h.folders {
		_ = h.take(f)
		f.Close()
	}
	h.folders = nil
}

// open opens a folder by its path.
func open(path string) (*os.File, error) {
	path, err := beneath.Resolve(path)
	if err != nil {
		return nil, err
	}
	return beneath.Open(path)
}

// openat opens a folder in a folder.
func openat(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// give gives a folder that is ours to a user: what is in it first, as nobody else
// can then change that meanwhile.
func (h *handed) give(dir *os.File, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != h.uid {
		return nil
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = inFolder(dir, e.Name(), func(f *os.File) error { return h.give(f, uid, gid) })
		} else {
			err = h.giveFile(dir, e.Name(), uid, gid)
		}
		if err != nil {
			return err
		}
	}
	return dir.Chown(uid, gid)
}

// giveFile gives a file that a command left, and that is as it was then.
func (h *handed) giveFile(dir *os.File, name string, uid, gid int) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if changed, ok := h.left[file{uint64(st.Dev), st.Ino}]; !ok || changed != st.Ctim || st.Nlink != 1 {
		return nil
	}
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

// inFolder does something with a folder in a folder.
func inFolder(dir *os.File, name string, do func(*os.File) error) error {
	f, err := openat(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// take makes a folder and all that is in it ours, and nobody else's to write: the
// folder first, so that nobody else can change what is in it meanwhile.
func (h *handed) take(dir *os.File) error {
	if err := dir.Chown(h.uid, h.gid); err != nil {
		return err
	}
	if err := dir.Chmod(0o755); err != nil {
		return err
	}
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = inFolder(dir, e.Name(), h.take)
		} else {
			err = h.takeFile(int(dir.Fd()), e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeFile makes a file ours. The folder is by now, so the name leads to the same
// file throughout. (A setuid program is none any more with another owner.)
func (h *handed) takeFile(dir int, name string) error {
	var before, st unix.Stat_t
	if err := unix.Fstatat(dir, name, &before, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, h.uid, h.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if before.Mode&unix.S_IFMT == unix.S_IFREG && before.Mode&0o022 != 0 {
		if err := unix.Fchmodat(dir, name, before.Mode&0o755, 0); err != nil {
			return err
		}
	}
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if int(before.Uid) == h.to {
		if h.left == nil {
			h.left = map[file]unix.Timespec{}
		}
		h.left[file{uint64(st.Dev), st.Ino}] = st.Ctim
	}
	return nil
}
