package beneath

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder is one that is open, for those who have thousands of files to look at: what is
// done to a name in it is one system call, where the functions with paths need a dozen.
type Folder struct {
	fd   int
	path string
}

// In opens a folder and does something in it, as whom it is held for; the folder is of no use
// after that. What is done is done on one thread, and gives nothing to be done to others.
func In(path string, do func(Folder) error) error {
	return act("open", path, func(dir int, name string) error {
		fd, err := openFolder(dir, name)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return do(Folder{fd, path})
	})
}

// OpenFD opens a file, or a folder, to read it, and describes it. It is the bare
// descriptor, to be closed with [unix.Close].
func (f Folder) OpenFD(name string, st *unix.Stat_t) (fd int, err error) {
	if err := f.check("open", name); err != nil {
		return -1, err
	}
	// Opening a pipe would wait for who writes to it.
	fd, err = openat(f.fd, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.Fstat(fd, st)
		if kind := st.Mode & unix.S_IFMT; err == nil && kind != unix.S_IFREG && kind != unix.S_IFDIR {
			err = ErrIrregular
		}
		if err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: filepath.Join(f.path, name), Err: err}
	}
	return fd, nil
}

// Mkdir makes a folder. One that is there serves as it is; anything else is an error.
func (f Folder) Mkdir(name string, perm fs.FileMode) error {
	err := f.check("mkdir", name)
	if err == nil {
		err = mkdir(f.fd, name, perm)
	}
	if errors.Is(err, fs.ErrExist) {
		var fd int
		if fd, err = openFolder(f.fd, name); err == nil {
			return unix.Close(fd)
		}
	}
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: filepath.Join(f.path, name), Err: err}
	}
	return nil
}

// CreateFD makes a file, to read and to write; what is there already is an error. It is the
// bare descriptor.
func (f Folder) CreateFD(name string, perm fs.FileMode) (fd int, err error) {
	if err := f.check("create", name); err != nil {
		return -1, err
	}
	if fd, err = create(f.fd, name, perm); err != nil {
		return -1, &fs.PathError{Op: "create", Path: filepath.Join(f.path, name), Err: err}
	}
	return fd, nil
}

// Link gives a file of this folder the same name in another, and describes what has it then.
func (f Folder) Link(name string, to Folder, st *unix.Stat_t) error {
	if err := f.check("link", name); err != nil {
		return err
	}
	err := unix.Linkat(f.fd, name, to.fd, name, 0)
	if err == nil {
		err = unix.Fstatat(to.fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &fs.PathError{Op: "link", Path: filepath.Join(to.path, name), Err: err}
	}
	return nil
}

// check refuses what is no name of something in a folder.
func (f Folder) check(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}
