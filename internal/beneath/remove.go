package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

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
	from, err := begin(path)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	_ = unix.Close(from.fd)
	r := remover{uid: from.uid, gid: from.gid, hands: make(chan struct{}, runtime.GOMAXPROCS(0)-1)}
	err = act("remove", path, func(dir int, name string) error { return r.all(dir, name, path, false) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// remover removes trees of files, several folders at once.
type remover struct {
	uid, gid int
	hands    chan struct{} // has a place for each goroutine beside the first
}

// all removes a name of a folder with all that is in it. What is known to be a folder is
// not tried to be removed as a file.
func (r *remover) all(dir int, name, path string, folder bool) error {
	var err error
	if !folder {
		if err = remove(dir, name); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
	}
	fd, openErr := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(openErr, unix.ENOENT):
		return nil
	case openErr != nil && folder: // or it is one no more
		return r.all(dir, name, path, false)
	case openErr != nil:
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	for {
		list, listErr := f.ReadDir(1024)
		if err := r.each(fd, list, path); err != nil {
			return err
		}
		// Some file systems forget where a listing was when names go meanwhile: it is over
		// when nothing is left.
		err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if len(list) == 0 && listErr != nil {
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
		if _, err := f.Seek(0, 0); err != nil {
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
	}
}

// each removes what a folder has, folders by other hands where some are free.
func (r *remover) each(dir int, list []fs.DirEntry, path string) error {
	var others sync.WaitGroup
	var mu sync.Mutex
	var all error
	for _, e := range list {
		inside := filepath.Join(path, e.Name())
		remove := func() error { return r.all(dir, e.Name(), inside, e.IsDir()) }
		if e.IsDir() {
			select {
			case r.hands <- struct{}{}:
				others.Go(func() {
					defer func() { <-r.hands }()
					if err := As(r.uid, r.gid, remove); err != nil {
						mu.Lock()
						defer mu.Unlock()
						all = errors.Join(all, err)
					}
				})
				continue
			default:
			}
		}
		if err := remove(); err != nil {
			mu.Lock()
			all = errors.Join(all, err)
			mu.Unlock()
			break
		}
	}
	others.Wait()
	return all
}
