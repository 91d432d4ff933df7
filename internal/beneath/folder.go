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
	return act("mkdir", path, func(dir int, name string) error { return mkdir(dir, name, perm) })
}

func mkdir(dir int, name string, perm fs.FileMode) error {
	if err := unix.Mkdirat(dir, name, uint32(perm.Perm())); err != nil {
		return err
	}
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setMode(fd, perm)
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

// ReadDir lists a folder by name. Each entry is looked at when it is listed, which is one
// system call for it then and seven later.
func ReadDir(path string) (list []fs.DirEntry, err error) {
	err = act("open", path, func(dir int, name string) error {
		f, err := openIn(dir, name, path, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer f.Close()
		list, err = f.ReadDir(-1)
		for i, e := range list {
			of := &entry{DirEntry: e}
			of.info, of.err = look(int(f.Fd()), e.Name())
			list[i] = of
		}
		return err
	})
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// entry is one with what it was when its folder was listed.
type entry struct {
	fs.DirEntry
	info *info
	err  error
}

// Info implements [fs.DirEntry].
func (e *entry) Info() (fs.FileInfo, error) {
	if e.err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: e.Name(), Err: e.err}
	}
	return e.info, nil
}

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
