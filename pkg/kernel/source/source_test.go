package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source/needs"
	"github.com/k8sp/cuda/pkg/stage"
)

func target(t *testing.T, release string) kernel.Target {
	t.Helper()
	return kernel.Target{Release: parse(t, release), Arch: kernel.X86_64}
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, test := range []struct{ release, asked, ref, rung, version string }{
		{release: "4.7.3-coreos-r2", ref: "refs/tags/v4.7.3-coreos", rung: RungTag, version: "4.7.3-coreos"},
		{release: "4.7.3-coreos-r3", ref: "refs/tags/v4.7.3-coreos-r3", rung: RungTag, version: "4.7.3-coreos"},
		{release: "4.7.3-flatcar", ref: "refs/tags/v4.7.3", rung: RungUpstream, version: "4.7.3"},
		{release: "3.17.2+", ref: "refs/heads/coreos/v3.17.2", rung: RungTag, version: "3.17.2"},
		{release: "4.8.1-custom", asked: "v4.8.2-coreos", version: ""}, // -coreos is no part of -custom
		{release: "4.8.1-coreos", asked: "v4.8.2-coreos", ref: "refs/tags/v4.8.2-coreos", rung: RungTag, version: "4.8.1-coreos"},
		{release: "3.17.2+", asked: "refs/heads/coreos/v3.17.2", ref: "refs/heads/coreos/v3.17.2", rung: RungTag, version: "3.17.2"},
	} {
		t.Run(test.release+" "+test.asked, func(t *testing.T) {
			o := r.options(t)
			o.Ref = test.asked
			got, err := Checkout(t.Context(), target(t, test.release), o)
			if test.version == "" {
				wantError(t, err, stage.Source, "is the source of 4.8.1-coreos, not of kernel 4.8.1-custom")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Tree{
				Dir: o.Dir, Rung: test.rung, Repository: repositoryName, Ref: test.ref,
				Commit: gittest.Run(t, r.dir, "rev-parse", test.ref+"^{commit}"), Version: test.version,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Tree (-want +got):\n%s", diff)
			}
			wantLikeGits(t, r, o.Dir, want.Commit)
			wantEmpty(t, o.Scratch)
		})
	}
}

// wantLikeGits compares a tree with git's own sparse checkout, file by file, and
// asks git what it thinks of it.
func wantLikeGits(t *testing.T, r *repository, dir, commit string) {
	t.Helper()
	gits := filepath.Join(t.TempDir(), "gits")
	gittest.Run(t, r.dir, "clone", "--quiet", "--no-local", "-c", "core.protectNTFS=false", "--no-checkout", r.dir, gits)
	list, err := needs.For(kernel.X86_64, kernel.Release{Version: "4.7.3"})
	if err != nil {
		t.Fatal(err)
	}
	gittest.Run(t, gits, append([]string{"sparse-checkout", "set", "--no-cone"}, strings.Fields(list.Patterns())...)...)
	gittest.Run(t, gits, "checkout", "--quiet", commit)
	if diff := cmp.Diff(snapshot(t, gits), snapshot(t, dir)); diff != "" {
		t.Errorf("the tree differs from git's (-git +got):\n%s", diff)
	}
	if out := gittest.Run(t, dir, "status", "--porcelain", "--ignored"); out != "" {
		t.Errorf("git status says\n%s", out)
	}
	if diff := cmp.Diff(gittest.Run(t, gits, "ls-files", "-t"), gittest.Run(t, dir, "ls-files", "-t")); diff != "" {
		t.Errorf("the index differs from git's (-git +got):\n%s", diff)
	}
	if n := gittest.Run(t, dir, "rev-list", "--count", "--all"); n != "1" {
		t.Errorf("%s commits were fetched, want 1", n)
	}
	gittest.Run(t, dir, "fsck")
}

func TestCheckoutReuses(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	first, err := Checkout(t.Context(), target(t, "4.7.3-coreos-r2"), o)
	if err != nil {
		t.Fatal(err)
	}
	before := len(r.requests())
	second, err := Checkout(t.Context(), target(t, "4.7.3-coreos-r2"), o)
	if err != nil {
		t.Fatal(err)
	}
	first.Reused = true
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("second run (-first, reused +got):\n%s", diff)
	}
	want := []string{"GET /api/v3/repos/coreos/linux/git/ref/tags/v4.7.3-coreos"} // whether it was moved
	if diff := cmp.Diff(want, r.requests()[before:]); diff != "" {
		t.Errorf("reuse asked the network (-want +got):\n%s", diff)
	}
	before, o.Offline = len(r.requests()), true
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos-r2"), o); err != nil || len(r.requests()) != before {
		t.Errorf("offline: %v, %v", err, r.requests()[before:])
	}
}

// A tag names one source for good: one that does not any more is said, and the tree that
// is there serves.
func TestTagThatMoved(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		r := newRepository(t)
		o := r.options(t)
		if !api {
			o.APIURL = ""
		}
		var log bytes.Buffer
		ctx := zerolog.New(&log).WithContext(t.Context())
		first, err := Checkout(ctx, target(t, "4.7.3-coreos-r2"), o)
		if err != nil {
			t.Fatal(err)
		}
		again := func() string {
			t.Helper()
			log.Reset()
			tree, err := Checkout(ctx, target(t, "4.7.3-coreos-r2"), o)
			if err != nil || !tree.Reused || tree.Commit != first.Commit {
				t.Fatalf("%+v, %v", tree, err)
			}
			return log.String()
		}
		if said := again(); strings.Contains(said, "moved") {
			t.Errorf("of a tag that is what it was: %s", said)
		}
		gittest.Run(t, r.dir, "tag", "--force", "v4.7.3-coreos", "v4.8.1-coreos")
		is := gittest.Run(t, r.dir, "rev-parse", "v4.8.1-coreos")
		if said := again(); !strings.Contains(said, "the tag was moved since the source was checked out") || !strings.Contains(said, is) || !strings.Contains(said, `"level":"warn"`) {
			t.Errorf("by the API %v: %s", api, said)
		}
		r.git.Close()
		r.api.Close()
		if said := again(); strings.Contains(said, `"level":"warn"`) {
			t.Errorf("without a network: %s", said)
		}
	}
}

func TestCheckoutReplacesItsOwnTree(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range map[string]struct {
		release string
		spoil   func(*testing.T, Options)
	}{
		"another release": {release: "4.8.1-coreos"},
		"its tags were fetched": {"4.8.1-coreos", func(t *testing.T, o Options) {
			gittest.Run(t, o.Dir, "tag", "fetched", "HEAD")
			gittest.Run(t, o.Dir, "update-ref", "refs/remotes/origin/master", "HEAD")
			gittest.Run(t, o.Dir, "pack-refs", "--all")
		}},
		"a file was deleted":            {"4.8.1-coreos", func(t *testing.T, o Options) { os.Remove(filepath.Join(o.Dir, "scripts/setlocalversion")) }},
		"a file that is needed is gone": {"4.7.3-coreos", func(t *testing.T, o Options) { os.Remove(filepath.Join(o.Dir, "scripts/setlocalversion")) }},
		"Finder has looked at it": {"4.8.1-coreos", func(t *testing.T, o Options) {
			write(t, filepath.Join(o.Dir, ".DS_Store"), "icons")
			write(t, filepath.Join(o.Dir, "scripts/._setlocalversion"), "attributes")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
				t.Fatal(err)
			}
			if test.spoil != nil {
				test.spoil(t, o)
			}
			got, err := Checkout(t.Context(), target(t, test.release), o)
			if err != nil {
				t.Fatal(err)
			}
			if got.Reused {
				t.Error("the old tree was reused")
			}
			wantLikeGits(t, r, o.Dir, got.Commit)
			wantEmpty(t, o.Scratch)
		})
	}
}

// commitOf makes another commit of the same tree and returns it.
func commitOf(t *testing.T, dir string) string {
	t.Helper()
	return gittest.Run(t, dir, "commit-tree", "-m", "another", "HEAD^{tree}")
}

func TestCheckoutLeavesOthersFilesAlone(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	ours := func(t *testing.T, o Options) {
		if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		put      func(*testing.T, Options)
		sentence string
	}{
		"a file":   {func(t *testing.T, o Options) { write(t, o.Dir, "mine") }, "linux is not a folder"},
		"a folder": {func(t *testing.T, o Options) { write(t, filepath.Join(o.Dir, "notes"), "mine") }, "linux was not made by builder"},
		"a clone of the user's": {func(t *testing.T, o Options) { gittest.Run(t, r.dir, "clone", "--quiet", r.dir, o.Dir) },
			"linux was not made by builder"},
		"a link": {func(t *testing.T, o Options) { symlink(t, t.TempDir(), o.Dir) }, "linux is not a folder"},
		"our tree, edited": {func(t *testing.T, o Options) {
			ours(t, o)
			write(t, filepath.Join(o.Dir, "kernel/empty.c"), "mine")
		}, "linux holds changes (kernel/empty.c)"},
		"our tree and a new file that git ignores": {func(t *testing.T, o Options) {
			ours(t, o)
			write(t, filepath.Join(o.Dir, "kernel/mine.o"), "mine")
		}, "linux holds changes (kernel/mine.o)"},
		"our tree and a commit": {func(t *testing.T, o Options) {
			ours(t, o)
			gittest.Run(t, o.Dir, "update-ref", "--no-deref", "HEAD", commitOf(t, o.Dir))
		}, "as it was left"},
		"our tree and a branch": {func(t *testing.T, o Options) {
			ours(t, o)
			gittest.Run(t, o.Dir, "branch", "mine", commitOf(t, o.Dir))
		}, "linux holds commits (refs/heads/mine)"},
		"our tree and a branch that git packed": {func(t *testing.T, o Options) {
			ours(t, o)
			gittest.Run(t, o.Dir, "branch", "mine", commitOf(t, o.Dir))
			gittest.Run(t, o.Dir, "pack-refs", "--all")
		}, "linux holds commits (refs/heads/mine)"},
		"our tree and a stash": {func(t *testing.T, o Options) {
			ours(t, o)
			gittest.Run(t, o.Dir, "update-ref", "refs/stash", commitOf(t, o.Dir))
		}, "linux holds commits (refs/stash)"},
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			test.put(t, o)
			before, asked := snapshot(t, filepath.Dir(o.Dir)), len(r.requests())
			_, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
			wantError(t, err, stage.Source, test.sentence, "Move it away and run again.")
			if diff := cmp.Diff(before, snapshot(t, filepath.Dir(o.Dir))); diff != "" {
				t.Errorf("the share changed (-before +after):\n%s", diff)
			}
			if after := r.requests(); len(after) != asked {
				t.Errorf("the network was asked for what has no place: %v", after[asked:])
			}
		})
	}
}

// TestCheckoutReusesACopiedTree: a share that was copied has other times.
func TestCheckoutReusesACopiedTree(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(-time.Hour)
	for _, name := range []string{"Makefile", "scripts/setlocalversion"} {
		if err := os.Chtimes(filepath.Join(o.Dir, name), now, now); err != nil {
			t.Fatal(err)
		}
	}
	if tree, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil || !tree.Reused {
		t.Errorf("reused %v, error %v", tree.Reused, err)
	}
	text, err := os.ReadFile(filepath.Join(o.Dir, "scripts/setlocalversion"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(o.Dir, "scripts/setlocalversion"), strings.Repeat("x", len(text)))
	_, err = Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "holds changes (scripts/setlocalversion)")
}

func TestCheckoutIntoAnEmptyFolder(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o); err != nil {
		t.Fatal(err)
	}
}

// badAPIs are the ways in which a look-up fails, and what is said of them.
var badAPIs = map[string]struct {
	handler   http.HandlerFunc
	sentences []string
}{
	"403, rate limit": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Date(2126, 1, 2, 15, 4, 0, 0, time.UTC).Unix(), 10))
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message": "API rate limit exceeded for 192.0.2.1."}`)
	}, []string{"refuses more look-ups until 15:04 UTC (rate limit)", "raise the limit with --github-token"}},
	"403, secondary rate limit": {func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message": "You have exceeded a secondary rate limit.", "documentation_url": "https://docs.github.com/#secondary-rate-limits"}`)
	}, []string{"refuses more look-ups for now (rate limit)", "raise the limit with --github-token"}},
	"429": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		[]string{"rate limit", "raise the limit with --github-token"}},
	"401": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		[]string{"GitHub's API answered 401 Unauthorized"}},
	"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		[]string{"GitHub's API answered 500 Internal Server Error", "/git/ref/tags/v4.8.1-coreos"}},
	"garbage": {func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>Welcome to the hotel's network</html>")
	},
		[]string{"with something that is no ref", "/git/ref/tags/v4.8.1-coreos"}},
	"a list, as old APIs answer": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"ref": "refs/tags/v4.8.1-coreos-r1"}]`) },
		[]string{"with something that is no ref"}},
	"JSON of something else": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"login": "octocat"}`) },
		[]string{"with something that is no ref"}},
	"endless": {func(w http.ResponseWriter, _ *http.Request) {
		for err := error(nil); err == nil; {
			_, err = fmt.Fprint(w, strings.Repeat(" ", 1<<16))
		}
	}, []string{"with something that is no ref"}},
	"slow": {func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() },
		[]string{"GitHub's API does not answer", "xceeded"}},
}

func TestBadAPIAndNoGitServer(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range badAPIs {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, filepath.Dir(o.Dir))

			o = badOptions(t, o, name, test.handler)
			o.CloneURL = unreachable(t)
			_, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
			wantError(t, err, stage.Source, append(test.sentences,
				"cannot look up the source of kernel 4.8.1-coreos in coreos/linux", "connection refused")...)
			for _, secret := range []string{o.Token, "hunter2"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
			if diff := cmp.Diff(before, snapshot(t, filepath.Dir(o.Dir))); diff != "" {
				t.Errorf("the share changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestBadAPIAndAGitServer(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range badAPIs {
		t.Run(name, func(t *testing.T) {
			o := badOptions(t, r.options(t), name, test.handler)
			var log bytes.Buffer
			ctx := zerolog.New(&log).WithContext(t.Context())
			got, err := Checkout(ctx, target(t, "4.8.1-coreos"), o)
			if err != nil {
				t.Fatal(err)
			}
			if got.Ref != "refs/tags/v4.8.1-coreos" {
				t.Errorf("ref is %s", got.Ref)
			}
			if !strings.Contains(log.String(), `"level":"warn"`) || !strings.Contains(log.String(), "by asking "+r.git.URL) {
				t.Errorf("the log does not warn:\n%s", &log)
			}
			if strings.Contains(log.String(), o.Token) {
				t.Errorf("the log tells the token:\n%s", &log)
			}
		})
	}
}

// badOptions are o with an API that misbehaves in a way of [badAPIs], a token, and a client
// that does not wait long for one that never answers.
func badOptions(t *testing.T, o Options, way string, handler http.HandlerFunc) Options {
	t.Helper()
	api := httptest.NewServer(handler)
	t.Cleanup(api.Close)
	o.APIURL = api.URL + "/api/v3/"
	o.Token = "ghp_secret"
	o.HTTPClient = &http.Client{Timeout: time.Minute}
	if way == "slow" {
		o.HTTPClient.Timeout = 100 * time.Millisecond
	}
	return o
}

// unreachable is the URL, with credentials in it, of a server that is gone.
func unreachable(t *testing.T) string {
	t.Helper()
	// Not that of a server that was there: another test's may have its port by now.
	return "http://hunter2:hunter2@127.0.0.1:1/coreos/linux.git"
}

func TestNoMatchingRef(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range map[string]struct {
		release, asked string
		api            bool
		tried          string
	}{
		"by the API": {"4.7.9-coreos-r2", "", true, "tag v4.7.9-coreos-r2, tag v4.7.9-coreos, branch coreos/v4.7.9, tag v4.7.9"},
		"by git":     {"4.7.9-coreos-r2", "", false, "tag v4.7.9-coreos-r2, tag v4.7.9-coreos, branch coreos/v4.7.9, tag v4.7.9"},
		// A prefix of refs that exist.
		"asked for": {"4.7.3-coreos", "v4.7", true, "tag v4.7, branch v4.7"},
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			o.Ref = test.asked
			if !test.api {
				o.APIURL = ""
			}
			_, err := Checkout(t.Context(), target(t, test.release), o)
			wantError(t, err, stage.Source, "coreos/linux holds no source for kernel "+test.release,
				"has none of "+test.tried, "--source-ref")
			if _, err := os.Lstat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is at %s: %v", o.Dir, err)
			}
		})
	}
}

func TestUnreachableRepository(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	o.CloneURL = unreachable(t)
	_, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
	wantError(t, err, stage.Source, "cannot check out refs/tags/v4.8.1-coreos of coreos/linux from http://127.0.0.1:", "connection refused")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error tells the password: %v", err)
	}
	wantEmpty(t, o.Scratch)

	o.CloneURL = r.git.URL + "/no/such.git"
	_, err = Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
	wantError(t, err, stage.Source, "repository not found")
	wantEmpty(t, o.Scratch)
}

func TestMakefileOfAnotherVersion(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, filepath.Dir(o.Dir))
	_, err := Checkout(t.Context(), target(t, "4.8.2-coreos"), o)
	wantError(t, err, stage.Source,
		"refs/tags/v4.8.2-coreos of coreos/linux is the source of 4.8.1-coreos, not of kernel 4.8.2-coreos")
	if diff := cmp.Diff(before, snapshot(t, filepath.Dir(o.Dir))); diff != "" {
		t.Errorf("the share changed (-before +after):\n%s", diff)
	}
}

func TestTagThatMovedOnTheMirror(t *testing.T) {
	t.Parallel()
	r, mirror := newRepository(t), newRepository(t)
	gittest.Run(t, mirror.dir, "tag", "--force", "v4.8.1-coreos", "v4.7.3")
	o := r.options(t)
	o.CloneURL = mirror.options(t).CloneURL
	_, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
	wantError(t, err, stage.Source, "and the API at "+gittest.Run(t, r.dir, "rev-parse", "v4.8.1-coreos"))
	wantEmpty(t, o.Scratch)
}

func TestInterruptedCheckoutLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	ctx, cancel := context.WithCancel(t.Context())
	hung := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			// The server sees the client leave only when the body is read.
			_, _ = io.Copy(io.Discard, request.Body)
			cancel()
			<-request.Context().Done()
			return
		}
		r.git.Config.Handler.ServeHTTP(w, request)
	}))
	t.Cleanup(hung.Close)
	o := r.options(t)
	o.CloneURL = hung.URL + "/" + repositoryName + ".git"
	_, err := Checkout(ctx, target(t, "4.8.1-coreos"), o)
	if stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("error is %v, want the context's", err)
	}
	wantEmpty(t, o.Scratch)
	if _, err := os.Lstat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is at %s: %v", o.Dir, err)
	}
}

// drawn is a terminal that tells when the bar is first on it.
type drawn struct {
	mu    sync.Mutex
	text  strings.Builder
	first func()
}

func (d *drawn) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first()
	return d.text.Write(p)
}

// TestProgress has a git server that sends its answer when the bar is there.
func TestProgress(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	there := make(chan struct{})
	terminal := &drawn{first: sync.OnceFunc(func() { close(there) })}
	git := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			<-there
		}
		r.git.Config.Handler.ServeHTTP(w, request)
	}))
	defer git.Close()
	o := r.options(t)
	o.CloneURL = git.URL + "/" + repositoryName + ".git"
	bar := progress.NewBar(terminal, func() int { return 200 })
	if _, err := Checkout(bar.WithContext(t.Context()), target(t, "4.8.1-coreos"), o); err != nil {
		t.Fatal(err)
	}
	text := terminal.text.String()
	if !strings.Contains(text, "kernel source  ") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("on the terminal is %q, want the source's bar, gone at the end", text)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	l, err := newLadder(target(t, "4.8.1-coreos"), Options{Dir: "/opt/share/linux"})
	if err != nil {
		t.Fatal(err)
	}
	full := &fs.PathError{Op: "write", Path: "/opt/share/.builder/scratch/x", Err: syscall.ENOSPC}
	err = l.cannot("check out", found{ref: "refs/tags/v4.8.1-coreos"}, full)
	wantError(t, err, stage.Source, "no space left on device", "Free 0.2 GB on the disk that holds /opt/share/linux")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	url := o.CloneURL
	plan := func(release string, want []Step) {
		t.Helper()
		before := snapshot(t, filepath.Dir(o.Dir))
		got, err := plan(t.Context(), target(t, release), o)
		if err != nil {
			t.Fatal(err)
		}
		none := Step{RungHostTree, "lib/modules/" + release + "/build", false, "the host has none, or it is not mounted"}
		if diff := cmp.Diff(append([]Step{none}, want...), got); diff != "" {
			t.Errorf("plan for %s (-want +got):\n%s", release, diff)
		}
		if diff := cmp.Diff(before, snapshot(t, filepath.Dir(o.Dir))); diff != "" {
			t.Errorf("planning changed the share (-before +after):\n%s", diff)
		}
	}
	plan("4.7.3-coreos-r2", []Step{
		{RungTree, o.Dir, false, "no tree of an earlier run is there"},
		{RungTag, "coreos/linux refs/tags/v4.7.3-coreos", true, "exists; would be checked out from " + url},
	})
	plan("4.7.3-custom", []Step{
		{RungTree, o.Dir, false, "no tree of an earlier run is there"},
		{RungTag, "coreos/linux", false, "has none of tag v4.7.3-custom"},
		{RungUpstream, "coreos/linux refs/tags/v4.7.3", true, "exists; would be checked out from " + url},
	})
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos-r2"), o); err != nil {
		t.Fatal(err)
	}
	plan("4.7.3-coreos-r2", []Step{
		{RungTree, o.Dir, true, "holds refs/tags/v4.7.3-coreos of coreos/linux"},
	})
	plan("4.8.1-coreos", []Step{
		{RungTree, o.Dir, false, "it is refs/tags/v4.7.3-coreos, which is no ref for kernel 4.8.1-coreos"},
		{RungTag, "coreos/linux refs/tags/v4.8.1-coreos", true, "exists; would be checked out from " + url},
	})
}

// wantError checks the exit code and that the text holds each of the parts.
func wantError(t *testing.T, err error, name stage.Name, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := stage.ExitCode(err); got != name.ExitCode() {
		t.Errorf("exit code is %d, want %d: %v", got, name.ExitCode(), err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left in %s", e.Name(), dir)
	}
}

// snapshot is every file under dir but git's own: its mode, and its contents
// or where it points.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && d.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode()&fs.ModeSymlink != 0 {
			link, err := os.Readlink(path)
			files[name] = "-> " + link
			return err
		}
		text, err = os.ReadFile(path)
		files[name] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// plan are the steps by which a source was found, or was not.
func plan(ctx context.Context, t kernel.Target, o Options) ([]Step, error) {
	found, err := Find(ctx, t, o)
	return found.Steps, err
}
