package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestLoadAndUnload(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	got := m.load(t, nil)
	if got.State != Loaded || got.Driver != testDriver || got.Release != testRelease {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(testModules, got.Modules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := m.load(t, nil); again.State != AlreadyLoaded || len(again.Modules) > 0 {
		t.Errorf("again: %+v", again)
	}
	if got := m.unload(t); got.Driver != testDriver {
		t.Errorf("%+v", got)
	}
	m.called(t, "+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia")
	if got := m.unload(t); got.Driver != "" || !strings.Contains(m.log.String(), "nothing to undo") {
		t.Errorf("unload of nothing: %+v\n%s", got, m.log.String())
	}
}

// TestOfLoad has the failure of any stage be load's, but for a wrong usage, and keep its word.
func TestOfLoad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		is, want stage.Error
	}{
		{stage.Error{Stage: stage.Share, Kind: "locked"}, stage.Error{Stage: stage.Load, Kind: "locked"}},
		{stage.Error{Stage: stage.Detect}, stage.Error{Stage: stage.Load, Kind: "detect"}},
		{stage.Error{Stage: stage.Load, Kind: "cdi"}, stage.Error{Stage: stage.Load, Kind: "cdi"}},
		{stage.Error{Stage: stage.Usage}, stage.Error{Stage: stage.Usage}},
	} {
		var got *stage.Error
		if err := ofLoad(&tt.is); !errors.As(err, &got) || !cmp.Equal(*got, tt.want) {
			t.Errorf("of %s: %+v, want %+v", tt.is.Stage, got, tt.want)
		}
	}
	if err := ofLoad(errors.New("plain")); err == nil || err.Error() != "plain" {
		t.Errorf("%v", err)
	}
	if err := ofLoad(nil); err != nil {
		t.Errorf("%v", err)
	}
}

// TestLoadWarnsOfParameters that come too late.
func TestLoadWarnsOfParameters(t *testing.T) {
	t.Parallel()
	const late = "not set: modules take parameters as they are loaded"
	m := newMachine(t)
	given := func(o *LoadOptions) { o.Parameters = []string{"nvidia.NVreg_ModifyDeviceFiles=0"} }
	for _, tt := range []struct {
		change func(*LoadOptions)
		late   bool
	}{{given, false}, {given, true}, {nil, false}} {
		if m.load(t, tt.change); strings.Contains(m.log.String(), late) != tt.late {
			t.Errorf("want it said: %t\n%s", tt.late, m.log.String())
		}
	}
	m.called(t, "+nvidia NVreg_ModifyDeviceFiles=0", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm")
}

// TestLoadFindsTheHostsDev has it be below the host's root, or nowhere.
func TestLoadFindsTheHostsDev(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if got, want := m.load(t, nil).Dev, filepath.Join(m.own, "dev"); got != want {
		t.Errorf("device files are in %s, want %s", got, want)
	}
	write(t, filepath.Join(m.host, "dev/null"), "")
	if got, want := m.load(t, nil).Dev, filepath.Join(m.host, "dev"); got != want {
		t.Errorf("device files are in %s, want %s", got, want)
	}
	named := t.TempDir()
	if got := m.load(t, func(o *LoadOptions) { o.Dev = named }).Dev; got != named {
		t.Errorf("device files are in %s, want %s", got, named)
	}
}

// TestLoadBesideAnother has a loader with a share of its own be a moment faster.
func TestLoadBesideAnother(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.kernel.Before = func(name string) {
		if name == "nvidia" {
			m.kernel.Have("nvidia", testDriver, "")
		}
	}
	if got := m.load(t, nil); !slices.Equal(got.Modules, testModules[1:]) {
		t.Errorf("loaded %q, want all but nvidia", got.Modules)
	}
	other := newMachine(t)
	other.kernel.Before = func(name string) {
		if name == "nvidia" {
			other.kernel.Have("nvidia", "580.159.04", "")
		}
	}
	if names, said := other.loadRefused(t, nil); !slices.Equal(names, []string{"other-version"}) {
		t.Errorf("%q\n%s", names, said)
	}
}

// TestLoadForAContainerThatMayNotOpen has a second container ask, which may
// make device files and open none.
func TestLoadForAContainerThatMayNotOpen(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	m.kernel.Opened = &os.PathError{Op: "open", Path: "/dev", Err: unix.EPERM}
	if names, said := m.loadRefused(t, nil); !slices.Equal(names, []string{"device-cgroup"}) {
		t.Errorf("%q\n%s", names, said)
	}
	empty := t.TempDir()
	if names, said := m.loadRefused(t, func(o *LoadOptions) { o.Share = empty }); !slices.Equal(names, []string{"device-cgroup"}) {
		t.Errorf("a driver left alone: %q\n%s", names, said)
	}
	m.mount(t, m.own+"/dev", "devtmpfs")
	if got := m.load(t, nil); got.State != AlreadyLoaded {
		t.Errorf("with the host's /dev: %+v", got)
	}
}

// TestLoadTellsWhatTheKernelSays has programs be told what the log says.
func TestLoadTellsWhatTheKernelSays(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.kernel.Refuse["nvidia"] = unix.ENOEXEC
	m.kernel.Says["nvidia"] = "<4>[1.0] nvidia: frobnicated\n<4>[1.1] nvidia: twice\n"
	_, err := Load(m.context(t), m.options(nil))
	var got *KernelLog
	if want := []string{"nvidia: frobnicated", "nvidia: twice"}; !errors.As(err, &got) || !slices.Equal(got.Lines, want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestLoadTellsAll stages everything at once that can be.
func TestLoadTellsAll(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	remove(t, filepath.Join(m.host, "sys/bus/pci"), filepath.Join(m.host, "lib/modules"))
	write(t, filepath.Join(m.own, "proc/self/status"), "CapEff:\t0000000000000000\n")
	write(t, filepath.Join(m.host, "proc/sys/kernel/modules_disabled"), "1\n")
	write(t, filepath.Join(m.host, "proc/cmdline"), "quiet module_blacklist=foo,nvidia_uvm\n")
	m.kernel.Opened = &os.PathError{Op: "open", Path: "/dev", Err: unix.EPERM}
	names, said := m.loadRefused(t, func(o *LoadOptions) { o.Modules = []string{"nvidia-drm"} })
	want := []string{"no-device", "modules-disabled", "blacklisted", "cap-sys-module", "no-tree", "device-cgroup"}
	if !slices.Equal(names, []string{"no-device", "modules-disabled", "cap-sys-module", "no-tree", "device-cgroup"}) {
		t.Errorf("%q, want %q but blacklisted, which is of nvidia-uvm\n%s", names, want, said)
	}
	names, said = m.loadRefused(t, func(o *LoadOptions) { o.Modules = []string{"nvidia-drm", "nvidia-uvm"} })
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q\n%s", names, want, said)
	} else if !strings.Contains(said, "6 things stand in the way: (1) there is no NVIDIA GPU") {
		t.Errorf("%s", said)
	}
	m.called(t)
}

// TestLoadRefuses stages one thing at a time.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	anew := []string{"the modules were published anew meanwhile", "next: load again"}
	without := func(option string) string { return strings.Replace(testConfig, option+"\n", "", 1) }
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, m *machine)
		change func(*LoadOptions)
		kind   string
		says   []string
		called []string
	}{
		{"a kernel without modules", func(_ *testing.T, m *machine) { m.kernel.Tried = unix.ENOSYS }, nil, "no-modules", []string{testRelease}, nil},
		{"a seccomp profile as of containerd", func(t *testing.T, m *machine) {
			m.kernel.Tried = unix.ENOSYS
			write(t, filepath.Join(m.own, "proc/modules"), "")
		}, nil, "seccomp", nil, nil},
		{"seccomp", func(_ *testing.T, m *machine) { m.kernel.Tried = unix.EPERM }, nil, "seccomp", []string{"seccomp"}, nil},
		{"a user namespace", func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.own, "proc/self/uid_map"), "0 1000 1\n1 100000 65536\n")
			m.kernel.Tried = unix.EPERM
		}, nil, "rootless", nil, nil},
		{"nouveau", func(t *testing.T, m *machine) { m.hold(t, "nouveau") }, nil, "held-device", []string{"nouveau", "10de:2330 at 0000:65:00.0"}, nil},
		{"vfio", func(t *testing.T, m *machine) { m.hold(t, "vfio-pci") }, nil, "held-device", []string{"vfio-pci"}, nil},
		{"a GPU of which these modules are the wrong form", func(t *testing.T, m *machine) { m.gpu(t, graceHopper) }, nil,
			"not-served", []string{"10de:2342 at 0000:65:00.0", "runs with the open modules only"}, nil},
		{"modules of another kernel", func(t *testing.T, m *machine) {
			m.kernel.Is = "6.12.1-flatcar"
			write(t, filepath.Join(m.host, "proc/sys/kernel/osrelease"), "6.12.1-flatcar\n")
		}, nil, "not-built", []string{"6.12.1-flatcar", testRelease}, nil},
		{"another version than there is", nil, func(o *LoadOptions) { o.DriverVersion = "1.2" }, "no-version", []string{"1.2", testDriver}, nil},
		{"another host's root", func(_ *testing.T, m *machine) { m.kernel.Is = "6.12.1-flatcar" }, nil, "other-host", []string{"6.12.1-flatcar", testRelease}, nil},
		{"a changed module", func(t *testing.T, m *machine) {
			path := m.published("nvidia-uvm.ko")
			data := []byte(read(t, path))
			data[len(data)-1] ^= 1
			write(t, path, string(data))
		}, nil, "damaged", []string{"nvidia-uvm.ko"}, nil},
		{"modules of an earlier builder's format", func(t *testing.T, m *machine) {
			write(t, m.published("manifest.json"), `{"schema": 1, "inputs": "sha256:00", "modules": []}`)
		}, nil, "damaged", []string{"another builder's format", "build again with this builder"}, nil},
		{"a module that goes as others are loaded", func(t *testing.T, m *machine) {
			m.kernel.Before = func(name string) {
				if name == "nvidia" {
					remove(t, m.published("nvidia-uvm.ko"))
				}
			}
		}, nil, "damaged", []string{"are not what was published", "nvidia-uvm.ko"},
			[]string{"+nvidia", "+nvidia_modeset", "+nvidia_drm", "-nvidia_drm", "-nvidia_modeset", "-nvidia"}},
		{"another build, published as modules are loaded", func(t *testing.T, m *machine) {
			m.kernel.Before = func(name string) {
				if name == "nvidia" {
					m.publishAnew(t)
				}
			}
		}, nil, "damaged", anew, []string{"+nvidia", "-nvidia"}},
		{"another build, published before any is loaded", func(t *testing.T, m *machine) {
			m.kernel.BeforeTry = func() { m.publishAnew(t) }
		}, nil, "damaged", anew, nil},
		{"another build, published for a kernel that would refuse what is left of the old one", func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "boot/config-"+testRelease), without("CONFIG_SMP=y"))
			m.kernel.BeforeTry = func() {
				left := filepath.Join(m.publishAnew(t), "nvidia-drm.ko")
				write(t, left, read(t, m.published("nvidia-drm.ko")))
			}
		}, nil, "damaged", anew, nil},
		{"modules that the kernel would refuse", func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "boot/config-"+testRelease), without("CONFIG_SMP=y"))
		}, nil, "check", []string{"vermagic"}, nil},
		{"signatures", func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "boot/config-"+testRelease), testConfig+"CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\n")
		}, nil, "signature", []string{"CONFIG_MODULE_SIG_FORCE"}, nil},
		{"a /dev that cannot be written", func(_ *testing.T, m *machine) {
			m.kernel.Opened = &os.PathError{Op: "mknod", Path: "/dev", Err: unix.EROFS}
		}, nil, "read-only-dev", nil, nil},
		{"no CAP_MKNOD", func(_ *testing.T, m *machine) {
			m.kernel.Opened = &os.PathError{Op: "mknod", Path: "/dev", Err: unix.EPERM}
		}, nil, "cap-mknod", nil, nil},
		{"another version, held", func(t *testing.T, m *machine) {
			m.kernel.Have("nvidia", "550.1", "")
			write(t, filepath.Join(m.own, "proc/self/ns/README"), "")
			m.kernel.Hold("nvidia", "gdrdrv")
		}, nil, "other-version", []string{"550.1", testDriver, "gdrdrv"}, nil},
		{"another version, held, to be replaced", func(_ *testing.T, m *machine) {
			m.kernel.Have("nvidia", "550.1", "")
			m.kernel.Hold("nvidia", "gdrdrv")
		}, func(o *LoadOptions) { o.Replace = true }, "in-use", []string{"the module gdrdrv"}, nil},
		{"another build", func(_ *testing.T, m *machine) { m.kernel.Have("nvidia", testDriver, "ANOTHER") }, nil, "other-build", nil, nil},
		{"the kernel, who says why", func(_ *testing.T, m *machine) {
			m.kernel.Refuse["nvidia_uvm"] = unix.ENOENT
			m.kernel.Says["nvidia_uvm"] = "<4>[   12.000000] nvidia_uvm: Unknown symbol frobnicate (err -2)\n"
		}, nil, "refused", []string{"nvidia_uvm: ENOENT", "Unknown symbol frobnicate"},
			[]string{"+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia"}},
		{"the kernel, whose log is hidden", func(_ *testing.T, m *machine) {
			m.kernel.Refuse["nvidia"], m.kernel.Hidden = unix.ENOEXEC, unix.EPERM
		}, nil, "refused", []string{"ENOEXEC", "--cap-add SYSLOG"}, []string{"+nvidia"}},
		{"a driver that passes the GPU over", func(_ *testing.T, m *machine) {
			m.kernel.Refuse["nvidia"] = unix.ENODEV
			m.kernel.Says["nvidia"] = "<3>[1.0] NVRM: No NVIDIA GPU found.\n"
		}, nil, "not-served", []string{"10de:2330 at 0000:65:00.0"}, []string{"+nvidia"}},
		{"a driver that finds no GPU where there is none", func(t *testing.T, m *machine) {
			remove(t, filepath.Join(m.host, "sys/bus/pci"))
			m.kernel.Refuse["nvidia"] = unix.ENODEV
			m.kernel.Says["nvidia"] = "<3>[1.0] NVRM: No NVIDIA GPU found.\n"
		}, func(o *LoadOptions) { o.TryWithoutDevice = true }, "no-device", []string{"no NVIDIA GPU on the PCI bus"}, []string{"+nvidia"}},
		{"a driver that does not know the GPU", func(_ *testing.T, m *machine) {
			m.kernel.Refuse["nvidia"] = unix.ENODEV
			m.kernel.Says["nvidia"] = "<3>[1.0] NVRM: The NVIDIA GPU 0000:65:00.0 (PCI ID: 10de:2901)\n<3>[1.0] NVRM: installed in this system requires use of the NVIDIA open kernel modules.\n"
		}, nil, "not-served", []string{"10de:2901 at 0000:65:00.0", "requires use of the NVIDIA open kernel modules"}, []string{"+nvidia"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if tt.stage != nil {
				tt.stage(t, m)
			}
			names, said := m.loadRefused(t, tt.change)
			if !slices.Equal(names, []string{tt.kind}) {
				t.Errorf("%q, want %q\n%s", names, tt.kind, said)
			}
			for _, part := range tt.says {
				if !strings.Contains(said, part) {
					t.Errorf("it does not say %q:\n%s", part, said)
				}
			}
			m.called(t, tt.called...)
		})
	}
}

// TestLoadDespitePolicy has a check fail that no kernel makes: the build let it
// pass, or could not see what is to be seen now.
func TestLoadDespitePolicy(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	// A module of the kernel's own exports what nvidia needs, and nvidia does not
	// say that it depends on it.
	var symbols string
	for symbol, from := range map[string]string{
		"_printk": "vmlinux", "pci_enable_device": "drivers/pci/stub", "acpi_video_register": "drivers/acpi/video", "drm_dev_register": "drivers/gpu/drm/drm",
	} {
		symbols += "0x00000000\t" + symbol + "\t" + from + "\tEXPORT_SYMBOL\n"
	}
	write(t, filepath.Join(m.host, "lib/modules", testRelease, "build/Module.symvers"), symbols)
	if got := m.load(t, nil); got.State != Loaded {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(m.log.String(), "depends nvidia failed") {
		t.Errorf("nothing was said of it:\n%s", m.log.String())
	}
}

func TestLoadLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	empty := t.TempDir()
	m.kernel.Have("nvidia", "580.159.04", "")
	if got := m.load(t, func(o *LoadOptions) { o.Share = empty }); got.State != LeftAlone || got.Driver != "580.159.04" {
		t.Errorf("%+v", got)
	}
	write(t, filepath.Join(m.host, "usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open"), "ID=flatcar\n")
	if got := m.load(t, nil); got.State != LeftAlone || got.By != "Flatcar's extension flatcar-nvidia-drivers-570-open" {
		t.Errorf("%+v", got)
	}
	if names, said := m.loadRefused(t, func(o *LoadOptions) { o.Replace = true }); !slices.Equal(names, []string{"host-driver"}) {
		t.Errorf("%q\n%s", names, said)
	}
	// There is nothing that could take its place.
	if got := m.load(t, func(o *LoadOptions) { o.Share, o.Replace = empty, true }); got.State != LeftAlone {
		t.Errorf("%+v", got)
	}
	if names, said := m.loadRefused(t, func(o *LoadOptions) { o.DriverVersion, o.Replace = "1.2", true }); !slices.Equal(names, []string{"host-driver"}) || !strings.Contains(said, "1.2") {
		t.Errorf("%q\n%s", names, said)
	}
	if m.unload(t); !strings.Contains(m.log.String(), "not by builder") {
		t.Errorf("%s", m.log.String())
	}
	m.called(t)
}

// TestLoadReplaces has another driver go for the share's, and be known no longer.
func TestLoadReplaces(t *testing.T) {
	t.Parallel()
	replace := func(o *LoadOptions) { o.Replace = true }
	of := func(t *testing.T) *machine {
		m := newMachine(t)
		m.kernel.Have("nvidia", "550.1", "")
		m.kernel.Have("nvidia_uvm", "550.1", "")
		m.kernel.Hold("nvidia", "nvidia_uvm")
		// Somebody has taken a module out since.
		m.record(t, driverModule{"nvidia", "550.1"}, driverModule{"nvidia_uvm", "550.1"}, driverModule{"nvidia_peermem", "550.1"})
		return m
	}
	m := of(t)
	if got := m.load(t, replace); got.State != Loaded || got.Driver != testDriver {
		t.Errorf("%+v", got)
	}
	m.called(t, "-nvidia_uvm", "-nvidia", "+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm")
	for _, c := range m.recorded(t) {
		if c, ok := c.(driverModule); ok && c.Driver != testDriver {
			t.Errorf("recorded: %+v", c)
		}
	}
	failing := of(t)
	failing.kernel.Refuse["nvidia"] = unix.EIO
	if names, said := failing.loadRefused(t, replace); !slices.Equal(names, []string{"refused"}) || !strings.Contains(said, "is taken out, and no other is loaded") {
		t.Errorf("%q\n%s", names, said)
	}
	failing.recordedOnly(t)
}

// TestLoadWithoutWhatCUDANeedsNot has a driver of which modules are left out
// that CUDA can do without: it is loaded, and stays so for whoever asks.
func TestLoadWithoutWhatCUDANeedsNot(t *testing.T) {
	t.Parallel()
	display := []string{"nvidia_modeset", "nvidia_drm"}
	for _, tt := range []struct {
		name  string
		stage func(t *testing.T, m *machine)
		left  []string
	}{
		{"refused by the kernel", func(_ *testing.T, m *machine) { m.kernel.Refuse["nvidia_modeset"] = unix.ENOENT }, display},
		{"blacklisted", func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "proc/cmdline"), "quiet module_blacklist=nvidia_modeset\n")
		}, display},
		{"the kernel's own modules not to be seen, of which video is there", func(t *testing.T, m *machine) {
			remove(t, filepath.Join(m.host, "lib/modules"))
			write(t, filepath.Join(m.host, "sys/module/video/parameters/README"), "")
		}, display[1:]},
		{"its drm not to be read", func(t *testing.T, m *machine) {
			tree := filepath.Join(m.host, "lib/modules", testRelease)
			write(t, filepath.Join(tree, "modules.dep"), "kernel/drivers/gpu/drm/drm.ko:\n")
			write(t, filepath.Join(tree, "modules.builtin"), "kernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n")
		}, display[1:]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			tt.stage(t, m)
			if got := m.load(t, nil); got.State != Loaded || !slices.Equal(got.LeftOut, tt.left) {
				t.Errorf("%s without %q, want %q", got.State, got.LeftOut, tt.left)
			}
			calls := len(m.kernel.Calls)
			if got := m.load(t, nil); got.State != AlreadyLoaded || !slices.Equal(got.LeftOut, tt.left) {
				t.Errorf("again: %s without %q, want %q", got.State, got.LeftOut, tt.left)
			}
			if more := m.kernel.Calls[calls:]; len(more) > 0 {
				t.Errorf("it tried again: %q", more)
			}
			// The stand-in for a kernel has no device files, which a check looks
			// for after the modules.
			if names, said := m.loadRefused(t, func(o *LoadOptions) { o.Check = true }); slices.Contains(names, "not-loaded") {
				t.Errorf("%q\n%s", names, said)
			}
			asked := func(o *LoadOptions) { o.Modules, o.Check = []string{"nvidia-drm"}, true }
			if names, said := m.loadRefused(t, asked); !slices.Equal(names, []string{"not-loaded"}) {
				t.Errorf("asked for: %q\n%s", names, said)
			}
		})
	}
}

// TestLoadBesideModulesThatNobodyThoughtOf: the driver uses what a module of the
// kernel's own exports of which only depmod's list was read at first.
func TestLoadBesideModulesThatNobodyThoughtOf(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	tree := filepath.Join(m.host, "lib/modules", testRelease)
	write(t, filepath.Join(tree, "kernel/net/odd.ko"), read(t, "../../internal/ko/testdata/intree.ko"))
	write(t, filepath.Join(tree, "modules.dep"), "kernel/net/odd.ko:\n")
	write(t, filepath.Join(tree, "modules.symbols"), "alias symbol:acpi_video_register odd\nalias symbol:drm_dev_register odd\nalias symbol:pci_enable_device odd\n")
	if got := m.load(t, nil); got.State != Loaded {
		t.Errorf("%s\n%s", got.State, m.log.String())
	}
	if n := strings.Count(m.log.String(), "kernel detected"); n != 2 {
		t.Errorf("the kernel was looked at %d times\n%s", n, m.log.String())
	}
}

// TestLoadWithoutTheKernelsOwnModules has /lib/modules not be seen by a load that
// needs nothing of it: all is there.
func TestLoadWithoutTheKernelsOwnModules(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	remove(t, filepath.Join(m.host, "lib/modules"))
	for _, name := range []string{"video", "drm", "drm_kms_helper"} {
		write(t, filepath.Join(m.host, "sys/module", name, "parameters/README"), "")
	}
	if got := m.load(t, nil); !slices.Equal(got.Modules, testModules) || len(got.LeftOut) > 0 {
		t.Errorf("loaded %q without %q", got.Modules, got.LeftOut)
	}
}

// TestLoadKeepsTheHosts has the host's own driver be of the share's version,
// without what CUDA can do without.
func TestLoadKeepsTheHosts(t *testing.T) {
	t.Parallel()
	const extension = "usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open"
	m := newMachine(t)
	m.kernel.Have("nvidia", testDriver, "ANOTHER")
	m.kernel.Have("nvidia_uvm", testDriver, "ANOTHER")
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.By != "" {
		t.Errorf("%+v", got)
	}
	write(t, filepath.Join(m.host, extension), "ID=flatcar\n")
	if got := m.load(t, nil); got.State != LeftAlone || got.By == "" || got.Manifest != "" {
		t.Errorf("%+v", got)
	}
	if names, said := m.loadRefused(t, func(o *LoadOptions) { o.Replace = true }); !slices.Equal(names, []string{"host-driver"}) {
		t.Errorf("%q\n%s", names, said)
	}
	// What builder itself has loaded is not the extension's.
	own := newMachine(t)
	write(t, filepath.Join(own.host, extension), "ID=flatcar\n")
	own.load(t, nil)
	if names, said := own.loadRefused(t, func(o *LoadOptions) { o.DriverVersion = "1.2" }); !slices.Equal(names, []string{"no-version"}) {
		t.Errorf("%q\n%s", names, said)
	}
}

// TestLoadRefusesOtherTypes has modules that the kernel would take, and that were
// compiled with a struct which is laid out otherwise there.
func TestLoadRefusesOtherTypes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	source := typestest.New()
	write(t, filepath.Join(m.host, "sys/kernel/btf/vmlinux"), string(source.Kernel(t)))
	record := func(s *typestest.Side) {
		t.Helper()
		var file bytes.Buffer
		if err := s.Record(t).Write(&file); err != nil {
			t.Fatal(err)
		}
		write(t, m.published(modules.TypesFile), file.String())
		sum := sha256.Sum256(file.Bytes())
		m.rewrite(t, func(manifest *modules.Manifest) {
			manifest.Types = &modules.File{Name: modules.TypesFile, Size: int64(file.Len()), SHA256: hex.EncodeToString(sum[:])}
		})
	}
	other := typestest.New()
	other.Bus.Members[0].Name = "nr"
	record(other)
	names, said := m.loadRefused(t, nil)
	if !slices.Equal(names, []string{"check"}) || !strings.Contains(said, "struct pci_bus: member nr is not in this kernel") {
		t.Errorf("%q\n%s", names, said)
	}
	record(source)
	if got := m.load(t, nil); got.State != Loaded {
		t.Errorf("with its own types: %+v", got)
	}
}
