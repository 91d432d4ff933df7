package devices

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"

	"golang.org/x/sys/unix"
)

// Sweep removes what a [Make] that was killed left of the files in dev: devices and
// links that had not got their names yet. No other Make runs there meanwhile.
func Sweep(dev string, files []File) error {
	return maker{dev: dev, system: linux}.sweep(files)
}

func (m maker) sweep(files []File) error {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return noDev(m.dev, err)
	}
	defer unix.Close(root)
	var failed error
	for _, f := range files {
		if dir, err := m.parent(root, f, false); err == nil {
			failed = errors.Join(failed, removeTemporary(dir, path.Base(f.Path), func(name string) bool {
				is, err := m.look(dir, name)
				return err == nil && is.device() && is.number() == f.number()
			}), unix.Close(dir))
		}
		if char, err := openDir(root, "char", unix.O_NOFOLLOW); err == nil {
			failed = errors.Join(failed, removeTemporary(char, charName(f), func(name string) bool {
				target, err := readlink(char, name)
				return err == nil && target == charTarget(f)
			}), unix.Close(char))
		}
	}
	return failed
}

// removeTemporary removes those files of a folder that have a [temporary] name of a
// file and are ours.
func removeTemporary(dir int, name string, ours func(name string) bool) error {
	fd, err := openDir(dir, ".", 0)
	if err != nil {
		return err
	}
	list := os.NewFile(uintptr(fd), name)
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return err
	}
	is := regexp.MustCompile(`^\.` + regexp.QuoteMeta(name) + `\.tmp-[0-9a-f]{16}$`)
	for _, left := range names {
		if !is.MatchString(left) || !ours(left) {
			continue
		}
		if err := unix.Unlinkat(dir, left, 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("remove %s: %w", left, err)
		}
	}
	return nil
}
