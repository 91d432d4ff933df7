package live

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
)

func TestFirmware(t *testing.T) {
	host := root(t, map[string]string{
		firmwarePath: "/lib/firmware/mine\n",
		"lib/firmware/nvidia/1.2/gsp_tu10x.bin.xz": "", "lib/firmware/updates/nvidia/1.2/gsp_ga10x.bin": "",
	})
	own := root(t, map[string]string{firmwarePath: "/lib/firmware/mine\n"})
	f := ReadFirmware(host, own)
	if f.Path != "/lib/firmware/mine" || f.Writable() != nil {
		t.Errorf("%+v, writable: %v", f, f.Writable())
	}
	for name, want := range map[string]bool{"nvidia/1.2/gsp_tu10x.bin": true, "nvidia/1.2/gsp_ga10x.bin": true, "nvidia/1.3/gsp_tu10x.bin": false} {
		if got := f.On(name); got != want {
			t.Errorf("%s on the host: %t, want %t", name, got, want)
		}
	}
	parameter := filepath.Join(own.Dir(), firmwarePath)
	for path, want := range map[string]string{"/srv/firmware": "/srv/firmware", "": "\x00"} { // sysfs takes no empty write
		if err := os.Truncate(parameter, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Set(path); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(parameter); string(got) != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
	}
	longest := "/" + strings.Repeat("x", MaxFirmwarePath-1)
	if err := f.Set(longest); err != nil {
		t.Error(err)
	}
	if err := f.Set(longest + "x"); err == nil {
		t.Error("a path was taken that the kernel would not take")
	}
	if f := ReadFirmware(root(t, nil), root(t, nil)); f.Writable() == nil {
		t.Error("a parameter that is not there can be set")
	}
}

// TestFirmwareIsSetWhereItCanBe has folders be in the parameter's place: nobody
// may write them, as nobody may a parameter in a /sys that is read-only.
func TestFirmwareIsSetWhereItCanBe(t *testing.T) {
	t.Parallel()
	readOnly := func() *kernel.Root { return root(t, map[string]string{firmwarePath + "/README": ""}) }
	host := root(t, map[string]string{firmwarePath: "/theirs\n"})
	f := ReadFirmware(host, readOnly())
	if err := f.Writable(); err != nil {
		t.Error(err)
	}
	if err := f.Set("/srv"); err != nil {
		t.Error(err)
	}
	if got := host.Text(firmwarePath); got != "/srv" {
		t.Errorf("the host's is %q", got)
	}
	for name, host := range map[string]*kernel.Root{"read-only as well": readOnly(), "not to be seen": root(t, nil)} {
		if err := ReadFirmware(host, readOnly()).Writable(); !errors.Is(err, unix.EISDIR) {
			t.Errorf("where the host's is %s: %v, want %v", name, err, unix.EISDIR)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	dir := root(t, map[string]string{"nvidia/1.2/gsp_tu10x.bin": "", "nvidia/1.2/gsp_ga10x.bin/README": ""}).Dir()
	got := Missing(dir, []string{"nvidia/1.2/gsp_tu10x.bin", "nvidia/1.2/gsp_ga10x.bin", "nvidia/1.3/gsp_tu10x.bin"})
	if diff := cmp.Diff([]string{"nvidia/1.2/gsp_ga10x.bin", "nvidia/1.3/gsp_tu10x.bin"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUsersAndHeld(t *testing.T) {
	host := root(t, map[string]string{
		"proc/version": "Linux\n", "proc/1/mountinfo": "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n",
		"proc/42/comm": "python3\n", "proc/42/fd/README": "", "proc/7/fd/README": "", "proc/7/comm": "sshd\n", "proc/self/x": "",
	})
	for fd, target := range map[string]string{"3": "/dev/nvidia0", "4": "/dev/nvidiactl", "5": "/dev/nvidia0", "6": "/dev/null", "8": "/dev/nvidia-uvm (deleted)"} {
		if err := os.Symlink(target, filepath.Join(host.Dir(), "proc/42/fd", fd)); err != nil {
			t.Fatal(err)
		}
	}
	users, complete := Users(host, root(t, nil))
	want := []Process{{PID: 42, Name: "python3", Devices: []string{"/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"}}}
	if diff := cmp.Diff(want, users); diff != "" || !complete {
		t.Errorf("complete %t (-want +got):\n%s", complete, diff)
	}
	driver := []Module{
		{Name: "nvidia", References: 4, Holders: []string{"gdrdrv", "nvidia_uvm"}},
		{Name: "nvidia_uvm", References: 1},
	}
	for _, tt := range []struct {
		name     string
		modules  []Module
		users    []Process
		complete bool
		want     string
	}{
		{"nobody", []Module{{Name: "nvidia", References: 1, Holders: []string{"nvidia_uvm"}}, {Name: "nvidia_uvm"}}, nil, true, ""},
		{"a module and a process", driver, users, true, "the module gdrdrv, python3 (process 42, /dev/nvidia-uvm /dev/nvidia0 /dev/nvidiactl)"},
		{"nobody who is to be seen", []Module{{Name: "nvidia", References: 2}}, nil, true, "2 uses from inside the kernel"},
		{"a container of its own", []Module{{Name: "nvidia", References: 2}}, nil, false,
			"2 open files or uses in all, of processes that are not all to be seen from this container (--pid host and --cap-add SYS_PTRACE show them)"},
		{"a kernel that does not count", []Module{{Name: "nvidia", References: -1}}, nil, true, ""},
	} {
		if got := Held(tt.modules, tt.users, tt.complete); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
