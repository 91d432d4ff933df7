package live

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Mount is a line of a mountinfo (Documentation/filesystems/proc.rst).
type Mount struct {
	// Device is the file system's "major:minor", Root the folder of it that is
	// mounted, Point where.
	Device, Root, Point string
	// Type is the file system's, "ext4".
	Type string
}

// Mounts is a mount namespace, in the order in which it was made.
type Mounts []Mount

// ParseMounts reads a mountinfo:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func ParseMounts(text string) Mounts {
	var list Mounts
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+2 {
			continue
		}
		list = append(list, Mount{
			Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]),
			Type: fields[dash+1],
		})
	}
	return list
}

// unescape undoes what mangle() of the kernel's fs/seq_file.c does to spaces,
// tabs, line ends and backslashes.
func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}

// At is the mount that a path is on, and what the path is in its file system.
// The path is absolute and without links.
func (m Mounts) At(name string) (mount Mount, inside string, ok bool) {
	for _, candidate := range m { // a later one covers the earlier ones
		if below(name, candidate.Point) && len(candidate.Point) >= len(mount.Point) {
			mount, ok = candidate, true
		}
	}
	return mount, path.Join(mount.Root, strings.TrimPrefix(name, mount.Point)), ok
}

// below says whether a path is a folder or in it.
func below(name, folder string) bool {
	return name == folder || folder == "/" || strings.HasPrefix(name, folder+"/")
}

// find is a path of the namespace that leads to what is inside a file system,
// the one of the smallest mount.
func (m Mounts) find(device, inside string) (string, bool) {
	var best Mount
	var name string
	for _, candidate := range m {
		if candidate.Device != device || !below(inside, candidate.Root) || len(candidate.Root) < len(best.Root) {
			continue
		}
		there := path.Join(candidate.Point, strings.TrimPrefix(inside, strings.TrimSuffix(candidate.Root, "/")))
		// Something else may be mounted on the way there.
		if covering, found, ok := m.At(there); ok && covering.Device == device && found == inside {
			best, name = candidate, there
		}
	}
	return name, name != ""
}

// initPIDNamespace is PROC_PID_INIT_INO of the kernel's
// include/linux/proc_ns.h.
const initPIDNamespace = "pid:[4026531836]"

// hostProc is the root in whose proc the host's own process 1 is, if any is.
func hostProc(host, own *kernel.Root) *kernel.Root {
	if host.Mounted() && host.Dir() != own.Dir() && host.Exists("proc/1/mountinfo") {
		return host
	}
	if own.Link("proc/self/ns/pid") == initPIDNamespace {
		return own
	}
	return nil
}

// OnHost says whether this process, whose root own is, is in no container: it has the
// host's processes, as all have where the kernel has no namespaces for them
// (CONFIG_PID_NS), and the root of the host's process 1.
func OnHost(own *kernel.Root) bool {
	if of := own.Link("proc/self/ns/pid"); of != initPIDNamespace && of != "" {
		return false
	}
	of, err := os.Stat(filepath.Join(own.Dir(), "proc/1/root"))
	if err != nil {
		return false
	}
	mine, err := os.Stat(own.Dir())
	return err == nil && os.SameFile(of, mine)
}

// HostPath is where a folder of this mount namespace, by its absolute path
// without links, lies in the host's. Sure is false where the host's mounts are
// not to be seen: then the path is what it is in its file system, which it is
// on the host, too, if that is what the host has as its root.
func HostPath(host, own *kernel.Root, dir string) (name string, sure bool) {
	mine, err := own.ReadFile("proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	mount, inside, ok := ParseMounts(string(mine)).At(dir)
	if !ok {
		return "", false
	}
	if root := hostProc(host, own); root != nil {
		if theirs, err := root.ReadFile("proc/1/mountinfo"); err == nil {
			return ParseMounts(string(theirs)).find(mount.Device, inside)
		}
	}
	if inside == "/" {
		return "", false // a file system of its own, mounted somewhere
	}
	return inside, false
}
