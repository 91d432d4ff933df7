package devices

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// system is what making device files takes of the operating system and only
// root may have, so that tests can do without.
type system struct {
	mknod func(dir int, name string, mode uint32, number int) error
	stat  func(fd int, st *unix.Stat_t) error
	chown func(fd, uid, gid int) error
}

var linux = system{
	mknod: unix.Mknodat,
	stat:  unix.Fstat,
	chown: func(fd, uid, gid int) error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) },
}

// status is what a file is.
type status struct{ unix.Stat_t }

func (s status) device() bool   { return s.Mode&unix.S_IFMT == unix.S_IFCHR }
func (s status) number() uint64 { return s.Rdev }

func (f File) number() uint64 { return unix.Mkdev(f.Major, f.Minor) }

// open opens the file itself, be it a link, without asking its driver.
func (s system) open(dir int, name string) (int, status, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, status{}, err
	}
	var is status
	if err := s.stat(fd, &is.Stat_t); err != nil {
		_ = unix.Close(fd)
		return -1, status{}, err
	}
	return fd, is, nil
}

// look says what a file is.
func (s system) look(dir int, name string) (status, error) {
	fd, is, err := s.open(dir, name)
	if err != nil {
		return status{}, err
	}
	return is, unix.Close(fd)
}

// openDir opens a folder; flags may say O_NOFOLLOW.
func openDir(at int, name string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	})
}

// retry repeats what a signal interrupted, as a network file system lets happen.
func retry(f func() (int, error)) (int, error) {
	for {
		if fd, err := f(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// temporary is a name that nobody uses.
func temporary(name string) string { return fmt.Sprintf(".%s.tmp-%016x", name, rand.Uint64()) }
