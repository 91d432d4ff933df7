package publish

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	top := t.TempDir()
	link := filepath.Join(top, "1.0")
	lead := func(name string) {
		t.Helper()
		name = contentName(name)
		_ = os.Remove(link)
		if err := errors.Join(os.MkdirAll(filepath.Join(top, name), 0o755), os.Symlink(name, link)); err != nil {
			t.Fatal(err)
		}
	}
	damaged := errors.New("damaged")
	for name, test := range map[string]struct {
		read  func(n int, dir string) error // its nth call
		calls int
		dir   string
		err   error
	}{
		"as it is":                       {func(int, string) error { return nil }, 1, "a", nil},
		"damaged":                        {func(int, string) error { return damaged }, 1, "a", damaged},
		"it was read before others came": {func(int, string) error { lead("b"); return nil }, 1, "a", nil},
		"replaced": {func(n int, _ string) error {
			if n == 1 {
				lead("b")
				return damaged
			}
			return nil
		}, 2, "b", nil},
		"replaced time and again": {func(n int, _ string) error {
			lead(string(rune('a' + n)))
			return damaged
		}, 3, "c", damaged},
		"taken away": {func(int, string) error { _ = os.Remove(link); return damaged }, 1, "", os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			lead("a")
			calls := 0
			dir, err := Read(link, func(dir string) error {
				calls++
				return test.read(calls, dir)
			})
			if !errors.Is(err, test.err) || calls != test.calls || test.dir != "" && dir != filepath.Join(top, contentName(test.dir)) {
				t.Errorf("%d calls, folder %s, error %v", calls, dir, err)
			}
		})
	}
}

// contentName is the name of a folder that link may lead to.
func contentName(name string) string { return "1.0@00000000000" + name }

// TestLed follows no link but the publisher's own, to a folder beside it.
func TestLed(t *testing.T) {
	top := t.TempDir()
	link := filepath.Join(top, "1.0")
	for target, want := range map[string]string{
		contentName("a"): filepath.Join(top, contentName("a")),
		"/etc":           "", "..": "", ".": "", "other": "", "../top/" + contentName("a"): "", contentName("a") + "/below": "",
		"1.1@00000000000a": "", ".1.1-00000000000a": "", // another version's
		".1.0-00000000000a": filepath.Join(top, ".1.0-00000000000a"), // as builders before this one named it
	} {
		_ = os.Remove(link)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if dir, err := Led(link); dir != want || (err == nil) != (want != "") {
			t.Errorf("%s leads to %q, %v", target, dir, err)
		}
	}
	if dir, err := Led(top); dir != top || err != nil {
		t.Errorf("a folder is %q, %v", dir, err)
	}
	if _, err := Led(filepath.Join(top, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
