package confine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The system's own folders: what of them is there is seen, but only what is the
// image's, not what is mounted beneath them.
var system = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"}

// devices are all that there are.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// own are folders that are empty, the command's, and gone with it.
var own = []string{"/tmp", "/var/tmp", "/var/log", "/run"}

// modprobeFile is where the kernel says what it loads modules with, which is a
// path of the host's. Installers insist on having that program; in a view it is
// the image's.
const (
	modprobeFile = "/proc/sys/kernel/modprobe"
	modprobe     = "/sbin/modprobe"
)

// view is a root folder that is being made.
type view struct {
	spec
	// root is where it is, and becomes /.
	root string
	// make does what makes files, on a thread whose user the view's files can
	// have; others see sources which that user may not.
	make func(func() error) error
	// mounted are the mount points of before.
	mounted []mountPoint
}

// build makes the view and goes into it.
func (v *view) build() error {
	var err error
	if v.root, err = v.place(); err != nil {
		return err
	}
	if v.mounted, err = mountPoints(); err != nil {
		return err
	}
	for _, step := range []func() error{v.makeRoot, v.bindSystem, v.makeDevices, v.makeOwn, v.mountProc, v.bindNamed, v.putFiles, v.enter} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// place is a folder to mount the root on that hides nothing which is wanted.
func (v *view) place() (string, error) {
	named := slices.Concat(v.Reads, v.Writes)
	for _, dir := range []string{"/mnt", "/media", "/srv", "/sys", "/home", "/boot", "/opt"} {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() && !slices.ContainsFunc(named, func(path string) bool { return within(dir, path) }) {
			return dir, nil
		}
	}
	return "", errors.New("there is no folder to mount a root on")
}

func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (v *view) makeRoot() error {
	// Nothing of this is the container's to see.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return v.make(func() error {
		return mount("tmpfs", v.root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m")
	})
}

func (v *view) bindSystem() error {
	for _, dir := range system {
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			_, err = v.walk(dir)
		} else if err == nil {
			if err = v.bind(dir, false); err == nil {
				err = v.cover(dir)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cover hides what is mounted beneath a folder of the system's: a key, for
// example.
func (v *view) cover(dir string) error {
	for _, m := range v.mounted {
		named := slices.ContainsFunc(slices.Concat(v.Reads, v.Writes), func(path string) bool { return within(m.path, path) })
		if m.path == dir || !within(dir, m.path) || named {
			continue
		}
		if err := v.hide(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // not one that another mount hides
		}
	}
	return nil
}

func (v *view) hide(path string) error {
	info, err := os.Lstat(v.root + path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return mount("tmpfs", v.root+path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "mode=0755,size=4k")
	}
	return mount("/dev/null", v.root+path, "", unix.MS_BIND, "")
}

func (v *view) makeDevices() error {
	for _, path := range devices {
		if err := v.bind(path, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return v.make(func() error {
		for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
			if err := os.Symlink(target, v.root+"/dev/"+name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (v *view) makeOwn() error {
	for _, dir := range own {
		if err := v.empty(dir); err != nil {
			return err
		}
	}
	return nil
}

// empty has a folder be empty and the command's.
func (v *view) empty(dir string) error {
	path, err := v.walk(dir)
	if err != nil {
		return err
	}
	return v.make(func() error {
		if err := mount("tmpfs", v.root+path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return err
		}
		if v.User || !v.SetIDs {
			return nil
		}
		return os.Chown(v.root+path, v.UID, v.GID)
	})
}

func (v *view) mountProc() error {
	if err := v.make(func() error { return os.Mkdir(v.root+"/proc", 0o555) }); err != nil {
		return err
	}
	if v.OuterProc {
		if err := v.bindProc(); err != nil {
			return err
		}
	} else if err := mount("proc", v.root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if _, err := os.Stat(v.root + modprobeFile); err != nil {
		return nil // a kernel without modules
	}
	if _, err := os.Stat(modprobe); err != nil {
		return nil
	}
	file := v.root + "/.modprobe"
	err := v.make(func() error { return os.WriteFile(file, []byte(modprobe+"\n"), 0o644) })
	if err == nil {
		err = mount(file, v.root+modprobeFile, "", unix.MS_BIND, "")
	}
	return err
}

// bindProc shows the container's /proc, in which the command finds itself, and
// none of the processes that the container has now. (Those that come later do not
// tell more of themselves than their names: they are another user's.)
func (v *view) bindProc() error {
	if err := mount("/proc", v.root+"/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, pid := range v.Hide {
		path := "/proc/" + strconv.Itoa(pid)
		if err := v.hide(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return v.protect("/proc", true)
}

// bindNamed shows what the command names, folders before what is in them.
func (v *view) bindNamed() error {
	writable := map[string]bool{}
	for _, path := range v.Reads {
		writable[path] = false
	}
	for _, path := range v.Writes {
		writable[path] = true
	}
	paths := slices.SortedFunc(maps.Keys(writable), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
	for _, path := range paths {
		if slices.Contains(system, path) || path == "/" {
			continue
		}
		if err := v.bind(path, writable[path]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// putFiles makes files, each in a folder that is the command's.
func (v *view) putFiles() error {
	made := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(v.Files)) {
		dir := filepath.Dir(path)
		if !made[dir] {
			if err := v.empty(dir); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			made[dir] = true
		}
		if err := v.make(func() error { return os.WriteFile(v.root+path, v.Files[path], 0o644) }); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the view the root, and has the old one gone.
func (v *view) enter() error {
	if err := mount("", v.root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return err
	}
	if err := unix.Chdir(v.root); err != nil {
		return err
	}
	// The old root is put on top of the new one: pivot_root(2).
	switch err := unix.PivotRoot(".", "."); {
	case err == nil:
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the old root: %w", err)
		}
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL):
		// A filter of the container's, as Docker's before 23, or a root that is
		// the initial file system: the new one is put on top of the old one. It is
		// chroot that keeps in there, which whoever has no capability cannot undo.
		if err := mount(v.root, "/", "", unix.MS_MOVE, ""); err != nil {
			return err
		}
		if err := unix.Chroot("."); err != nil {
			return fmt.Errorf("chroot: %w", err)
		}
	default:
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Chdir("/")
}

// bind shows a file or folder, with what is mounted beneath it.
func (v *view) bind(path string, writable bool) error {
	path, err := v.walk(path)
	if err != nil {
		return err
	}
	if err := mount(path, v.root+path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return v.protect(path, !writable)
}

// maxLinks is Linux's own bound.
const maxLinks = 40

// walk makes the way to a file or folder as it is here, with the links in it, and
// returns where that leads to.
func (v *view) walk(path string) (string, error) {
	at, links := "/", 0
	for rest := strings.Split(filepath.Clean(path), "/"); len(rest) > 0; rest = rest[1:] {
		if rest[0] == "" || rest[0] == "." {
			continue
		}
		next := filepath.Join(at, rest[0]) // .. of a link's target, too
		info, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) && v.isMade(path) {
			info, err = nil, nil
		}
		if err != nil {
			return "", err
		}
		if info != nil && info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(next)
			if err != nil {
				return "", err
			}
			if links++; links > maxLinks {
				return "", &fs.PathError{Op: "open", Path: path, Err: unix.ELOOP}
			}
			if err := v.missing(next, func(name string) error { return os.Symlink(target, name) }); err != nil {
				return "", err
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append([]string{""}, append(strings.Split(target, "/"), rest[1:]...)...)
			continue
		}
		at = next
		err = v.missing(at, func(name string) error {
			if info == nil || info.IsDir() {
				return os.Mkdir(name, 0o755)
			}
			return os.WriteFile(name, nil, 0o644)
		})
		if err != nil {
			return "", err
		}
	}
	return at, nil
}

// isMade says of a folder that it is there although the container has none.
func (v *view) isMade(path string) bool {
	if slices.Contains(own, path) {
		return true
	}
	for file := range v.Files {
		if filepath.Dir(file) == path {
			return true
		}
	}
	return false
}

// missing makes what is not in the view yet.
func (v *view) missing(path string, create func(name string) error) error {
	if _, err := os.Lstat(v.root + path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return v.make(func() error { return create(v.root + path) })
}

// protect has a mount and all beneath it give no privileges, and be read-only.
func (v *view) protect(path string, readOnly bool) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	flags := uintptr(unix.MS_NOSUID)
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
		flags |= unix.MS_RDONLY
	}
	err := unix.MountSetattr(-1, v.root+path, unix.AT_RECURSIVE, &attr)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return wrap("mount_setattr", err)
	}
	// Before Linux 5.12, or where a filter does not know it: each by itself.
	now, err := mountPoints()
	if err != nil {
		return err
	}
	for _, m := range now {
		if !within(v.root+path, m.path) {
			continue
		}
		if err := mount("", m.path, "", unix.MS_REMOUNT|unix.MS_BIND|flags|m.flags, ""); err != nil {
			return err
		}
	}
	return nil
}

// mountPoint is one of a process's, with the flags that it has.
type mountPoint struct {
	path  string
	flags uintptr
}

// mountPoints are this process's: proc_pid_mountinfo(5).
func mountPoints() ([]mountPoint, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []mountPoint
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		m := mountPoint{path: unescape.Replace(fields[4])}
		for option := range strings.SplitSeq(fields[5], ",") {
			m.flags |= mountFlags[option]
		}
		points = append(points, m)
	}
	return points, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
}

func mount(source, target, kind string, flags uintptr, data string) error {
	what := source
	if what == "" {
		what = target
	}
	return wrap("mount "+what, unix.Mount(source, target, kind, flags, data))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
