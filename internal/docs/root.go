package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/k8sp/cuda"

// Root is the repository's top folder: where the go.mod of this module is, above the
// folder that the test runs in.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := rootAbove(dir)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// rootAbove passes by the modules that are inside of this one.
func rootAbove(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "module" && fields[1] == module {
				return at, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod of %s in %s or above", module, dir)
		}
	}
}
