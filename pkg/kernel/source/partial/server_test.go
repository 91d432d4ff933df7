package partial

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
)

// patterns choose what [wanted] does.
const patterns = "/*\n!/*/\nKconfig*\n/include/\n"

func wanted(path string) bool {
	return !strings.Contains(path, "/") || strings.HasPrefix(path, "include/") ||
		strings.HasPrefix(filepath.Base(path), "Kconfig")
}

// repository is served by git itself. Its two tags differ in a few files.
type repository struct {
	dir     string
	handler http.Handler
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	top := t.TempDir()
	r := &repository{dir: filepath.Join(top, "linux.git")}
	served.Copy(t, r.dir, func() { r.make(t) })
	r.handler = gittest.Backend(t, top)
	return r
}

var served gittest.Template

func (r *repository) make(t *testing.T) {
	t.Helper()
	gittest.Init(t, r.dir, "main")
	for i := range 60 {
		put(t, r.dir, fmt.Sprintf("include/linux/h%d.h", i), text(i))
		put(t, r.dir, fmt.Sprintf("drivers/d%d/driver.c", i%7), strings.Repeat("driver\n", i))
		put(t, r.dir, fmt.Sprintf("drivers/d%d/Kconfig", i%7), fmt.Sprintf("config D%d\n", i%7))
	}
	put(t, r.dir, "Makefile", "VERSION = 6\n")
	put(t, r.dir, "include/empty.h", "")
	put(t, r.dir, "include/copy.h", text(3))
	put(t, r.dir, "include/run.sh", "#!/bin/sh\n")
	put(t, r.dir, "include/big.h", strings.Repeat("#define BIG 1\n", 40000))
	put(t, r.dir, "drivers/aux.c", "a name that NTFS reserves\n")
	if err := os.Chmod(filepath.Join(r.dir, "include/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../include/linux", filepath.Join(r.dir, "include/link")); err != nil {
		t.Fatal(err)
	}
	r.commit(t, "v1")
	put(t, r.dir, "include/linux/h7.h", "changed\n")
	put(t, r.dir, "include/linux/h61.h", "new\n")
	put(t, r.dir, "include/big.h", strings.Repeat("#define BIG 1\n", 40000)+"#define BIGGER 1\n")
	r.commit(t, "v2")
	// As a server has them: packed, and similar ones as deltas.
	gittest.Run(t, r.dir, "gc", "--quiet")
}

// text is a file that does not compress well.
func text(n int) string {
	b := make([]byte, 100+n*50)
	random := rand.New(rand.NewPCG(uint64(n), 0))
	for i := range b {
		b[i] = byte('!' + random.IntN(90))
	}
	return string(b) + "\n"
}

func (r *repository) commit(t *testing.T, tag string) {
	t.Helper()
	gittest.Run(t, r.dir, "add", "--all")
	gittest.Run(t, r.dir, "commit", "--quiet", "-m", tag)
	gittest.Run(t, r.dir, "tag", "-m", tag, tag)
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// serve serves the repository by way of a handler, which nil is none.
func (r *repository) serve(t *testing.T, via func(http.Handler) http.Handler) string {
	t.Helper()
	handler := r.handler
	if via != nil {
		handler = via(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/linux.git"
}

// options ask for the files that are wanted of a tag.
func (r *repository) options(t *testing.T, url, tag string) Options {
	t.Helper()
	return Options{
		URL: url, Want: plumbing.NewHash(gittest.Run(t, r.dir, "rev-parse", tag)), Ref: "refs/tags/" + tag, Pinned: true,
		Dir: filepath.Join(t.TempDir(), "linux"), Choose: wanted, Patterns: patterns,
		Stall: 10 * time.Second, Pause: time.Millisecond,
	}
}

// undisturbed is git's own sparse checkout of a tag, file by file.
func (r *repository) undisturbed(t *testing.T, tag string) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "gits")
	gittest.Run(t, r.dir, "clone", "--quiet", "--no-local", "-c", "core.protectNTFS=false", "--no-checkout", r.dir, dir)
	gittest.Run(t, dir, append([]string{"sparse-checkout", "set", "--no-cone"}, strings.Fields(patterns)...)...)
	gittest.Run(t, dir, "checkout", "--quiet", tag)
	return snapshot(t, dir)
}

// wantTree compares a tree with another, and asks git what it thinks of it.
func wantTree(t *testing.T, want map[string]string, dir string) {
	t.Helper()
	if diff := cmp.Diff(want, snapshot(t, dir)); diff != "" {
		t.Fatalf("the tree differs from git's (-git +got):\n%s", diff)
	}
	if out := gittest.Run(t, dir, "status", "--porcelain", "--ignored"); out != "" {
		t.Fatalf("git status says\n%s", out)
	}
	gittest.Run(t, dir, "fsck")
}

// snapshot is every file below dir but git's own: its mode, and its content or
// where it points.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == dot {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			content, err = os.Readlink(path)
		} else {
			var b []byte
			b, err = os.ReadFile(path)
			content = string(b)
		}
		files[name] = info.Mode().String() + " " + content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// posts counts requests for packs.
func posts(n *atomic.Int32) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.Method == http.MethodPost {
				n.Add(1)
			}
			next.ServeHTTP(w, request)
		})
	}
}
