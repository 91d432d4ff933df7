package live

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestTake has the file be changed after it was taken, as anybody can who
// writes to the share.
func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nvidia.ko")
	if err := os.WriteFile(path, []byte("good"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("good"))
	digest := hex.EncodeToString(sum[:])
	f, err := Take(path, digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(path, []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, f); got != "good" {
		t.Errorf("what was taken became %q", got)
	}
	if _, err := f.WriteAt([]byte("evil"), 0); err == nil {
		t.Error("what was taken can be written to")
	}
	if _, err := Take(path, digest); err == nil || !strings.Contains(err.Error(), "was published with "+digest) {
		t.Errorf("another file was taken: %v", err)
	}
	if _, err := Take(path+"x", digest); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

func TestUnpack(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte("the module"))
	w.Close()
	for _, in := range []string{"the module", packed.String()} {
		f, err := unpack(strings.NewReader(in), "m.ko.gz")
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, f); got != "the module" {
			t.Errorf("%q", got)
		}
		f.Close()
	}
	if _, err := unpack(strings.NewReader(packed.String()[:12]), "m.ko.gz"); err == nil || !strings.Contains(err.Error(), "m.ko.gz") {
		t.Errorf("a damaged one: %v", err)
	}
}
