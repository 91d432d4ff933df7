package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/pkg/prune"
	"github.com/k8sp/cuda/pkg/share"
)

// files lists what is in a folder and below, with the content of files.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content := e.Type().String()
		if e.Type().IsRegular() {
			content = read(t, path)
		}
		list[strings.TrimPrefix(path, dir)] = content
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// prune runs builder prune with --output json.
func (f *fixture) prune(t *testing.T, args ...string) prune.Result {
	t.Helper()
	o := f.run(t, append([]string{"prune", "--output=json"}, args...)...)
	var result prune.Result
	if err := json.Unmarshal([]byte(o.stdout), &result); o.code != 0 || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	return result
}

// paths are those of the items, the config's digest in them cut out.
func paths(result prune.Result) []string {
	list := []string{}
	for _, item := range result.Items {
		if name, found := strings.CutPrefix(filepath.Base(item.Path), fixtureRelease+"-"); found && len(name) == 12 {
			item.Path = filepath.Join(filepath.Dir(item.Path), fixtureRelease)
		}
		list = append(list, item.Path)
	}
	return list
}

func TestPrune(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	results, cuda, logs := f.results(t), files(t, filepath.Join(f.share, "cuda")), files(t, filepath.Join(f.share, ".builder/logs"))
	write(t, filepath.Join(f.share, ".builder/scratch/driver/left"), 0o644, "by a run that was killed")
	superseded := filepath.Join("modules", fixtureRelease, "."+fixtureDriver+"-0123456789ab")
	write(t, filepath.Join(f.share, superseded, "nvidia.ko"), 0o644, "of an earlier result")
	libraries := filepath.Join("driver", "."+fixtureDriver+"-0123456789ab")
	write(t, filepath.Join(f.share, libraries, "lib/libcuda.so.1"), 0o644, "of an earlier layout")
	write(t, filepath.Join(f.share, ".builder/downloads/NVIDIA-Linux-x86_64-1.2.3.run.part"), 0o644, "a part")
	before := files(t, f.share)

	want := []string{"linux", ".builder/prepared/" + fixtureRelease, ".builder/scratch", ".builder/downloads", ".builder/digests", superseded, libraries}
	plan := f.prune(t)
	if diff := cmp.Diff(want, paths(plan)); diff != "" || plan.Removed || plan.Bytes == 0 {
		t.Errorf("the plan is %+v (-want +got):\n%s", plan, diff)
	}
	delete(before, "/.builder/lock") // it names its last holder
	after := files(t, f.share)
	delete(after, "/.builder/lock")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("showing what would be removed changed the share (-before +after):\n%s", diff)
	}
	for _, line := range []string{"would be freed; --yes removes it", "  linux  "} {
		if o := f.run(t, "prune"); o.code != 0 || !strings.Contains(o.stdout, line) {
			t.Errorf("exit code %d, and the plan does not say %q:\n%s", o.code, line, o.stdout)
		}
	}

	done := f.prune(t, "--yes")
	if diff := cmp.Diff(want, paths(done)); diff != "" || !done.Removed || done.Bytes != plan.Bytes {
		t.Errorf("removed %+v, want the %d bytes of the plan (-want +got):\n%s", done, plan.Bytes, diff)
	}
	for _, item := range done.Items {
		if _, err := os.Lstat(filepath.Join(f.share, item.Path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", item.Path, err)
		}
	}
	if diff := cmp.Diff(cuda, files(t, filepath.Join(f.share, "cuda"))); diff != "" {
		t.Errorf("cuda/ changed:\n%s", diff)
	}
	if diff := cmp.Diff(logs, files(t, filepath.Join(f.share, ".builder/logs"))); diff != "" {
		t.Errorf("the logs changed:\n%s", diff)
	}
	if f.results(t) != results {
		t.Error("what is published changed")
	}
	if o := f.run(t, "prune", "--yes"); o.code != 0 || !strings.Contains(o.stdout, "0 kB freed") {
		t.Errorf("a second time: exit code %d, %s", o.code, o.stdout)
	}
	if o := f.build(t); !strings.Contains(o.stderr, "nothing to build") {
		t.Errorf("the result is not reused:\n%s", o.stderr)
	}
	if o := f.run(t, "--exclude-modules=nvidia-drm"); o.code != 0 {
		t.Errorf("the next build: exit code %d\n%s", o.code, o.stderr)
	}
}

func TestPruneKeepsWhatIsNotBuilders(t *testing.T) {
	t.Parallel()
	const hidden = "." + fixtureDriver + "-0123456789ab"
	outside := func(t *testing.T, at string) string {
		dir := t.TempDir()
		write(t, filepath.Join(dir, at), 0o644, "not in the share")
		return dir
	}
	replace := func(t *testing.T, path, target string) {
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		// put changes the share and returns a folder that has to stay as it is.
		put  func(t *testing.T, f *fixture) string
		kept string // what is said of it: path: why
	}{
		{"a source with changes", func(t *testing.T, f *fixture) string {
			write(t, filepath.Join(f.share, "linux/Makefile"), 0o644, "mine")
			return filepath.Join(f.share, "linux")
		}, "linux: holds changes (Makefile)"},
		{"a source with commits", func(t *testing.T, f *fixture) string {
			gittest.Run(t, filepath.Join(f.share, "linux"), "commit", "--quiet", "--allow-empty", "--message=mine")
			return filepath.Join(f.share, "linux")
		}, "as it was left"},
		{"a folder of the user's", func(t *testing.T, f *fixture) string {
			if err := os.RemoveAll(filepath.Join(f.share, "linux")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(f.share, "linux/notes"), 0o644, "mine")
			return filepath.Join(f.share, "linux")
		}, "linux: was not made by builder"},
		{"prepared trees that are a link", func(t *testing.T, f *fixture) string {
			dir := outside(t, "tree/Makefile")
			replace(t, filepath.Join(f.share, ".builder/prepared"), dir)
			return dir
		}, ".builder/prepared: is not a folder"},
		{"a prepared tree that is a link", func(t *testing.T, f *fixture) string {
			dir := outside(t, "Makefile")
			replace(t, filepath.Join(f.share, ".builder/prepared/linked"), dir)
			return dir
		}, ".builder/prepared/linked: is not a folder"},
		{"links in what is removed", func(t *testing.T, f *fixture) string {
			dir := outside(t, "file")
			replace(t, filepath.Join(f.share, ".builder/exports"), dir)
			for _, link := range []string{".builder/scratch/link", ".builder/digests/link"} {
				write(t, filepath.Join(f.share, link), 0o644, "")
				replace(t, filepath.Join(f.share, link), dir)
			}
			return dir
		}, ".builder/exports: is not a folder"},
		{"a release that is a link", func(t *testing.T, f *fixture) string {
			dir := outside(t, filepath.Join(hidden, "nvidia.ko"))
			replace(t, filepath.Join(f.share, "modules", "linked"), dir)
			return dir
		}, ""},
		{"an earlier result that a link names", func(t *testing.T, f *fixture) string {
			dir := filepath.Join(f.share, "modules", fixtureRelease, hidden)
			write(t, filepath.Join(dir, "nvidia.ko"), 0o644, "earlier")
			// As it is called on the host.
			replace(t, filepath.Join(f.share, "modules", "stable"), "/home/core/share/modules/"+fixtureRelease+"/"+hidden+"/nvidia.ko")
			return dir
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.build(t)
			dir := tt.put(t, f)
			before := files(t, dir)
			result := f.prune(t, "--yes")
			var kept []string
			for _, k := range result.Kept {
				kept = append(kept, k.Path+": "+k.Why)
			}
			if tt.kept != "" && !slices.ContainsFunc(kept, func(k string) bool { return strings.Contains(k, tt.kept) }) {
				t.Errorf("kept %q, want %q", kept, tt.kept)
			}
			if diff := cmp.Diff(before, files(t, dir)); diff != "" {
				t.Errorf("%s changed (-before +after):\n%s", dir, diff)
			}
			if len(result.Items) == 0 {
				t.Error("nothing else was removed")
			}
		})
	}
}

func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	t.Run("a share that is taken", func(t *testing.T) {
		s, err := share.Open(f.share)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := s.Lock(t.Context(), share.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := lock.Unlock(); err != nil {
				t.Error(err)
			}
		}()
		if o := f.run(t, "prune", "--yes", "--no-wait"); o.code != 75 || o.stdout != "" {
			t.Errorf("exit code %d, want 75\n%s%s", o.code, o.stdout, o.stderr)
		}
	})
	for _, name := range []string{".builder", "linux", "modules", "driver"} {
		t.Run(name+" is a link", func(t *testing.T) {
			folder, moved := filepath.Join(f.share, name), filepath.Join(t.TempDir(), "elsewhere")
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Rename(folder, moved), os.Symlink(moved, folder)); err != nil {
				t.Fatal(err)
			}
			before := files(t, moved)
			if o := f.run(t, "prune", "--yes"); o.code != 2 || !strings.Contains(o.stderr, folder+" is a link") {
				t.Errorf("exit code %d, want 2\n%s", o.code, o.stderr)
			}
			if diff := cmp.Diff(before, files(t, moved)); diff != "" {
				t.Errorf("what it leads to changed:\n%s", diff)
			}
			if err := errors.Join(os.Remove(folder), os.Rename(moved, folder)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// tiring is a context that ends when it was asked so often.
type tiring struct {
	context.Context
	left int
}

func (c *tiring) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestPruneInterrupted ends a run at each of its steps. What is there afterwards
// is whole, and the next run and the next build take it from there.
func TestPruneInterrupted(t *testing.T) {
	t.Parallel()
	for steps := 0; ; steps++ {
		f := newFixture(t)
		f.build(t)
		source, results := files(t, filepath.Join(f.share, "linux")), f.results(t)
		o := f.runContext(t, &tiring{t.Context(), steps}, "prune", "--yes")
		if o.code == 0 {
			if steps < 4 {
				t.Errorf("it was interrupted at %d steps only", steps)
			}
			return
		}
		at := fmt.Sprintf("interrupted after %d steps", steps)
		if o.code != 130 {
			t.Fatalf("%s: exit code %d, want 130\n%s", at, o.code, o.stderr)
		}
		if _, err := os.Lstat(filepath.Join(f.share, "linux")); err == nil {
			if diff := cmp.Diff(source, files(t, filepath.Join(f.share, "linux"))); diff != "" {
				t.Errorf("%s: a part of the source is left:\n%s", at, diff)
			}
		}
		if f.results(t) != results {
			t.Errorf("%s: what is published changed", at)
		}
		if o := f.run(t, "--exclude-modules=nvidia-drm"); o.code != 0 {
			t.Errorf("%s: the next build ends with exit code %d\n%s", at, o.code, o.stderr)
		}
		if result := f.prune(t, "--yes"); len(result.Items) == 0 {
			t.Errorf("%s: the next run finds nothing", at)
		}
	}
}
