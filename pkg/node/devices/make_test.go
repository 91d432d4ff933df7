package devices

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeSystem stands in for what only root may have: a device file is a plain
// file whose number and owner it remembers.
type fakeSystem struct {
	numbers map[uint64]uint64 // by inode
	owners  map[uint64]string
	// refuse is what mknod says, refuseOwner what chown does.
	refuse, refuseOwner error
}

func newFake() *fakeSystem {
	return &fakeSystem{numbers: map[uint64]uint64{}, owners: map[uint64]string{}}
}

func (f *fakeSystem) system() system {
	return system{
		mknod: func(dir int, name string, mode uint32, number int) error {
			if f.refuse != nil {
				return f.refuse
			}
			fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, mode&0o777)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			f.numbers[st.Ino] = uint64(number)
			return nil
		},
		stat: func(fd int, st *unix.Stat_t) error {
			if err := unix.Fstat(fd, st); err != nil {
				return err
			}
			st.Uid, st.Gid = 0, 0
			if owner, ok := f.owners[st.Ino]; ok {
				_, _ = fmt.Sscanf(owner, "%d:%d", &st.Uid, &st.Gid)
			}
			if number, ok := f.numbers[st.Ino]; ok && st.Mode&unix.S_IFMT == unix.S_IFREG {
				st.Mode, st.Rdev = st.Mode&^unix.S_IFMT|unix.S_IFCHR, number
			}
			return nil
		},
		chown: func(fd, uid, gid int) error {
			if f.refuseOwner != nil {
				return f.refuseOwner
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			f.owners[st.Ino] = fmt.Sprintf("%d:%d", uid, gid)
			return nil
		},
	}
}

// show is all that is in a dev.
func (f *fakeSystem) show(t *testing.T, dev string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dev, func(file string, e fs.DirEntry, err error) error {
		if err != nil || file == dev {
			return err
		}
		name, _ := filepath.Rel(dev, file)
		var st unix.Stat_t
		if err := unix.Lstat(file, &st); err != nil {
			return err
		}
		number, device := f.numbers[st.Ino]
		owner := f.owners[st.Ino]
		if owner == "" {
			owner = "0:0"
		}
		switch target, _ := os.Readlink(file); {
		case target != "":
			all = append(all, name+" -> "+target)
		case e.IsDir():
			all = append(all, fmt.Sprintf("%s/ %04o", name, st.Mode&0o7777))
		case device:
			all = append(all, fmt.Sprintf("%s %d:%d %04o %s", name, unix.Major(number), unix.Minor(number), st.Mode&0o7777, owner))
		default:
			all = append(all, name+" file")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (f *fakeSystem) make(t *testing.T, dev string, files ...File) ([]File, error) {
	t.Helper()
	return maker{dev: dev, system: f.system()}.make(t.Context(), files)
}

func (f *fakeSystem) mustMake(t *testing.T, dev string, files ...File) []File {
	t.Helper()
	made, err := f.make(t, dev, files...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

var (
	gpu0  = File{Path: "nvidia0", Major: 195, Minor: 0, Mode: 0o666, GPU: true}
	ctl   = File{Path: "nvidiactl", Major: 195, Minor: 255, Mode: 0o660, UID: 7, GID: 44}
	cap1  = File{Path: "nvidia-caps/nvidia-cap1", Major: 241, Minor: 1, Mode: 0o400}
	large = File{Path: "nvidia-caps/nvidia-cap4323", Major: 241, Minor: 4323, Mode: 0o400}
)

func TestMake(t *testing.T) {
	old := unix.Umask(0o077) // which must not decide about modes
	defer unix.Umask(old)
	f, dev := newFake(), t.TempDir()
	kept := File{Path: "nvidia-modeset", Major: 195, Minor: 254, Kept: true}
	missing, err := maker{dev: dev, system: f.system()}.missing([]File{gpu0, ctl, cap1, large, kept})
	if err != nil {
		t.Fatal(err)
	}
	want(t, lines(missing), lines([]File{gpu0, ctl, cap1, large})...)
	made := f.mustMake(t, dev, gpu0, ctl, cap1, large, kept)
	want(t, lines(made), lines([]File{gpu0, ctl, cap1, large})...)
	all := []string{
		"nvidia-caps/ 0755", "nvidia-caps/nvidia-cap1 241:1 0400 0:0", "nvidia-caps/nvidia-cap4323 241:4323 0400 0:0",
		"nvidia0 195:0 0666 0:0", "nvidiactl 195:255 0660 7:44",
	}
	want(t, f.show(t, dev), all...)

	// Again changes nothing, and what was not made is not said to be.
	if made := f.mustMake(t, dev, gpu0, ctl, cap1, large); len(made) != 0 {
		t.Errorf("made again: %v", made)
	}
	if missing, err := (maker{dev: dev, system: f.system()}).missing([]File{gpu0, ctl, cap1, large}); err != nil || len(missing) > 0 {
		t.Errorf("missing: %v, %v", missing, err)
	}
	want(t, f.show(t, dev), all...)
}

func TestMakeCorrectsModeAndOwner(t *testing.T) {
	f, dev := newFake(), t.TempDir()
	f.mustMake(t, dev, File{Path: "nvidiactl", Major: 195, Minor: 255, Mode: 0o600})
	if made := f.mustMake(t, dev, ctl); len(made) != 0 {
		t.Errorf("%v was there before", made)
	}
	want(t, f.show(t, dev), "nvidiactl 195:255 0660 7:44")
	// The driver's parameters say to leave it.
	kept := File{Path: "nvidiactl", Major: 195, Minor: 255, Mode: 0o666, Kept: true}
	f.mustMake(t, dev, kept)
	want(t, f.show(t, dev), "nvidiactl 195:255 0660 7:44")
}

func TestMakeReplacesADeviceOfAnotherNumber(t *testing.T) {
	f, dev := newFake(), t.TempDir()
	f.mustMake(t, dev, File{Path: "nvidia-caps/nvidia-cap1", Major: 240, Minor: 1, Mode: 0o666})
	if made := f.mustMake(t, dev, cap1); len(made) != 1 {
		t.Errorf("made %v", made)
	}
	want(t, f.show(t, dev), "nvidia-caps/ 0755", "nvidia-caps/nvidia-cap1 241:1 0400 0:0")
}

func TestMakeLinksByNumber(t *testing.T) {
	f, dev := newFake(), t.TempDir()
	char := filepath.Join(dev, "char")
	if err := os.Mkdir(char, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../elsewhere", filepath.Join(char, "195:0")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(char, "195:255"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	files := []File{gpu0, ctl, cap1}
	f.mustMake(t, dev, files...)
	want(t, f.show(t, dev), "char/ 0755", "char/195:0 -> ../nvidia0", "char/195:255 file", "char/241:1 -> ../nvidia-caps/nvidia-cap1",
		"nvidia-caps/ 0755", "nvidia-caps/nvidia-cap1 241:1 0400 0:0", "nvidia0 195:0 0666 0:0", "nvidiactl 195:255 0660 7:44")
	if _, err := (maker{dev: dev, system: f.system()}).remove(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	want(t, f.show(t, dev), "char/ 0755", "char/195:255 file")
}

// TestMakeKeepsALinkThatIsRight has a link by number not be made anew each time.
func TestMakeKeepsALinkThatIsRight(t *testing.T) {
	t.Parallel()
	f, dev := newFake(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dev, "char"), 0o755); err != nil {
		t.Fatal(err)
	}
	var links [2]fs.FileInfo
	for i := range links {
		f.mustMake(t, dev, gpu0)
		var err error
		if links[i], err = os.Lstat(filepath.Join(dev, "char/195:0")); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(links[0], links[1]) {
		t.Error("a link that was right was replaced")
	}
}

// TestMakeWithoutCapChown makes the files that are root's in a container that may
// not give files away, and leaves nothing of one that would be somebody's.
func TestMakeWithoutCapChown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uid, gid int
		refused  bool
	}{{0, 0, false}, {7, 0, true}, {0, 44, true}, {7, 44, true}} {
		f, dev := newFake(), t.TempDir()
		f.refuseOwner = unix.EPERM
		made, err := f.make(t, dev, File{Path: "nvidia0", Major: 195, Mode: 0o644, UID: c.uid, GID: c.gid})
		if errors.Is(err, unix.EPERM) != c.refused || (len(made) == 0) != c.refused {
			t.Errorf("of %d:%d: %v, made %v", c.uid, c.gid, err, made)
		}
		if c.refused {
			want(t, f.show(t, dev))
		} else {
			want(t, f.show(t, dev), "nvidia0 195:0 0644 0:0")
		}
	}
}

func TestRemoveLeavesWhatIsNotOurs(t *testing.T) {
	f, dev := newFake(), t.TempDir()
	f.mustMake(t, dev, large, File{Path: "nvidia0", Major: 1, Minor: 3, Mode: 0o666})
	if err := os.WriteFile(filepath.Join(dev, "nvidiactl"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := f.show(t, dev)
	if _, err := (maker{dev: dev, system: f.system()}).remove(t.Context(), []File{gpu0, ctl, cap1}); err != nil {
		t.Fatal(err)
	}
	want(t, f.show(t, dev), before...)
}

// TestHostileDev has a dev whose owner would have root write elsewhere.
func TestHostileDev(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		prepare func(dev string) error
		file    File
		want    string
	}{
		{"a link in its place", func(dev string) error { return os.Symlink(victim, filepath.Join(dev, "nvidia0")) }, gpu0, "is not a device file"},
		{"a link to nothing", func(dev string) error {
			return os.Symlink(filepath.Join(outside, "new"), filepath.Join(dev, "nvidia0"))
		}, gpu0, "is not a device file"},
		{"a plain file in its place", func(dev string) error { return os.WriteFile(filepath.Join(dev, "nvidia0"), nil, 0o644) }, gpu0, "is not a device file"},
		{"a folder in its place", func(dev string) error { return os.Mkdir(filepath.Join(dev, "nvidia0"), 0o755) }, gpu0, "is not a device file"},
		{"a link in the folder's place", func(dev string) error { return os.Symlink(outside, filepath.Join(dev, "nvidia-caps")) }, cap1, "is not a folder"},
		{"a file in the folder's place", func(dev string) error { return os.WriteFile(filepath.Join(dev, "nvidia-caps"), nil, 0o644) }, cap1, "is not a folder"},
		{"a FIFO in its place", func(dev string) error { return unix.Mkfifo(filepath.Join(dev, "nvidia0"), 0o666) }, gpu0, "is not a device file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, dev := newFake(), t.TempDir()
			if err := c.prepare(dev); err != nil {
				t.Fatal(err)
			}
			before := f.show(t, dev)
			_, err := f.make(t, dev, c.file)
			wantLoadError(t, err, c.want)
			if _, err := (maker{dev: dev, system: f.system()}).remove(t.Context(), []File{c.file}); err != nil {
				t.Error(err)
			}
			want(t, f.show(t, dev), before...)
			want(t, f.show(t, outside), "victim file")
			if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestMakeExplains(t *testing.T) {
	for _, c := range []struct {
		refuse error
		want   string
	}{
		{unix.EPERM, "may not make device files: operation not permitted. Run it with --privileged"},
		{unix.EROFS, "read-only"},
		{unix.EIO, "look at the cause"},
	} {
		f, dev := newFake(), t.TempDir()
		f.refuse = c.refuse
		made, err := f.make(t, dev, gpu0)
		if len(made) != 0 || !errors.Is(err, c.refuse) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
			t.Errorf("%v: %v, made %v", c.refuse, err, made)
		}
		want(t, f.show(t, dev))
	}
	_, err := Make(t.Context(), filepath.Join(t.TempDir(), "absent"), []File{gpu0})
	wantLoadError(t, err, "--dev")
}
