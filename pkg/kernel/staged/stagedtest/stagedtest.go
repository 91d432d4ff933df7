// Package stagedtest makes Flatcar hosts with a staged update, for tests.
package stagedtest

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/kernel/staged"
)

// Boot identifies the boot of the host.
const Boot = "01234567-89ab-cdef-0123-456789abcdef"

// Mark is what update_engine makes, in the host's root, when an update is staged.
const Mark = "run/update_engine_autoupdate_completed"

// Kernel is one that a build can be made for by its image alone.
func Kernel() imagetest.Kernel {
	k := imagetest.Flatcar()
	k.Config = "# Linux/x86 6.12.103 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_MODULES=y\n# CONFIG_MODVERSIONS is not set\n"
	k.CRCs = imagetest.NoCRCs
	return k
}

// Files are those of a host that runs USR-A on a SATA disk, and has the next system in
// USR-B, with the kernel next; its first NVMe disk has two such partitions, too.
func Files(t testing.TB, next imagetest.Kernel) map[string]string {
	const disk, other = "sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/", "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/"
	return map[string]string{
		Mark:                             "",
		"run/systemd/system/x":           "",
		"proc/sys/kernel/random/boot_id": Boot + "\n",
		"proc/cmdline":                   "BOOT_IMAGE=/flatcar/vmlinuz-a mount.usr=/dev/mapper/usr verity.usr=PARTUUID=7130C94A-213A-4E5A-8E26-6CCE9662F132 rootflags=rw mount.usrflags=ro root=LABEL=ROOT verity.usrhash=00\n",
		"dev/disk/by-partuuid/7130c94a-213a-4e5a-8e26-6cce9662f132": "-> ../../sda3",
		"dev/disk/by-partuuid/e03dd35c-7c2d-4a47-b3fe-27f15780a57c": "-> ../../sda4",
		"dev/sda4":                                "USR-B\n",
		"sys/class/block/sda":                     "-> ../../" + disk[len("sys/"):len(disk)-1],
		"sys/class/block/sda3":                    "-> ../../" + disk[len("sys/"):] + "sda3",
		"sys/class/block/sda4":                    "-> ../../" + disk[len("sys/"):] + "sda4",
		"sys/class/block/nvme0n1p3":               "-> ../../" + other[len("sys/"):] + "nvme0n1p3",
		disk + "uevent":                           "MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n",
		disk + "queue/rotational":                 "0\n",
		disk + "sda1/uevent":                      "DEVNAME=sda1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=EFI-SYSTEM\n",
		disk + "sda3/uevent":                      "DEVNAME=sda3\nDEVTYPE=partition\nPARTN=3\nPARTNAME=USR-A\n",
		disk + "sda4/uevent":                      "DEVNAME=sda4\nDEVTYPE=partition\nPARTN=4\nPARTNAME=USR-B\n",
		other + "nvme0n1p3/uevent":                "DEVNAME=nvme0n1p3\nDEVTYPE=partition\nPARTN=3\nPARTNAME=USR-A\n",
		other + "nvme0n1p4/uevent":                "DEVNAME=nvme0n1p4\nDEVTYPE=partition\nPARTN=4\nPARTNAME=USR-B\n",
		"boot/flatcar/vmlinuz-a":                  "the image that runs\n",
		"boot/flatcar/vmlinuz-b":                  string(next.BzImage(t)),
		"sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
		"sys/bus/pci/devices/0000:65:00.0/vendor": "0x1002\n",
		"sys/bus/pci/devices/0000:65:00.0/device": "0x1eb8\n",
		"sys/bus/pci/devices/0000:65:00.0/class":  "0x030200\n",
	}
}

// Usr are the files of the next /usr.
func Usr(next imagetest.Kernel) map[string]string {
	return map[string]string{
		"lib/os-release": "ID=flatcar\nVERSION_ID=4593.2.5\n",
		"lib/modules/" + next.Release + "/modules.dep": "",
	}
}

// Host makes the root of a host of such files, changed as change says, where "" is that one
// is not there, and a mounter that has the files usr be in each partition.
func Host(t testing.TB, files, change, usr map[string]string) (dir string, mount staged.Mounter) {
	t.Helper()
	files = maps.Clone(files)
	for name, text := range change {
		files[name] = text
		if text == "" {
			delete(files, name)
		}
	}
	return testkit.WriteTree(t, files), Mounter(testkit.WriteTree(t, usr))
}

// Mounter has what is in a folder be in each partition.
func Mounter(usr string) staged.Mounter {
	return func(_, dir string) (func() error, error) {
		return func() error {
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
			return err
		}, os.CopyFS(dir, os.DirFS(usr))
	}
}
