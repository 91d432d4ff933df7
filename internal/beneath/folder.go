package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mkdir makes a folder.
func Mkdir(path string, perm fs.FileMode) error {
	return act("mkdir", path, func(dir int, name string) error {
		if err := unix.Mkdirat(dir, name, uint32(perm.Perm())); err != nil {
			return err
		}
		fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return setMode(fd, perm)
	})
}

// MkdirAll makes a folder and those that it is in. What is there already has to be
// folders, and keeps its mode.
func MkdirAll(path string, perm fs.FileMode) error {
	err := isFolder(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := filepath.Dir(path); parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := Mkdir(path, perm); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return isFolder(path)
}

func isFolder(path string) error {
	return act("mkdir", path, func(dir int, name string) error {
		fd, err := openFolder(dir, name)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

// Remove removes a file, a link or an empty folder.
func Remove(path string) error {
	return act("remove", path, remove)
}

func remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return err
	}
	switch folder := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); folder {
	case nil:
		return nil
	case unix.ENOTDIR: // then the first is what is wrong
		return err
	default:
		return folder
	}
}

// unlink removes a file or a link.
func unlink(path string) error {
	return act("remove", path, func(dir int, name string) error { return unix.Unlinkat(dir, name, 0) })
}

// RemoveAll removes what is at a path and all that is in it; what is not there is
// no error.
func RemoveAll(path string) error {
	err := act("remove", path, func(dir int, name string) error { return removeAll(dir, name, path) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func removeAll(dir int, name, path string) error {
	err := remove(dir, name)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	fd, openErr := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(openErr, unix.ENOENT):
		return nil
	case openErr != nil:
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	// Some file systems forget where a listing was when names go meanwhile.
	for {
		names, listErr := f.Readdirnames(1024)
		for _, inside := range names {
			if err := removeAll(fd, inside, filepath.Join(path, inside)); err != nil {
				return err
			}
		}
		if len(names) == 0 && listErr != nil {
			break
		}
		if _, err := f.Seek(0, 0); err != nil {
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// ReadDir lists a folder by name. Each entry is looked at again where it is asked
// for its Info.
func ReadDir(path string) ([]fs.DirEntry, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	for i, e := range list {
		list[i] = entry{e, filepath.Join(path, e.Name())}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// entry is one whose Info follows no link either.
type entry struct {
	fs.DirEntry
	path string
}

// Info implements [fs.DirEntry].
func (e entry) Info() (fs.FileInfo, error) { return Lstat(e.path) }

// Glob lists the paths, sorted, of what is in a folder and matches a pattern as
// [filepath.Match] has it. A folder that cannot be read has nothing in it.
func Glob(dir, pattern string) ([]string, error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, err
	}
	list, _ := ReadDir(dir)
	var paths []string
	for _, e := range list {
		if ok, _ := filepath.Match(pattern, e.Name()); ok {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// WalkDir is [filepath.WalkDir]: fn gets the paths, and may skip.
func WalkDir(root string, fn fs.WalkDirFunc) error {
	return fs.WalkDir(Dir(root), ".", func(name string, d fs.DirEntry, err error) error {
		return fn(filepath.Join(root, filepath.FromSlash(name)), d, err)
	})
}

// Dir is the path of a folder. Its methods are the functions of this package for
// what is in it, by slash-separated names as [fs.ValidPath] has them.
type Dir string

func (d Dir) do(op, name string, do func(path string) error) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return do(filepath.Join(string(d), filepath.FromSlash(name)))
}

// Open implements [fs.FS].
func (d Dir) Open(name string) (f fs.File, err error) {
	err = d.do("open", name, func(path string) error {
		f, err = Open(path)
		return err
	})
	return f, err
}

// ReadDir implements [fs.ReadDirFS].
func (d Dir) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = d.do("readdir", name, func(path string) error {
		list, err = ReadDir(path)
		return err
	})
	return list, err
}

// Stat implements [fs.StatFS]; it follows no link.
func (d Dir) Stat(name string) (info fs.FileInfo, err error) {
	err = d.do("stat", name, func(path string) error {
		info, err = Lstat(path)
		return err
	})
	return info, err
}

// CreateNew is [CreateNew].
func (d Dir) CreateNew(name string, perm fs.FileMode) (f *os.File, err error) {
	err = d.do("create", name, func(path string) error {
		f, err = CreateNew(path, perm)
		return err
	})
	return f, err
}

// Mkdir is [Mkdir].
func (d Dir) Mkdir(name string, perm fs.FileMode) error {
	return d.do("mkdir", name, func(path string) error { return Mkdir(path, perm) })
}

// MkdirAll is [MkdirAll].
func (d Dir) MkdirAll(name string, perm fs.FileMode) error {
	return d.do("mkdir", name, func(path string) error { return MkdirAll(path, perm) })
}

// Symlink is [Symlink].
func (d Dir) Symlink(target, name string) error {
	return d.do("symlink", name, func(path string) error { return Symlink(target, path) })
}

// Link is [Link]; both names are in the folder.
func (d Dir) Link(from, to string) error {
	return d.do("link", from, func(from string) error {
		return d.do("link", to, func(to string) error { return Link(from, to) })
	})
}
