package share

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
)

// TestWritableByOthers has a folder in folders, one of which is changed each time.
func TestWritableByOthers(t *testing.T) {
	gid := 1000
	if os.Geteuid() != 0 {
		gid = os.Getgid() // who is not root can give files to no other
	}
	group := func(mode os.FileMode) func(string) error {
		return func(path string) error { return errors.Join(os.Chown(path, -1, gid), os.Chmod(path, mode)) }
	}
	mode := func(mode os.FileMode) func(string) error {
		return func(path string) error { return os.Chmod(path, mode) }
	}
	for _, tt := range []struct {
		name, path string
		change     func(path string) error
		want       string // after the path
		inside     bool   // only what is in the folder is it
	}{
		{"nobody", "a/b/c", mode(0o755), "", false},
		{"the folder", "a/b/c", mode(0o777), "everybody", false},
		{"one above", "a", mode(0o757), "everybody", false},
		{"one above, sticky as /tmp", "a/b", mode(0o777 | os.ModeSticky), "", false},
		{"the folder, sticky", "a/b/c", mode(0o777 | os.ModeSticky), "everybody", false},
		{"a group", "a/b", group(0o775), fmt.Sprintf("group %d", gid), false},
		{"a group that reads", "a/b", group(0o755), "", false},
		{"a file", "a/b/c/file", mode(0o646), "everybody", true},
		{"a folder below", "a/b/c/d", mode(0o777), "everybody", true},
		{"beside it", "a/beside", mode(0o777), "", false},
	} {
		top := t.TempDir()
		dir := filepath.Join(top, "a/b/c")
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "d"), 0o755), os.Mkdir(filepath.Join(top, "a/beside"), 0o755),
			os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), os.Symlink("/dev/null", filepath.Join(dir, "link")), os.Symlink("a/b", filepath.Join(top, "link")))
		if err == nil {
			err = tt.change(filepath.Join(top, tt.path))
		}
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if tt.want != "" {
			want = filepath.Join(top, tt.path) + " can be written by " + tt.want
		}
		for _, name := range []string{dir, filepath.Join(top, "link/c")} {
			if got := AnyWritableByOthers(name); name == dir && got != want {
				t.Errorf("%s: with all in it %q, want %q", tt.name, got, want)
			}
			if tt.inside {
				want = ""
			}
			if got := WritableByOthers(name); got != want {
				t.Errorf("%s: %s: %q, want %q", tt.name, name, got, want)
			}
		}
	}
	for _, ask := range []func(string) string{WritableByOthers, AnyWritableByOthers} {
		if got := ask("/absent/folder"); !strings.Contains(got, "is not to be seen") {
			t.Errorf("of what is not there: %q", got)
		}
	}
}

// TestWritableByAnOwner is what only root can stage.
func TestWritableByAnOwner(t *testing.T) {
	testkit.NeedRoot(t)
	top := t.TempDir()
	dir := filepath.Join(top, "a/b")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(filepath.Join(top, "a"), 1000, 0)); err != nil {
		t.Fatal(err)
	}
	if got := WritableByOthers(dir); got != filepath.Join(top, "a")+" can be written by user 1000" {
		t.Errorf("%q", got)
	}
}
