package share

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPull: the last pull that was noted is found, and nothing that the share's owner may
// have put in its place.
func TestPull(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Writable(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LastPull(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v of a share into which nothing was pulled", err)
	}
	ended := time.Now().Truncate(time.Second)
	for _, p := range []Pull{{"535.1", "6.1.0", 1.5, ended}, {"580.1", "6.12.0", 2.5, ended}} {
		if err := s.NotePull(p); err != nil {
			t.Fatal(err)
		}
		if got, err := s.LastPull(); err != nil || !got.At.Equal(ended) || got.Seconds != p.Seconds || got.Driver != p.Driver {
			t.Errorf("%+v, %v", got, err)
		}
	}
	file := filepath.Join(s.Private(), "pulled.json")
	for _, text := range []string{"", "[]", `{"seconds":-1}`, `{"seconds":1e300}`, `{"seconds":"NaN"}`, `{"seconds":1,"at":"9999-01-01T00:00:00Z"}`, `{"driver":"` + strings.Repeat("x", maxPull) + `"}`} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := s.LastPull(); err == nil || got != (Pull{}) {
			t.Errorf("%.40q is %+v", text, got)
		}
	}
	if err := errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LastPull(); err == nil {
		t.Errorf("a link is followed: %+v", got)
	}
}
