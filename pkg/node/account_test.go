package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/nvrm"
	"github.com/k8sp/cuda/pkg/stage"
)

// withGPUs is a machine with GPUs at 0000:65:00.0, 0000:66:00.0 and so on, whose
// driver says of each, from the first on, that it has it, and whose files can be opened.
func withGPUs(t *testing.T, bus, driver int) (*machine, *fakeFiles) {
	t.Helper()
	m, files := withFiles(t)
	files.opened = map[string]error{}
	for n := range bus {
		for name, value := range map[string]string{"vendor": "0x10de", "device": hopper, "class": "0x030200"} {
			write(t, filepath.Join(m.host, "sys/bus/pci/devices", slot(n), name), value+"\n")
		}
	}
	for n := range driver {
		m.driverHas(t, n, "??.??.??.??.??", "No")
	}
	return m, files
}

// slot is the address of a machine's nth GPU.
func slot(n int) string { return fmt.Sprintf("0000:%02x:00.0", 0x65+n) }

// driverHas has the driver say of a GPU what it says once it has probed it.
func (m *machine) driverHas(t *testing.T, n int, firmware, excluded string) {
	t.Helper()
	write(t, filepath.Join(m.host, "proc/driver/nvidia/gpus", slot(n), "information"),
		fmt.Sprintf("Model: \t\t NVIDIA H100 80GB HBM3\nGPU UUID: \t GPU-00000000-0000-0000-0000-%012d\nVideo BIOS: \t %s\nBus Location: \t %s\nDevice Minor: \t %d\nGPU Excluded:\t %s\n", n, firmware, slot(n), n, excluded))
}

// states are those of a result's GPUs, in their order.
func states(r LoadResult) (list []string) {
	for _, g := range r.GPUs {
		list = append(list, g.State)
	}
	return list
}

// logged is what a kernel logs, with its levels and times.
func logged(lines ...string) string {
	var text strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&text, "<3>[%5d.000000] %s\n", i, line)
	}
	return text.String()
}

// The words of a driver whose second GPU does not start, and of one that lost it.
var (
	fails = logged("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.261.03  Thu Jan  1 00:00:00 UTC 1970",
		"NVRM: GPU 0000:66:00.0: RmInitAdapter failed! (0x24:0x72:1568)", "NVRM: GPU 0000:66:00.0: rm_init_adapter failed, device minor number 1")
	lost = logged("NVRM: GPU at PCI:0000:66:00: GPU-b850f46d-d5ea-c752-ddf3-c4453e44d3f7",
		"NVRM: Xid (PCI:0000:66:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.")
	another = logged("NVRM: Xid (PCI:0000:66:00): 31, pid=4242, name=python3, Ch 00000008")
)

// TestAccount has each GPU of the bus be accounted for.
func TestAccount(t *testing.T) {
	t.Parallel()
	const h100 = "NVIDIA H100 80GB HBM3 (10de:2330) at 0000:66:00.0"
	for _, tt := range []struct {
		name        string
		bus, driver int
		change      func(t *testing.T, m *machine, files *fakeFiles)
		states      []string
		fails, says string // the failure's and the log's words
	}{
		{"all are up", 3, 3, nil, []string{"up", "up", "up"}, "", ""},
		{"one does not start", 3, 3, func(_ *testing.T, m *machine, files *fakeFiles) {
			files.opened["nvidia1"], m.kernel.Says["nvidia"] = unix.EIO, fails
		}, []string{"up", "failed", "up"}, "1 of 3 GPUs do not work: the GPU " + h100 + " does not work: GPU 0000:66:00.0: RmInitAdapter failed! (0x24:0x72:1568)", ""},
		{"one does not start, and the log is hidden", 2, 2, func(_ *testing.T, m *machine, files *fakeFiles) {
			files.opened["nvidia1"], m.kernel.Hidden = unix.EIO, unix.EPERM
		}, []string{"up", "failed"}, "its device file cannot be opened: EIO (input/output error)", "add --cap-add SYSLOG"},
		{"one had not started, and does now", 2, 2, func(_ *testing.T, m *machine, _ *fakeFiles) { m.kernel.Says["nvidia"] = fails }, []string{"up", "up"}, "", ""},
		{"one is lost, and its file opens", 2, 2, func(_ *testing.T, m *machine, _ *fakeFiles) { m.kernel.Says["nvidia"] = lost },
			[]string{"up", "failed"}, "79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus", ""},
		{"one was lost by a driver before", 2, 2, func(_ *testing.T, m *machine, _ *fakeFiles) { m.kernel.Says["nvidia"] = lost + fails }, []string{"up", "up"}, "", ""},
		{"a program's fault", 2, 2, func(_ *testing.T, m *machine, _ *fakeFiles) { m.kernel.Says["nvidia"] = another }, []string{"up", "up"}, "", `"xid":31`},
		{"one was not taken", 3, 2, func(_ *testing.T, m *machine, _ *fakeFiles) {
			m.kernel.Says["nvidia"] = logged("NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:", "NVRM: BAR1 is 0M @ 0x0 (PCI:0000:67:00.0)", "nvidia: probe of 0000:67:00.0 failed with error -1")
		}, []string{"up", "up", "failed"}, "the GPU 10de:2330 at 0000:67:00.0 does not work: This PCI I/O region assigned to your NVIDIA device is invalid: BAR1 is 0M @ 0x0", ""},
		{"one was not taken, and nobody knows why", 2, 1, nil, []string{"up", "failed"}, "the GPU 10de:2330 at 0000:66:00.0 does not work: the driver has not taken it", ""},
		{"one is a virtual machine's", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) {
			m.bind(t, 1, "driver", "../../../../bus/pci/drivers/vfio-pci")
		},
			[]string{"up", "elsewhere"}, "", "it is bound to vfio-pci"},
		{"one is a virtual function", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) { m.bind(t, 1, "physfn", "../0000:65:00.0") },
			[]string{"up", "elsewhere"}, "", "virtual function"},
		{"one is nouveau's", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) {
			m.bind(t, 1, "driver", "../../../../bus/pci/drivers/nouveau")
		},
			[]string{"up", "failed"}, "another driver has it, nouveau", ""},
		{"one is held for a virtual machine, and the driver had it before", 2, 2, func(t *testing.T, m *machine, files *fakeFiles) {
			m.bind(t, 1, "driver", "../../../../bus/pci/drivers/nvgrace_gpu_vfio_pci")
			files.opened["nvidia1"] = unix.ENODEV
		}, []string{"up", "elsewhere"}, "", "it is bound to nvgrace_gpu_vfio_pci"},
		{"one is not for this container", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) {
			m.bind(t, 1, "driver", "../../../../bus/pci/drivers/nvidia")
		},
			[]string{"up", "untried"}, "", "this container's /proc does not show it"},
		{"one is of no use to this driver, and nouveau's", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) {
			write(t, filepath.Join(m.host, "sys/bus/pci/devices", slot(1), "device"), graceHopper+"\n")
			m.bind(t, 1, "driver", "../../../../bus/pci/drivers/nouveau")
		}, []string{"up", "not-served"}, "", "this GPU is not for the driver"},
		{"one is excluded", 2, 2, func(t *testing.T, m *machine, _ *fakeFiles) { m.driverHas(t, 1, "??.??.??.??.??", "Yes") }, []string{"up", "excluded"}, "", "NVreg_ExcludedGpus"},
		{"one is of no use to this driver", 2, 1, func(t *testing.T, m *machine, _ *fakeFiles) {
			write(t, filepath.Join(m.host, "sys/bus/pci/devices", slot(1), "device"), graceHopper+"\n")
		}, []string{"up", "not-served"}, "", "this GPU is not for the driver"},
		{"this container may open none", 2, 2, func(t *testing.T, m *machine, files *fakeFiles) {
			files.opened["nvidia0"], files.opened["nvidia1"] = unix.EPERM, unix.EPERM
			m.driverHas(t, 0, "96.00.74.00.1a", "No") // somebody else has opened it
		}, []string{"up", "untried"}, "", "this container may not open its device file"},
		{"this container may open none, and the log tells", 2, 2, func(t *testing.T, m *machine, files *fakeFiles) {
			files.opened["nvidia0"], files.opened["nvidia1"], m.kernel.Says["nvidia"] = unix.EPERM, unix.EPERM, fails
		}, []string{"untried", "failed"}, "RmInitAdapter failed!", ""},
		{"there is no device file", 1, 1, func(_ *testing.T, _ *machine, files *fakeFiles) { files.opened["nvidia0"] = fs.ErrNotExist }, []string{"untried"}, "", "is not there"},
		{"the driver says nothing", 2, 0, nil, []string{"up", "up"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, files := withGPUs(t, tt.bus, tt.driver)
			if tt.change != nil {
				tt.change(t, m, files)
			}
			result, err := Load(m.context(t), m.options(nil))
			if diff := cmp.Diff(tt.states, states(result)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			said := m.said(err)
			for _, run := range []string{"load", "load --check"} {
				if run != "load" {
					said, err = m.checkGPUs(t)
				}
				var failure *stage.Error
				switch {
				case tt.fails == "" && err != nil, tt.fails != "" && (!errors.As(err, &failure) || failure.Kind != "gpu-failed" || !strings.Contains(failure.Reason, tt.fails)):
					t.Errorf("%s: %v, want %q\n%s", run, err, tt.fails, said)
				case failure != nil && (len(failure.Findings) != 1 || failure.Findings[0].Do == "" || !strings.Contains(failure.Hint, "The driver stays loaded; --allow-failed-gpus 1 goes on without")):
					t.Errorf("%s: %+v", run, failure)
				}
				if !strings.Contains(said, tt.says) {
					t.Errorf("%s: it does not say %q:\n%s", run, tt.says, said)
				}
			}
		})
	}
}

// bind gives a GPU's folder in sysfs a link.
func (m *machine) bind(t *testing.T, n int, name, to string) {
	t.Helper()
	if err := os.Symlink(to, filepath.Join(m.host, "sys/bus/pci/devices", slot(n), name)); err != nil {
		t.Fatal(err)
	}
}

// checkGPUs is what a check does once it has seen that the device files are there,
// which they are only where root has made them.
func (m *machine) checkGPUs(t *testing.T) (string, error) {
	t.Helper()
	l, done, err := newLoader(m.context(t), m.options(func(o *LoadOptions) { o.Check = true }))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := l.choose(m.context(t)); err != nil {
		t.Fatal(err)
	}
	plan, err := devices.Plan(l.host)
	if err != nil {
		t.Fatal(err)
	}
	err = l.account(m.context(t), plan)
	return m.said(err), err
}

// TestGPUsComeUpSideBySide opens each while the others are being opened.
func TestGPUsComeUpSideBySide(t *testing.T) {
	t.Parallel()
	m, files := withGPUs(t, 3, 3)
	var all sync.WaitGroup
	all.Add(3)
	files.opening = func() {
		all.Done()
		all.Wait() // without end, if one waits for another
	}
	files.opened["nvidia1"] = unix.EIO
	if got := m.load(t, func(o *LoadOptions) { o.AllowFailedGPUs = 1 }); !slices.Equal(states(got), []string{"up", "failed", "up"}) {
		t.Errorf("%+v", got)
	}
}

// TestAllowFailedGPUs goes on without as many as may fail, and gives none of them to
// containers.
func TestAllowFailedGPUs(t *testing.T) {
	t.Parallel()
	m, files := withGPUs(t, 3, 3)
	files.opened["nvidia1"], files.opened["nvidia2"] = unix.EIO, unix.EIO
	m.kernel.Says["nvidia"] = fails
	allow := func(n int) func(*LoadOptions) { return func(o *LoadOptions) { o.AllowFailedGPUs = n } }
	if names, said := m.loadRefused(t, allow(1)); !slices.Equal(names, []string{"gpu-failed", "gpu-failed"}) || !strings.Contains(said, "--allow-failed-gpus 2 goes on without") {
		t.Errorf("%q\n%s", names, said)
	}
	got := m.load(t, allow(2))
	if got.State != AlreadyLoaded || !slices.Equal(states(got), []string{"up", "failed", "failed"}) {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{`"next":"` + nvrm.Unknown, "RmInitAdapter failed! (0x24:0x72:1568)", "at 0000:67:00.0 does not work: its device file cannot be opened: EIO"} {
		if !strings.Contains(m.log.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, m.log.String())
		}
	}
	if spec := read(t, got.CDI); !strings.Contains(spec, "/dev/nvidia0") || strings.Contains(spec, "/dev/nvidia1") || strings.Contains(spec, "/dev/nvidia2") {
		t.Errorf("the specification has not only the one that works:\n%s", spec)
	}
	if names, said := m.loadRefused(t, nil); len(names) != 2 {
		t.Errorf("%q\n%s", names, said)
	}
}
