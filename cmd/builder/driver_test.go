package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8sp/cuda/pkg/modules"
)

// shelf stands in for NVIDIA's server. It has the fixture's driver where that
// has drivers for data centers.
type shelf struct {
	*httptest.Server
	mu    sync.Mutex // an answer that nobody waits for may still be under way
	file  string
	asked []string
	// before answers in the shelf's place where it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

const (
	shelfName = "NVIDIA-Linux-x86_64-" + fixtureDriver + ".run"
	shelfPath = "/tesla/" + fixtureDriver + "/" + shelfName
)

// newShelf takes the driver out of the fixture's share and has it on a server.
func newShelf(t *testing.T, f *fixture) *shelf {
	t.Helper()
	s := &shelf{file: read(t, wholeRunFile(t, f))}
	remove(t, filepath.Join(f.share, "cuda"))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
		file, before := s.file, s.before
		s.mu.Unlock()
		switch {
		case before != nil && before(w, r):
		case r.URL.Path == shelfPath:
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(file))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// change does something to the shelf while nothing is looked up.
func (s *shelf) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// requests are the paths that were asked for, and the ranges of them.
func (s *shelf) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *shelf) sha256() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s.file))) }

// args ask for the shelf's driver.
func (s *shelf) args(more ...string) []string {
	return append([]string{"--driver-version=" + fixtureDriver, "--driver-base-url=" + strings.Replace(s.URL, "//", "//me:hunter2@", 1)}, more...)
}

// downloads are the files that were downloaded into the share.
func (f *fixture) downloads(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.share, ".builder/downloads/*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		files[i] = filepath.Base(file)
	}
	return strings.Join(files, " ")
}

// driverDigest is what a manifest says of the driver's digest.
func driverDigest(t *testing.T, o outcome) (m modules.Manifest, c modules.Check) {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if err := json.Unmarshal([]byte(read(t, strings.TrimSpace(o.stdout))), &m); err != nil {
		t.Fatal(err)
	}
	for _, check := range m.Checks {
		if check.Name == "driver-digest" {
			c = check
		}
	}
	return m, c
}

// TestDownload downloads a driver once: what was downloaded serves from then
// on, also offline, and nothing is written to the user's folder.
func TestDownload(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := newShelf(t, f)
	args := s.args("--driver-sha256", strings.ToUpper(s.sha256()))

	plan := f.run(t, append(args, "--dry-run")...)
	if plan.code != 0 || !strings.Contains(plan.stdout, "downloaded to "+f.share) || !strings.Contains(plan.stdout, s.sha256()) || len(s.requests()) > 0 || f.downloads(t) != "" {
		t.Errorf("dry run: exit code %d, asked for %v, has %s\n%s%s", plan.code, s.requests(), f.downloads(t), plan.stdout, plan.stderr)
	}
	first := f.run(t, args...)
	m, c := driverDigest(t, first)
	if c.Verdict != modules.Passed || m.Driver.Digest != "sha256:"+s.sha256() || len(m.Overridden) > 0 {
		t.Errorf("check %+v, driver %+v, overridden %v", c, m.Driver, m.Overridden)
	}
	if got := strings.Join(s.requests(), " "); got != "/XFree86/Linux-x86_64/"+fixtureDriver+"/"+shelfName+" "+shelfPath {
		t.Errorf("asked for %s", got)
	}
	if f.downloads(t) != shelfName {
		t.Errorf("the share has %s", f.downloads(t))
	}
	if _, err := os.Stat(filepath.Join(f.share, "cuda")); err == nil {
		t.Error("there is a folder cuda")
	}
	s.Close()
	for _, more := range []string{"--jobs=3", "--offline", "--dry-run"} {
		if o := f.run(t, append(args, more)...); o.code != 0 || !strings.Contains(o.stdout+o.stderr, "nothing to build") && !strings.Contains(o.stdout, "nothing: ") {
			t.Errorf("%s: exit code %d\n%s%s", more, o.code, o.stdout, o.stderr)
		}
	}
	// What is published needs no package any more.
	remove(t, filepath.Join(f.share, ".builder/downloads"))
	for _, more := range []string{"--jobs=3", "--offline", "--dry-run"} {
		if o := f.run(t, append(args, more)...); o.code != 0 || !strings.Contains(o.stdout+o.stderr, "nothing to build") && !strings.Contains(o.stdout, "nothing: ") {
			t.Errorf("%s, without the package: exit code %d\n%s%s", more, o.code, o.stdout, o.stderr)
		} else if more == "--dry-run" && (strings.Contains(o.stdout, "downloaded") || !strings.Contains(o.stdout, "whose package is not there, and not needed")) {
			t.Errorf("%s, without the package:\n%s", more, o.stdout)
		}
	}
	for _, more := range [][]string{{"--offline"}, {"--offline", "--dry-run"}} {
		if o := f.run(t, append(args, append(more, "--debug-info")...)...); o.code != 11 || !strings.Contains(o.stderr, "was not downloaded earlier") {
			t.Errorf("%v, another build without the package: exit code %d\n%s", more, o.code, o.stderr)
		}
	}
	for _, text := range []string{plan.stdout, plan.stderr, first.stderr} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is told:\n%s", text)
		}
	}
}

// TestDownloadUnseen takes a driver that nobody vouches for, where the user
// says so, and has it on record.
func TestDownloadUnseen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := newShelf(t, f)
	m, c := driverDigest(t, f.run(t, s.args("--allow=driver-digest")...))
	if c.Verdict != modules.Failed || !strings.Contains(c.Detail, s.sha256()) || strings.Join(m.Overridden, " ") != "driver-digest" {
		t.Errorf("check %+v, overridden %v", c, m.Overridden)
	}
	if o := f.run(t, s.args()...); o.code != 11 || !strings.Contains(o.stderr, "unseen") {
		t.Errorf("without --allow: exit code %d\n%s", o.code, o.stderr)
	}
	// Who vouches for the driver makes no other modules of it.
	with := s.args("--driver-sha256", s.sha256())
	if o := f.run(t, with...); o.code != 0 || !strings.Contains(o.stderr, "nothing to build") {
		t.Errorf("with a digest: exit code %d\n%s", o.code, o.stderr)
	}
	if _, c := driverDigest(t, f.run(t, append(with, "--rebuild")...)); c.Verdict != modules.Passed {
		t.Errorf("built again with a digest: %+v", c)
	}
}

// TestOwnDriverFirst downloads nothing that the user has.
func TestOwnDriverFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := newShelf(t, f)
	write(t, filepath.Join(f.share, "cuda", shelfName), 0o644, s.file)
	if _, c := driverDigest(t, f.run(t, s.args("--driver-sha256", s.sha256())...)); c.Verdict != modules.Passed {
		t.Errorf("check %+v", c)
	}
	if _, c := driverDigest(t, f.run(t, s.args("--rebuild")...)); c.Name != "" {
		t.Errorf("check %+v", c)
	}
	if len(s.requests()) > 0 || f.downloads(t) != "" {
		t.Errorf("asked for %v, has %s", s.requests(), f.downloads(t))
	}
}

// TestDownloadGoesOn has a run go on where the one before had to give up.
func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := newShelf(t, f)
	whole := s.file
	half := len(whole) / 2
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path != shelfPath:
			return false
		case r.Header.Get("Range") != "":
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		fmt.Fprint(w, whole[:half])
		return true
	}
	args := s.args("--driver-sha256", s.sha256())
	if o := f.run(t, args...); o.code != 11 || !strings.Contains(lastLine(o.stderr), "goes on where it broke off") || f.downloads(t) != shelfName+".part "+shelfName+".part.json" {
		t.Fatalf("exit code %d, has %s\n%s", o.code, f.downloads(t), o.stderr)
	}
	s.change(func() { s.before, s.asked = nil, nil })
	driverDigest(t, f.run(t, args...))
	asked := s.requests()
	if got := asked[len(asked)-1]; got != fmt.Sprintf("%s bytes=%d-", shelfPath, half) || f.downloads(t) != shelfName {
		t.Errorf("asked for %s, has %s", got, f.downloads(t))
	}
}

// TestDamagedDownload downloads again what was damaged: on its way, as NVIDIA's
// own checksums tell, or in the share, as the digest does.
func TestDamagedDownload(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := newShelf(t, f)
	good := s.file
	altered := []byte(good)
	altered[len(altered)-20] ^= 1
	s.file = string(altered)
	if o := f.run(t, s.args("--allow=driver-digest")...); o.code != 11 || !strings.Contains(lastLine(o.stderr), "downloaded anew") || !strings.Contains(lastLine(o.stderr), "MD5") || f.downloads(t) != "" {
		t.Fatalf("exit code %d, has %s\n%s", o.code, f.downloads(t), o.stderr)
	}
	s.change(func() { s.file = good })
	driverDigest(t, f.run(t, s.args("--allow=driver-digest")...))
	path := filepath.Join(f.share, ".builder/downloads", shelfName)
	write(t, path, 0o644, string(altered))
	s.change(func() { s.asked = nil })
	driverDigest(t, f.run(t, s.args("--driver-sha256", s.sha256(), "--rebuild")...))
	if len(s.requests()) == 0 || !bytes.Equal([]byte(read(t, path)), []byte(good)) {
		t.Errorf("the altered file served")
	}
}

var badDownloads = []badInput{
	{"one that there is not", func(t *testing.T, f *fixture) []string {
		return newShelf(t, f).args("--driver-version=999.1")
	}, 11, []string{"no NVIDIA driver package is in", "driver 999.1 for x86_64 is not to be had", "404", "check the version at https://www.nvidia.com"}},
	{"one of no known digest", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		t.Cleanup(func() {
			if f.downloads(t) != "" {
				t.Errorf("the share has %s", f.downloads(t))
			}
		})
		return s.args()
	}, 11, []string{"no NVIDIA driver package is in", "driver " + fixtureDriver + " is not downloaded unseen", "--driver-sha256", "--allow driver-digest"}},
	{"one that --offline forbids", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		return s.args("--offline", "--driver-sha256", s.sha256())
	}, 11, []string{"driver " + fixtureDriver + " was not downloaded earlier", "--offline forbids", "run once without --offline"}},
	{"another file than was asked for", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		t.Cleanup(func() {
			if f.downloads(t) != "" {
				t.Errorf("the share has %s", f.downloads(t))
			}
		})
		return s.args("--allow=driver-digest", "--driver-sha256", strings.Repeat("0", 64))
	}, 11, []string{"has SHA-256 ", "not " + strings.Repeat("0", 64), "removed"}},
	{"one whose known digest it does not have", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "not it"); return true }
		return s.args("--driver-version=550.78")
	}, 11, []string{"/XFree86/Linux-x86_64/550.78/NVIDIA-Linux-x86_64-550.78.run has SHA-256 ", "not 34070434527ec9d575483e7f11ca078e467e73f6defc54366ecfbdcfe4a3bf73", "--driver-sha256"}},
	{"a version that the server does not have", func(t *testing.T, f *fixture) []string {
		return newShelf(t, f).args("--driver-version=999.1", "--allow=driver-digest")
	}, 11, []string{"driver 999.1 for x86_64 is not to be had", "/tesla/999.1/NVIDIA-Linux-x86_64-999.1.run answered 404", "nvidia.com"}},
	{"a version that is none", func(t *testing.T, f *fixture) []string {
		return newShelf(t, f).args("--driver-version=../550.78", "--allow=driver-digest")
	}, 2, []string{"is no version of a driver", "latest, production or lts"}},
	{"a server that is broken", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
		return s.args("--driver-sha256", s.sha256())
	}, 11, []string{"driver " + fixtureDriver + " cannot be downloaded", "502 Bad Gateway (tried 5 times)"}},
	{"a server that wants to be left alone", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return s.args("--driver-sha256", s.sha256())
	}, 11, []string{"403 Forbidden, and asks to wait 1h0m0s"}},
	{"a server that nobody answers at", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		s.Close()
		return s.args("--driver-sha256", s.sha256())
	}, 11, []string{"cannot be downloaded", "refused", "proxy"}},
	{"a server that is no address", func(t *testing.T, f *fixture) []string {
		return newShelf(t, f).args("--driver-base-url=hunter2@example.com", "--allow=driver-digest")
	}, 2, []string{"the place of the driver packages", "--driver-base-url"}},
	{"a file larger than any driver, by its own word", func(t *testing.T, f *fixture) []string {
		s := newShelf(t, f)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "99999999999")
			return true
		}
		return s.args("--driver-sha256", s.sha256())
	}, 11, []string{"larger than 2147483648 bytes"}},
	{"a digest that is none", func(*testing.T, *fixture) []string {
		return []string{"--driver-sha256=abc"}
	}, 2, []string{"abc", "is not a SHA-256"}},
	{"a folder of another digest", func(*testing.T, *fixture) []string {
		return []string{"--driver-sha256", strings.Repeat("0", 64)}
	}, 11, []string{"is another than was asked for", "--driver-sha256 says sha256:000", "manifest"}},
	{"a .run of another digest", func(t *testing.T, f *fixture) []string {
		wholeRunFile(t, f)
		return []string{"--driver-sha256", strings.Repeat("0", 64)}
	}, 11, []string{shelfName + " is another than was asked for", "--driver-sha256 says sha256:000"}},
}
