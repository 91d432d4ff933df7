package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/share"
)

// TestUnloadLeavesOthersAlone has somebody load another driver in the place of
// the one that builder had loaded.
func TestUnloadLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	for _, name := range slices.Backward(testModules) {
		if err := m.kernel.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	m.kernel.Have("nvidia", "580.159.04", "")
	m.kernel.Calls = nil
	if m.unload(t); !strings.Contains(m.log.String(), "left as they are") {
		t.Errorf("%s", m.log.String())
	}
	m.called(t)
}

// TestUnloadRefuses has a driver stay whole that is in use, or cannot go.
func TestUnloadRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stage  func(m *machine)
		kind   string
		called []string
	}{
		{"in use", func(m *machine) { m.kernel.Hold("nvidia", "gdrdrv") }, "in-use", nil},
		{"in use a moment later", func(m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.EAGAIN }, "in-use", []string{"-nvidia_uvm"}},
		{"a kernel that cannot", func(m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.ENOSYS }, "no-unload", []string{"-nvidia_uvm"}},
		{"anything else", func(m *machine) { m.kernel.Refuse["-nvidia_uvm"] = unix.EIO }, "refused", []string{"-nvidia_uvm"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.load(t, nil)
			tt.stage(m)
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
		m := newMachine(t)
		m.setFirmware(t, "/set")
		// No kernel takes so long a path.
		m.record(t, Record{Firmware: "/set", Before: strings.Repeat("/long", 100)})
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, "/set") {
			t.Errorf("%q\n%s", names, said)
		}
		if got := m.recorded(t); got.Firmware != "/set" {
			t.Errorf("recorded: %+v", got)
		}
		m.record(t, Record{Firmware: "/set", Before: "/lib/firmware/mine"})
		m.unload(t)
		if got := m.firmwarePath(t); got != "/lib/firmware/mine" {
			t.Errorf("the search path is %q", got)
		}
		if got := m.recorded(t); !got.Empty() {
			t.Errorf("recorded: %+v", got)
		}
	})
	t.Run("a driver left alone", func(t *testing.T) {
		m := newMachine(t)
		m.kernel.Have("nvidia", "580.159.04", "")
		dir := t.TempDir()
		write(t, filepath.Join(dir, "nvidia.com-gpu.json"), `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu"}`)
		m.record(t, Record{CDI: []CDIFolder{{Dir: dir, Mounted: true}}})
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
		m := newMachine(t)
		m.record(t, Record{Dev: "/dev", Nodes: []devices.File{{Path: "nvidia0", Major: 195}}})
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, "-v /dev:/dev") {
			t.Errorf("%q\n%s", names, said)
		}
		if got := m.recorded(t); len(got.Nodes) != 1 {
			t.Errorf("recorded: %+v", got)
		}
	})
}

// TestLoadKilled has a load be stopped for good in the middle: what it did is
// known.
func TestLoadKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.kernel.Before = func(name string) {
		if name == "nvidia_uvm" {
			if got := m.recorded(t); !slices.Equal(got.Modules, testModules) || got.Firmware == "" || got.Driver != testDriver {
				t.Errorf("recorded while the last is loaded: %+v", got)
			}
		}
	}
	m.kernel.Refuse["nvidia_uvm"], m.kernel.Refuse["-nvidia_drm"] = unix.EIO, unix.EBUSY
	m.loadRefused(t, nil)
	want := []string{"nvidia_drm"}
	if got := m.recorded(t); !slices.Equal(got.Modules, want) || got.Firmware != "" {
		t.Errorf("recorded after nvidia_drm stayed: %+v, want %q", got, want)
	}
	clear(m.kernel.Refuse)
	if got := m.unload(t); got.Driver != testDriver {
		t.Errorf("%+v", got)
	}
	if got := m.recorded(t); !got.Empty() {
		t.Errorf("recorded: %+v", got)
	}
}

// recorded is what is written down of the machine's boot.
func (m *machine) recorded(t *testing.T) Record {
	t.Helper()
	r, err := ReadRecord(m.open(t), testBoot)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// record writes something down for the machine's boot.
func (m *machine) record(t *testing.T, r Record) {
	t.Helper()
	if err := r.Write(t.Context(), m.open(t), testBoot); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) open(t *testing.T) *share.Share {
	t.Helper()
	s, err := share.Open(m.share)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
