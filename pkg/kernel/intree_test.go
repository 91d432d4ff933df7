package kernel

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cachedHost is a host with one module, whose file is returned too.
func cachedHost(t *testing.T) (root *Root, module string) {
	t.Helper()
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n"
	const name = smallDrivers + "rich-one.ko"
	root = openFiles(t, change(hostFiles(k), map[string]string{smallSymvers: symversText(k), name: richModule(t)}))
	return root, filepath.Join(root.Dir(), name)
}

// cacheFiles are the files in the cache.
func cacheFiles(t *testing.T, cache string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "6.12.103-flatcar-*.symvers"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestModulesAreReadOnce(t *testing.T) {
	t.Parallel()
	root, module := cachedHost(t)
	o := DetectOptions{Cache: filepath.Join(t.TempDir(), "a", "cache")}
	first := mustDetect(t, root, o)
	files := cacheFiles(t, o.Cache)
	if len(files) != 1 {
		t.Fatalf("in the cache: %q", files)
	}
	if diff := cmp.Diff(mustDetect(t, root, DetectOptions{}), first); diff != "" {
		t.Errorf("-uncached +cached:\n%s", diff)
	}
	// A file whose size and time are the same is taken to be the same: what it
	// then says was not read from it.
	info, err := os.Stat(module)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.ReplaceAll([]byte(richModule(t)), []byte("gpl_named"), []byte("gpl_named"[:8]+"X"))
	overwrite := func(data []byte, when time.Time) {
		t.Helper()
		if err := os.WriteFile(module, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(module, when, when); err != nil {
			t.Fatal(err)
		}
	}
	exports := func() (names []string) {
		for _, s := range mustDetect(t, root, o).Exports.Symbols {
			if s.Module == "rich_one" {
				names = append(names, s.Name)
			}
		}
		return names
	}
	before, after := []string{"absolute", "flagged", "free", "gpl_named", "only"}, []string{"absolute", "flagged", "free", "gpl_nameX", "only"}
	overwrite(changed, info.ModTime())
	if got := exports(); !cmp.Equal(got, before) {
		t.Errorf("the file was read again: %q", got)
	}
	overwrite(changed, info.ModTime().Add(time.Second))
	if got := exports(); !cmp.Equal(got, after) {
		t.Errorf("a file of another time was not read again: %q", got)
	}
	overwrite(append(changed, 0), info.ModTime())
	if got := exports(); !cmp.Equal(got, after) {
		t.Errorf("a file of another size was not read again: %q", got)
	}
	if err := os.Rename(module, filepath.Join(filepath.Dir(module), "renamed.ko")); err != nil {
		t.Fatal(err)
	}
	if got := exports(); got != nil {
		t.Errorf("a file of another name was not read again: %q", got)
	}
	// Each state of the host's files has a file of its own.
	if got := cacheFiles(t, o.Cache); len(got) != 4 {
		t.Errorf("in the cache: %q", got)
	}
}

func TestDamagedCacheIsReadAnew(t *testing.T) {
	t.Parallel()
	root, _ := cachedHost(t)
	o := DetectOptions{Cache: t.TempDir()}
	want := mustDetect(t, root, o)
	name := cacheFiles(t, o.Cache)[0]
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "damaged", string(good[:len(good)/2])} {
		if err := os.WriteFile(name, []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, mustDetect(t, root, o)); diff != "" {
			t.Errorf("of %q: -want +got:\n%s", damaged, diff)
		}
		if text, err := os.ReadFile(name); err != nil || !bytes.Equal(text, good) {
			t.Errorf("of %q: %d bytes, %v, want %d", damaged, len(text), err, len(good))
		}
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	root, _ := cachedHost(t)
	file := writeFile(t, nil)
	o := DetectOptions{Cache: filepath.Join(file, "cache")} // below what is no folder
	if got := mustDetect(t, root, o).Exports; got.InTree != inTreeDir(mustRelease(t, "6.12.103-flatcar")) || !got.Complete {
		t.Errorf("modules' exports from %q, complete %v", got.InTree, got.Complete)
	}
}

// TestIncompleteIsNotKept: what could not be read today may be tomorrow.
func TestIncompleteIsNotKept(t *testing.T) {
	t.Parallel()
	root, module := cachedHost(t)
	bad := filepath.Join(filepath.Dir(module), "zzz.ko")
	if err := os.WriteFile(bad, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := DetectOptions{Cache: t.TempDir()}
	if got := mustDetect(t, root, o).Exports; got.Complete {
		t.Error("complete without one of its modules")
	}
	if got := cacheFiles(t, o.Cache); got != nil {
		t.Errorf("in the cache: %q", got)
	}
}

func TestReadingModulesIsInterrupted(t *testing.T) {
	t.Parallel()
	root, _ := cachedHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Detect(ctx, root, DetectOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	files := inTreeModules(root, mustRelease(t, "6.12.103-flatcar"))
	if _, whole := readModuleExports(ctx, files); whole || len(files.list) != 1 || !files.whole {
		t.Errorf("%+v, whole: %v", files, whole)
	}
}

// TestModuleLinksAreNotFollowed: they could lead out of the host's root.
func TestModuleLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	root, module := cachedHost(t)
	if err := os.Symlink(module, filepath.Join(filepath.Dir(module), "linked.ko")); err != nil {
		t.Fatal(err)
	}
	if files := inTreeModules(root, mustRelease(t, "6.12.103-flatcar")); len(files.list) != 1 || files.list[0].path != module {
		t.Errorf("files %+v", files)
	}
}

// locked is a folder in which one may not be listed.
type locked struct {
	fs.ReadDirFS
	folder string
}

func (l locked) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == l.folder {
		return nil, fs.ErrPermission
	}
	return l.ReadDirFS.ReadDir(name)
}

// TestModulesThatMayNotBeListed: who knows what they export.
func TestModulesThatMayNotBeListed(t *testing.T) {
	t.Parallel()
	root, module := cachedHost(t)
	data := []byte(richModule(t))
	folder := fstest.MapFS{"drivers/rich-one.ko": {Data: data}, "lib/other.ko": {Data: data}}
	if got := findModules(folder); len(got.list) != 2 || !got.whole {
		t.Errorf("all of them: %+v", got)
	}
	got := findModules(locked{folder, "lib"})
	if len(got.list) != 1 || got.list[0].name != "drivers/rich-one.ko" || got.whole {
		t.Errorf("without lib: %+v", got)
	}
	got.list[0].path = module
	if symbols, whole := readModuleExports(t.Context(), got); len(symbols) != len(richExports) || whole {
		t.Errorf("%d exports, whole: %v", len(symbols), whole)
	}
	s := sources{root: root, release: mustRelease(t, "6.12.103-flatcar"), cache: t.TempDir(), modules: got}
	for _, listed := range []bool{false, true, false} { // the third time it is cached
		s.modules.whole = listed
		if got := s.inTreeExports(t.Context()); len(got.symbols) != len(richExports) || got.whole != listed {
			t.Errorf("all listed: %v: %d exports, whole: %v", listed, len(got.symbols), got.whole)
		}
	}
	if got := findModules(locked{folder, "."}); got.list != nil || got.whole {
		t.Errorf("none of them: %+v", got)
	}
}
