package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
)

// TestLoadRemindsOfFirmware has the kernel forget where firmware is, as when
// somebody else loaded the driver.
func TestLoadRemindsOfFirmware(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	want := m.published("firmware")
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	m.setFirmware(t, "/theirs")
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	if said := m.log.String(); strings.Contains(said, "may not find firmware") {
		t.Errorf("%s", said)
	}
	// What was before the first load is somebody else's to know.
	all := slices.DeleteFunc(m.recorded(t), func(c change) bool { return !is[firmwarePath](c) })
	if !slices.Equal(all, []change{firmwarePath{want, "/theirs"}}) {
		t.Errorf("recorded: %+v", all)
	}
}

// TestLoadCannotRemindOfFirmware has a container be unable to, which stops nothing.
func TestLoadCannotRemindOfFirmware(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	remove(t, filepath.Join(m.own, "sys"), filepath.Join(m.host, "sys/module/firmware_class"))
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != "" {
		t.Errorf("%+v", got)
	}
	if said := m.log.String(); !strings.Contains(said, "may not find firmware") || !strings.Contains(said, "firmware_class.path is read-only") {
		t.Errorf("%s", said)
	}
}

// TestLoadUsesTheFirmwareThatIsThere has the host have it where the kernel looks
// already: nothing is set.
func TestLoadUsesTheFirmwareThatIsThere(t *testing.T) {
	t.Parallel()
	const path = "/theirs"
	for _, tt := range []struct {
		name  string
		files []string // of the two that the modules name
		dir   string
		own   bool
	}{
		{"all of it", []string{"gsp_ga10x.bin", "gsp_tu10x.bin"}, path, true},
		{"half of it", []string{"gsp_ga10x.bin"}, path, false},
		{"all of it, elsewhere", []string{"gsp_ga10x.bin", "gsp_tu10x.bin"}, "/elsewhere", false},
		{"all of it, in the kernel's own folder", []string{"gsp_ga10x.bin", "gsp_tu10x.bin"}, "/lib/firmware", true},
	} {
		m := newMachine(t)
		m.setFirmware(t, path)
		for _, name := range tt.files {
			write(t, filepath.Join(m.host, tt.dir, "nvidia", testDriver, name), "firmware\n")
		}
		want := m.published("firmware")
		if tt.own {
			want = path
		}
		if m.load(t, nil); m.firmwarePath(t) != want {
			t.Errorf("%s: the search path is %q, want %q", tt.name, m.firmwarePath(t), want)
		}
	}
}

func TestNeedsFirmware(t *testing.T) {
	t.Parallel()
	const without = "NVreg_X=1 NVreg_EnableGpuFirmware=0"
	with := kernel.PCIDevice{Vendor: 0x10de, Device: 0x2330, Class: 0x030200}
	old := kernel.PCIDevice{Vendor: 0x10de, Device: 0x1db4, Class: 0x030200}
	for _, tt := range []struct {
		name, form, values string
		gpus               []kernel.PCIDevice
		want               bool
	}{
		{"proprietary", cuda.Proprietary, "", []kernel.PCIDevice{with}, true},
		{"proprietary, told to do without", cuda.Proprietary, without, []kernel.PCIDevice{with}, false},
		{"proprietary, told not to", cuda.Proprietary, "NVreg_EnableGpuFirmware=1", []kernel.PCIDevice{with}, true},
		{"open, which cannot do without", cuda.Open, without, []kernel.PCIDevice{with}, true},
		{"a GPU without a GSP", cuda.Proprietary, "", []kernel.PCIDevice{old}, false},
		{"one of each", cuda.Proprietary, "", []kernel.PCIDevice{old, with}, true},
		{"no GPU", cuda.Open, "", nil, false},
	} {
		i := insertion{asked: map[string]string{"nvidia": tt.values}, loader: &loader{
			gpus: tt.gpus, found: modules.Found{Manifest: modules.Manifest{Driver: modules.DriverInfo{ModuleType: tt.form}}},
		}}
		if got := i.needsFirmware(); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestLoadKeepsTheFirmwarePath has nobody who knows less put a guess in the
// place of what is set.
func TestLoadKeepsTheFirmwarePath(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, func(o *LoadOptions) { o.HostShare = "/srv/share" })
	want := "/srv/share/modules/" + testRelease + "/" + testDriver + "/firmware"
	m.setFirmware(t, want)
	if got := m.load(t, nil); got.Firmware != want {
		t.Errorf("%+v", got)
	}
	// A module more, with a guess for a path.
	if err := m.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	if got := m.load(t, nil); got.State != Loaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	// The host's mounts are not to be seen, and somebody has reset the path.
	m.setFirmware(t, "")
	remove(t, filepath.Join(m.host, "proc/1/mountinfo"))
	m.load(t, nil)
	if got := m.firmwarePath(t); len(got) > 0 {
		t.Errorf("the search path is %q, a guess", got)
	}
	// A driver of somebody else has its firmware from elsewhere.
	other := newMachine(t)
	other.kernel.Have("nvidia", testDriver, "")
	other.kernel.Have("nvidia_uvm", testDriver, "")
	if got := other.load(t, nil); got.State != AlreadyLoaded || got.Firmware != "" {
		t.Errorf("%+v", got)
	}
}

// TestLoadTellsOfNoFirmwarePathOfOthers has somebody set another path since, in
// which the firmware is as well, and a load of a module more.
func TestLoadTellsOfNoFirmwarePathOfOthers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	if err := os.CopyFS(filepath.Join(m.host, "theirs"), os.DirFS(m.published("firmware"))); err != nil {
		t.Fatal(err)
	}
	m.setFirmware(t, "/theirs")
	if err := m.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	if got := m.load(t, nil); got.State != Loaded || got.Firmware != "" || m.firmwarePath(t) != "/theirs" {
		t.Errorf("the search path is %q: %+v", m.firmwarePath(t), got)
	}
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != "" || m.firmwarePath(t) != "/theirs" {
		t.Errorf("the search path is %q: %+v", m.firmwarePath(t), got)
	}
}

// TestLoadTellsThatItGuesses has the host's mounts not be seen.
func TestLoadTellsThatItGuesses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	remove(t, filepath.Join(m.host, "proc/1/mountinfo"))
	if got, want := m.load(t, nil).Firmware, m.published("firmware"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	const guess, path = "the share is taken to lie there on the host", `"path":"`
	said := m.log.String()
	for _, dir := range []string{m.published("firmware"), filepath.Join(m.share, "driver", testDriver)} {
		if !slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			return strings.Contains(line, guess) && strings.Contains(line, path+dir+`"`)
		}) {
			t.Errorf("it is not said that %s is a guess:\n%s", dir, said)
		}
	}
	known := newMachine(t)
	if known.load(t, nil); strings.Contains(known.log.String(), guess) {
		t.Errorf("what is known is called a guess:\n%s", known.log.String())
	}
}

// TestLoadWithoutFirmware has no way to tell the kernel of firmware, on hosts
// that need it and that do not.
func TestLoadWithoutFirmware(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, m *machine)
		change func(*LoadOptions)
		refuse bool
	}{
		{"a GPU that needs it", nil, nil, true},
		{"a GPU without a GSP", func(t *testing.T, m *machine) { m.gpu(t, volta) }, nil, false},
		{"no GPU", func(t *testing.T, m *machine) { remove(t, filepath.Join(m.host, "sys/bus/pci")) },
			func(o *LoadOptions) { o.TryWithoutDevice = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if tt.stage != nil {
				tt.stage(t, m)
			}
			remove(t, filepath.Join(m.own, "sys"), filepath.Join(m.host, "sys/module/firmware_class"))
			if !tt.refuse {
				if got := m.load(t, tt.change); got.Firmware != "" {
					t.Errorf("%+v", got)
				}
				return
			}
			if names, said := m.loadRefused(t, tt.change); !slices.Equal(names, []string{"read-only-sys"}) {
				t.Errorf("%q\n%s", names, said)
			}
		})
	}
}
