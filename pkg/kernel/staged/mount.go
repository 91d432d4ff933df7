package staged

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// Mounter mounts a partition read-only on a folder. Its errors are those of mount(2).
type Mounter func(device, dir string) (unmount func() error, err error)

// kinds are the file systems that /usr may be, with what keeps each from changing a bit.
// update_engine mounts the same.
var kinds = []struct{ name, options string }{{"btrfs", "rescue=nologreplay"}, {"ext4", "noload"}, {"ext2", ""}}

// Mount is the kernel's own.
func Mount(device, dir string) (unmount func() error, err error) {
	for _, kind := range kinds {
		err = unix.Mount(device, dir, kind.name, unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, kind.options)
		// Another file system, or one that this kernel does not know.
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "mount", Path: device, Err: err}
	}
	return func() error {
		err := unix.Unmount(dir, 0)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(dir, unix.MNT_DETACH)
		}
		return err
	}, nil
}

// ErrSame is that the staged system is the very one that runs: before Linux 6.7 btrfs does
// not mount two copies of one file system at once.
var ErrSame = errors.New("the staged system is the one that runs")

// explain is what an error of a mount means to people.
func explain(err error, device string) error {
	hint := "look at what the kernel says of it (dmesg on the host)"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return ErrSame
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = "let this container mount block devices, read-only: --privileged, or --cap-add SYS_ADMIN --device-cgroup-rule 'b *:* r' with --security-opt apparmor=unconfined where the host has AppArmor; in Kubernetes it has to be privileged"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTBLK):
		hint = mountHint
	}
	return stage.Wrap(stage.Detect, err, fmt.Sprintf("the partition with the next /usr, /%s, cannot be mounted", device), hint)
}
