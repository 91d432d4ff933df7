package devices

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// Check says whether programs can use the files in dev: each is there, with
// the right number, and may be opened. A GPU's is not opened, since that would
// bring up the GPU each time somebody asks; the kernel is asked whether it
// would let it be, which tells a device cgroup and permissions, but not a GPU
// that fails: [Open] does. The error is of the load stage, and of the first
// file that cannot be used.
func Check(dev string, files []File) error {
	return maker{dev: dev, system: linux}.check(files, true)
}

// Present says whether the files are in dev, each with the right number. It is
// for a host's /dev, which others use: whether this process may open what is in
// it, by a device cgroup of its own, says nothing of them. Its error is as
// [Check]'s.
func Present(dev string, files []File) error {
	return maker{dev: dev, system: linux}.check(files, false)
}

// Open opens a file in dev and closes it again, which has the driver bring up
// the GPU it belongs to. The error is of the load stage.
func Open(dev string, f File) error {
	return explainOpen(dev, f, openDevice(dev, f))
}

func (m maker) check(files []File, open bool) error {
	root, err := openDir(unix.AT_FDCWD, m.dev, 0)
	if err != nil {
		return noDev(m.dev, err)
	}
	defer unix.Close(root)
	for _, f := range files {
		where := filepath.Join(m.dev, filepath.FromSlash(f.Path))
		if err := m.right(root, f, where); err != nil {
			return err
		}
		if !open {
			continue
		}
		use := openDevice
		if f.GPU {
			use = mayOpen
		}
		if err := explainOpen(m.dev, f, use(m.dev, f)); err != nil {
			return err
		}
	}
	return nil
}

// right says whether what is there is the file.
func (m maker) right(root int, f File, where string) error {
	again := "run builder load again"
	if f.Kept {
		again = "have what makes device files on this host make it: the driver was loaded with NVreg_ModifyDeviceFiles=0"
	}
	dir, err := m.parent(root, f, false)
	if err == nil {
		defer unix.Close(dir)
		var is status
		if is, err = m.look(dir, filepath.Base(f.Path)); err == nil {
			switch {
			case !is.device():
				err = errNotDevice
			case is.number() != f.number():
				return stage.New(stage.Load, fmt.Sprintf("%s is device %d:%d, and the driver's is %d:%d", where,
					unix.Major(is.number()), unix.Minor(is.number()), f.Major, f.Minor), again)
			}
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return stage.New(stage.Load, fmt.Sprintf("the device file %s is not there", where), again)
	case err != nil:
		return stage.Wrap(stage.Load, err, fmt.Sprintf("%s is not the driver's device file", where), again)
	}
	return nil
}

// mayOpen asks the kernel whether a device may be opened, without opening it:
// access(2) has the device cgroup's say as well, but not the mount's.
func mayOpen(dev string, f File) error {
	where := filepath.Join(dev, filepath.FromSlash(f.Path))
	var st unix.Statfs_t
	if err := unix.Statfs(where, &st); err == nil && st.Flags&unix.ST_NODEV != 0 {
		return unix.EACCES
	}
	return unix.Faccessat(unix.AT_FDCWD, where, access(f), 0)
}

func openDevice(dev string, f File) error {
	flags := unix.O_RDWR
	if access(f)&unix.W_OK == 0 {
		flags = unix.O_RDONLY
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(filepath.Join(dev, filepath.FromSlash(f.Path)), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// access is what its owner may do with a file: capabilities are read-only.
func access(f File) uint32 {
	if f.Mode&0o222 == 0 {
		return unix.R_OK
	}
	return unix.R_OK | unix.W_OK
}

// explainOpen makes a sentence of why a device cannot be opened.
func explainOpen(dev string, f File, err error) error {
	cannot := fmt.Sprintf("the device file %s is there but cannot be opened", filepath.Join(dev, filepath.FromSlash(f.Path)))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return stage.Wrap(stage.Load, err, cannot+": this container's device cgroup does not let it",
			fmt.Sprintf("run it with --privileged, or with --device-cgroup-rule 'c %d:* rwm' and one such for each major of nvidia's in /proc/devices", f.Major))
	case errors.Is(err, unix.EACCES):
		return stage.Wrap(stage.Load, err, cannot+": its permissions, or a mount with nodev, do not let it",
			"mount that /dev without nodev, and look at the driver's NVreg_DeviceFile parameters")
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return stage.Wrap(stage.Load, err, cannot+": no driver answers for it", "look at the kernel's log for why the driver does not drive the device")
	case errors.Is(err, unix.EIO):
		return stage.Wrap(stage.Load, err, cannot+": the driver could not bring up the GPU", "look at the kernel's log (NVRM), often for firmware that was not found")
	}
	return stage.Wrap(stage.Load, err, cannot, "look at the cause, and at the kernel's log")
}
