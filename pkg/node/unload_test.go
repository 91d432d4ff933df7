package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
)

// TestUnloadLeavesOthersAlone has somebody load another driver in the place of
// the one that builder had loaded.
func TestUnloadLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	m, files := withFiles(t)
	m.load(t, nil)
	for _, name := range slices.Backward(testModules) {
		if err := m.kernel.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	m.kernel.Have("nvidia", "580.159.04", "")
	m.setFirmware(t, "/theirs")
	m.kernel.Calls = nil
	got := m.unload(t)
	if said := m.log.String(); !strings.Contains(said, "left as they are") || !strings.Contains(said, "somebody else has set the kernel's search path") {
		t.Errorf("%s", said)
	}
	if len(got.Files) > 0 || len(files.there) != 3 || m.firmwarePath(t) != "/theirs" || got.Firmware != "/theirs" {
		t.Errorf("%+v, left: %v, the search path is %q", got, files.there, m.firmwarePath(t))
	}
	m.called(t)
	m.recordedOnly(t)
}

// TestUnloadKnowsTheOrder has modules be taken out and put in again by others,
// so that builder has put them in in another order than the kernel has them.
func TestUnloadKnowsTheOrder(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	for _, name := range []string{"nvidia_drm", "nvidia_modeset"} {
		if err := m.kernel.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	m.load(t, func(o *LoadOptions) { o.Modules = []string{"nvidia-modeset"} })
	m.kernel.Have("nvidia_drm", testDriver, "")
	m.kernel.Hold("nvidia_modeset", "nvidia_drm")
	m.kernel.Calls = nil
	if got := m.unload(t); len(got.Modules) != len(testModules) {
		t.Errorf("%+v", got)
	}
	m.called(t, "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia")
	m.recordedOnly(t)
	// One that nobody had heard of when this builder was made.
	m.kernel.Have("nvidia", testDriver, "")
	m.kernel.Have("nvidia_frob", testDriver, "")
	m.kernel.Hold("nvidia", "nvidia_frob")
	m.record(t, driverModule{"nvidia", testDriver}, driverModule{"nvidia_frob", testDriver})
	if got := m.unload(t); !slices.Equal(got.Modules, []string{"nvidia_frob", "nvidia"}) {
		t.Errorf("%+v", got)
	}
}

// TestUnloadRefuses has a driver stay whole that is in use, or cannot go.
func TestUnloadRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, m *machine)
		kind   string
		called []string
	}{
		{"in use", func(_ *testing.T, m *machine) { m.kernel.Hold("nvidia", "gdrdrv") }, "in-use", nil},
		{"in use a moment later", func(_ *testing.T, m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.EAGAIN }, "in-use", []string{"-nvidia_uvm"}},
		{"a kernel that cannot", func(_ *testing.T, m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.ENOSYS }, "no-unload", []string{"-nvidia_uvm"}},
		{"a container without the capability", func(t *testing.T, m *machine) {
			m.kernel.Refuse["-nvidia_uvm"] = unix.EPERM
			write(t, filepath.Join(m.own, "proc/self/status"), "CapEff:\t0000000000000000\nSeccomp:\t2\n")
		}, "cap-sys-module", []string{"-nvidia_uvm"}},
		{"a seccomp profile that lets it load", func(t *testing.T, m *machine) {
			m.kernel.Refuse["-nvidia_uvm"] = unix.EPERM
			write(t, filepath.Join(m.own, "proc/self/status"), "CapEff:\t000001ffffffffff\nSeccomp:\t2\n")
		}, "seccomp", []string{"-nvidia_uvm"}},
		{"nobody knows what", func(t *testing.T, m *machine) {
			m.kernel.Refuse["-nvidia_uvm"] = unix.EPERM
			write(t, filepath.Join(m.own, "proc/self/status"), "CapEff:\t000001ffffffffff\nSeccomp:\t0\n")
		}, "refused", []string{"-nvidia_uvm"}},
		{"anything else", func(_ *testing.T, m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.EIO }, "refused", []string{"-nvidia_uvm"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.load(t, nil)
			tt.stage(t, m)
			m.kernel.Calls = nil
			names, said := m.unloadRefused(t)
			if !slices.Equal(names, []string{tt.kind}) {
				t.Errorf("%q, want %q\n%s", names, tt.kind, said)
			}
			m.called(t, tt.called...)
			if got := m.firmwarePath(t); got != m.published("firmware") {
				t.Errorf("the search path is %q: something else was undone", got)
			}
			// What is not undone is still known.
			clear(m.kernel.Refuse)
			if err := os.RemoveAll(filepath.Join(m.host, "sys/module/nvidia/holders/gdrdrv")); err != nil {
				t.Fatal(err)
			}
			m.kernel.Show()
			if got := m.unload(t); got.Driver != testDriver || len(got.Modules) != len(testModules) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestUnloadUndoesAllOrSaysWhat has things be undone that are not modules, and
// what cannot be be said and kept for the next time.
func TestUnloadUndoesAllOrSaysWhat(t *testing.T) {
	t.Parallel()
	t.Run("firmware alone", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		set, earlier := m.published("firmware"), "/elsewhere/modules/"+testRelease+"/1.2/firmware"
		m.setFirmware(t, set)
		// No kernel takes so long a path.
		first := firmwarePath{earlier, "/lib/firmware/mine"}
		m.record(t, first, firmwarePath{set, strings.Repeat("/long", 100)})
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || strings.Count(said, "the kernel looks for firmware in "+set) != 1 {
			t.Errorf("%q\n%s", names, said)
		}
		if got := m.recorded(t); len(got) != 2 {
			t.Errorf("recorded: %+v", got)
		}
		m.record(t, first, firmwarePath{set, earlier})
		if got := m.unload(t); m.firmwarePath(t) != "/lib/firmware/mine" {
			t.Errorf("the search path is %q: %+v", m.firmwarePath(t), got)
		}
		m.recordedOnly(t)
	})
	t.Run("a driver left alone", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		m.kernel.Have("nvidia", "580.159.04", "")
		dir := filepath.Join(t.TempDir(), "cdi")
		if _, err := cdi.Write(dir, cdi.Spec(cdi.Options{Files: []devices.File{{Path: devices.Control}}})); err != nil {
			t.Fatal(err)
		}
		m.record(t, cdiFolder{dir, true})
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, dir+", which is not mounted") {
			t.Errorf("%q\n%s", names, said)
		}
		m.mount(t, dir, "ext4")
		if m.unload(t); strings.Contains(m.log.String(), "somebody has loaded another driver") {
			t.Errorf("%s", m.log.String())
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("still there: %v", left)
		}
	})
	t.Run("device files of an unmounted /dev", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		files := []change{deviceFile{"/dev", devices.File{Path: "nvidia0", Major: 195}}, deviceFile{"/dev", devices.File{Path: "nvidiactl", Major: 195, Minor: 255}}}
		m.record(t, files...)
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || strings.Count(said, "could be undone: device files are in") != 1 || !strings.Contains(said, "-v /dev:/dev") {
			t.Errorf("%q\n%s", names, said)
		}
		m.recordedOnly(t, files...)
	})
	t.Run("modules of the kernel's own", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		for _, name := range []string{"drm", "video", "ttm"} {
			m.record(t, append(m.recorded(t), inTreeModule{name})...)
		}
		m.kernel.Have("drm", "", "")
		m.kernel.Have("video", "", "")
		m.kernel.Hold("video", "i915")
		m.kernel.Refuse["-drm"] = unix.EPERM
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, "the kernel's own module drm is loaded") {
			t.Errorf("%q\n%s", names, said)
		}
		// What has found another use is not ours any more.
		m.recordedOnly(t, inTreeModule{"drm"})
		clear(m.kernel.Refuse)
		if got := m.unload(t); !slices.Equal(got.InTree, []string{"drm"}) {
			t.Errorf("%+v", got)
		}
	})
}

// TestLoadRollsBack has a load fail with one module of the driver that stays: all
// else is as it was, and what is not is known, with what that module may use.
func TestLoadRollsBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.needs(t, "drm")
	m.kernel.Refuse["nvidia_uvm"], m.kernel.Refuse["-nvidia_drm"], m.kernel.Refuse["-drm"] = unix.EIO, unix.EBUSY, unix.EAGAIN
	if names, said := m.loadRefused(t, nil); !slices.Equal(names, []string{"refused"}) || !strings.Contains(said, "builder unload tries again") {
		t.Errorf("%q\n%s", names, said)
	}
	if got := m.firmwarePath(t); got != "" {
		t.Errorf("the search path is %q", got)
	}
	m.recordedOnly(t, inTreeModule{"drm"}, driverModule{"nvidia_drm", testDriver})
	clear(m.kernel.Refuse)
	if got := m.unload(t); got.Driver != testDriver || !slices.Equal(got.InTree, []string{"drm"}) {
		t.Errorf("%+v", got)
	}
	m.recordedOnly(t)
}

// TestLoadRollsBackToTheLastOne has a load that adds to an earlier one fail: what
// that did stays, and stays known.
func TestLoadRollsBackToTheLastOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, func(o *LoadOptions) { o.Modules, o.HostShare = []string{"nvidia"}, "/elsewhere" })
	want, path := m.recorded(t), m.firmwarePath(t)
	m.kernel.Refuse["nvidia_uvm"], m.kernel.Calls = unix.EIO, nil
	m.loadRefused(t, func(o *LoadOptions) { o.HostShare = "/srv" })
	m.called(t, "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_drm", "-nvidia_modeset")
	m.recordedOnly(t, want...)
	if got := m.firmwarePath(t); got != path {
		t.Errorf("the search path is %q, want %q", got, path)
	}
}

// TestLoadKilled has a load be stopped for good as it makes each of its changes:
// what it had done by then is known and undone, and what it had not is no trouble.
func TestLoadKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.needs(t, "drm")
	type killed struct{}
	for at, name := range []string{"nvidia", "nvidia_modeset", "drm", "nvidia_drm", "nvidia_uvm"} {
		m.kernel.Before = func(now string) {
			if now == name {
				panic(killed{})
			}
		}
		func() {
			defer func() {
				if _, is := recover().(killed); !is {
					t.Fatalf("%s was not loaded", name)
				}
			}()
			_, _ = Load(m.context(t), m.options(nil))
		}()
		m.kernel.Before = nil
		if got := m.recorded(t); len(got) != at+2 { // with firmware, and this one
			t.Errorf("recorded at %s: %+v", name, got)
		}
		if got := m.unload(t); len(got.Modules)+len(got.InTree) != at {
			t.Errorf("killed at %s: %+v", name, got)
		}
		m.recordedOnly(t)
		if got := m.firmwarePath(t); got != "" {
			t.Errorf("killed at %s: the search path is %q", name, got)
		}
		m.setFirmware(t, "")
	}
}

// TestLoadStopped has a load be asked to stop in the middle: it undoes what it
// did, and writes down that it has.
func TestLoadStopped(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if os.Getuid() == 0 { // then a share is somebody else's, who is given what is written
		if err := os.Chown(m.share, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(m.context(t))
	var atStop []change
	m.kernel.Before = func(name string) {
		switch name {
		case "nvidia":
			stop()
		default:
			t.Errorf("%s was loaded after that", name)
		}
		atStop = m.recorded(t)
	}
	m.kernel.Refuse["-nvidia"] = unix.EBUSY
	if _, err := Load(ctx, m.options(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if said := m.log.String(); strings.Contains(said, "cannot be recorded") {
		t.Errorf("%s", said)
	}
	if !slices.Contains(atStop, change(driverModule{"nvidia", testDriver})) {
		t.Errorf("recorded as it was stopped: %+v", atStop)
	}
	m.recordedOnly(t, driverModule{"nvidia", testDriver})
}

// needs has the driver's drm need a module of the kernel's own that is not loaded.
func (m *machine) needs(t *testing.T, name string) {
	t.Helper()
	tree := filepath.Join(m.host, "lib/modules", testRelease)
	file := "updates/" + name + ".ko"
	write(t, filepath.Join(tree, "modules.dep"), file+":\n")
	write(t, filepath.Join(tree, "modules.builtin"), "kernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n")
	module := read(t, m.published("nvidia-uvm.ko"))
	for from, to := range map[string]string{"name=nvidia_uvm\x00": "name=" + name, "depends=nvidia\x00": "depends="} {
		module = strings.Replace(module, from, to+strings.Repeat("\x00", len(from)-len(to)), 1)
	}
	write(t, filepath.Join(tree, file), module)
}

// recorded are the changes that are written down of the machine's boot.
func (m *machine) recorded(t *testing.T) []change {
	t.Helper()
	place := m.place(t)
	entries, err := place.read()
	if err != nil {
		t.Fatal(err)
	}
	var changes []change
	for _, e := range entries {
		changes = append(changes, e.change)
	}
	return changes
}

// recordedOnly expects just these changes to be written down.
func (m *machine) recordedOnly(t *testing.T, want ...change) {
	t.Helper()
	if diff := cmp.Diff(want, m.recorded(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

// record writes changes down for the machine's boot.
func (m *machine) record(t *testing.T, changes ...change) {
	t.Helper()
	j := journal{place: m.place(t), entries: with(nil, changes)}
	if err := j.write(); err != nil {
		t.Fatal(err)
	}
}

// place is where the machine's journal is.
func (m *machine) place(t *testing.T) place {
	t.Helper()
	return placeIn(m.own + runDir)
}

func placeIn(dir string) place { return place{file: filepath.Join(dir, testBoot+".json")} }
