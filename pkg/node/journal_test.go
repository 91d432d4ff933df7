package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/share"
)

// everyChange is one of each kind.
var everyChange = []change{
	firmwarePath{"/a", "/b"}, inTreeModule{"drm"}, driverModule{"nvidia", "1.2"},
	deviceFile{"/dev", devices.File{Path: "nvidia0", Major: 195, Mode: 0o666, GPU: true}}, cdiFolder{"/etc/cdi", true},
}

// changes are those of a journal.
func (j *journal) changes() (list []change) {
	for _, e := range j.entries {
		list = append(list, e.change)
	}
	return list
}

func TestJournalIsWrittenDown(t *testing.T) {
	t.Parallel()
	j := journal{place: (&machine{share: t.TempDir(), own: t.TempDir()}).place(t), entries: with(nil, everyChange)}
	if err := j.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := journal{place: j.place}
	var err error
	if again.entries, err = again.place.read(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyChange, again.changes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, e := range again.entries {
		if e.fresh {
			t.Errorf("%+v is of this run", e.change)
		}
	}
	other := j.place
	other.boot, other.file = "1"+testBoot[1:], other.share.LoadRecord("", "1"+testBoot[1:])
	if other, err := other.read(); err != nil || len(other) > 0 {
		t.Errorf("of another boot: %+v, %v", other, err)
	}
	for range 2 { // there, and not
		if err := (&journal{place: j.place}).write(t.Context()); err != nil {
			t.Error(err)
		}
		if got, err := j.place.read(); err != nil || len(got) > 0 {
			t.Errorf("of nothing to undo: %+v, %v", got, err)
		}
		if _, err := os.Stat(j.place.file); !os.IsNotExist(err) {
			t.Errorf("of nothing to undo there is a file: %v", err)
		}
	}
	write(t, j.place.file, "{")
	if _, err := j.place.read(); err == nil || !strings.Contains(err.Error(), j.place.file) {
		t.Errorf("%v", err)
	}
	if err := (&journal{entries: with(nil, everyChange)}).write(t.Context()); err != nil {
		t.Errorf("without a place: %v", err)
	}
}

// TestJournalKeepsWhatItDoesNotKnow has a newer builder have written changes that
// this one cannot read: those that it can are undone, and the others stay as they
// were written, and are told of.
func TestJournalKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	file := m.place(t).file
	unknown := []string{`{"kind":"frob","change":{"a":[1]},"since":2}`, `{"kind":"module","change":3}`, `3`}
	write(t, file, "["+strings.Join(unknown, ",")+"]\n")
	m.load(t, nil)
	if got := read(t, file); !strings.HasPrefix(got, "["+strings.Join(unknown, ",")+",{") || len(m.recorded(t)) < len(unknown)+len(testModules) {
		t.Errorf("recorded: %s", got)
	}
	for range 2 {
		names, said := m.unloadRefused(t)
		if !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, `the kind "frob" is recorded, which this builder does not know: unload with the one that loaded`) {
			t.Errorf("%q\n%s", names, said)
		}
	}
	if got := m.kernel.Calls; len(got) != 2*len(testModules) {
		t.Errorf("the kernel was asked for %q", got)
	}
	if got := read(t, file); got != "["+strings.Join(unknown, ",")+"]\n" {
		t.Errorf("recorded: %s", got)
	}
}

// TestJournalThatCannotBeRead has one not be lost, and not be taken for nothing to
// undo, by whoever comes next; and be read by who can.
func TestJournalThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	file := m.place(t).file
	whole := read(t, file)
	told := func(file string) {
		t.Helper()
		names, said := m.unloadRefused(t)
		if !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(said, file+": ") || !strings.Contains(said, "unload with the builder that loaded") {
			t.Errorf("%q, without %s\n%s", names, file, said)
		}
	}
	write(t, file, "{")
	if _, err := Load(m.context(t), m.options(func(o *LoadOptions) { o.Check = true })); err == nil || read(t, file) != "{" {
		t.Errorf("%v", err) // for lack of device files
	}
	told(file + ".unread")
	told(file + ".unread")
	write(t, file, "[")
	if err := m.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	m.load(t, nil)
	if said := m.log.String(); !strings.Contains(said, file+".unread.1") {
		t.Errorf("%s", said)
	}
	for suffix, want := range map[string]string{".unread": "{", ".unread.1": "["} {
		if got := read(t, file+suffix); got != want {
			t.Errorf("%s: %q, want %q", suffix, got, want)
		}
	}
	// What was recorded since is undone, for which nvidia_uvm is still known.
	m.kernel.Calls = nil
	names, said := m.unloadRefused(t)
	if !slices.Equal(names, []string{"not-undone", "not-undone"}) {
		t.Errorf("%q\n%s", names, said)
	}
	m.called(t, "-nvidia_uvm")
	remove(t, file+".unread.1")
	write(t, file+".unread", whole)
	if got := m.unload(t); len(got.Modules) != len(testModules)-1 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(file + ".unread"); !os.IsNotExist(err) {
		t.Errorf("what was read is still there: %v", err)
	}
}

// TestJournalThatCannotBeMoved has one that cannot be read stay where it is, and
// nothing take its place.
func TestJournalThatCannotBeMoved(t *testing.T) {
	t.Parallel()
	p := (&machine{share: t.TempDir(), own: t.TempDir()}).place(t)
	p.unread = []unreadFile{{p.file, errors.New("why")}}
	p.setAside(t.Context()) // it is not there
	for _, data := range [][]byte{nil, []byte("[]")} {
		if err := p.write(t.Context(), data); err == nil || err.Error() != p.file+": why" {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(p.file); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

// TestJournalMakes has what is done be known, once, and nothing else.
func TestJournalMakes(t *testing.T) {
	t.Parallel()
	old := []entry{{change: inTreeModule{"drm"}}, {change: driverModule{"nvidia", "1.1"}}, {change: cdiFolder{Dir: "cdi"}}}
	file := func(name string) change { return deviceFile{File: devices.File{Path: name}} }
	failed := errors.New("failed")
	for _, tt := range []struct {
		name          string
		planned, made []change
		err           error
		want          []change // beside or in the place of the old ones
	}{
		{"nothing", nil, nil, nil, []change{inTreeModule{"drm"}, driverModule{"nvidia", "1.1"}, cdiFolder{Dir: "cdi"}}},
		{"a module anew", []change{driverModule{"nvidia", "1.2"}}, []change{driverModule{"nvidia", "1.2"}}, nil,
			[]change{inTreeModule{"drm"}, cdiFolder{Dir: "cdi"}, driverModule{"nvidia", "1.2"}}},
		{"a module in vain", []change{driverModule{"nvidia", "1.2"}}, nil, failed,
			[]change{inTreeModule{"drm"}, driverModule{"nvidia", "1.1"}, cdiFolder{Dir: "cdi"}}},
		{"a folder again, in vain", []change{cdiFolder{Dir: "cdi"}}, nil, failed,
			[]change{inTreeModule{"drm"}, driverModule{"nvidia", "1.1"}, cdiFolder{Dir: "cdi"}}},
		{"one of two", []change{file("nvidia0"), file("nvidiactl")}, []change{file("nvidia0")}, failed,
			[]change{inTreeModule{"drm"}, driverModule{"nvidia", "1.1"}, cdiFolder{Dir: "cdi"}, file("nvidia0")}},
		{"one more than was planned", []change{file("nvidia0")}, []change{file("nvidia0"), file("nvidiactl")}, nil,
			[]change{inTreeModule{"drm"}, driverModule{"nvidia", "1.1"}, cdiFolder{Dir: "cdi"}, file("nvidia0"), file("nvidiactl")}},
	} {
		j := journal{entries: old}
		err := j.make(t.Context(), tt.planned, func() ([]change, error) { return tt.made, tt.err })
		if diff := cmp.Diff(tt.want, j.changes()); diff != "" || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

// TestJournalOfNoChange has nothing be written down where nothing is changed.
func TestJournalOfNoChange(t *testing.T) {
	t.Parallel()
	j := journal{place: (&machine{share: t.TempDir(), own: t.TempDir()}).place(t), entries: with(nil, everyChange)}
	for _, tt := range []struct {
		planned []change
		there   bool
	}{{nil, false}, {[]change{inTreeModule{"drm"}}, true}} {
		if err := j.make(t.Context(), tt.planned, func() ([]change, error) { return tt.planned, nil }); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(j.place.file); (err == nil) != tt.there {
			t.Errorf("%d changes: %v", len(tt.planned), err)
		}
	}
}

// TestJournalIsFound has the journal be where only root writes if there is such a
// place, else in the share but not in what may be deleted there, and be found by
// runs with other mounts, or with less of the host to be seen.
func TestJournalIsFound(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	loaded, run := filepath.Join(m.share, "loaded"), m.own+runDir
	at := func(dir string) string { return filepath.Join(dir, testBoot+".json") }
	unknown := filepath.Dir(m.place(t).file)
	there := func(want string) {
		t.Helper()
		for _, file := range []string{at(run), at(unknown), at(filepath.Join(loaded, m.hostID(t)))} {
			info, err := os.Stat(file)
			switch {
			case file == want && (err != nil || info.Mode().Perm() != 0o600):
				t.Errorf("%s: %v, %v", file, info, err)
			case file != want && !os.IsNotExist(err):
				t.Errorf("%s is there: %v", file, err)
			}
		}
		if len(m.recorded(t)) < len(testModules) {
			t.Errorf("recorded: %+v", m.recorded(t))
		}
	}
	m.load(t, nil)
	there(at(unknown))
	if _, err := os.Stat(filepath.Join(unknown, testBoot+".lock")); err != nil {
		t.Error(err)
	}
	if name, err := filepath.Rel(m.share, at(unknown)); err != nil || share.Identify(name) != (share.Place{Kind: share.Record, Boot: testBoot}) {
		t.Errorf("for others, %s is %+v, %v", name, share.Identify(name), err)
	}
	write(t, filepath.Join(m.host, "sys/class/dmi/id/product_uuid"), "a\n")
	if _, err := Load(m.context(t), m.options(func(o *LoadOptions) { o.Check = true })); err == nil {
		t.Error("device files are there") // which a check looks for last
	}
	there(at(unknown)) // a check changes nothing
	m.load(t, nil)
	there(at(filepath.Join(loaded, m.hostID(t))))
	write(t, filepath.Join(run, "README"), "")
	mounts := read(t, filepath.Join(m.own, "proc/self/mountinfo"))
	m.mount(t, run, "tmpfs")
	m.load(t, nil)
	there(at(run))
	// What goes on without that mount finds it all the same.
	write(t, filepath.Join(m.own, "proc/self/mountinfo"), mounts)
	if err := os.RemoveAll(filepath.Join(m.share, ".builder")); err != nil {
		t.Fatal(err)
	}
	if got := m.unload(t); got.Driver != testDriver || len(got.Modules) != len(testModules) || m.firmwarePath(t) != "" {
		t.Errorf("%+v", got)
	}
	m.recordedOnly(t)
}

// TestJournalsAreJoined has two runs have written in two places.
func TestJournalsAreJoined(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.record(t, inTreeModule{"drm"}, driverModule{"nvidia", "1.1"})
	other := journal{place: m.place(t), entries: with(nil, []change{driverModule{"nvidia", "1.2"}, cdiFolder{Dir: "cdi"}})}
	other.place.file = other.place.share.LoadRecord("0123456789abcdef", testBoot)
	if err := other.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.share, "loaded/README"), "no host\n")
	m.recordedOnly(t, cdiFolder{Dir: "cdi"}, inTreeModule{"drm"}, driverModule{"nvidia", "1.1"})
}

// TestLoadersWithOtherSharesTakeTurns has two loads have shares of their own, the
// one of which cannot be written, and both the host's /run/cuda.
func TestLoadersWithOtherSharesTakeTurns(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run := m.own + runDir
	write(t, filepath.Join(run, "README"), "")
	m.mount(t, run, "tmpfs")
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(m.share)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(other, "loaded"), "no folder\n") // so no turn is taken there
	later := make(chan error)
	m.kernel.Before = func(name string) {
		if name != "nvidia_uvm" {
			return
		}
		o := m.options(func(o *LoadOptions) { o.Share = other })
		go func() {
			_, err := Load(t.Context(), o)
			later <- err
		}()
		select {
		case err := <-later:
			t.Errorf("a load ended in the middle of another: %v", err)
			go func() { later <- err }()
		case <-time.After(100 * time.Millisecond):
		}
	}
	m.load(t, nil)
	m.kernel.Before = nil
	if err := <-later; err != nil {
		t.Error(err)
	}
	for _, name := range testModules {
		if !slices.Contains(m.recorded(t), change(driverModule{name, testDriver})) {
			t.Errorf("%s is not recorded: %+v", name, m.recorded(t))
		}
	}
	if got := m.unload(t); len(got.Modules) != len(testModules) {
		t.Errorf("%+v", got)
	}
}

// hostID is what tells the machine from others.
func (m *machine) hostID(t *testing.T) string { return kernel.HostID(open(t, m.host)) }
