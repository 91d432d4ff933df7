package devices

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices/devicestest"
	"github.com/k8sp/cuda/pkg/stage"
)

// lines are files as ls -l shows them.
func lines(files []File) []string {
	var all []string
	for _, n := range files {
		text := fmt.Sprintf("%s %d:%d %04o %d:%d", n.Path, n.Major, n.Minor, n.Mode, n.UID, n.GID)
		if n.Kept {
			text += " kept"
		}
		if n.GPU {
			text += " gpu"
		}
		all = append(all, text)
	}
	return all
}

const oneGPU = "proc/driver/nvidia/gpus/0000:00:06.0/information"

func TestPlan(t *testing.T) {
	h100 := []string{
		"nvidia-caps/nvidia-cap1 241:1 0400 0:0",
		"nvidia-caps/nvidia-cap2 241:2 0444 0:0",
		"nvidia-uvm 238:0 0666 0:0",
		"nvidia-uvm-tools 238:1 0666 0:0",
		"nvidia0 195:0 0666 0:0 gpu",
		"nvidiactl 195:255 0666 0:0",
	}
	older := "Character devices:\n195 nvidia-frontend\n\nBlock devices:\n 7 nvidia-uvm\n"
	bare := map[string]string{
		"proc/driver/nvidia/capabilities/fabric-imex-mgmt": "",
		"proc/driver/nvidia/capabilities/mig/config":       "",
		"proc/driver/nvidia/capabilities/mig/monitor":      "",
	}
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    []string
	}{
		{"a machine with an H100", nil, h100},
		{"an older driver, alone", merge(bare, map[string]string{"proc/devices": older}), []string{
			"nvidia0 195:0 0666 0:0 gpu", "nvidiactl 195:255 0666 0:0",
		}},
		{"nvidia-modeset loaded", merge(bare, map[string]string{"proc/devices": older, "sys/module/nvidia_modeset/initstate": "live\n"}), []string{
			"nvidia-modeset 195:254 0666 0:0", "nvidia0 195:0 0666 0:0 gpu", "nvidiactl 195:255 0666 0:0",
		}},
		{"nvidia-modeset registered by itself", merge(bare, map[string]string{"proc/devices": "Character devices:\n195 nvidia-modeset\n195 nvidia\n"}), []string{
			"nvidia-modeset 195:254 0666 0:0", "nvidia0 195:0 0666 0:0 gpu", "nvidiactl 195:255 0666 0:0",
		}},
		{"parameters ask for an owner and a mode, which are not for nvidia-uvm", merge(bare, map[string]string{
			"proc/devices":              older + "\n",
			"proc/driver/nvidia/params": "ModifyDeviceFiles: 1\nDeviceFileUID: 7\nDeviceFileGID: 44\nDeviceFileMode: 432\nRmMsg: \"a: 1\"\n",
		}), []string{"nvidia0 195:0 0660 7:44 gpu", "nvidiactl 195:255 0660 7:44"}},
		{"parameters forbid it", merge(bare, map[string]string{
			"proc/devices":              "Character devices:\n195 nvidia\n510 nvidia-uvm\n",
			"proc/driver/nvidia/params": "ModifyDeviceFiles: 0\n",
		}), []string{
			"nvidia-uvm 510:0 0666 0:0", "nvidia-uvm-tools 510:1 0666 0:0", "nvidia0 195:0 0666 0:0 kept gpu", "nvidiactl 195:255 0666 0:0 kept",
		}},
		{"capabilities that are not to be touched", map[string]string{
			"proc/driver/nvidia/capabilities/mig/config": "DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 0\n",
		}, replace(h100, 0, "nvidia-caps/nvidia-cap1 241:1 0400 0:0 kept")},
		{"a GPU's own MIG instance", map[string]string{
			"proc/driver/nvidia/capabilities/gpu0/mig/gi1/access": "DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n",
		}, append([]string{h100[0], "nvidia-caps/nvidia-cap12 241:12 0444 0:0"}, h100[1:]...)},
		{"capabilities in folders, but for those that are too deep", map[string]string{
			"proc/driver/nvidia/capabilities/1/2/3/4/5/6/7/8/access":   "DeviceFileMinor: 8\nDeviceFileMode: 292\n",
			"proc/driver/nvidia/capabilities/1/2/3/4/5/6/7/8/9/access": "DeviceFileMinor: 9\nDeviceFileMode: 292\n",
		}, slices.Insert(slices.Clone(h100), 2, "nvidia-caps/nvidia-cap8 241:8 0444 0:0")},
		{"two GPUs, numbered as the driver says", merge(bare, map[string]string{
			"proc/devices": older,
			oneGPU:         "Device Minor: \t 1\n",
			"proc/driver/nvidia/gpus/0000:65:00.0/information": "Device Minor: \t 0\nGPU Excluded:\t No\n",
		}), []string{"nvidia0 195:0 0666 0:0 gpu", "nvidia1 195:1 0666 0:0 gpu", "nvidiactl 195:255 0666 0:0"}},
		{"a GPU that the driver leaves out", merge(bare, map[string]string{
			"proc/devices": older, oneGPU: "Device Minor: \t 0\nGPU Excluded:\t Yes\n",
		}), []string{"nvidiactl 195:255 0666 0:0"}},
		{"a driver that says nothing yet", merge(bare, map[string]string{
			"proc/devices": older, oneGPU: "",
			"sys/bus/pci/devices/0000:65:00.0/vendor": "0x10de\n", "sys/bus/pci/devices/0000:65:00.0/class": "0x030000\n", "sys/bus/pci/devices/0000:65:00.0/device": "0x2204\n",
			"sys/bus/pci/devices/0000:65:00.1/vendor": "0x10de\n", "sys/bus/pci/devices/0000:65:00.1/class": "0x040300\n", "sys/bus/pci/devices/0000:65:00.1/device": "0x1aef\n",
		}), []string{"nvidia0 195:0 0666 0:0 gpu", "nvidia1 195:1 0666 0:0 gpu", "nvidiactl 195:255 0666 0:0"}},
		{"an IMEX channel is asked for", map[string]string{"proc/driver/nvidia/params": "CreateImexChannel0: 1\nDeviceFileMode: 438\n"},
			append([]string{"nvidia-caps-imex-channels/channel0 242:0 0666 0:0"}, h100...)},
		{"no switches", map[string]string{"proc/driver/nvidia-nvlink/capabilities/fabric-mgmt": "DeviceFileMinor: 0\nDeviceFileMode: 256\nDeviceFileModify: 1\n"}, h100},
		{"switches", map[string]string{
			"proc/driver/nvidia-nvswitch/permissions":                      "DeviceFileMode: 432\n",
			"proc/driver/nvidia-nvswitch/devices/0000:07:00.0/information": "BIOS Version: N/A\n",
			"proc/driver/nvidia-nvswitch/devices/0000:08:00.0/information": "BIOS Version: N/A\n",
			"proc/driver/nvidia-nvlink/capabilities/fabric-mgmt":           "DeviceFileMinor: 0\nDeviceFileMode: 256\nDeviceFileModify: 1\n",
		}, append(append(append([]string{"nvidia-caps/nvidia-cap0 241:0 0400 0:0"}, h100[:2]...),
			"nvidia-nvswitch0 239:0 0660 0:0", "nvidia-nvswitch1 239:1 0660 0:0", "nvidia-nvswitchctl 239:255 0660 0:0"), h100[2:]...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Plan(devicestest.Root(t, devicestest.H100(), c.changes))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPlanErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    string
	}{
		{"no /proc", map[string]string{"proc/devices": ""}, "/proc is mounted"},
		{"no driver", map[string]string{"proc/devices": "Character devices:\n  1 mem\n\nBlock devices:\n195 nvidia\n"}, "the module nvidia is not loaded"},
		{"a name that only begins like it", map[string]string{"proc/devices": "Character devices:\n195 nvidia2\n"}, "the module nvidia is not loaded"},
		{"a GPU without a number", map[string]string{oneGPU: "Model: unknown\n"}, "which number the GPU has"},
		{"a GPU whose number no file can have", map[string]string{oneGPU: "Device Minor: 4294967295\n"}, "which number the GPU has"},
		{"a capability without a number", map[string]string{"proc/driver/nvidia/capabilities/mig/config": "DeviceFileMode: 256\n"}, "which device file it is for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Plan(devicestest.Root(t, devicestest.H100(), c.changes))
			wantLoadError(t, err, c.want)
		})
	}
}

func TestGPUs(t *testing.T) {
	got, err := GPUs(devicestest.Root(t, devicestest.H100(), nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []GPU{{Minor: 0, Address: "0000:00:06.0", UUID: "GPU-aa25b250-0000-4000-8000-000000000001", Model: "NVIDIA H100 80GB HBM3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// wantLoadError fails unless err is of the load stage and has the text.
func wantLoadError(t *testing.T, err error, text string) {
	t.Helper()
	var e *stage.Error
	if !errors.As(err, &e) || e.Stage != stage.Load || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, and not one of load with %q", err, text)
	} else if e.Hint == "" {
		t.Errorf("%v does not say what to do", err)
	}
}

func merge(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for name, text := range m {
			all[name] = text
		}
	}
	return all
}

func replace(list []string, i int, with string) []string {
	other := append([]string{}, list...)
	other[i] = with
	return other
}

// TestOurs holds paths and numbers against what a plan has.
func TestOurs(t *testing.T) {
	root := testkit.WriteTree(t, map[string]string{
		"proc/devices": "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n234 nvidia-uvm\n235 hidraw\n\nBlock devices:\n  8 sd\n",
	})
	host, err := kernel.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path  string
		major uint32
		want  bool
	}{
		{"nvidia0", 195, true}, {"nvidia12", 195, true}, {"nvidiactl", 195, true}, {"nvidia-modeset", 195, true},
		{"nvidia-uvm", 234, true}, {"nvidia-uvm-tools", 234, true},
		{"nvidia-nvswitchctl", 240, true}, {"nvidia-nvswitch3", 240, true}, // whose driver is gone
		{"nvidia-caps/nvidia-cap2", 241, true}, {"nvidia-caps-imex-channels/channel0", 242, true},
		{"nvidia0", 1, false}, {"nvidia0", 235, false},
		{"sda", 8, false}, {"nvidia", 195, false}, {"nvidia0x", 195, false}, {"xnvidia0", 195, false}, {"nvidia0\n", 195, false},
		{"../nvidia0", 195, false}, {"nvidia-caps/../mem", 195, false}, {"nvidia-caps/nvidia-cap1/../../sda", 195, false}, {"/dev/nvidia0", 195, false},
	} {
		if got := Ours(host, File{Path: tt.path, Major: tt.major}); got != tt.want {
			t.Errorf("%q of %d: %t", tt.path, tt.major, got)
		}
	}
	if none, err := kernel.OpenRoot(t.TempDir()); err != nil || Ours(none, File{Path: "nvidia0", Major: 195}) {
		t.Errorf("whose numbers are not to be seen: ours, %v", err)
	}
}
