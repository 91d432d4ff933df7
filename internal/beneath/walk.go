package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrLink is a link where none is followed. It is [unix.ELOOP], in words for whom it
// meets without being one.
var ErrLink error = errLink{}

type errLink struct{}

func (errLink) Error() string { return "it is a link, and links are not followed here" }

// Is implements what [errors.Is] asks for.
func (errLink) Is(target error) bool { return target == unix.ELOOP }

// act does something to what a path names, by the descriptor of the folder that it
// is in, as whom that folder is held for. An error of do is one of op with the
// path.
func act(op, path string, do func(dir int, name string) error) error {
	from, err := begin(path)
	if err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return As(from.uid, from.gid, func() error {
		dir, name, err := from.reach(op, path)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		if err := do(dir, name); err != nil {
			var told *fs.PathError
			if errors.As(err, &told) {
				return err
			}
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
		return nil
	})
}

// reach opens the folder that a path is in, and returns the path's last part; "."
// for the beginning itself. It closes the origin.
func (o origin) reach(op, path string) (dir int, name string, err error) {
	parts := o.parts(path)
	for _, part := range parts {
		if part == ".." && o.dir != "" {
			_ = unix.Close(o.fd)
			return -1, "", &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
		}
	}
	at := o.fd
	if len(parts) > 2 {
		if next, ok := openAtOnce(at, parts[:len(parts)-1]); ok {
			_ = unix.Close(at)
			return next, parts[len(parts)-1], nil
		}
	}
	for i, part := range parts[:len(parts)-1] {
		next, err := openFolder(at, part)
		_ = unix.Close(at)
		if err != nil {
			return -1, "", &fs.PathError{Op: op, Path: upTo(path, len(parts)-1-i), Err: err}
		}
		at = next
	}
	return at, parts[len(parts)-1], nil
}

// openAtOnce opens a folder below another as a walk by openFolder does, in one system call
// that follows no link either, where the kernel has it (Linux 5.6) and nothing is in the
// way: what is, a walk tells.
func openAtOnce(at int, parts []string) (fd int, ok bool) {
	if noOpenat2.Load() {
		return -1, false
	}
	fd, err := unix.Openat2(at, strings.Join(parts, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ENOSYS || err == unix.EPERM { // of the kernel, or of a container's seccomp profile
		noOpenat2.Store(true)
	}
	return fd, err == nil
}

// noOpenat2 is set where this process has no such system call.
var noOpenat2 atomic.Bool

// upTo is a path without its last n parts.
func upTo(path string, n int) string {
	path = filepath.Clean(path)
	for range n {
		path = filepath.Dir(path)
	}
	return path
}

// openFolder opens a folder for what is in it, no more.
func openFolder(at int, name string) (int, error) {
	fd, err := openat(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) && isLink(at, name) {
		return -1, ErrLink
	}
	return fd, err
}

func isLink(at int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// openat opens a name of a folder, and not what a link of that name leads to.
func openat(at int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		if err == unix.ELOOP {
			return -1, ErrLink
		}
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// ErrIrregular is what is neither a file nor a folder, where one is to be opened.
var ErrIrregular = errors.New("it is neither a file nor a folder")

// plain refuses what is neither a file nor a folder: reading a pipe waits for its
// writer, and a device does what its driver does.
func plain(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, ErrIrregular
	}
	return info, err
}

// parts are the names of a path below its beginning.
func (o origin) parts(path string) []string {
	rest := strings.TrimPrefix(filepath.Clean(path), o.dir)
	rest = strings.Trim(rest, "/")
	if rest == "" {
		return []string{"."}
	}
	return strings.Split(rest, "/")
}
