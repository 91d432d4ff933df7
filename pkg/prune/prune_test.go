package prune

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// fates is what becomes of each path: the reason why it is kept, or "".
func fates(r Result) map[string]string {
	list := map[string]string{}
	for _, item := range r.Items {
		list[item.Path] = ""
	}
	for _, kept := range r.Kept {
		list[kept.Path] = kept.Why
	}
	return list
}

func run(t *testing.T, o Options) Result {
	t.Helper()
	result, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestRecords has the records go that earlier builders kept, of any host and boot,
// and what is about them stay.
func TestRecords(t *testing.T) {
	const boot = "11111111-2222-3333-4444-555555555555"
	dir := t.TempDir()
	want := map[string]string{"loaded/0123456789abcdef/notes": stranger}
	for _, host := range []string{"0123456789abcdef", "unknown"} {
		for _, suffix := range []string{".json", ".json.unread", ".lock"} {
			want["loaded/"+host+"/"+boot+suffix] = ""
		}
	}
	for path := range want {
		write(t, filepath.Join(dir, path), "{}\n")
	}
	for _, remove := range []bool{false, true} {
		got := fates(run(t, Options{Share: dir, Remove: remove}))
		if why, listed := got["loaded/unknown"]; listed && why == "" { // whole
			for _, suffix := range []string{".json", ".json.unread", ".lock"} {
				got["loaded/unknown/"+boot+suffix] = ""
			}
			delete(got, "loaded/unknown")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("remove: %v %s", remove, diff)
		}
	}
	for path, why := range want {
		if got := exists(t, filepath.Join(dir, path)); got != (why != "") {
			t.Errorf("%s is there: %v, of which is said %q", path, got, why)
		}
	}
}

// TestRecordsElsewhere has a share's loaded be a link to a folder of the host's.
func TestRecordsElsewhere(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	const record = "unknown/11111111-2222-3333-4444-555555555555.json"
	write(t, filepath.Join(elsewhere, record), "{}\n")
	if err := os.Symlink(elsewhere, filepath.Join(dir, "loaded")); err != nil {
		t.Fatal(err)
	}
	got := fates(run(t, Options{Share: dir, Remove: true}))
	if got["loaded"] != "is not a folder of builder's" || !exists(t, filepath.Join(elsewhere, record)) {
		t.Errorf("%v", got)
	}
}

// TestStrangers: what only builder should have put somewhere, and did not, stays,
// and what is about it goes.
func TestStrangers(t *testing.T) {
	dir := t.TempDir()
	const driver = ".builder/downloads/NVIDIA-Linux-x86_64-535.261.03.run"
	want := map[string]string{
		".builder/bin":               stranger,
		".builder/logs/notes":        stranger,
		".builder/downloads/notes":   stranger,
		".builder/prepared/mine":     stranger,
		".builder/digests/cuda/a/b":  "",
		"loaded/notes":               stranger,
		driver:                       "",
		driver + ".part":             "",
		".builder/digests/downloads": "",
	}
	delete(want, ".builder/digests/cuda/a/b")
	want[".builder/digests/cuda/a"] = stranger
	for _, path := range []string{
		".builder/bin/builder", ".builder/logs/notes", ".builder/logs/prepare-6.1-535.log", ".builder/downloads/notes",
		".builder/downloads/.DS_Store", ".builder/prepared/mine/Makefile", ".builder/digests/cuda/a/b",
		".builder/digests/downloads/x.run.json", "loaded/notes", "loaded/.DS_Store", driver, driver + ".part",
	} {
		write(t, filepath.Join(dir, path), path)
	}
	got := fates(run(t, Options{Share: dir, Remove: true}))
	for path := range want {
		if got[path] != want[path] {
			t.Errorf("of %s is said %q, want %q", path, got[path], want[path])
		}
		if there := exists(t, filepath.Join(dir, path)); there != (want[path] != "") {
			t.Errorf("%s is there: %v", path, there)
		}
		delete(got, path)
	}
	delete(got, ".builder/downloads/.DS_Store")
	delete(got, "loaded/.DS_Store")
	if len(got) != 0 {
		t.Errorf("and also %v", got)
	}
	if !exists(t, filepath.Join(dir, ".builder/logs/prepare-6.1-535.log")) {
		t.Error("a log was removed")
	}
}

// TestAnswers: those of a kernel that has modules stay, whatever becomes of its tree.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	const mine, others, tree = ".builder/answers/6.1.0-r1-0123456789ab.answers", ".builder/answers/6.1.0-0123456789ab.answers", ".builder/prepared/6.1.0-r1-0123456789ab"
	want := map[string]string{
		mine:   "halves the build of the next driver for this kernel, which there are modules for",
		others: "",
		".builder/answers/." + filepath.Base(mine) + ".tmp-1": "",
		".builder/answers/notes":                              stranger,
		tree:                                                  "",
	}
	for _, path := range []string{mine, others, ".builder/answers/." + filepath.Base(mine) + ".tmp-1", ".builder/answers/notes", tree + "/Makefile",
		"modules/6.1.0-r1/535.1@0123456789ab/manifest.json", "modules/6.1.0@0123456789ab/535.1/manifest.json"} {
		write(t, filepath.Join(dir, path), path)
	}
	if err := os.Symlink("535.1@0123456789ab", filepath.Join(dir, "modules/6.1.0-r1/535.1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, fates(run(t, Options{Share: dir, Remove: true}))); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{mine, others} {
		if got := exists(t, filepath.Join(dir, path)); got != (path == mine) {
			t.Errorf("%s is there: %v", path, got)
		}
	}
	// Without the modules it goes as well.
	if err := os.RemoveAll(filepath.Join(dir, "modules")); err != nil {
		t.Fatal(err)
	}
	if run(t, Options{Share: dir, Remove: true}); exists(t, filepath.Join(dir, mine)) {
		t.Errorf("%s is there", mine)
	}
}

// TestSelected has results of two drivers for two kernels, and of each what is asked for go.
func TestSelected(t *testing.T) {
	const old, now = "6.1.0", "6.1.1"
	all := []string{"driver/535.1", "driver/535.1@0123456789ab", "driver/550.1", "driver/550.1@0123456789ab"}
	for _, release := range []string{old, now} {
		for _, version := range []string{"535.1", "550.1"} {
			all = append(all, "modules/"+release+"/"+version, "modules/"+release+"/"+version+"@0123456789ab")
		}
	}
	both := func(path string) []string { return []string{path, path + "@0123456789ab"} }
	for name, tt := range map[string]struct {
		selected, loaded modules.Driver
		gone             []string
		kept             []string
	}{
		"none":                         {},
		"of a kernel":                  {selected: modules.Driver{Release: old, Version: ""}, gone: append(append(both("modules/6.1.0/535.1"), both("modules/6.1.0/550.1")...), "modules/6.1.0")},
		"of a driver":                  {selected: modules.Driver{Release: "", Version: "535.1"}, gone: append(append(both("modules/6.1.0/535.1"), both("modules/6.1.1/535.1")...), both("driver/535.1")...)},
		"of one for a kernel":          {selected: modules.Driver{Release: old, Version: "535.1"}, gone: both("modules/6.1.0/535.1")},
		"of the driver that is loaded": {selected: modules.Driver{Release: "", Version: "535.1"}, loaded: modules.Driver{Release: now, Version: "535.1"}, gone: both("modules/6.1.0/535.1"), kept: []string{"modules/6.1.1/535.1"}},
		"of one loaded from elsewhere": {selected: modules.Driver{Release: "", Version: "535.1"}, loaded: modules.Driver{Release: "6.1.2", Version: "535.1"},
			gone: append(both("modules/6.1.0/535.1"), both("modules/6.1.1/535.1")...), kept: []string{"driver/535.1"}},
		"of one that says nowhere what it is": {selected: modules.Driver{Version: "535.1"}, loaded: modules.Driver{Release: now}, gone: both("modules/6.1.0/535.1"), kept: []string{"modules/6.1.1/535.1"}},
		"where another is loaded":             {selected: modules.Driver{Release: now, Version: ""}, loaded: modules.Driver{Release: now, Version: "550.1"}, gone: both("modules/6.1.1/535.1"), kept: []string{"modules/6.1.1/550.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, path := range all {
				if link, _, content := strings.Cut(path, "@"); content {
					write(t, filepath.Join(dir, path, "manifest.json"), path)
					if err := os.Symlink(filepath.Base(path), filepath.Join(dir, link)); err != nil {
						t.Fatal(err)
					}
				}
			}
			o := Options{Share: dir, Selected: tt.selected, Loaded: func() (modules.Driver, bool) { return tt.loaded, tt.loaded.Release != "" }}
			listed := run(t, o)
			for _, path := range all {
				if !exists(t, filepath.Join(dir, path)) {
					t.Errorf("%s is gone, and was to be listed", path)
				}
			}
			o.Remove = true
			removed := run(t, o)
			for _, path := range append(all, "modules/6.1.0") {
				if there := exists(t, filepath.Join(dir, path)); there == slices.Contains(tt.gone, path) {
					t.Errorf("%s is there: %v", path, there)
				}
			}
			var kept []string
			for _, k := range removed.Kept {
				kept = append(kept, k.Path)
			}
			if diff := cmp.Diff(tt.kept, kept); diff != "" {
				t.Error(diff)
			}
			if listed.Bytes != removed.Bytes || (listed.Bytes > 0) != (len(tt.gone) > 0) || len(listed.Items) != len(removed.Items) {
				t.Errorf("%d bytes and %d items were listed, and %d and %d are gone", listed.Bytes, len(listed.Items), removed.Bytes, len(removed.Items))
			}
		})
	}
	// What an earlier run has come no further than: of a driver that has libraries only, and of
	// a kernel that has an empty folder only.
	dir := t.TempDir()
	write(t, filepath.Join(dir, "driver/535.1@0123456789ab/manifest.json"), "")
	answers := filepath.Join(dir, ".builder/answers/6.1.0-0123456789ab.answers")
	write(t, answers, "")
	if err := errors.Join(os.Symlink("535.1@0123456789ab", filepath.Join(dir, "driver/535.1")), os.MkdirAll(filepath.Join(dir, "modules", old), 0o755)); err != nil {
		t.Fatal(err)
	}
	run(t, Options{Share: dir, Selected: modules.Driver{Release: "", Version: "535.1"}, Remove: true})
	for _, path := range []string{"driver/535.1", "driver/535.1@0123456789ab", "modules/" + old, ".builder/answers/" + filepath.Base(answers)} {
		if exists(t, filepath.Join(dir, path)) {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := Run(t.Context(), Options{Share: t.TempDir(), Selected: modules.Driver{Release: old, Version: ""}}); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "has no such modules") {
		t.Errorf("nothing is selected: %v", err)
	}
}

// TestSelectedIsNoPath: what names results is no way to anything else, and a folder of
// somebody's own among them stays.
func TestSelectedIsNoPath(t *testing.T) {
	for _, selected := range []modules.Driver{
		{Version: "535.1/"}, {Version: "./535.1"}, {Version: "."}, {Version: ".."}, {Version: "../cuda"}, {Version: "535.1@0123456789ab"}, {Release: "../cuda"}, {Release: "."},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cuda/mine"), "mine")
		write(t, filepath.Join(dir, "driver/535.1@0123456789ab/manifest.json"), "{}")
		result, err := Run(t.Context(), Options{Share: dir, Selected: selected, Remove: true})
		if stage.ExitCode(err) != 2 || result.Removed || !exists(t, filepath.Join(dir, "cuda/mine")) || !exists(t, filepath.Join(dir, "driver/535.1@0123456789ab")) {
			t.Errorf("%+v: %+v, %v", selected, result, err)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "modules/6.1.0/backup/mine"), "mine")
	if err := os.Mkdir(filepath.Join(dir, "modules/my-own-empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, Options{Share: dir, Remove: true})
	if !exists(t, filepath.Join(dir, "modules/my-own-empty")) {
		t.Error("an empty folder is gone, and nothing was selected")
	}
	if got := run(t, Options{Share: dir, Selected: modules.Driver{Release: "6.1.0"}, Remove: true}); len(got.Items) != 0 || len(got.Kept) != 1 || !exists(t, filepath.Join(dir, "modules/6.1.0/backup/mine")) {
		t.Errorf("%+v", got)
	}
}
