package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// linked begins the text of what is a symbolic link.
const linked = "-> "

// WriteTree writes files, such as those of a host's root, by their slash-separated names and texts, into a new folder
// and returns it. A text "-> TARGET" makes a symbolic link.
func WriteTree(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if target, isLink := strings.CutPrefix(text, linked); err == nil && isLink {
			err = os.Symlink(target, file)
		} else if err == nil {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
