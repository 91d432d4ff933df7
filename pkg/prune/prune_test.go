package prune

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

const (
	now     = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
	earlier = "11111111-2222-3333-4444-555555555555"
	other   = "0123456789abcdef"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// newHost is a host root that says who it is and since when it runs, and its id.
func newHost(t *testing.T) (root, id string) {
	t.Helper()
	root = t.TempDir()
	write(t, filepath.Join(root, "sys/class/dmi/id/product_uuid"), "a machine\n")
	write(t, filepath.Join(root, "proc/sys/kernel/random/boot_id"), now+"\n")
	host, err := kernel.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, kernel.HostID(host)
}

// records are the names of a host's record and lock for a boot.
func records(host, boot string) (record, lock string) {
	if host == "" {
		host = "unknown"
	}
	stem := filepath.Join("loaded", host, boot)
	return stem + ".json", stem + ".lock"
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

const (
	unseen = "is another host's, and whether that boot is over is not to be seen here"
	needed = "is of this host as it runs now: unload needs it"
	silent = "is of a host that says nothing of itself, and whether that boot is over is not to be seen here"
	where  = "may be this host's, which does not say who it is and since when it runs"
)

// TestRecords lists, and then removes, the records of a boot that is over and of
// one that is not, each of this host, of another, and of one that said nothing of
// itself.
func TestRecords(t *testing.T) {
	running, either := [3]string{needed, needed, needed}, [3]string{where, where, silent}
	for name, tt := range map[string]struct {
		forget    string // a file of the host root
		over, not [3]string
	}{
		"as usual":                        {"", [3]string{"", unseen, silent}, running},
		"a host that says not who it is":  {"sys/class/dmi/id/product_uuid", either, running},
		"a host that says not since when": {"proc/sys/kernel/random/boot_id", either, either},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root, id := newHost(t)
			if tt.forget != "" {
				if err := os.Remove(filepath.Join(root, tt.forget)); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]string{}
			for boot, why := range map[string][3]string{earlier: tt.over, now: tt.not} {
				for i, host := range []string{id, other, ""} {
					record, lock := records(host, boot)
					want[record], want[lock] = why[i], why[i]
				}
			}
			for path := range want {
				write(t, filepath.Join(dir, path), "{}\n")
			}
			o := Options{Share: dir, HostRoot: root}
			if diff := cmp.Diff(want, fates(run(t, o))); diff != "" {
				t.Error(diff)
			}
			o.Remove = true
			if diff := cmp.Diff(want, fates(run(t, o))); diff != "" {
				t.Error(diff)
			}
			for path, why := range want {
				if got := exists(t, filepath.Join(dir, path)); got != (why != "") {
					t.Errorf("%s is there: %v, of which is said %q", path, got, why)
				}
			}
		})
	}
}

// TestRecordsThatAreHeld: whoever holds a lock is not over, whatever the boot is
// called.
func TestRecordsThatAreHeld(t *testing.T) {
	dir := t.TempDir()
	root, id := newHost(t)
	record, lock := records(id, earlier)
	write(t, filepath.Join(dir, record), "{}\n")
	write(t, filepath.Join(dir, lock), "")
	f, err := os.Open(filepath.Join(dir, lock))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const why = "is held by a run of builder"
	want := map[string]string{record: why, lock: why}
	if diff := cmp.Diff(want, fates(run(t, Options{Share: dir, HostRoot: root, Remove: true}))); diff != "" {
		t.Error(diff)
	}
}

// TestStrangers: what only builder should have put somewhere, and did not, stays,
// and what is about it goes.
func TestStrangers(t *testing.T) {
	dir := t.TempDir()
	root, id := newHost(t)
	record, _ := records(id, earlier)
	const driver = ".builder/downloads/NVIDIA-Linux-x86_64-535.261.03.run"
	const link = "is not a file of builder's"
	want := map[string]string{
		".builder/bin":               stranger,
		".builder/logs/notes":        stranger,
		".builder/downloads/notes":   stranger,
		".builder/prepared/mine":     stranger,
		".builder/digests/cuda/a/b":  "",
		"loaded/notes":               stranger,
		"loaded/" + id + "/notes":    stranger,
		driver:                       "",
		driver + ".part":             "",
		".builder/digests/downloads": "",
		record:                       link,
	}
	delete(want, ".builder/digests/cuda/a/b")
	want[".builder/digests/cuda/a"] = stranger
	for _, path := range []string{
		".builder/bin/builder", ".builder/logs/notes", ".builder/logs/prepare-6.1-535.log", ".builder/downloads/notes",
		".builder/downloads/.DS_Store", ".builder/prepared/mine/Makefile", ".builder/digests/cuda/a/b",
		".builder/digests/downloads/x.run.json", "loaded/notes", "loaded/.DS_Store", "loaded/" + id + "/notes", driver, driver + ".part",
	} {
		write(t, filepath.Join(dir, path), path)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, record)); err != nil {
		t.Fatal(err)
	}
	got := fates(run(t, Options{Share: dir, HostRoot: root, Remove: true}))
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
	if len(got) != 0 {
		t.Errorf("and also %v", got)
	}
	if !exists(t, filepath.Join(dir, ".builder/logs/prepare-6.1-535.log")) {
		t.Error("a log was removed")
	}
}

func TestHostRootThatIsNone(t *testing.T) {
	_, err := Run(t.Context(), Options{Share: t.TempDir(), HostRoot: filepath.Join(t.TempDir(), "none")})
	if stage.ExitCode(err) != 10 || !strings.Contains(err.Error(), "host root") {
		t.Errorf("error %v", err)
	}
}
