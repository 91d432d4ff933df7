package confine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// handed are folders that are a command's while it runs.
type handed struct {
	folders  []*os.File
	uid, gid int // ours
}

// hand gives a command's user the folders that it may write to, with those in
// them. What is in them stays ours: it can be read and replaced, and a file that
// somebody else has put there is not given to anybody. Between two commands all
// is ours again, so nobody can have put anything there.
//
// All is done by descriptor: the share's owner may exchange a folder for a link
// at any moment.
func hand(paths []string, uid, gid int) (*handed, error) {
	h := &handed{uid: os.Geteuid(), gid: os.Getegid()}
	if uid == h.uid {
		return h, nil
	}
	for _, path := range paths {
		f, err := open(path)
		if err == nil {
			h.folders = append(h.folders, f)
			err = give(f, h.uid, uid, gid)
		}
		if err != nil {
			h.back()
			return nil, err
		}
	}
	return h, nil
}

// back takes the folders back, with all that is in them. What cannot be taken
// fails where it is used.
func (h *handed) back() {
	for _, f := range h.folders {
		_ = take(f, h.uid, h.gid)
		f.Close()
	}
	h.folders = nil
}

// open opens a folder by its path, on which a link is followed only if it is
// root's or ours.
func open(path string) (*os.File, error) {
	at, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	links := 0
	var way []string // of the folder at
	for rest := strings.Split(filepath.Clean(path), "/"); len(rest) > 0; rest = rest[1:] {
		name := rest[0]
		if name == "" || name == "." {
			continue
		}
		fail := func(err error) (*os.File, error) {
			at.Close()
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(at.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fail(err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if links++; links > maxLinks || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
				return fail(unix.ELOOP)
			}
			target, err := readlinkat(int(at.Fd()), name)
			if err != nil {
				return fail(err)
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join("/", filepath.Join(way...), target)
			}
			at.Close()
			if at, err = os.Open("/"); err != nil {
				return nil, err
			}
			way = nil
			rest = append([]string{""}, append(strings.Split(target, "/"), rest[1:]...)...)
			continue
		}
		next, err := openat(at, name)
		if err != nil {
			return fail(err)
		}
		at.Close()
		at, way = next, append(way, name)
	}
	return at, nil
}

func readlinkat(dir int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buffer)
	return string(buffer[:max(n, 0)]), err
}

// openat opens a folder in a folder.
func openat(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// eachFolder calls a function for each of a folder's folders.
func eachFolder(dir *os.File, do func(*os.File) error) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		f, err := openat(dir, e.Name())
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
			continue // it was exchanged
		}
		if err != nil {
			return err
		}
		err = do(f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// give gives a folder that is from's, and those of its folders that are, to a
// user: the inner ones first, as nobody else can then have been in the outer
// ones.
func give(dir *os.File, from, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != from {
		return nil
	}
	if err := eachFolder(dir, func(f *os.File) error { return give(f, from, uid, gid) }); err != nil {
		return err
	}
	return dir.Chown(uid, gid)
}

// take makes all that is in a folder ours, the outer ones first, so that nobody
// else can change what is in them meanwhile, and nobody else's to write.
func take(dir *os.File, uid, gid int) error {
	if err := dir.Chown(uid, gid); err != nil {
		return err
	}
	if err := dir.Chmod(0o755); err != nil {
		return err
	}
	if _, err := dir.Seek(0, 0); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			f, err := openat(dir, e.Name())
			if err != nil {
				return err
			}
			err = take(f, uid, gid)
			f.Close()
			if err != nil {
				return err
			}
			continue
		}
		if err := takeFile(int(dir.Fd()), e.Name(), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// takeFile makes a file ours. The folder is ours by now, so the name leads to the
// same file throughout. (A setuid program is none any more with another owner.)
func takeFile(dir int, name string, uid, gid int) error {
	if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o022 != 0 {
		return unix.Fchmodat(dir, name, st.Mode&0o755, 0)
	}
	return nil
}
