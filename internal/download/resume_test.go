package download

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is a server that has a file and is in trouble as often as dice say.
type mirror struct {
	mu      sync.Mutex // an answer that nobody waits for may still be under way
	file    []byte
	version int
	asked   []string // the Range of each request
	// before is asked before each answer, and whether it gave one.
	before func(m *mirror, w http.ResponseWriter, r *http.Request) bool
	// breaks is after how many bytes an answer breaks off; -1: it does not.
	breaks func(m *mirror) int
	tag    func(m *mirror) string
}

func newMirror(size int) *mirror {
	m := &mirror{breaks: func(*mirror) int { return -1 }, tag: func(m *mirror) string { return fmt.Sprintf(`"v%d"`, m.version) }}
	m.change(size)
	return m
}

// change puts another file in the place of the one before.
func (m *mirror) change(size int) {
	m.version++
	m.file = make([]byte, size)
	dice := rand.New(rand.NewPCG(uint64(m.version), uint64(size)))
	for i := range m.file {
		m.file[i] = byte(dice.Uint32())
	}
}

func (m *mirror) sha256() string { return fmt.Sprintf("%x", sha256.Sum256(m.file)) }

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked = append(m.asked, r.Header.Get("Range"))
	if m.before != nil && m.before(m, w, r) {
		m.mu.Unlock()
		return
	}
	if tag := m.tag(m); tag != "" {
		w.Header().Set("ETag", tag)
	}
	answer, file := &breaking{w, m.breaks(m)}, bytes.NewReader(m.file)
	m.mu.Unlock()
	http.ServeContent(answer, r, "", time.Time{}, file)
}

// breaking is an answer that breaks off after so many bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left < 0 || len(p) < b.left {
		n, err := b.ResponseWriter.Write(p)
		if b.left >= 0 {
			b.left -= n
		}
		return n, err
	}
	_, _ = b.ResponseWriter.Write(p[:b.left])
	_ = http.NewResponseController(b.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

func (m *mirror) options(t *testing.T) (path string, o Options) {
	t.Helper()
	return filepath.Join(t.TempDir(), "driver.run"), Options{
		URL: serve(t, m.ServeHTTP) + "/driver.run", SHA256: m.sha256(), Limit: 1 << 22, Pause: time.Microsecond,
	}
}

// wantFile wants the mirror's file at path, and nothing beside it.
func wantFile(t *testing.T, m *mirror, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, m.file) {
		t.Errorf("it is not the server's file: %d bytes, error %v", len(got), err)
	}
	if beside := names(t, filepath.Dir(path)); beside != filepath.Base(path) {
		t.Errorf("in the folder are %s", beside)
	}
}

// TestSoak downloads from servers that drop the connection at random points,
// answer with errors, and ignore or misread what part was asked for, and by
// callers that are stopped at random points. What comes of it is always the
// file or nothing.
func TestSoak(t *testing.T) {
	t.Parallel()
	drops, stops := 0, 0
	for seed := range uint64(80) {
		dice, callers := rand.New(rand.NewPCG(seed, 5)), rand.New(rand.NewPCG(seed, 6))
		size := 1 + dice.IntN(300_000)
		m := newMirror(size)
		m.breaks = func(m *mirror) int {
			if dice.IntN(3) == 0 {
				return -1
			}
			drops++
			return dice.IntN(size)
		}
		m.before = func(m *mirror, w http.ResponseWriter, r *http.Request) bool {
			switch dice.IntN(12) {
			case 0:
				http.Error(w, "oops", http.StatusServiceUnavailable)
			case 1:
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", dice.IntN(9), size-1, size))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(m.file)
			case 3:
				m.change(size)
				return false
			case 4:
				r.Header.Del("Range")
				return false
			default:
				return false
			}
			return true
		}
		path, o := m.options(t)
		o.SHA256 = "" // the file changes
		for try := 0; ; try++ {
			if try == 100 {
				t.Fatalf("seed %d: it never ends", seed)
			}
			ctx, cancel := context.WithCancel(t.Context())
			stop := int64(callers.IntN(3 * size / 2))
			o.came = func(done, _ int64) {
				if done > stop {
					cancel()
				}
			}
			_, err := File(ctx, path, o)
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				stops++
			}
			if _, err := os.Stat(path); err == nil {
				t.Fatalf("seed %d: something is there after an error", seed)
			}
		}
		wantFile(t, m, path)
	}
	if drops < 50 || stops < 50 {
		t.Errorf("only %d connections were dropped and %d callers stopped", drops, stops)
	}
}

// TestResumes asks only for what is missing, in one run and in the next.
func TestResumes(t *testing.T) {
	t.Parallel()
	m := newMirror(100_000)
	m.breaks = func(m *mirror) int { return []int{40_000, 10_000, -1}[min(len(m.asked)-1, 2)] }
	path, o := m.options(t)
	if _, err := File(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.asked, " "); got != " bytes=40000- bytes=50000-" {
		t.Errorf("asked for %q", got)
	}
	wantFile(t, m, path)
}

// TestResumesUnrepeated has a server that answers with a part without saying
// again which file it is of, as it need not.
func TestResumesUnrepeated(t *testing.T) {
	t.Parallel()
	m := newMirror(100_000)
	m.breaks = func(m *mirror) int { return []int{40_000, -1}[min(len(m.asked)-1, 1)] }
	m.before = func(m *mirror, w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-Range") != m.tag(m) {
			return false
		}
		w.Header().Set("Content-Range", "bytes 40000-99999/100000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(m.file[40_000:])
		return true
	}
	path, o := m.options(t)
	if _, err := File(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.asked, " "); got != " bytes=40000-" {
		t.Errorf("asked for %q", got)
	}
	wantFile(t, m, path)
}

func TestResumesAnotherRuns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// between two runs, the first of which has had 40,000 of 100,000 bytes
		between func(t *testing.T, m *mirror, path string, o *Options)
		asked   string // in the second
	}{
		{"the same file", func(*testing.T, *mirror, string, *Options) {}, "bytes=40000-"},
		{"another on the server", func(_ *testing.T, m *mirror, _ string, o *Options) {
			m.change(90_000)
			o.SHA256 = m.sha256()
		}, "bytes=40000-"},
		{"another address", func(_ *testing.T, _ *mirror, _ string, o *Options) { o.URL += "x" }, ""},
		{"a part that was damaged", func(t *testing.T, _ *mirror, path string, _ *Options) {
			f, err := os.OpenFile(path+".part", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("damaged"), 10_000); err != nil {
				t.Fatal(err)
			}
		}, "bytes=40000- "},
		{"a part longer than the file", func(t *testing.T, _ *mirror, path string, _ *Options) {
			if err := os.Truncate(path+".part", 100_001); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a record that is none", func(t *testing.T, _ *mirror, path string, _ *Options) {
			if err := os.WriteFile(path+".part.json", []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"no record", func(t *testing.T, _ *mirror, path string, _ *Options) {
			if err := os.Remove(path + ".part.json"); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"all of it, but for its name", func(t *testing.T, m *mirror, path string, _ *Options) {
			if err := os.WriteFile(path+".part", m.file, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMirror(100_000)
			m.breaks = func(m *mirror) int {
				if len(m.asked) == 1 {
					return 40_000
				}
				return -1
			}
			path, o := m.options(t)
			first := o
			ctx, cancel := context.WithCancel(t.Context())
			first.came = func(done, _ int64) {
				if done == 40_000 {
					cancel()
				}
			}
			if _, err := File(ctx, path, first); err == nil {
				t.Fatal("the first run is not stopped")
			}
			// The cancel may have come before the last read's bytes were written.
			if err := os.WriteFile(path+".part", m.file[:40_000], 0o644); err != nil {
				t.Fatal(err)
			}
			m.asked = m.asked[:1]
			tt.between(t, m, path, &o)
			if _, err := File(t.Context(), path, o); err != nil {
				t.Fatal(err)
			}
			asked := "nothing"
			if len(m.asked) > 1 {
				asked = strings.Join(m.asked[1:], " ")
			}
			if asked != tt.asked {
				t.Errorf("asked for %q, want %q", asked, tt.asked)
			}
			wantFile(t, m, path)
		})
	}
}

// TestDoesNotResume begins anew where nothing tells a later file from the one
// that has arrived in part.
func TestDoesNotResume(t *testing.T) {
	t.Parallel()
	for name, tag := range map[string]string{"no validator": "", "a weak one": `W/"v1"`} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(100_000)
			m.tag = func(*mirror) string { return tag }
			m.breaks = func(m *mirror) int { return []int{40_000, -1}[min(len(m.asked)-1, 1)] }
			path, o := m.options(t)
			if _, err := File(t.Context(), path, o); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.asked, ","); got != "," {
				t.Errorf("asked for %q", got)
			}
			wantFile(t, m, path)
		})
	}
}

// TestAnotherFileInBetween never mixes two files, whatever the server answers.
func TestAnotherFileInBetween(t *testing.T) {
	t.Parallel()
	m := newMirror(100_000)
	m.breaks = func(m *mirror) int { return []int{40_000, -1}[min(len(m.asked)-1, 1)] }
	m.before = func(m *mirror, w http.ResponseWriter, r *http.Request) bool {
		if len(m.asked) == 2 {
			m.change(100_000)
			r.Header.Del("If-Range") // a server that knows no such thing
		}
		return false
	}
	path, o := m.options(t)
	o.SHA256 = ""
	if _, err := File(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	wantFile(t, m, path)
	if got := strings.Join(m.asked, ","); got != ",bytes=40000-," {
		t.Errorf("asked for %q", got)
	}
}

// TestAnotherAddressWithoutTheFile leaves what came from the first address for
// the next try there.
func TestAnotherAddressWithoutTheFile(t *testing.T) {
	t.Parallel()
	m := newMirror(100_000)
	m.before = func(_ *mirror, w http.ResponseWriter, r *http.Request) bool {
		if absent := r.URL.Path == "/absent/driver.run"; absent {
			http.NotFound(w, r)
			return true
		}
		return false
	}
	path, o := m.options(t)
	p, err := openPart(path, Shown(o.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.know(`"v1"`, 100_000); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(m.file[:40_000]); err != nil {
		t.Fatal(err)
	}
	p.close()
	absent := o
	absent.URL = strings.Replace(o.URL, "/driver", "/absent/driver", 1)
	if _, err := File(t.Context(), path, absent); err == nil {
		t.Fatal("it is there")
	}
	if _, err := File(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.asked, ","); got != ",bytes=40000-" {
		t.Errorf("asked for %q", got)
	}
	wantFile(t, m, path)
}
