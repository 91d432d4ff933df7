package staged_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/staged"
	"github.com/k8sp/cuda/pkg/kernel/staged/stagedtest"
)

func TestMain(m *testing.M) {
	testkit.InMemory()
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *kernel.Root {
	t.Helper()
	root, err := kernel.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func everyDevice(kernel.PCIDevice) bool { return true }

// TestFind finds the slot that does not run on disks as Flatcar has them.
func TestFind(t *testing.T) {
	t.Parallel()
	next := stagedtest.Kernel()
	const byB = "dev/disk/by-partuuid/e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
	for name, tt := range map[string]struct {
		change map[string]string
		slot   string
		says   string // of an error
		none   bool
	}{
		"A runs":                      {slot: "b"},
		"B runs, without dm-verity":   {change: map[string]string{"proc/cmdline": "mount.usr=PARTUUID=e03dd35c-7c2d-4a47-b3fe-27f15780a57c"}, slot: "a"},
		"by its device":               {change: map[string]string{"proc/cmdline": "mount.usr=/dev/disk/by-partuuid/e03dd35c-7c2d-4a47-b3fe-27f15780a57c"}, slot: "a"},
		"it runs on the NVMe disk":    {change: map[string]string{byB: "-> ../../nvme0n1p3", "proc/cmdline": "verity.usr=PARTUUID=E03DD35C-7C2D-4A47-B3FE-27F15780A57C"}, slot: "b"},
		"a host that began as CoreOS": {change: map[string]string{"boot/coreos/vmlinuz-a": "x", "boot/coreos/vmlinuz-b": "x"}, slot: "b"},
		"no update":                   {change: map[string]string{stagedtest.Mark: ""}, none: true},
		"of extensions alone":         {change: map[string]string{stagedtest.Mark: "", "run/reboot-required": "x"}, none: true},
		"the host's /run is not to be seen": {change: map[string]string{stagedtest.Mark: "", "run/systemd/system/x": "", "run/extensions/x": "x"},
			says: "the host's /run, as systemd has it, is not there. Mount the host's /run"},
		"no boot":                 {change: map[string]string{"proc/sys/kernel/random/boot_id": ""}, says: "which boot of the host"},
		"no word of /usr":         {change: map[string]string{"proc/cmdline": "quiet mount.usr=/dev/mapper/usr"}, says: "does not name the partition of /usr, as on a host that Flatcar's"},
		"no /dev":                 {change: map[string]string{"dev/disk/by-partuuid/7130c94a-213a-4e5a-8e26-6cce9662f132": ""}, says: "the host's /dev/disk"},
		"no such device":          {change: map[string]string{"sys/class/block/sda3": ""}, says: "sda3 of /usr is not among the kernel's block devices"},
		"not Flatcar's partition": {change: map[string]string{"dev/disk/by-partuuid/7130c94a-213a-4e5a-8e26-6cce9662f132": "-> ../../sda"}, says: "/usr is on sda, which is neither"},
		"one of the two is gone": {change: map[string]string{"sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda4/uevent": "PARTNAME=DATA\n"},
			says: "the disk with sda3 has no partition USR-B"},
		"no image":             {change: map[string]string{"boot/flatcar/vmlinuz-b": ""}, says: "no kernel image /boot/flatcar/vmlinuz-b"},
		"no image of CoreOS's": {change: map[string]string{"boot/coreos/vmlinuz-a": "x"}, says: "no kernel image /boot/coreos/vmlinuz-b"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := stagedtest.Host(t, stagedtest.Files(t, next), tt.change, nil)
			got, err := staged.Find(open(t, dir))
			switch {
			case tt.none:
				if !errors.Is(err, staged.ErrNone) {
					t.Errorf("%+v, %v", got, err)
				}
			case tt.says != "":
				if err == nil || errors.Is(err, staged.ErrNone) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%+v, %v, want %q", got, err, tt.says)
				}
			case err != nil || got.Slot != tt.slot || !strings.HasPrefix(got.ID, stagedtest.Boot+"."):
				t.Errorf("%+v, %v, want slot %s", got, err, tt.slot)
			}
		})
	}
}

// TestEachStagingIsAnother tells one from the next, and finds the same one twice.
func TestEachStagingIsAnother(t *testing.T) {
	t.Parallel()
	dir, _ := stagedtest.Host(t, stagedtest.Files(t, stagedtest.Kernel()), nil, nil)
	first, err := staged.Find(open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := staged.Find(open(t, dir)); err != nil || again != first {
		t.Errorf("%+v, %v, want %+v", again, err, first)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(dir, stagedtest.Mark), later, later); err != nil {
		t.Fatal(err)
	}
	if another, err := staged.Find(open(t, dir)); err != nil || another.ID == first.ID {
		t.Errorf("%+v, %v", another, err)
	}
}

// TestCapture records the host that the next boot brings: detect takes the record for a
// host that runs the next kernel, with the devices of this one.
func TestCapture(t *testing.T) {
	t.Parallel()
	next := stagedtest.Kernel()
	dir, mount := stagedtest.Host(t, stagedtest.Files(t, next), nil, stagedtest.Usr(next))
	host := open(t, dir)
	u, err := staged.Find(host)
	if err != nil {
		t.Fatal(err)
	}
	var device, place string
	watched := func(d, to string) (func() error, error) {
		device, place = d, to
		return mount(d, to)
	}
	var archive bytes.Buffer
	s, err := u.Capture(t.Context(), host, watched, everyDevice, &archive)
	if err != nil || s != (staged.System{Release: next.Release, Version: "4593.2.5"}) {
		t.Fatalf("%+v, %v", s, err)
	}
	if device != filepath.Join(dir, "dev/sda4") {
		t.Errorf("%s was mounted", device)
	}
	if _, err := os.Lstat(filepath.Dir(place)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", filepath.Dir(place), err)
	}
	file := filepath.Join(t.TempDir(), "next.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := kernel.OpenRootArchive(t.Context(), file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	target, err := kernel.Detect(t.Context(), root, kernel.DetectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if target.Release.Full != next.Release || target.Distribution.VersionID != "4593.2.5" || target.BuildID.Hex != hex.EncodeToString([]byte(next.BuildID)) || len(target.PCI) != 2 {
		t.Errorf("%s of %+v, build ID %q, %d devices", target.Release, target.Distribution, target.BuildID.Hex, len(target.PCI))
	}
}

// TestCaptureOfNone: what cannot be recorded is said in a sentence, and nothing is left.
func TestCaptureOfNone(t *testing.T) {
	t.Parallel()
	next := stagedtest.Kernel()
	fails := func(err error) func(staged.Mounter, string) staged.Mounter {
		return func(staged.Mounter, string) staged.Mounter {
			return func(string, string) (func() error, error) {
				return nil, &os.PathError{Op: "mount", Path: "/dev/sda4", Err: err}
			}
		}
	}
	for name, tt := range map[string]struct {
		change, usr map[string]string
		mount       func(ours staged.Mounter, host string) staged.Mounter
		says        string
		same        bool
	}{
		"the same system":          {mount: fails(unix.EEXIST), same: true},
		"a container that may not": {mount: fails(unix.EPERM), says: "the partition with the next /usr, /dev/sda4, cannot be mounted: mount /dev/sda4: operation not permitted. Let this container mount block devices"},
		"no device":                {mount: fails(unix.ENOENT), says: "Mount the host's /run, /dev and /boot"},
		"a damaged one":            {mount: fails(unix.EINVAL), says: "dmesg"},
		"modules of another kernel": {usr: map[string]string{"lib/modules/6.12.99-flatcar/modules.dep": ""},
			says: "the next kernel is " + next.Release + " by its image, and the next /usr has modules of: 6.12.99-flatcar"},
		"no image": {change: map[string]string{"boot/flatcar/vmlinuz-b": "no kernel"}, says: "the next kernel's image cannot be read"},
		"another is staged meanwhile": {mount: func(ours staged.Mounter, host string) staged.Mounter {
			return func(device, dir string) (func() error, error) {
				later := time.Now().Add(time.Minute)
				return first(ours(device, dir))(os.Chtimes(filepath.Join(host, stagedtest.Mark), later, later))
			}
		}, says: "was replaced while it was looked at"},
		"it is taken back meanwhile": {mount: func(ours staged.Mounter, host string) staged.Mounter {
			return func(device, dir string) (func() error, error) {
				return first(ours(device, dir))(os.Remove(filepath.Join(host, stagedtest.Mark)))
			}
		}, says: "was replaced while it was looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			usr := tt.usr
			if usr == nil {
				usr = stagedtest.Usr(next)
			}
			dir, mount := stagedtest.Host(t, stagedtest.Files(t, next), tt.change, usr)
			host := open(t, dir)
			u, err := staged.Find(host)
			if err != nil {
				t.Fatal(err)
			}
			if tt.mount != nil {
				mount = tt.mount(mount, dir)
			}
			_, err = u.Capture(t.Context(), host, mount, everyDevice, io.Discard)
			if tt.same != errors.Is(err, staged.ErrSame) || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// first is what a mount came to, unless what is done beside it fails.
func first(unmount func() error, err error) func(error) (func() error, error) {
	return func(beside error) (func() error, error) { return unmount, errors.Join(err, beside) }
}
