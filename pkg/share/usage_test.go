package share

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 20
	for _, name := range []string{"a/one", "b/two", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"a/one": "a/again", "b/two": "a/two", "outside": "b/kept"} {
		if err := os.Link(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "a", "one"), 1<<40); err != nil {
		t.Fatal(err)
	}
	var u Usage
	for _, tt := range []struct {
		name        string
		least, most uint64 // folders take a little as well
	}{
		{"none", 0, 0},
		{"a", size, size * 5 / 4}, // one, whose two names are there; most of it is a hole
		{"b", size, size * 5 / 4}, // two, whose other name was added before; the third file stays outside
	} {
		got, err := u.Add(filepath.Join(dir, tt.name))
		if err != nil || got < tt.least || got > tt.most {
			t.Errorf("%s: %d bytes, %v, want %d to %d", tt.name, got, err, tt.least, tt.most)
		}
	}
}
