package live

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Kernel is the running kernel as far as system calls reach it. Its errors are
// those of the system calls: errors.Is finds their numbers.
type Kernel interface {
	// Release is `uname -r`.
	Release() string
	// Insert is finit_module(2) of an uncompressed module, with parameters as
	// insmod takes them: "NVreg_X=1 NVreg_Y=2".
	Insert(module *os.File, parameters string) error
	// Try is finit_module(2) of no file. It changes nothing; its error, EBADF
	// where modules may be loaded, tells who would refuse one.
	Try() error
	// Remove is delete_module(2) that does not wait for who holds the module.
	Remove(name string) error
	// Log is what the kernel's log holds, one line a message, the oldest first.
	Log() (string, error)
	// Open makes a character device of that number in a folder, opens it and
	// removes it. A *fs.PathError says which of the two was refused; that
	// there is no such driver is no refusal.
	Open(dir string, major, minor uint32) error
}

// Running is the kernel that runs this program.
type Running struct{}

// Release is `uname -r`.
func (Running) Release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	return string(release)
}

// Insert is finit_module(2).
func (Running) Insert(module *os.File, parameters string) error {
	return unix.FinitModule(int(module.Fd()), parameters, 0)
}

// Try is finit_module(2) of no file.
func (Running) Try() error { return unix.FinitModule(-1, "", 0) }

// Remove is delete_module(2).
func (Running) Remove(name string) error { return unix.DeleteModule(name, unix.O_NONBLOCK) }

// Log reads the log by syslog(2), which needs no device file as /dev/kmsg is.
func (Running) Log() (string, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return "", err
	}
	// The messages' times are not in the buffer's size and are in the text.
	buffer := make([]byte, 2*size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// Open tries a device out.
func (Running) Open(dir string, major, minor uint32) error {
	// Every container's builder is its process 1, so that tells them not apart. A kernel
	// before 5.6 has whoever asks for secret numbers wait at boot until it has some.
	name := filepath.Join(dir, ".builder-"+strconv.FormatUint(rand.Uint64(), 36))
	if err := unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return &os.PathError{Op: "mknod", Path: dir, Err: err}
	}
	defer os.Remove(name)
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EPERM): // EACCES is a mount without devices
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return nil
}
