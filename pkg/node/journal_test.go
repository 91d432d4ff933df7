package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices"
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
	other.boot, other.file = "1"+testBoot[1:], other.share.LoadRecord(unknownHost, "1"+testBoot[1:])
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
	for _, text := range []string{"{", `[{"kind":"frob","change":{}}]`, `[{"kind":"module","change":3}]`} {
		write(t, j.place.file, text)
		if _, err := j.place.read(); err == nil || !strings.Contains(err.Error(), filepath.Base(j.place.file)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := (&journal{entries: with(nil, everyChange)}).write(t.Context()); err != nil {
		t.Errorf("without a place: %v", err)
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
	unknown := filepath.Join(loaded, unknownHost)
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

// hostID is what tells the machine from others.
func (m *machine) hostID(t *testing.T) string { return kernel.HostID(open(t, m.host)) }
