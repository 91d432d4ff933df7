package devices

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(f *fakeSystem, dev string) error
		file    File
		want    string // "" where programs can use it
	}{
		{"right", func(f *fakeSystem, dev string) error {
			f.mustMake(t, dev, ctl)
			return nil
		}, File{Path: "nvidiactl", Major: 195, Minor: 255, Mode: 0o666}, ""},
		{"right, in a folder", func(f *fakeSystem, dev string) error {
			f.mustMake(t, dev, cap1)
			return nil
		}, cap1, ""},
		{"absent", func(*fakeSystem, string) error { return nil }, gpu0, "nvidia0 is not there. Run builder load again"},
		{"absent, and another's to make", func(*fakeSystem, string) error { return nil }, File{Path: "nvidia0", Major: 195, Kept: true}, "NVreg_ModifyDeviceFiles=0"},
		{"its folder absent", func(*fakeSystem, string) error { return nil }, cap1, "nvidia-cap1 is not there"},
		{"another device", func(f *fakeSystem, dev string) error {
			f.mustMake(t, dev, File{Path: "nvidia0", Major: 1, Minor: 3, Mode: 0o666})
			return nil
		}, gpu0, "nvidia0 is device 1:3, and the driver's is 195:0"},
		{"a plain file", func(_ *fakeSystem, dev string) error { return os.WriteFile(filepath.Join(dev, "nvidia0"), nil, 0o666) }, gpu0, "is not the driver's device file"},
		{"a link to what it should be", func(f *fakeSystem, dev string) error {
			f.mustMake(t, dev, File{Path: "real", Major: 195, Mode: 0o666})
			return os.Symlink("real", filepath.Join(dev, "nvidia0"))
		}, gpu0, "is not the driver's device file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, dev := newFake(), t.TempDir()
			if err := c.prepare(f, dev); err != nil {
				t.Fatal(err)
			}
			for _, open := range []bool{true, false} {
				err := maker{dev: dev, system: f.system()}.check([]File{c.file}, open)
				if c.want != "" {
					wantLoadError(t, err, c.want)
				} else if err != nil {
					t.Errorf("opened %t: %v", open, err)
				}
			}
		})
	}
	wantLoadError(t, Check(filepath.Join(t.TempDir(), "absent"), nil), "--dev")
}

// TestMayOpen asks about real devices that every machine has.
func TestMayOpen(t *testing.T) {
	null := File{Path: "null", Major: 1, Minor: 3, Mode: 0o666}
	for _, n := range []File{null, {Path: "null", Major: 1, Minor: 3, Mode: 0o444}, {Path: "null", Major: 1, Minor: 3, Mode: 0o666, GPU: true}} {
		if err := Check("/dev", []File{n}); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	// Each of them is looked at, also after one that may be opened.
	wantLoadError(t, Check("/dev", []File{null, {Path: "absent", Major: 1, Minor: 3, Mode: 0o666}}), "/dev/absent is not there")
	if err := Open("/dev", null); err != nil {
		t.Error(err)
	}
	wantLoadError(t, Open("/dev", File{Path: "absent"}), "cannot be opened")
}

// TestOpenDevice has a folder stand in for a device that may be read only:
// nobody may open one to write, root neither.
func TestOpenDevice(t *testing.T) {
	t.Parallel()
	dev := t.TempDir()
	if err := os.Mkdir(filepath.Join(dev, "readable"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		mode fs.FileMode
		want error
	}{
		{"readable", 0o444, nil},
		{"readable", 0o400, nil},
		{"readable", 0o666, unix.EISDIR},
		{"readable", 0o200, unix.EISDIR},
		{"absent", 0o444, unix.ENOENT},
	} {
		if err := openDevice(dev, File{Path: c.path, Mode: c.mode}); err != c.want {
			t.Errorf("%s of mode %04o: %v, want %v", c.path, c.mode, err, c.want)
		}
	}
}

func TestExplainOpen(t *testing.T) {
	for err, want := range map[error]string{
		unix.EPERM:  "device cgroup does not let it: operation not permitted. Run it with --privileged, or with --device-cgroup-rule 'c 195:* rwm'",
		unix.EACCES: "nodev",
		unix.ENXIO:  "no driver answers for it",
		unix.ENODEV: "no driver answers for it",
		unix.EIO:    "could not bring up the GPU",
		unix.EBADF:  "cannot be opened",
	} {
		wantLoadError(t, explainOpen("/dev", gpu0, err), want)
	}
}
