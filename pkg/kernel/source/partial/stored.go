package partial

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5"

	"github.com/k8sp/cuda/internal/beneath"
)

// stored is a folder of a repository as go-git reads one: without following links,
// and without writing.
type stored struct {
	billy.Filesystem // nil: what is not below is not called
	dir              string
}

func (s stored) path(name string) string {
	return filepath.Join(s.dir, filepath.Join(string(filepath.Separator), name))
}

// Open implements [billy.Basic].
func (s stored) Open(name string) (billy.File, error) {
	f, err := beneath.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	return storedFile{f, name}, nil
}

// OpenFile implements [billy.Basic].
func (s stored) OpenFile(name string, flag int, _ fs.FileMode) (billy.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC) != 0 {
		return nil, billy.ErrReadOnly
	}
	return s.Open(name)
}

// Stat implements [billy.Basic].
func (s stored) Stat(name string) (fs.FileInfo, error) { return s.Lstat(name) }

// Lstat implements [billy.Symlink].
func (s stored) Lstat(name string) (fs.FileInfo, error) { return beneath.Lstat(s.path(name)) }

// Readlink implements [billy.Symlink].
func (s stored) Readlink(name string) (string, error) { return beneath.Readlink(s.path(name)) }

// Join implements [billy.Basic].
func (s stored) Join(parts ...string) string { return filepath.Join(parts...) }

// ReadDir implements [billy.Dir].
func (s stored) ReadDir(name string) ([]fs.FileInfo, error) {
	entries, err := beneath.ReadDir(s.path(name))
	var list []fs.FileInfo
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr != nil {
			return nil, infoErr
		}
		list = append(list, info)
	}
	return list, err
}

// Chroot implements [billy.Chroot].
func (s stored) Chroot(name string) (billy.Filesystem, error) { return stored{dir: s.path(name)}, nil }

// Root implements [billy.Chroot].
func (s stored) Root() string { return s.dir }

// storedFile is only read, so its locks are of no matter.
type storedFile struct {
	*os.File
	name string
}

// Name implements [billy.File]: what it was opened by.
func (f storedFile) Name() string { return f.name }

// Lock implements [billy.File].
func (storedFile) Lock() error { return nil }

// Unlock implements [billy.File].
func (storedFile) Unlock() error { return nil }
