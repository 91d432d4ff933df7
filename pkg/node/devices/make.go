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

// Make makes the nodes in dev, an existing folder that serves as a /dev, and
// returns those that it made, also beside an error. A node with the right
// number that is there already gets the right mode and owner; a device with
// another number is replaced in one step. Nodes that are kept are left alone.
// Where dev has a folder char, it gets the links char/MAJOR:MINOR by which
// runc finds a device of its number. Errors are of the load stage.
func Make(ctx context.Context, dev string, nodes []Node) ([]Node, error) {
	return maker{dev: dev, system: linux}.make(ctx, nodes)
}

// Remove takes the nodes away again: those of them that are still the device
// that [Make] made, the links to them, and the folders that are empty then. It
// returns those that it removed, also beside an error, which is of the first
// that it could not and of the load stage.
func Remove(ctx context.Context, dev string, nodes []Node) ([]Node, error) {
	return maker{dev: dev, system: linux}.remove(ctx, nodes)
}

// maker makes nodes in one folder.
type maker struct {
	dev string
	system
}

func (m maker) make(ctx context.Context, nodes []Node) (made []Node, err error) {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return nil, noDev(m.dev, err)
	}
	defer unix.Close(root)
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return made, err
		}
		if n.Kept {
			zerolog.Ctx(ctx).Debug().Str("node", n.Path).Msg("not made: the driver's parameters say that device files are not to be touched")
			continue
		}
		isNew, err := m.node(root, n)
		if err != nil {
			return made, m.explain(n, err)
		}
		if isNew {
			made = append(made, n)
		}
		if err := m.link(root, n); err != nil {
			return made, m.explain(n, err)
		}
	}
	return made, nil
}

// node makes one node, or corrects it. It says whether it made it.
func (m maker) node(root int, n Node) (bool, error) {
	dir, err := m.parent(root, n, true)
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	name := path.Base(n.Path)
	switch is, err := m.look(dir, name); {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return false, err
	case !is.device():
		return false, errNotDevice
	case is.number() == n.number():
		return false, m.correct(dir, name, n)
	}
	return true, m.place(dir, name, n)
}

// place makes the node under a name of its own and renames it, so that nobody
// ever finds it with another mode, owner or number.
func (m maker) place(dir int, name string, n Node) error {
	temp := temporary(name)
	if err := m.mknod(dir, temp, unix.S_IFCHR|uint32(n.Mode), int(n.number())); err != nil {
		return err
	}
	err := m.correct(dir, temp, n)
	if err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
	}
	return err
}

// correct gives a node its owner and mode. Both are set on the file that was
// looked at, whatever its name leads to meanwhile.
func (m maker) correct(dir int, name string, n Node) error {
	fd, is, err := m.open(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !is.device() || is.number() != n.number() {
		return errNotDevice
	}
	if int(is.Uid) != n.UID || int(is.Gid) != n.GID {
		if err := m.chown(fd, n.UID, n.GID); err != nil {
			return err
		}
	}
	if is.Mode&0o7777 == uint32(n.Mode) {
		return nil
	}
	// A file opened by its path alone (O_PATH) is changed through /proc,
	// which is how glibc does it where the kernel has no fchmodat2.
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(n.Mode))
}

// parent opens the folder that the node is in, making it where asked to.
func (m maker) parent(root int, n Node, create bool) (int, error) {
	dir := path.Dir(n.Path)
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

// link makes char/MAJOR:MINOR lead to the node. What is there and is no link
// is somebody else's.
func (m maker) link(root int, n Node) error {
	dir, err := openDir(root, "char", unix.O_NOFOLLOW)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	name, target := charName(n), charTarget(n)
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

func charName(n Node) string   { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }
func charTarget(n Node) string { return "../" + n.Path }

func (m maker) remove(ctx context.Context, nodes []Node) (removed []Node, err error) {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return nil, noDev(m.dev, err)
	}
	defer unix.Close(root)
	var failed error
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		switch is, err := m.removeNode(root, n); {
		case err != nil && failed == nil:
			failed = stage.Wrap(stage.Load, err, fmt.Sprintf("the device file %s cannot be removed", filepath.Join(m.dev, filepath.FromSlash(n.Path))),
				"mount that /dev writable, and unload again")
		case is:
			removed = append(removed, n)
		}
	}
	for _, n := range nodes {
		if dir := path.Dir(n.Path); dir != "." {
			// One that is not empty has somebody else's nodes.
			_ = unix.Unlinkat(root, dir, unix.AT_REMOVEDIR)
		}
	}
	return removed, failed
}

// removeNode removes a node if what is there is it, and says whether it did.
func (m maker) removeNode(root int, n Node) (bool, error) {
	dir, err := m.parent(root, n, false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, errNotFolder) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	name := path.Base(n.Path)
	is, err := m.look(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil || !is.device() || is.number() != n.number() {
		return false, err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return false, err
	}
	if char, err := openDir(root, "char", unix.O_NOFOLLOW); err == nil {
		defer unix.Close(char)
		if now, err := readlink(char, charName(n)); err == nil && now == charTarget(n) {
			return true, unix.Unlinkat(char, charName(n), 0)
		}
	}
	return true, nil
}

// What is found in the place of a node or of its folder.
var (
	errNotDevice = errors.New("what is there is not a character device")
	errNotFolder = errors.New("what is there is not a folder")
)

// explain makes of an error with a node a sentence.
func (m maker) explain(n Node, err error) error {
	where := filepath.Join(m.dev, filepath.FromSlash(n.Path))
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
