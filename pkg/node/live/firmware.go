package live

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
)

// firmwarePath is the parameter by which the kernel looks for firmware in one
// more folder, before its own (drivers/base/firmware_loader/main.c).
const firmwarePath = "sys/module/firmware_class/parameters/path"

// MaxFirmwarePath is what the parameter holds, without the byte that ends it.
const MaxFirmwarePath = 255

// Firmware is the kernel's search path for firmware, as far as it can be set.
type Firmware struct {
	// Path is the folder that is looked at first now; empty where there is
	// none.
	Path string
	// host is the host's files, file the parameter's on this machine.
	host *kernel.Root
	file string
}

// ReadFirmware reads where the kernel looks. It is set through the first of
// the roots that lets it be: Docker mounts a container's /sys read-only.
func ReadFirmware(host, own *kernel.Root) Firmware {
	f := Firmware{Path: host.Text(firmwarePath), host: host}
	for _, root := range []*kernel.Root{own, host} {
		name, err := root.Path(firmwarePath)
		if err != nil {
			continue
		}
		can := writable(name) == nil
		if f.file == "" || can {
			f.file = name
		}
		if can {
			break
		}
	}
	return f
}

// writable tries a file: AppArmor, which keeps containers from /sys, has no say
// in access(2).
func writable(name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// Writable is nil where the path can be set.
func (f Firmware) Writable() error {
	if f.file == "" {
		return unix.ENOENT
	}
	return writable(f.file)
}

// Set has the kernel look in a folder of the host's mount namespace.
func (f Firmware) Set(dir string) error {
	if len(dir) > MaxFirmwarePath {
		return fmt.Errorf("a path of %d bytes, and the kernel takes %d", len(dir), MaxFirmwarePath)
	}
	value := []byte(dir)
	if dir == "" {
		value = []byte{0} // sysfs passes no write of nothing on
	}
	return os.WriteFile(f.file, value, 0)
}

// On is whether the host has a file of firmware ("nvidia/535.261.03/gsp_tu10x.bin")
// in one of the folders that every kernel looks in; false where the host's
// files are not to be seen.
func (f Firmware) On(name string) bool {
	for _, dir := range []string{"lib/firmware/updates", "lib/firmware"} {
		for _, suffix := range []string{"", ".xz", ".zst"} {
			if f.host.Exists(path.Join(dir, name) + suffix) {
				return true
			}
		}
	}
	return false
}

// Missing says which files of firmware are not in a folder of this machine.
func Missing(dir string, files []string) []string {
	var missing []string
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil || !info.Mode().IsRegular() {
			missing = append(missing, name)
		}
	}
	return missing
}
