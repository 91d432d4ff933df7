package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/share"
)

// file writes content below dir and describes it, to be published as name.
func file(t *testing.T, dir, name, content string) File {
	t.Helper()
	from := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
	if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, n, err := Digest(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return File{Name: name, From: from, Size: n, SHA256: sum}
}

// shelf is a folder of files in folders, to be published as driver/535.
func shelf(t *testing.T) Folder {
	t.Helper()
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(s.Private(), "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	from := t.TempDir()
	program := file(t, from, "usr/bin/nvidia-smi", "program")
	program.Mode = 0o755
	return Folder{
		Share: s, Scratch: scratch, Link: filepath.Join(s.Dir(), "driver", "535"), Index: "manifest.json", Text: []byte("{}\n"),
		Files: []File{program, file(t, from, "usr/lib64/libcuda.so.535", "library"), {Name: "usr/lib64/libcuda.so.1", Target: "libcuda.so.535"}},
	}
}

func publish(t *testing.T, f Folder) {
	t.Helper()
	if err := f.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(f.Scratch); err != nil || len(left) != 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
}

func led(t *testing.T, link string) string {
	t.Helper()
	dir, err := Led(link)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// show is all that a link leads to.
func show(t *testing.T, link string) []string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		text := fmt.Sprintf("%v %s", info.Mode(), name)
		if target, err := os.Readlink(path); err == nil {
			text += " -> " + target
		}
		all = append(all, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublishFolders(t *testing.T) {
	old := unix.Umask(0o077) // other users read a share as well
	defer unix.Umask(old)
	f := shelf(t)
	publish(t, f)
	want := []string{
		"drwxr-xr-x .",
		"-rw-r--r-- manifest.json",
		"drwxr-xr-x usr",
		"drwxr-xr-x usr/bin",
		"-rwxr-xr-x usr/bin/nvidia-smi",
		"drwxr-xr-x usr/lib64",
		"Lrwxrwxrwx usr/lib64/libcuda.so.1 -> libcuda.so.535",
		"-rw-r--r-- usr/lib64/libcuda.so.535",
	}
	if diff := cmp.Diff(want, show(t, f.Link)); diff != "" {
		t.Error(diff)
	}
	before, err := os.Readlink(f.Link)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, f)
	if now, err := os.Readlink(f.Link); err != nil || now != before {
		t.Errorf("the same again is %s, %v, and was %s", now, err, before)
	}
}

// TestPublishDamage damages what was published in each way that must not be
// taken for it.
func TestPublishDamage(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		damage func(path string) error
		want   string
	}{
		"altered":            {"usr/bin/nvidia-smi", func(p string) error { return os.WriteFile(p, []byte("malware"), 0o755) }, "has digest"},
		"cut":                {"usr/bin/nvidia-smi", func(p string) error { return os.Truncate(p, 3) }, "is not the file of 7 bytes"},
		"removed":            {"usr/lib64/libcuda.so.535", os.Remove, "cannot be read"},
		"a link led astray":  {"usr/lib64/libcuda.so.1", func(p string) error { _ = os.Remove(p); return os.Symlink("/etc/passwd", p) }, "is not the link to libcuda.so.535"},
		"a link made a file": {"usr/lib64/libcuda.so.1", func(p string) error { _ = os.Remove(p); return os.WriteFile(p, nil, 0o644) }, "is not the link"},
		"a file made a link": {"usr/bin/nvidia-smi", func(p string) error { _ = os.Remove(p); return os.Symlink("/bin/true", p) }, "is not the file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := shelf(t)
			publish(t, f)
			whole := show(t, f.Link)
			if err := c.damage(filepath.Join(f.Link, c.file)); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, file := range f.Files {
				if reason := file.Differs(led(t, f.Link)); reason != "" {
					found = append(found, reason)
				}
			}
			if len(found) != 1 || !strings.HasPrefix(found[0], c.file) || !strings.Contains(found[0], c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
			publish(t, f)
			if diff := cmp.Diff(whole, show(t, f.Link)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTwins(t *testing.T) {
	same := func(a, b string) bool {
		var one, other syscall.Stat_t
		if err := syscall.Stat(a, &one); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Stat(b, &other); err != nil {
			t.Fatal(err)
		}
		return one.Ino == other.Ino
	}
	for name, c := range map[string]struct {
		damage func(twin string) error
		linked bool
	}{
		"the same":        {func(string) error { return nil }, true},
		"altered":         {func(twin string) error { return os.WriteFile(twin, []byte("lIbrary"), 0o644) }, false},
		"of another size": {func(twin string) error { return os.Truncate(twin, 1) }, false},
		"of another mode": {func(twin string) error { return os.Chmod(twin, 0o600) }, false},
		"gone":            {os.Remove, false},
		"a link": {func(twin string) error {
			return errors.Join(os.Rename(twin, twin+".moved"), os.Symlink(twin+".moved", twin))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := shelf(t)
			publish(t, f)
			twin := filepath.Join(led(t, f.Link), "usr/lib64/libcuda.so.535")
			if err := c.damage(twin); err != nil {
				t.Fatal(err)
			}
			other := f
			other.Link = filepath.Join(f.Share.Dir(), "driver", "536")
			other.Files = append([]File{}, f.Files...)
			other.Files[1].Twins = []string{filepath.Join(f.Link, "absent"), twin}
			publish(t, other)
			got := filepath.Join(other.Link, "usr/lib64/libcuda.so.535")
			if text, err := os.ReadFile(got); err != nil || string(text) != "library" {
				t.Errorf("published %q, %v", text, err)
			}
			if _, err := os.Stat(twin); err == nil && same(twin, got) != c.linked {
				t.Errorf("linked: %v, want %v", !c.linked, c.linked)
			}
		})
	}
}

// TestSweep keeps what a link leads to or through, and what is somebody's else.
func TestSweep(t *testing.T) {
	f := shelf(t)
	publish(t, f)
	dir := filepath.Dir(f.Link)
	for name, target := range map[string]string{
		".535-000000000001": "", ".535-000000000002": "", ".535-000000000003": "", "535@000000000005": "", ".535.1-000000000004": "", ".mine": "",
		"pinned": ".535-000000000001", "through": "/home/core/share/driver/.535-000000000002/usr", ".535.tmp-abc": ".535-000000000003", ".536.tmp-abc": "x",
	} {
		path := filepath.Join(dir, name)
		err := os.Mkdir(path, 0o755)
		if target != "" {
			err = errors.Join(os.Remove(path), os.Symlink(target, path))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f.Text = []byte("{\"other\": 1}\n")
	publish(t, f)
	now, err := os.Readlink(f.Link)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{now, ".535-000000000001", ".535-000000000002", ".535.1-000000000004", ".536.tmp-abc", ".mine", "535", "pinned", "through"}
	slices.Sort(want)
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
	unnamed, err := Unnamed(dir, ".536.tmp-abc")
	if diff := cmp.Diff([]string{".535.1-000000000004"}, unnamed); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestPublishRefusesNames(t *testing.T) {
	for _, name := range []string{"../x", "/x", "a/../../x", "", "a//b", "./a"} {
		f := shelf(t)
		f.Files[0].Name = name
		if err := f.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be published as") {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Lstat(f.Link); err == nil {
			t.Errorf("%q was published", name)
		}
	}
}
