package userspace

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// TestSigned finds a root that somebody trusted has signed, and no other.
func TestSigned(t *testing.T) {
	t.Parallel()
	o := shelf(t, cuda.RunFile, files(t))
	trusts := func(name string) publish.Trust {
		return func(text, signature []byte) error {
			if string(signature) != name+string(text) {
				return publish.Untrusted("not by %s", name)
			}
			return nil
		}
	}
	unsigned := lay(t, o)
	var untrusted *publish.UntrustedError
	_, err := Find(o.Share, version, trusts("me"))
	wantLoadError(t, err, "is signed by nobody who is trusted: manifest.json is not signed")
	if !errors.As(err, &untrusted) {
		t.Errorf("error %v", err)
	}
	o.Sign = func(text []byte) ([]byte, error) { return []byte("me" + string(text)), nil }
	lay(t, o)
	found, err := Find(o.Share, version, trusts("me"))
	if diff := cmp.Diff(unsigned, found); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	_, m, err := Published(o.Share, version, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Files(o.Share, version, trusts("me"))
	if err != nil || len(list) != len(m.Files)+len(m.Links) || list[0].SHA256 != m.Files[0].SHA256 {
		t.Errorf("files %+v, %v", list, err)
	}
	dir, err := publish.Led(o.Share.Driver(version))
	if err != nil {
		t.Fatal(err)
	}
	if err := publish.Copy(t.Context(), dir, list, t.TempDir()); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct {
		version, by string
		text        string // of the manifest; "" leaves it
	}{
		"another's":     {version, "another", ""},
		"junk":          {version, "me", "junk"},
		"not a version": {"../x", "me", ""},
	} {
		if tt.text != "" {
			if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := Files(o.Share, tt.version, trusts(tt.by)); err == nil {
			t.Errorf("%s: %v", name, list)
		}
		if _, err := Find(o.Share, tt.version, trusts(tt.by)); err == nil {
			t.Errorf("%s is found", name)
		}
	}
	// Of another driver, and of no format, where nobody asks who signed.
	for text, want := range map[string]string{`{"schema": 1, "part": "compute", "version": "1.2"}`: "holds the files of 1.2", "{}": "schema 0"} {
		if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Files(o.Share, version, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
