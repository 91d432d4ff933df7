package node

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	j := journal{place: placeOf(s, testBoot), entries: with(nil, everyChange)}
	if err := j.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := journal{place: j.place}
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
	if other, err := placeOf(s, "1"+testBoot[1:]).read(); err != nil || len(other) > 0 {
		t.Errorf("of another boot: %+v, %v", other, err)
	}
	for range 2 { // there, and not
		if err := (&journal{place: j.place}).write(t.Context()); err != nil {
			t.Error(err)
		}
		if got, err := j.place.read(); err != nil || len(got) > 0 {
			t.Errorf("of nothing to undo: %+v, %v", got, err)
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
