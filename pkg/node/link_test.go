package node

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLink has a stable path lead to the user-space side of what is loaded, and where GPU
// Operator looks, and be gone with the driver: kubernetes-sigs/dra-driver-nvidia-gpu#605.
func TestLink(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	write(t, filepath.Join(m.own, "run/nvidia/README"), "")
	m.mount(t, m.own+"/run/nvidia", "tmpfs")
	own, operators := filepath.Join(m.own, "run/cuda/driver"), filepath.Join(m.own, "run/nvidia/driver")
	lead := func(want string, paths ...string) {
		t.Helper()
		for _, path := range paths {
			if got, _ := os.Readlink(path); got != want {
				t.Errorf("%s leads to %q, want %q", path, got, want)
			}
		}
	}
	left := filepath.Join(m.own, "run/cuda/.driver.tmp-1") // by a run that was killed
	link(t, "/elsewhere", left)
	to := filepath.Join(m.share, "driver", testDriver)
	if got := m.load(t, nil); got.Link != own {
		t.Errorf("%+v", got)
	}
	lead(to, own, operators)
	lead("", left)
	current := filepath.Join(m.share, "driver/current")
	lead("/run/cuda/driver", current)
	// The share lies elsewhere on the host by now.
	m.load(t, func(o *LoadOptions) { o.HostShare = "/home/core/share" })
	lead("/home/core/share/driver/"+testDriver, own, operators)
	m.unload(t)
	lead("", own, operators)
	lead("/run/cuda/driver", current) // other hosts' too

	// Somebody else's.
	remove(t, current)
	link(t, "595.71.05", current)
	// GPU Operator's own driver container has a root there.
	write(t, filepath.Join(operators, "usr/bin/nvidia-smi"), "")
	m.load(t, nil)
	lead(to, own)
	lead("595.71.05", current)
	m.unload(t)
	if _, err := os.Stat(filepath.Join(operators, "usr/bin/nvidia-smi")); err != nil {
		t.Error(err)
	}
	without := newMachine(t)
	without.unmount(t, without.own+runDir)
	if got := without.load(t, nil); got.Link != "" {
		t.Errorf("%+v", got)
	}
	lead("", filepath.Join(without.share, "driver/current"))
}
