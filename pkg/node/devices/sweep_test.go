package devices

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSweep removes what a run that was killed left of a file and its link, and
// nothing that is another's.
func TestSweep(t *testing.T) {
	t.Parallel()
	f, dev := newFake(), t.TempDir()
	for _, name := range []string{"char", "nvidia-caps"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := maker{dev: dev, system: f.system()}
	left := func(name string, major, minor uint32) {
		t.Helper()
		if err := m.mknod(unix.AT_FDCWD, filepath.Join(dev, name), unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
			t.Fatal(err)
		}
	}
	left(temporary("nvidia0"), 195, 0)
	left("nvidia-caps/"+temporary("nvidia-cap1"), 241, 1)
	left(".nvidia0.tmp-0123456789abcdef", 1, 3)     // another device
	left(".nvidia0.tmp-0123456789abcde", 195, 0)    // another name
	left(".nvidiactl.tmp-0123456789abcdef", 195, 0) // of a file that is not asked about
	for name, target := range map[string]string{temporary("195:0"): "../nvidia0", ".195:0.tmp-0123456789abcdef": "../sda"} {
		if err := os.Symlink(target, filepath.Join(dev, "char", name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := m.sweep([]File{gpu0, cap1, {Path: "absent/file"}}); err != nil {
			t.Fatal(err)
		}
		want(t, f.show(t, dev), ".nvidia0.tmp-0123456789abcde 195:0 0600 0:0", ".nvidia0.tmp-0123456789abcdef 1:3 0600 0:0",
			".nvidiactl.tmp-0123456789abcdef 195:0 0600 0:0", "char/ 0755", "char/.195:0.tmp-0123456789abcdef -> ../sda", "nvidia-caps/ 0755")
	}
	wantLoadError(t, maker{dev: filepath.Join(dev, "absent"), system: f.system()}.sweep(nil), "there is no folder")
}

// TestRemoveOfALinkThatIsLeft has a run be killed between a file and its link.
func TestRemoveOfALinkThatIsLeft(t *testing.T) {
	t.Parallel()
	f, dev := newFake(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dev, "char"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.mustMake(t, dev, gpu0, ctl)
	if err := os.Remove(filepath.Join(dev, gpu0.Path)); err != nil {
		t.Fatal(err)
	}
	removed, err := maker{dev: dev, system: f.system()}.remove(t.Context(), []File{gpu0, ctl})
	if err != nil || len(removed) != 1 || removed[0] != ctl {
		t.Errorf("removed %v, %v", removed, err)
	}
	want(t, f.show(t, dev), "char/ 0755")
}
