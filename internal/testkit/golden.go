package testkit

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files, and what is generated in documents")

// Update says whether the tests were asked, by -update, to write what they would
// otherwise compare.
func Update() bool { return *update }

// Golden fails the test unless got is what testdata/name holds: bytes that must
// not change without anybody's notice. With -update it writes them there first.
func Golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), run with -update if this is meant:\n%s", path, diff)
	}
}
