package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/live"
)

// Access is what is looked at to tell what this process may do.
type Access struct {
	// Host is the host, Own the root that this process itself has: its
	// capabilities and its mounts are in Own's proc/self.
	Host, Own *kernel.Root
	Kernel    live.Kernel
}

// Modules says what stands in the way of loading modules at all.
func (a Access) Modules(names []string) []Finding {
	try := a.Kernel.Try()
	// A container's limits may answer before the kernel does, and by either
	// number, so /proc tells as well.
	without := errors.Is(try, unix.EPERM) && a.Host.Exists("proc/sys/kernel/osrelease") && !a.Host.Exists("proc/modules") ||
		errors.Is(try, unix.ENOSYS) && !(a.Host.Exists("proc/modules") && a.Own.Exists("proc/modules"))
	if without {
		return []Finding{NoModules.Of(a.Kernel.Release())}
	}
	var found []Finding
	disabled := a.Host.Text("proc/sys/kernel/modules_disabled") == "1"
	if disabled {
		found = append(found, Disabled.Of())
	}
	if list := a.Blacklisted(names); len(list) > 0 {
		found = append(found, Blacklisted.Of(strings.Join(list, ", ")))
	}
	switch {
	case a.inUserNamespace():
		found = append(found, Rootless.Of())
	case !a.can(unix.CAP_SYS_MODULE):
		found = append(found, NoCapability.Of())
	case errors.Is(try, unix.ENOSYS), errors.Is(try, unix.EPERM) && !disabled:
		found = append(found, Seccomp.Of())
	}
	return found
}

// can says whether this process has a capability; true where that is not to be
// seen.
func (a Access) can(capability int) bool {
	for line := range strings.Lines(a.Own.Text("proc/self/status")) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err != nil || set>>capability&1 == 1
		}
	}
	return true
}

// inUserNamespace says whether this process is in another user namespace than
// the first, in which everybody is who they are.
func (a Access) inUserNamespace() bool {
	line := a.Own.Text("proc/self/uid_map")
	return line != "" && !slices.Equal(strings.Fields(line), []string{"0", "0", "4294967295"})
}

// Blacklisted are those of the modules that the kernel's command line has the
// kernel refuse.
func (a Access) Blacklisted(names []string) []string {
	return blacklisted(a.Host.Text("proc/cmdline"), names)
}

// blacklisted are those of the modules that module_blacklist= on a kernel's
// command line names (kernel/module/main.c, blacklisted).
func blacklisted(line string, names []string) []string {
	var found []string
	for word := range strings.FieldsSeq(line) {
		if word == "--" {
			break
		}
		list, ok := strings.CutPrefix(strings.ReplaceAll(word, "-", "_"), "module_blacklist=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if slices.Contains(names, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// GPUs says what stands in the way of a driver with the graphics devices on the
// host's bus: that there is none, or that all of them have another driver.
func (a Access) GPUs(gpus []kernel.PCIDevice) []Finding {
	if len(gpus) == 0 {
		return []Finding{NoDevice.Of()}
	}
	var found []Finding
	for _, gpu := range gpus {
		if driver := a.driver(gpu); driver != "" && driver != live.Main {
			found = append(found, HeldDevice.Of(Describe(gpu), driver))
		}
	}
	if len(found) < len(gpus) {
		return nil // some can be had; those that are held may be meant to be
	}
	return found
}

// Describe names a device for people.
func Describe(d kernel.PCIDevice) string {
	return fmt.Sprintf("%04x:%04x at %s", d.Vendor, d.Device, d.Address)
}

// driver is what a device of the bus is bound to; "" where it is to nothing.
func (a Access) driver(d kernel.PCIDevice) string {
	target := a.Host.Link("sys/bus/pci/devices/" + d.Address + "/driver")
	if target == "" {
		return ""
	}
	return filepath.Base(target)
}

// NVIDIA's character devices: the major number of all but uvm's and those for
// capabilities, and the minor of nvidiactl (nv-linux.h of the driver).
const (
	nvidiaMajor  = 195
	controlMinor = 255
)

// Devices says what stands in the way of making device files in a folder, and
// of opening them where they are only for this container.
func (a Access) Devices(dir string) []Finding {
	if err := unix.Access(dir, unix.W_OK); errors.Is(err, unix.EROFS) {
		return []Finding{ReadOnlyDev.Of(dir)}
	}
	err := a.Kernel.Open(dir, nvidiaMajor, controlMinor)
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return []Finding{ReadOnlyDev.Of(dir)}
	case errors.As(err, &path) && path.Op == "open" && a.IsHosts(dir):
		return nil
	case path != nil && path.Op == "open":
		return []Finding{DeviceCgroup.Of(dir)}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return []Finding{NoMknod.Of(dir)}
	}
	return nil // nothing of this container's: making the files will tell
}

// IsHosts says whether a folder is the host's /dev, whose files are for other
// containers as well: a container's own is a tmpfs.
func (a Access) IsHosts(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Type == "devtmpfs"
}

// IsMount says whether something is mounted at a folder.
func (a Access) IsMount(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Point == dir && dir != "/"
}

// OnMount says whether a folder is on anything that is mounted, which in a
// container is not its own.
func (a Access) OnMount(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Point != "/"
}

// mount is the mount of this process that a folder is on.
func (a Access) mount(dir string) (live.Mount, bool) {
	text, err := a.Own.ReadFile("proc/self/mountinfo")
	if err != nil {
		return live.Mount{}, false
	}
	mount, _, ok := live.ParseMounts(string(text)).At(dir)
	return mount, ok
}
