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

// access is what is looked at to tell what this process may do.
type access struct {
	// host is the host, own the root that this process itself has: its
	// capabilities and its mounts are in own's proc/self.
	host, own *kernel.Root
	kernel    live.Kernel
}

// modules says what stands in the way of loading modules at all.
func (a access) modules(names []string) []Finding {
	try := a.kernel.Try()
	// A container's limits may answer before the kernel does, and by either
	// number, so /proc tells as well.
	without := errors.Is(try, unix.EPERM) && a.host.Exists("proc/sys/kernel/osrelease") && !a.host.Exists("proc/modules") ||
		errors.Is(try, unix.ENOSYS) && !(a.host.Exists("proc/modules") && a.own.Exists("proc/modules"))
	if without {
		return []Finding{NoModules.Of(a.kernel.Release())}
	}
	var found []Finding
	disabled := a.host.Text("proc/sys/kernel/modules_disabled") == "1"
	if disabled {
		found = append(found, Disabled.Of())
	}
	if list := a.blacklisted(names); len(list) > 0 {
		found = append(found, Blacklisted.Of(strings.Join(list, ", ")))
	}
	switch {
	case a.inUserNamespace():
		found = append(found, Rootless.Of())
	case !a.can(unix.CAP_SYS_MODULE):
		found = append(found, NoCapability.Of())
	case errors.Is(try, unix.ENOSYS), errors.Is(try, unix.EPERM) && !disabled:
		found = append(found, Seccomp.Of("finit_module"))
	}
	return found
}

// can says whether this process has a capability; true where that is not to be
// seen.
func (a access) can(capability int) bool {
	for line := range strings.Lines(a.own.Text("proc/self/status")) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err != nil || set>>capability&1 == 1
		}
	}
	return true
}

// filtered says whether this process has a seccomp filter (SECCOMP_MODE_FILTER in
// proc(5)'s status).
func (a access) filtered() bool {
	for line := range strings.Lines(a.own.Text("proc/self/status")) {
		if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return strings.TrimSpace(mode) == "2"
		}
	}
	return false
}

// enforcing says whether SELinux is (selinuxfs, enforce); false where that is not to be
// seen.
func (a access) enforcing() bool {
	const file = "sys/fs/selinux/enforce"
	return a.host.Text(file) == "1" || a.own.Text(file) == "1"
}

// inUserNamespace says whether this process is in another user namespace than
// the first, in which everybody is who they are.
func (a access) inUserNamespace() bool {
	line := a.own.Text("proc/self/uid_map")
	return line != "" && !slices.Equal(strings.Fields(line), []string{"0", "0", "4294967295"})
}

// blacklisted are those of the modules that the kernel's command line has the
// kernel refuse.
func (a access) blacklisted(names []string) []string {
	return blacklistedBy(a.host.Text("proc/cmdline"), names)
}

// blacklistedBy are those of the modules that module_blacklist= on a kernel's
// command line names (kernel/module/main.c, blacklisted).
func blacklistedBy(line string, names []string) []string {
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

// gpus says what stands in the way of a driver with the graphics devices on the
// host's bus: that there is none, or that all of them have another driver.
func (a access) gpus(gpus []kernel.PCIDevice) []Finding {
	if len(gpus) == 0 {
		return []Finding{NoDevice.Of()}
	}
	var found []Finding
	for _, gpu := range gpus {
		if driver := a.driver(gpu); driver != "" && driver != live.Main {
			found = append(found, HeldDevice.Of(describe(gpu), driver))
		}
	}
	if len(found) < len(gpus) {
		return nil // some can be had; those that are held may be meant to be
	}
	return found
}

// describe names a device for people.
func describe(d kernel.PCIDevice) string {
	return fmt.Sprintf("%04x:%04x at %s", d.Vendor, d.Device, d.Address)
}

// driver is what a device of the bus is bound to; "" where it is to nothing.
func (a access) driver(d kernel.PCIDevice) string {
	target := a.host.Link("sys/bus/pci/devices/" + d.Address + "/driver")
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

// devices says what stands in the way of making device files in a folder, and
// of opening them where they are only for this container.
func (a access) devices(dir string) []Finding {
	if err := unix.Access(dir, unix.W_OK); errors.Is(err, unix.EROFS) {
		return []Finding{ReadOnlyDev.Of(dir)}
	}
	err := a.kernel.Open(dir, nvidiaMajor, controlMinor)
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return []Finding{ReadOnlyDev.Of(dir)}
	case errors.As(err, &path) && path.Op == "open" && a.isHosts(dir):
		return nil
	case path != nil && path.Op == "open":
		return []Finding{DeviceCgroup.Of(dir)}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return []Finding{NoMknod.Of(dir)}
	}
	return nil // nothing of this container's: making the files will tell
}

// isHosts says whether a folder is the host's /dev, whose files are for other
// containers as well: a container's own is a tmpfs.
func (a access) isHosts(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Type == "devtmpfs"
}

// isMount says whether something is mounted at a folder.
func (a access) isMount(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Point == dir && dir != "/"
}

// onMount says whether a folder is on anything that is mounted, which in a
// container is not its own.
func (a access) onMount(dir string) bool {
	mount, ok := a.mount(dir)
	return ok && mount.Point != "/"
}

// mount is the mount of this process that a folder is on.
func (a access) mount(dir string) (live.Mount, bool) {
	text, err := a.own.ReadFile("proc/self/mountinfo")
	if err != nil {
		return live.Mount{}, false
	}
	mount, _, ok := live.ParseMounts(string(text)).At(dir)
	return mount, ok
}
