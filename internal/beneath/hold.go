package beneath

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Held is a folder that is opened once: whatever is done below it begins at its
// descriptor, as its owner.
type Held struct {
	dir      string
	file     *os.File
	uid, gid int
}

var held struct {
	sync.RWMutex
	// by the path that Hold returned, the latest last.
	by map[string][]*Held
}

// Hold opens a folder, by a path that may have links in it, until it is released.
func Hold(dir string) (*Held, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	h := &Held{dir: dir, file: os.NewFile(uintptr(fd), dir)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = h.file.Close()
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	h.uid, h.gid = int(st.Uid), int(st.Gid)
	held.Lock()
	defer held.Unlock()
	if held.by == nil {
		held.by = map[string][]*Held{}
	}
	held.by[dir] = append(held.by[dir], h)
	return h, nil
}

// Dir is the folder's path, without links.
func (h *Held) Dir() string { return h.dir }

// Owner is whom the folder belonged to when it was opened.
func (h *Held) Owner() (uid, gid int) { return h.uid, h.gid }

// Release lets go of the folder.
func (h *Held) Release() error {
	held.Lock()
	defer held.Unlock()
	list := held.by[h.dir]
	for i, other := range list {
		if other == h {
			held.by[h.dir] = append(list[:i:i], list[i+1:]...)
		}
	}
	if len(held.by[h.dir]) == 0 {
		delete(held.by, h.dir)
	}
	return h.file.Close()
}

// find is the folder that is held and that a path is in; nil where there is none. The
// table is locked.
func find(path string) *Held {
	for dir := filepath.Clean(path); len(held.by) > 0; dir = filepath.Dir(dir) {
		if list := held.by[dir]; len(list) > 0 {
			return list[len(list)-1]
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return nil
}

// Holds says whether a path is that of a folder that is held, or below one.
func Holds(path string) bool {
	held.RLock()
	defer held.RUnlock()
	return find(path) != nil
}

// origin is where the walk to a path begins.
type origin struct {
	// fd is open, and the caller's to close.
	fd int
	// dir is the part of the path that needs no walk; empty for a path from where
	// the process is.
	dir string
	// uid and gid are whose identity is taken; builder's own where that is root's.
	uid, gid int
}

// begin opens where the walk to a path begins: a folder that is held, else the root,
// or where the process is.
func begin(path string) (origin, error) {
	// What is held may be released by another at any time.
	held.RLock()
	defer held.RUnlock()
	if h := find(path); h != nil {
		fd, err := unix.FcntlInt(h.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		return origin{fd, h.dir, h.uid, h.gid}, err
	}
	dir, from := "", "."
	if filepath.IsAbs(path) {
		dir, from = "/", "/"
	}
	fd, err := openat(unix.AT_FDCWD, from, unix.O_PATH|unix.O_DIRECTORY, 0)
	return origin{fd: fd, dir: dir}, err
}

// Resolve is a path, outside of what is held, without its links: for one that is
// whoever's who started builder, and not to be exchanged by others. One below a
// folder that is held stays as it is.
func Resolve(path string) (string, error) {
	if Holds(path) {
		return path, nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// As does something with a user's and a group's identity towards file systems, or as
// builder where it may not have that.
func As(uid, gid int, do func() error) error {
	if uid == 0 && gid == 0 || os.Geteuid() != 0 {
		return do()
	}
	// The identity is the thread's; one that is new gets none of it, since the
	// runtime starts no thread from one that is locked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	oldGID, _ := unix.SetfsgidRetGid(gid)
	oldUID, _ := unix.SetfsuidRetUid(uid)
	defer func() {
		if !become(oldUID, oldGID) {
			panic(fmt.Sprintf("user %d's identity cannot be given back", uid))
		}
	}()
	if !is(uid, gid) && !become(oldUID, oldGID) {
		panic("an identity that was half taken cannot be given back")
	}
	return do()
}

// become takes an identity, and says whether it could.
func become(uid, gid int) bool {
	_, _ = unix.SetfsuidRetUid(uid)
	_, _ = unix.SetfsgidRetGid(gid)
	return is(uid, gid)
}

// is says whether the thread has an identity: the calls report no failure, but
// what was before, and nobody is -1.
func is(uid, gid int) bool {
	u, _ := unix.SetfsuidRetUid(-1)
	g, _ := unix.SetfsgidRetGid(-1)
	return u == uid && g == gid
}
