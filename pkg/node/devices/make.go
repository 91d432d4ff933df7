package devices

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// Make makes the files in dev, an existing folder that serves as a /dev, and
// returns those that it made, also beside an error. A file with the right
// number that is there already gets the right mode and owner; a device with
// another number is replaced in one step. Files that are kept are left alone.
// Where dev has a folder char, it gets the links char/MAJOR:MINOR by which
// runc finds a device of its number. Errors are of the load stage.
func Make(ctx context.Context, dev string, files []File) ([]File, error) {
	return maker{dev: dev, system: linux}.make(ctx, files)
}

// Missing are those of the files that [Make] would make: what is there in their
// place, if anything, is not the device. Its error is of the load stage.
func Missing(dev string, files []File) ([]File, error) {
	return maker{dev: dev, system: linux}.missing(files)
}

// Remove takes the files away again: those of them that are still the device
// that [Make] made, the links to them, and the folders that are empty then. It
// returns those that it removed, also beside an error, which is of the first
// that it could not and of the load stage.
func Remove(ctx context.Context, dev string, files []File) ([]File, error) {
	return maker{dev: dev, system: linux}.remove(ctx, files)
}

// maker makes files in one folder.
type maker struct {
	dev string
	system
}

func (m maker) make(ctx context.Context, files []File) (made []File, err error) {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return nil, noDev(m.dev, err)
	}
	defer unix.Close(root)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return made, err
		}
		if f.Kept {
			zerolog.Ctx(ctx).Debug().Str("file", f.Path).Msg("not made: the driver's parameters say that device files are not to be touched")
			continue
		}
		isNew, err := m.file(root, f)
		if err != nil {
			return made, m.explain(f, err)
		}
		if isNew {
			made = append(made, f)
		}
		if err := m.link(root, f); err != nil {
			return made, m.explain(f, err)
		}
	}
	return made, nil
}

func (m maker) missing(files []File) (missing []File, err error) {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return nil, noDev(m.dev, err)
	}
	defer unix.Close(root)
	for _, f := range files {
		if !f.Kept && !m.there(root, f) {
			missing = append(missing, f)
		}
	}
	return missing, nil
}

// there says whether the device is in its place.
func (m maker) there(root int, f File) bool {
	dir, err := m.parent(root, f, false)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	is, err := m.look(dir, path.Base(f.Path))
	return err == nil && is.device() && is.number() == f.number()
}

// file makes one device file, or corrects it. It says whether it made it.
func (m maker) file(root int, f File) (bool, error) {
	dir, err := m.parent(root, f, true)
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	name := path.Base(f.Path)
	switch is, err := m.look(dir, name); {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return false, err
	case !is.device():
		return false, errNotDevice
	case is.number() == f.number():
		return false, m.correct(dir, name, f)
	}
	return true, m.place(dir, name, f)
}

// place makes the file under a name of its own and renames it, so that nobody
// ever finds it with another mode, owner or number.
func (m maker) place(dir int, name string, f File) error {
	temp := temporary(name)
	if err := m.mknod(dir, temp, unix.S_IFCHR|uint32(f.Mode), int(f.number())); err != nil {
		return err
	}
	err := m.correct(dir, temp, f)
	if err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
	}
	return err
}

// correct gives a file its owner and mode. Both are set on the file that was
// looked at, whatever its name leads to meanwhile.
func (m maker) correct(dir int, name string, f File) error {
	fd, is, err := m.open(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !is.device() || is.number() != f.number() {
		return errNotDevice
	}
	if int(is.Uid) != f.UID || int(is.Gid) != f.GID {
		if err := m.chown(fd, f.UID, f.GID); err != nil {
			return err
		}
	}
	if is.Mode&0o7777 == uint32(f.Mode) {
		return nil
	}
	// A file opened by its path alone (O_PATH) is changed through /proc,
	// which is how glibc does it where the kernel has no fchmodat2.
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(f.Mode))
}

// parent opens the folder that the file is in, making it where asked to.
func (m maker) parent(root int, f File, create bool) (int, error) {
	dir := path.Dir(f.Path)
	if dir == "." {
		return unix.Dup(root)
	}
	if create {
		switch err := unix.Mkdirat(root, dir, 0o755); {
		case err == nil:
			if err := m.ownFolder(root, dir); err != nil {
				return -1, err
			}
		case !errors.Is(err, unix.EEXIST):
			return -1, err
		}
	}
	fd, err := openDir(root, dir, unix.O_NOFOLLOW)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return -1, errNotFolder
	}
	return fd, err
}

// ownFolder makes a new folder readable by all, whatever the umask, and root's.
func (m maker) ownFolder(root int, name string) error {
	fd, err := openDir(root, name, unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Fchmod(fd, 0o755), m.chown(fd, 0, 0))
}

// link makes char/MAJOR:MINOR lead to the file. What is there and is no link
// is somebody else's.
func (m maker) link(root int, f File) error {
	dir, err := openDir(root, "char", unix.O_NOFOLLOW)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	name, target := charName(f), charTarget(f)
	now, err := readlink(dir, name)
	if err == nil && now == target || errors.Is(err, unix.EINVAL) {
		return nil
	}
	temp := temporary(name)
	if err := unix.Symlinkat(target, dir, temp); err != nil {
		return err
	}
	if err := unix.Renameat(dir, temp, dir, name); err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return err
	}
	return nil
}

func charName(f File) string   { return fmt.Sprintf("%d:%d", f.Major, f.Minor) }
func charTarget(f File) string { return "../" + f.Path }

func (m maker) remove(ctx context.Context, files []File) (removed []File, err error) {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return nil, noDev(m.dev, err)
	}
	defer unix.Close(root)
	var failed error
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		switch is, err := m.removeFile(root, f); {
		case err != nil && failed == nil:
			failed = stage.Wrap(stage.Load, err, fmt.Sprintf("the device file %s cannot be removed", filepath.Join(m.dev, filepath.FromSlash(f.Path))),
				"mount that /dev writable, and unload again")
		case is:
			removed = append(removed, f)
		}
	}
	for _, f := range files {
		if dir := path.Dir(f.Path); dir != "." {
			// One that is not empty has somebody else's files.
			_ = unix.Unlinkat(root, dir, unix.AT_REMOVEDIR)
		}
	}
	return removed, failed
}

// removeFile removes a file if what is there is it, and says whether it did.
func (m maker) removeFile(root int, f File) (bool, error) {
	dir, err := m.parent(root, f, false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, errNotFolder) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	name := path.Base(f.Path)
	is, err := m.look(dir, name)
	gone := errors.Is(err, unix.ENOENT) // also in a run that was killed before it removed the link
	if !gone {
		if err != nil || !is.device() || is.number() != f.number() {
			return false, err
		}
		if err := unix.Unlinkat(dir, name, 0); err != nil {
			return false, err
		}
	}
	if char, err := openDir(root, "char", unix.O_NOFOLLOW); err == nil {
		defer unix.Close(char)
		if now, err := readlink(char, charName(f)); err == nil && now == charTarget(f) {
			return !gone, unix.Unlinkat(char, charName(f), 0)
		}
	}
	return !gone, nil
}

// What is found in the place of a file or of its folder.
var (
	errNotDevice = errors.New("what is there is not a character device")
	errNotFolder = errors.New("what is there is not a folder")
)

// explain makes of an error with a file a sentence.
func (m maker) explain(f File, err error) error {
	where := filepath.Join(m.dev, filepath.FromSlash(f.Path))
	what := fmt.Sprintf("the device file %s cannot be made", where)
	switch {
	case errors.Is(err, errNotDevice):
		return stage.New(stage.Load, fmt.Sprintf("%s is not a device file, and nothing but one is replaced", where), "move it away, and load again")
	case errors.Is(err, errNotFolder):
		return stage.New(stage.Load, fmt.Sprintf("%s is not a folder, so no device file is made in it", filepath.Dir(where)), "move it away, and load again")
	case errors.Is(err, unix.EROFS):
		return stage.Wrap(stage.Load, err, what+": its file system is read-only", "mount the host's /dev without :ro (-v /dev:/dev), or name another folder with --dev")
	case errors.Is(err, unix.EPERM):
		return stage.Wrap(stage.Load, err, what+": this container may not make device files",
			"run it with --privileged, or with --cap-add MKNOD, --cap-add CHOWN and --cap-add FOWNER and outside a user namespace")
	case errors.Is(err, unix.EBUSY):
		return stage.Wrap(stage.Load, err, what+": a device is mounted in its place", "unmount it: the container runtime mounted another device there")
	}
	return stage.Wrap(stage.Load, err, what, "look at the cause, and load again")
}

func noDev(dev string, err error) error {
	return stage.Wrap(stage.Load, err, fmt.Sprintf("there is no folder %s to make device files in", dev), "mount the host's /dev, or name a folder with --dev")
}
