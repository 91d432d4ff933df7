package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// HostMount is where users mount their host's folders in the container:
// docker run -v /boot:/host/boot:ro, or all of them, -v /:/host:ro.
const HostMount = "/host"

// fileLimit bounds what is read whole from a root, but for kernel images. The
// largest such file is kallsyms, 5 to 20 MB with its addresses.
const fileLimit = 64 << 20

// Root is a host as a directory: a running system's, or a recorded one's.
// Names inside it are relative and slash-separated ("proc/version"), and their
// symlinks are resolved inside it, as they would be on the host itself.
type Root struct {
	dir string
	// running is where proc and sys are looked for that dir has nothing of: the
	// root of this container, whose kernel is the host's. Empty for a root that
	// has all there is.
	running string
	// kernelOnly is a container's own root: proc and sys are the host
	// kernel's, everything else is the image's and says nothing of the host.
	kernelOnly bool
	// captured says that it is a capture, of a host that is elsewhere.
	captured bool
	// otherKernel is a host seen as one that runs another kernel than it
	// does: what proc and sys say of the kernel is not that one's.
	// otherSystem says that it runs one at all: its os-release is then of
	// the system of that kernel.
	otherKernel, otherSystem bool
}

// OpenRoot opens the host whose root directory is dir, all of which is taken
// to be the host's. An archive is opened by [OpenRootArchive].
func OpenRoot(dir string) (*Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("host root: %w", err)
	}
	// /proc/1/root of a container in the host's PID namespace is the host's root, and
	// says of itself that it leads to /, which here is another folder.
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		if is, err := os.Stat(real); err == nil && os.SameFile(is, info) {
			dir = real
		}
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("host root %s is not a directory", dir)
	}
	return &Root{dir: dir}, nil
}

// FindRoot opens the host root that the caller named; else hostMount, when it
// holds something of a host: all of it, or some of its folders, to which this
// container's own proc and sys then add what every container sees of its kernel;
// else this container's own root, of which only proc and sys are then believed.
func FindRoot(explicit, hostMount string) (*Root, error) {
	if explicit != "" {
		return OpenRoot(explicit)
	}
	if r, err := OpenRoot(hostMount); err == nil {
		switch {
		case r.holdsProc():
			return r, nil
		case slices.ContainsFunc(partsOfHosts, r.Exists):
			r.running = "/"
			return r, nil
		}
	}
	r, err := OpenRoot("/")
	if err != nil {
		return nil, err
	}
	r.kernelOnly = true
	return r, nil
}

// partsOfHosts are what tells a mount of some of a host's folders from a folder that
// is there for nothing.
var partsOfHosts = []string{"etc/os-release", "usr/lib/os-release", "lib/modules", "usr/lib/modules", "boot", "usr/boot", keysFile, lockdownFile}

// holdsProc says whether proc is more than an empty mount point.
func (r *Root) holdsProc() bool {
	return r.Exists("proc/version") || r.Exists("proc/sys/kernel/osrelease")
}

// Dir is the directory that the root is.
func (r *Root) Dir() string { return r.dir }

// Mounted says whether the root's files are the host's. They are not where a
// container was given no mount: its own root shows the host's kernel, in proc
// and sys, and for the rest the image.
func (r *Root) Mounted() bool { return !r.kernelOnly }

// Path resolves name inside the root and returns a path on this machine. The
// file need not exist. A name that this root cannot answer for (see [Root.Mounted])
// is fs.ErrNotExist.
func (r *Root) Path(name string) (string, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if !r.answersFor(name) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	p, err := securejoin.SecureJoin(r.dir, name)
	if err != nil || r.running == "" || !ofTheKernel(name) {
		return p, err
	}
	if _, err := os.Lstat(p); err == nil {
		return p, nil
	}
	return securejoin.SecureJoin(r.running, name)
}

// ofTheKernel says whether a name of proc or sys is of the kernel, which all
// containers have in common, and not of processes.
func ofTheKernel(name string) bool {
	if strings.HasPrefix(name, "sys/") {
		return true
	}
	rest, found := strings.CutPrefix(name, "proc/")
	first, _, _ := strings.Cut(rest, "/")
	return found && strings.Trim(first, "0123456789") != "" && !slices.Contains([]string{"self", "thread-self", "mounts", "net"}, first)
}

// answersFor says whether what the root has under name is of the host, and of
// the kernel that it is looked at for.
func (r *Root) answersFor(name string) bool {
	kernels := strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "sys/")
	switch {
	case r.dir == "":
		return false
	case r.kernelOnly:
		return kernels && !r.otherKernel
	case r.otherKernel:
		// A host keeps its devices, whatever kernel it boots.
		return !kernels || strings.HasPrefix(name, pciDevices+"/") || name == pciDevices
	}
	return true
}

// forOtherKernel is the root as that of a kernel which it does not run; running
// says that it runs another.
func (r *Root) forOtherKernel(running bool) *Root {
	other := *r
	other.otherKernel, other.otherSystem = true, running
	return &other
}

// List is the names in a folder of the root, sorted; none if it is not there.
func (r *Root) List(name string) []string {
	p, err := r.Path(name)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Text is a small file of proc or sys without the space around it; "" if it
// cannot be read.
func (r *Root) Text(name string) string {
	data, err := r.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Changed is when a file was last written, in nanoseconds since 1970.
func (r *Root) Changed(name string) (int64, error) {
	p, err := r.Path(name)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return 0, err
	}
	return info.ModTime().UnixNano(), nil
}

// Exists says whether name is there.
func (r *Root) Exists(name string) bool {
	p, err := r.Path(name)
	if err != nil {
		return false
	}
	_, err = os.Stat(p)
	return err == nil
}

// Link is where a symbolic link of the root points, as it is written there; ""
// where there is none. Links of proc (ns/pid) need not lead to any file.
func (r *Root) Link(name string) string {
	dir, err := r.Path(path.Dir(name))
	if err != nil {
		return ""
	}
	target, err := os.Readlink(filepath.Join(dir, path.Base(name)))
	if err != nil {
		return ""
	}
	return target
}

// errNotAFile is what there is of a file that a container hides by a device.
var errNotAFile = errors.New("not a regular file")

// Open opens a regular file inside the root.
func (r *Root) Open(name string) (*os.File, error) {
	p, err := r.Path(name)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: a recorded root is somebody's folder, and opening a FIFO
	// in it would wait for ever.
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: p, Err: errNotAFile}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads name whole, up to 64 MiB. Files of proc and sys, whose size
// is 0 until they are read, are read like any other.
func (r *Root) ReadFile(name string) ([]byte, error) { return r.readFile(name, fileLimit) }

func (r *Root) readFile(name string, limit int64) ([]byte, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, limit)
	}
	data, err := readAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// readAll reads r to its end and refuses more than limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return data, nil
}
