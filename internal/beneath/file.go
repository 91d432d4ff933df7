package beneath

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens a file, or a folder, to read it.
func Open(path string) (*os.File, error) { return open("open", path, unix.O_RDONLY) }

// OpenRW opens a file that is there to read and to write. One that has another
// name as well is refused: that may be anywhere, and what is written would be there.
func OpenRW(path string) (*os.File, error) {
	f, err := open("open", path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink > 1 {
		err = errors.New("it has another name as well, so it is not written to")
	}
	if err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

func open(op, path string, flags int) (f *os.File, err error) {
	err = act(op, path, func(dir int, name string) error {
		f, err = openIn(dir, name, path, flags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openIn opens the file or folder of that name in a folder, which path names.
func openIn(dir int, name, path string, flags int) (*os.File, error) {
	// Opening a pipe would wait for who writes to it.
	fd, err := openat(dir, name, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err := plain(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenLock opens a file to lock it, which it makes, empty, where it is not there.
// It is for its owner alone: who can open it can hold its lock for ever.
func OpenLock(path string) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := OpenRW(path)
		if err == nil {
			_ = ChmodFile(f, 0o600) // an earlier builder's may be open to all
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = CreateNew(path, 0o600)
		if !errors.Is(err, fs.ErrExist) || try == 10 {
			return f, err
		}
	}
}

// CreateNew makes a file, to read and to write; what is there already is an error.
func CreateNew(path string, perm fs.FileMode) (f *os.File, err error) {
	err = act("create", path, func(dir int, name string) error {
		fd, err := create(dir, name, perm)
		if err == nil {
			f = os.NewFile(uintptr(fd), path)
		}
		return err
	})
	return f, err
}

func create(dir int, name string, perm fs.FileMode) (fd int, err error) {
	fd, err = openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, uint32(perm.Perm()))
	if err != nil {
		return -1, err
	}
	if err := setMode(fd, perm); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Create makes a file in the place of the one, or the link, that is there.
func Create(path string, perm fs.FileMode) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := CreateNew(path, perm)
		if !errors.Is(err, fs.ErrExist) || try == 10 {
			return f, err
		}
		if err := unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// setMode gives what was made the mode that was asked for, where a umask kept it
// from that.
func setMode(fd int, perm fs.FileMode) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&0o777 == uint32(perm.Perm()) {
		return nil
	}
	return unix.Fchmod(fd, uint32(perm.Perm()))
}

// CreateTemp makes a file of a name that nobody has, as [os.CreateTemp] does, with
// a folder: there is no default.
func CreateTemp(dir, pattern string) (f *os.File, err error) {
	_, err = temporary(dir, pattern, func(path string) error {
		f, err = CreateNew(path, 0o600)
		return err
	})
	return f, err
}

// MkdirTemp makes a folder of a name that nobody has, for its owner alone, as
// [os.MkdirTemp] does.
func MkdirTemp(dir, pattern string) (string, error) {
	return temporary(dir, pattern, func(path string) error { return Mkdir(path, 0o700) })
}

// temporary makes something under a name that nobody has.
func temporary(dir, pattern string, make func(path string) error) (string, error) {
	if dir == "" || strings.Contains(pattern, "/") {
		return "", &fs.PathError{Op: "create", Path: filepath.Join(dir, pattern), Err: fs.ErrInvalid}
	}
	prefix, suffix, _ := cutLast(pattern, "*")
	for try := 0; ; try++ {
		path := filepath.Join(dir, prefix+strconv.FormatUint(rand.Uint64()>>16, 36)+suffix)
		if err := make(path); err == nil || !errors.Is(err, fs.ErrExist) || try == 1000 {
			return path, err
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// ReadFile reads a file whole.
func ReadFile(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile makes a file with a content, in the place of what is there. Who reads
// it meanwhile sees a part: package atomicfile's is for what others read.
func WriteFile(path string, content []byte, perm fs.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// Readlink is where a link leads.
func Readlink(path string) (target string, err error) {
	err = act("readlink", path, func(dir int, name string) error {
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, b)
		if err == nil {
			target = string(b[:n])
		}
		return err
	})
	return target, err
}

// Lstat describes what a path names. A link is described itself.
func Lstat(path string) (fs.FileInfo, error) {
	var is *info
	err := act("lstat", path, func(dir int, name string) (err error) {
		is, err = look(dir, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	is.name = filepath.Base(path)
	return is, nil
}

// LstatSys is [Lstat] as the system has it.
func LstatSys(path string, st *unix.Stat_t) error {
	return act("lstat", path, func(dir int, name string) error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// Chmod changes the mode of a file or folder.
func Chmod(path string, perm fs.FileMode) error {
	return act("chmod", path, func(dir int, name string) error {
		fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Fchmod(fd, uint32(perm.Perm()))
	})
}

// ChmodFile changes the mode of a file that is open, as whom its path is held for:
// what is theirs is not builder's to change without CAP_FOWNER, nor at all where the
// share's server takes root for nobody.
func ChmodFile(f *os.File, perm fs.FileMode) error {
	from, err := begin(f.Name())
	if err == nil {
		defer unix.Close(from.fd)
		err = As(from.uid, from.gid, func() error { return unix.Fchmod(int(f.Fd()), uint32(perm.Perm())) })
	}
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	return nil
}

// Symlink makes a link; target is not looked at.
func Symlink(target, path string) error {
	return act("symlink", path, func(dir int, name string) error { return unix.Symlinkat(target, dir, name) })
}

// Link gives a file another name.
func Link(from, to string) error {
	return both("link", from, to, func(fromDir int, fromName string, toDir int, toName string) error {
		return unix.Linkat(fromDir, fromName, toDir, toName, 0)
	})
}

// LinkOrCopy has a file be at another path, too: the same file where the file system can
// have it twice, else a copy with the same permissions.
func LinkOrCopy(from, to string) error {
	err := Link(from, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return err
	}
	in, err := Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return Copy(in, to)
}

// Copy copies a file to a new one with the same permissions.
func Copy(in *os.File, to string) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := CreateNew(to, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Rename gives what is at a path another, in the place of a file or an empty folder
// there.
func Rename(from, to string) error {
	return both("rename", from, to, unix.Renameat)
}

// both does something to two paths, as whom the second is held for.
func both(op, from, to string, do func(fromDir int, fromName string, toDir int, toName string) error) error {
	return act(op, to, func(toDir int, toName string) error {
		origin, err := begin(from)
		if err != nil {
			return err
		}
		fromDir, fromName, err := origin.reach(op, from)
		if err != nil {
			return err
		}
		defer unix.Close(fromDir)
		return do(fromDir, fromName, toDir, toName)
	})
}
