package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/stage"
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
	if got := m.recorded(t); !slices.Equal(got[len(got)-1:], []change{cdiFolder{Dir: "cdi"}}) || len(got) != len(testModules)+2 {
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

// TestMayUse has a container that may open no device it makes be held against the
// one file that every program opens: others that it has say nothing.
func TestMayUse(t *testing.T) {
	t.Parallel()
	null := devices.File{Path: "null", Major: 1, Minor: 3, Mode: 0o666} // which every machine has
	refused := &os.PathError{Op: "open", Path: "/dev", Err: unix.EPERM}
	for _, tt := range []struct {
		name   string
		state  string
		opened error
		mounts string
		want   bool
	}{
		{"it may", AlreadyLoaded, nil, disk, true},
		{"it may not", AlreadyLoaded, refused, disk, false},
		{"it may not, which was looked at before", Loaded, refused, disk, true},
		{"it may not, with the host's /dev", AlreadyLoaded, refused, disk + "33 25 0:5 / /dev rw - devtmpfs udev rw\n", true},
	} {
		l := &loader{
			LoadOptions: LoadOptions{Dev: "/dev"}, result: LoadResult{State: tt.state},
			access: access{own: root(t, map[string]string{"proc/self/mountinfo": tt.mounts}), kernel: answers{opened: tt.opened}},
		}
		err := l.mayUse([]devices.File{null})
		var found *stage.Error
		if is := errors.As(err, &found); tt.want && err != nil || !tt.want && (!is || found.Findings[0] != DeviceCgroup.Of("/dev")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestLoadGivesTheSpecificationToTheOwner has a share be somebody else's.
func TestLoadGivesTheSpecificationToTheOwner(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	owner := os.Getuid()
	if owner == 0 { // then it can be
		owner = 1
		if err := os.Chown(m.share, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	got := m.load(t, nil)
	var is unix.Stat_t
	if err := unix.Stat(got.CDI, &is); err != nil || int(is.Uid) != owner {
		t.Errorf("%s is of %d, want %d (%v)", got.CDI, is.Uid, owner, err)
	}
	if said := m.log.String(); strings.Contains(said, "its owner stays root") {
		t.Errorf("%s", said)
	}
}

// fakeFiles stands in for a /dev: what is in it, by path.
type fakeFiles struct {
	mu    sync.Mutex
	there map[string]bool
	// before is called before anything is made, and refuse is why one cannot be.
	before func()
	refuse map[string]error
	// opened is what comes of opening one, by path.
	opened map[string]error
	// opening is called as one is being opened, by several goroutines.
	opening func()
}

func (f *fakeFiles) Missing(_ string, files []devices.File) (missing []devices.File, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(files), func(n devices.File) bool { return f.there[n.Path] }), nil
}

func (f *fakeFiles) Make(_ context.Context, dev string, files []devices.File) (made []devices.File, err error) {
	if f.before != nil {
		f.before()
	}
	missing, _ := f.Missing(dev, files)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range missing {
		if err := f.refuse[n.Path]; err != nil {
			return made, err
		}
		f.there[n.Path] = true
		made = append(made, n)
	}
	return made, nil
}

func (f *fakeFiles) Remove(_ context.Context, _ string, files []devices.File) (removed []devices.File, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range files {
		if f.there[n.Path] {
			delete(f.there, n.Path)
			removed = append(removed, n)
		}
	}
	return removed, nil
}

func (f *fakeFiles) Open(_ string, n devices.File) error {
	if f.opening != nil {
		f.opening()
	}
	return f.opened[n.Path]
}

func (f *fakeFiles) Usable(dev string, files []devices.File, _ bool) error {
	if missing, _ := f.Missing(dev, files); len(missing) > 0 {
		return stage.New(stage.Load, fmt.Sprintf("the device file %s is not there", missing[0].Path), "run builder load again")
	}
	return nil
}

func (f *fakeFiles) Sweep(string, []devices.File) error { return nil }

// withFiles is a machine with a /dev that is the host's, and that has nvidiactl
// already.
func withFiles(t *testing.T) (*machine, *fakeFiles) {
	m := newMachine(t)
	return m, m.giveFiles(t)
}

// giveFiles has the host's /dev be there.
func (m *machine) giveFiles(t *testing.T) *fakeFiles {
	t.Helper()
	m.kernel.FilesMade = true
	m.mount(t, m.own+"/dev", "devtmpfs")
	m.files = &fakeFiles{there: map[string]bool{"nvidiactl": true}}
	return m.files
}

// filesRecorded are the device files that are written down.
func (m *machine) filesRecorded(t *testing.T) (paths []string) {
	t.Helper()
	for _, c := range m.recorded(t) {
		if f, ok := c.(deviceFile); ok {
			if f.Dev != m.own+"/dev" || f.File.Major != 195 {
				t.Errorf("%+v", f)
			}
			paths = append(paths, f.File.Path)
		}
	}
	return paths
}

// TestLoadRecordsDeviceFiles has those be written down that are made in the
// host's /dev, before they are.
func TestLoadRecordsDeviceFiles(t *testing.T) {
	t.Parallel()
	m, files := withFiles(t)
	want := []string{"nvidia-modeset", "nvidia0"}
	files.before = func() {
		if got := m.filesRecorded(t); !slices.Equal(got, want) {
			t.Errorf("recorded before: %q, want %q", got, want)
		}
	}
	for _, made := range []string{`"made":2`, `"made":0`} { // the second time there is nothing to make
		if got := m.load(t, nil); len(got.Files) != 3 {
			t.Errorf("%+v", got)
		}
		if said := m.log.String(); !strings.Contains(said, made) {
			t.Errorf("it does not say %s:\n%s", made, said)
		}
		if got := m.filesRecorded(t); !slices.Equal(got, want) {
			t.Errorf("recorded: %q, want %q", got, want)
		}
	}
	slices.Reverse(want)
	if got := m.unload(t); !slices.Equal(got.Files, want) {
		t.Errorf("%+v, want %q", got, want)
	}
	if want := map[string]bool{"nvidiactl": true}; !maps.Equal(files.there, want) {
		t.Errorf("left: %v, want %v", files.there, want)
	}
	m.recordedOnly(t)
}

// TestLoadRecordsNoOtherDeviceFiles has none be written down that were not made,
// or that go with their container.
func TestLoadRecordsNoOtherDeviceFiles(t *testing.T) {
	t.Parallel()
	m, files := withFiles(t)
	files.refuse = map[string]error{"nvidia0": unix.EPERM}
	if _, err := Load(m.context(t), m.options(nil)); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v", err)
	}
	if got, want := m.filesRecorded(t), []string{"nvidia-modeset"}; !slices.Equal(got, want) {
		t.Errorf("recorded: %q, want %q", got, want)
	}
	// The driver stays loaded, and the next load goes on.
	clear(files.refuse)
	if got := m.load(t, nil); got.State != AlreadyLoaded || len(files.there) != 3 {
		t.Errorf("%+v, made: %v", got, files.there)
	}
	own := newMachine(t)
	own.kernel.FilesMade = true
	own.files = &fakeFiles{there: map[string]bool{}}
	own.load(t, nil)
	if got := own.filesRecorded(t); len(got) > 0 || len(own.files.there) != 3 {
		t.Errorf("recorded: %q, made: %v", got, own.files.there)
	}
}

// TestLoadRecordsWholePaths has folders be named as they are seen from where a load
// is run, and an unload be run elsewhere.
func TestLoadRecordsWholePaths(t *testing.T) {
	m := newMachine(t)
	m.kernel.FilesMade = true
	m.files = &fakeFiles{there: map[string]bool{}}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "dev/null"), "")
	m.mount(t, filepath.Join(dir, "dev"), "devtmpfs")
	t.Chdir(dir)
	got := m.load(t, func(o *LoadOptions) { o.CDIDir, o.Dev = "specs", "dev" })
	spec := filepath.Join(dir, "specs/nvidia.com-gpu.json")
	if got.CDI != spec || got.Dev != filepath.Join(dir, "dev") {
		t.Errorf("%+v", got)
	}
	if len(m.files.there) != 3 {
		t.Errorf("made: %v", m.files.there)
	}
	t.Chdir("/")
	// The folder is not called as those of CDI are.
	if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, "unless unload is told of the folder with --cdi-dir") {
		t.Errorf("%q\n%s", names, said)
	}
	if _, err := Unload(m.context(t), m.options(func(o *LoadOptions) { o.CDIDir = filepath.Join(dir, "specs") })); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(spec); !os.IsNotExist(err) || len(m.files.there) > 0 {
		t.Errorf("left: %v, %v", err, m.files.there)
	}
}

// TestLoadRecordsCDI has a folder be written down in which a specification is, and
// none in which there is not.
func TestLoadRecordsCDI(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir := filepath.Join(t.TempDir(), "cdi")
	write(t, filepath.Join(dir, "README"), "")
	m.mount(t, dir, "ext4")
	named := func(o *LoadOptions) { o.CDIDir = dir }
	folder := func() []change {
		return slices.DeleteFunc(m.recorded(t), func(c change) bool { return !is[cdiFolder](c) })
	}
	write(t, filepath.Join(dir, "theirs.json"), `{"kind": "nvidia.com/gpu"}`)
	if got := m.load(t, named); got.CDI != "" || len(folder()) > 0 {
		t.Errorf("%+v, recorded: %+v", got, folder())
	}
	remove(t, filepath.Join(dir, "theirs.json"))
	for range 2 {
		if got := m.load(t, named); got.CDI != filepath.Join(dir, "nvidia.com-gpu.json") || !slices.Equal(folder(), []change{cdiFolder{dir, true}}) {
			t.Errorf("%+v, recorded: %+v", got, folder())
		}
	}
	// It is still there where another can take its place no more.
	write(t, filepath.Join(dir, "theirs.json"), `{"kind": "nvidia.com/gpu"}`)
	if m.load(t, named); !slices.Equal(folder(), []change{cdiFolder{dir, true}}) {
		t.Errorf("recorded: %+v", folder())
	}
	m.unload(t)
	if _, err := os.Stat(filepath.Join(dir, "nvidia.com-gpu.json")); !os.IsNotExist(err) {
		t.Errorf("the specification is still there: %v", err)
	}
}

// TestLoadSpecifiesChannels beside the GPUs, which serve also where somebody else has
// specified the channels.
func TestLoadSpecifiesChannels(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	m := newMachine(t)
	dir := filepath.Join(t.TempDir(), "cdi")
	write(t, filepath.Join(dir, "README"), "")
	m.mount(t, dir, "ext4")
	named := func(o *LoadOptions) { o.CDIDir = dir }
	channel := filepath.Join(m.own, "dev/nvidia-caps-imex-channels/channel0")
	write(t, filepath.Join(filepath.Dir(channel), "README"), "")
	if err := unix.Mknod(channel, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	channels, theirs := filepath.Join(dir, "nvidia.com-imex-channel.json"), filepath.Join(dir, "theirs.json")
	write(t, theirs, `{"kind": "nvidia.com/imex-channel"}`)
	const says = "theirs.json specifies nvidia.com/imex-channel as well"
	if got := m.load(t, named); got.CDI == "" || !strings.Contains(m.log.String(), says) {
		t.Errorf("%+v\n%s", got, m.log.String())
	}
	remove(t, theirs)
	m.load(t, named)
	if text := read(t, channels); !strings.Contains(text, `"/dev/nvidia-caps-imex-channels/channel0"`) {
		t.Errorf("%s", text)
	}
	remove(t, channel)
	m.load(t, named)
	if _, err := os.Stat(channels); !os.IsNotExist(err) {
		t.Errorf("there are no channels any more, and their specification stays: %v", err)
	}
}
