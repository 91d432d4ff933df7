package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLoadWithDamagedUserSpace has a library be changed before a load, and after.
func TestLoadWithDamagedUserSpace(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	library := filepath.Join(m.share, "driver", testDriver, "usr/lib64/libcuda.so."+testDriver)
	whole := read(t, library)
	write(t, library, "another file")
	names, said := m.loadRefused(t, nil)
	if !slices.Equal(names, []string{"user-space"}) || !strings.Contains(said, "libcuda.so."+testDriver) {
		t.Errorf("%q\n%s", names, said)
	}
	m.called(t)
	write(t, library, whole)
	spec := filepath.Join(m.share, "cdi/nvidia.com-gpu.json")
	if got := m.load(t, nil); got.UserSpace == "" || got.CDI != spec {
		t.Errorf("%+v", got)
	}
	m.load(t, nil)
	if got := m.recorded(t).CDI; !slices.Equal(got, []CDIFolder{{Dir: "cdi"}}) {
		t.Errorf("recorded: %+v", got)
	}
	write(t, library, "another file")
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.UserSpace != "" {
		t.Errorf("%+v", got)
	}
	m.unload(t)
	if _, err := os.Stat(spec); !os.IsNotExist(err) {
		t.Errorf("the specification is still there: %v", err)
	}
}
