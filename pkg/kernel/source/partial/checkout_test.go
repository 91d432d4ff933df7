package partial

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
)

func TestCheckout(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	var asked atomic.Int32
	o := r.options(t, r.serve(t, posts(&asked)), "v1")
	got, err := Checkout(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := gittest.Run(t, r.dir, "rev-parse", "v1^{commit}"); got.Commit.String() != want {
		t.Errorf("commit is %s, want %s", got.Commit, want)
	}
	want := r.undisturbed(t, "v1")
	if got.Files != len(want) {
		t.Errorf("%d files, want %d", got.Files, len(want))
	}
	wantTree(t, want, o.Dir)
	if asked.Load() != 2 {
		t.Errorf("%d requests, want one for the commit and one for the contents", asked.Load())
	}
}

// What git makes of the repository later, and we of it after that.
func TestGitGoesOnWithIt(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.serve(t, nil), "v1")
	got, err := Checkout(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if list := gittest.Run(t, o.Dir, "sparse-checkout", "list"); list+"\n" != patterns {
		t.Errorf("git sparse-checkout list says\n%s", list)
	}
	if subject := gittest.Run(t, o.Dir, "log", "-1", "--format=%s"); subject != "v1" {
		t.Errorf("git log says %q", subject)
	}
	gittest.Run(t, o.Dir, "sparse-checkout", "reapply")
	wantTree(t, r.undisturbed(t, "v1"), o.Dir)
	for _, command := range [][]string{
		{"sparse-checkout", "set", "--no-cone", "/*", "!/*/", "/drivers/"},
		{"sparse-checkout", "set", "--cone", "include"},
		{"sparse-checkout", "disable"},
		{"pack-refs", "--all"},
		{"gc", "--quiet"},
	} {
		gittest.Run(t, o.Dir, command...)
		if head, err := ReadHead(o.Dir); err != nil || head != got.Commit {
			t.Errorf("after git %v HEAD is %s (%v), want %s", command, head, err, got.Commit)
		}
		if idx, err := ReadIndex(o.Dir); err != nil || len(idx.Entries) != got.All {
			t.Errorf("after git %v the index cannot be read: %v", command, err)
		}
	}
	gittest.Run(t, r.dir, "checkout", "--quiet", "v1")
	wantTree(t, snapshot(t, r.dir), o.Dir)
	gittest.Run(t, o.Dir, "checkout", "--quiet", "-b", "mine")
	if head, err := ReadHead(o.Dir); err != nil || head != got.Commit {
		t.Errorf("on a branch HEAD is %s (%v), want %s", head, err, got.Commit)
	}
}

func TestWholeTree(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.serve(t, nil), "v1")
	o.Choose, o.Patterns = nil, ""
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	gittest.Run(t, r.dir, "checkout", "--quiet", "v1")
	wantTree(t, snapshot(t, r.dir), o.Dir)
}

func TestServersThatGiveNoParts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		forbid   string
		requests int32
	}{
		"no filter":               {"allowFilter", 1},
		"no objects by name":      {"allowReachableSHA1InWant", 1},
		"says it would, does not": {"", 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			want := r.undisturbed(t, "v1")
			var asked atomic.Int32
			url := r.serve(t, func(next http.Handler) http.Handler {
				next = posts(&asked)(next)
				return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
					if test.forbid == "" && request.Method == http.MethodPost && asked.Load() == 1 {
						asked.Add(1)
						_, _ = io.Copy(io.Discard, request.Body)
						fmt.Fprint(w, "0049ERR upload-pack: not our ref 0123456789012345678901234567890123456789")
						return
					}
					next.ServeHTTP(w, request)
				})
			})
			if test.forbid != "" {
				gittest.Run(t, r.dir, "config", "uploadpack."+test.forbid, "false")
			}
			o := r.options(t, url, "v1")
			if _, err := Checkout(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			wantTree(t, want, o.Dir)
			if asked.Load() != test.requests {
				t.Errorf("%d requests, want %d", asked.Load(), test.requests)
			}
		})
	}
}

func TestAnotherReleaseFetchesWhatDiffers(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	var asked, sent atomic.Int32
	url := r.serve(t, func(next http.Handler) http.Handler {
		return posts(&asked)(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			next.ServeHTTP(&counted{w, &sent}, request)
		}))
	})
	first := r.options(t, url, "v1")
	if _, err := Checkout(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	cold := sent.Swap(0)
	second := r.options(t, url, "v2")
	second.Earlier = first.Dir
	if _, err := Checkout(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	wantTree(t, r.undisturbed(t, "v2"), second.Dir)
	wantTree(t, r.undisturbed(t, "v1"), first.Dir)
	if again := sent.Load(); again > cold/2 {
		t.Errorf("the second release took %d bytes, the first %d", again, cold)
	}
	// All of it is there already: the server need not be.
	third := r.options(t, "http://127.0.0.1:1/linux.git", "v1")
	third.Earlier = second.Dir
	if _, err := Checkout(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshot(t, first.Dir), snapshot(t, third.Dir)); diff != "" {
		t.Errorf("the tree from stored objects (-want +got):\n%s", diff)
	}
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int32
}

func (c *counted) Write(b []byte) (int, error) {
	c.n.Add(int32(len(b)))
	return c.ResponseWriter.Write(b)
}

// A file is taken over from the earlier tree as it is, and only if it is what
// the commit has: its time says nothing.
func TestFilesOfTheEarlierTree(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	url := r.serve(t, nil)
	first := r.options(t, url, "v1")
	if _, err := Checkout(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	spoiled := filepath.Join(first.Dir, "include/linux/h2.h")
	info, err := os.Stat(spoiled)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(text(2))
	content[0] ^= 1
	if err := os.WriteFile(spoiled, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(spoiled, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(first.Dir, "include/linux/h3.h"), 0o755); err != nil {
		t.Fatal(err)
	}
	second := r.options(t, url, "v2")
	second.Earlier = first.Dir
	if _, err := Checkout(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	wantTree(t, r.undisturbed(t, "v2"), second.Dir)
	for name, want := range map[string]bool{"h1.h": true, "h2.h": false, "h3.h": false, "h7.h": false} {
		one, err := os.Stat(filepath.Join(first.Dir, "include/linux", name))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.Stat(filepath.Join(second.Dir, "include/linux", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := os.SameFile(one, other); got != want {
			t.Errorf("%s is the earlier tree's: %v, want %v", name, got, want)
		}
	}
}

func TestEarlierWithoutObjects(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.serve(t, nil), "v1")
	o.Earlier = filepath.Join(t.TempDir(), "nothing")
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantTree(t, r.undisturbed(t, "v1"), o.Dir)
}
