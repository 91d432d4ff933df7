package source

import (
	"context"
	"os"

	"github.com/go-git/go-billy/v5"
)

// contextFS is a file system that fails when its context ends. go-git takes a
// context for what it does over the network only; indexing a kernel's pack and
// writing its files, most of a minute, stop by way of the files they touch.
type contextFS struct {
	billy.Filesystem
	ctx context.Context
}

func (fs *contextFS) Open(name string) (billy.File, error) {
	return fs.OpenFile(name, os.O_RDONLY, 0)
}

func (fs *contextFS) OpenFile(name string, flag int, perm os.FileMode) (billy.File, error) {
	if err := fs.ctx.Err(); err != nil {
		return nil, err
	}
	return fs.wrap(fs.Filesystem.OpenFile(name, flag, perm))
}

func (fs *contextFS) TempFile(dir, prefix string) (billy.File, error) {
	if err := fs.ctx.Err(); err != nil {
		return nil, err
	}
	return fs.wrap(fs.Filesystem.TempFile(dir, prefix))
}

func (fs *contextFS) Lstat(name string) (os.FileInfo, error) {
	if err := fs.ctx.Err(); err != nil {
		return nil, err
	}
	return fs.Filesystem.Lstat(name)
}

func (fs *contextFS) wrap(f billy.File, err error) (billy.File, error) {
	if err != nil {
		return nil, err
	}
	return &contextFile{f, fs.ctx}, nil
}

// contextFile is an open file of a contextFS.
type contextFile struct {
	billy.File
	ctx context.Context
}

func (f *contextFile) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

func (f *contextFile) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, offset)
}

func (f *contextFile) Write(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}
