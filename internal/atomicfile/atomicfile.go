package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// WriteFile leaves data at path, whole: it is written beside it under a
// temporary name, flushed to the disk, and renamed. perm is not subject to the
// umask, since what a container writes is read by others outside of it.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	f, err := beneath.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = beneath.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := beneath.ChmodFile(f, perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := beneath.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Sweep removes what a [WriteFile] or [Symlink] of path that was killed left beside it.
// None runs meanwhile.
func Sweep(path string) error {
	left, err := beneath.Glob(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	for _, name := range left {
		if gone := beneath.Remove(name); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// Symlink makes path a symbolic link to target, replacing a file or link that
// is there in one step. It fails where path is a directory.
func Symlink(target, path string) error {
	temp, err := tempLink(target, path)
	if err != nil {
		return err
	}
	if err := beneath.Rename(temp, path); err != nil {
		_ = beneath.Remove(temp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// tempLink makes the link under a name nobody uses yet.
func tempLink(target, path string) (string, error) {
	base := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp-")
	for try := 0; ; try++ {
		temp := base + strconv.FormatInt(time.Now().UnixNano()+int64(try), 36)
		err := beneath.Symlink(target, temp)
		if err == nil || !errors.Is(err, fs.ErrExist) || try == 100 {
			return temp, err
		}
	}
}

// SyncDir flushes the names in a directory to the disk. File systems that
// cannot do that (some network and host-shared ones) are taken at their word.
func SyncDir(dir string) error {
	d, err := beneath.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EBADF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return nil
}
