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
	j := journal{place: placeIn(t.TempDir()), entries: with(nil, everyChange)}
	if err := j.write(); err != nil {
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
	other.file = filepath.Join(filepath.Dir(other.file), "1"+testBoot[1:]+".json")
	if other, err := other.read(); err != nil || len(other) > 0 {
		t.Errorf("of another boot: %+v, %v", other, err)
	}
	for range 2 { // there, and not
		if err := (&journal{place: j.place}).write(); err != nil {
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
	if err := (&journal{entries: with(nil, everyChange)}).write(); err != nil {
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
	p := placeIn(t.TempDir())
	p.unread = []unreadFile{{p.file, errors.New("why")}}
	p.setAside(t.Context()) // it is not there
	for _, data := range [][]byte{nil, []byte("[]")} {
		if err := p.write(data); err == nil || err.Error() != p.file+": why" {
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
	j := journal{place: placeIn(t.TempDir()), entries: with(nil, everyChange)}
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

// TestJournalIsFound has the journal be where only the host's root writes, by whatever
// mount that is there, and nowhere where it is not.
func TestJournalIsFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		stage func(t *testing.T, m *machine)
		// under is the folder beneath the machine's own root, or the host's, or "".
		under func(m *machine) string
		warns bool
	}{
		{"mounted for it", func(*testing.T, *machine) {}, func(m *machine) string { return m.own + runDir }, false},
		{"the host's /run", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			write(t, filepath.Join(m.host, "run/README"), "")
			m.mount(t, m.host, "ext4")
		}, func(m *machine) string { return m.host + runDir }, false},
		{"the host itself", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			onHost(t, m.own)
		}, func(m *machine) string { return m.own + runDir }, false},
		{"the host's processes in a container", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			onHost(t, m.own)
			remove(t, filepath.Join(m.own, "proc/1/root"))
			link(t, m.host, filepath.Join(m.own, "proc/1/root"))
		}, nil, false},
		{"no mount", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			write(t, filepath.Join(m.host, "run/README"), "")
		}, nil, false},
		{"somebody else's folder", func(t *testing.T, m *machine) {
			if os.Getuid() != 0 {
				chmod(t, m.own+runDir, 0o722) // who is not root cannot give it away
			} else if err := os.Chown(m.own+runDir, attacker, attacker); err != nil {
				t.Fatal(err)
			}
		}, nil, true},
		{"others may write there", func(t *testing.T, m *machine) { chmod(t, m.own+runDir, 0o777) }, nil, true},
		{"others may write above it", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			write(t, filepath.Join(m.host, runDir, "README"), "")
			chmod(t, filepath.Join(m.host, "run"), 0o777)
			m.mount(t, m.host, "ext4")
		}, nil, true},
		{"others may write above it, but not to what is root's", func(t *testing.T, m *machine) {
			m.unmount(t, m.own+runDir)
			write(t, filepath.Join(m.host, runDir, "README"), "")
			chmod(t, filepath.Join(m.host, "run"), 0o777|os.ModeSticky)
			m.mount(t, m.host, "ext4")
		}, func(m *machine) string { return m.host + runDir }, false},
		{"anybody's folder", func(t *testing.T, m *machine) { chmod(t, m.own+runDir, 0o777|os.ModeSticky) }, nil, true},
		{"a link", func(t *testing.T, m *machine) {
			elsewhere := t.TempDir()
			remove(t, m.own+runDir)
			link(t, elsewhere, m.own+runDir)
		}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			tt.stage(t, m)
			m.load(t, nil)
			said := m.log.String()
			if tt.under == nil {
				if warned := strings.Contains(said, `"level":"warn","stage":"load","error":"`); warned != tt.warns {
					t.Errorf("warned: %t\n%s", warned, said)
				}
				if !strings.Contains(said, "is not recorded") || !strings.Contains(said, "-v /run/cuda:/run/cuda") {
					t.Errorf("%s", said)
				}
				for _, dir := range []string{m.own, m.host, m.share} {
					if found := recordsIn(t, dir); len(found) > 0 {
						t.Errorf("recorded: %q", found)
					}
				}
				return
			}
			file := placeIn(tt.under(m)).file
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 || strings.Contains(said, "is not recorded") {
				t.Fatalf("%v, %v\n%s", info, err, said)
			}
			lock, err := os.Stat(strings.TrimSuffix(file, ".json") + ".lock")
			if err != nil || lock.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", lock, err)
			}
			if found := recordsIn(t, m.share); len(found) > 0 {
				t.Errorf("in the share, too: %q", found)
			}
			if got := m.unload(t); len(got.Modules) != len(testModules) {
				t.Errorf("%+v", got)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

// recordsIn are the files in a folder that are named as records are.
func recordsIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), testBoot) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// onHost has a root's process be in no container.
func onHost(t *testing.T, own string) {
	t.Helper()
	link(t, "pid:[4026531836]", filepath.Join(own, "proc/self/ns/pid"))
	link(t, own, filepath.Join(own, "proc/1/root"))
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestLoadersWithOtherSharesTakeTurns has two loads have shares of their own, and both
// the host's /run/cuda.
func TestLoadersWithOtherSharesTakeTurns(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(m.share)); err != nil {
		t.Fatal(err)
	}
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

// TestWrittenDownBefore: a change is on the disk before it is made, and not once it
// was not made.
func TestWrittenDownBefore(t *testing.T) {
	for _, made := range []bool{true, false} {
		j := journal{place: placeIn(t.TempDir())}
		c := cdiFolder{"/etc/cdi", true}
		there := func() bool {
			entries, err := j.place.read()
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(entries, func(e entry) bool { return e.change == change(c) })
		}
		err := j.makeOne(t.Context(), c, func() (bool, error) {
			if !there() {
				t.Error("it is not written down before")
			}
			return made, nil
		})
		if err != nil || there() != made {
			t.Errorf("made: %v, written down: %v, %v", made, there(), err)
		}
	}
}

// TestSweepsWhatIsHalfMade: the next load, and the next unload, remove what one that
// was killed had not given its name yet; one that only checks leaves it.
func TestSweepsWhatIsHalfMade(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir := filepath.Join(t.TempDir(), "cdi")
	write(t, filepath.Join(dir, "README"), "")
	m.mount(t, dir, "ext4")
	named := func(o *LoadOptions) { o.CDIDir = dir }
	record, spec := filepath.Join(m.own, runDir, "."+testBoot+".json.tmp-1a"), filepath.Join(dir, ".nvidia.com-gpu.json.tmp-1a")
	half := func() {
		write(t, record, "[")
		write(t, spec, "{")
	}
	gone := func(when string) {
		t.Helper()
		for _, file := range []string{record, spec} {
			if _, err := os.Lstat(file); !os.IsNotExist(err) {
				t.Errorf("after %s, %s: %v", when, file, err)
			}
		}
	}
	half()
	m.load(t, named)
	gone("load")
	half()
	// Nobody has made the device files, which it says.
	if _, err := Load(m.context(t), m.options(func(o *LoadOptions) { o.CDIDir, o.Check = dir, true })); err == nil {
		t.Error("no error")
	}
	for _, file := range []string{record, spec} {
		if read(t, file) == "" {
			t.Errorf("a load that checks removed %s", file)
		}
	}
	if _, err := Unload(m.context(t), m.options(named)); err != nil {
		t.Fatal(err)
	}
	gone("unload")
}
