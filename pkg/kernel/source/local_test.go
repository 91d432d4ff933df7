package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/pkg/stage"
)

// tarball is a kernel.org-style tarball of a tag, and its digest.
func tarball(t *testing.T, r *repository, tag string) (name, digest string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "linux-4.7.3.tar.gz")
	gittest.Run(t, r.dir, "archive", "--format=tar.gz", "--prefix=linux-4.7.3/", "--output="+name, tag)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return name, hex.EncodeToString(sum[:])
}

// gits is git's own sparse checkout of a tag, to compare with.
func gits(t *testing.T, r *repository, tag string) map[string]string {
	t.Helper()
	o := r.options(t)
	o.Ref = tag
	if _, err := Checkout(t.Context(), target(t, "4.7.3"), o); err != nil {
		t.Fatal(err)
	}
	return snapshot(t, o.Dir)
}

func TestTarball(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	name, digest := tarball(t, r, "v4.7.3")
	want := gits(t, r, "v4.7.3")
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(name))))
	t.Cleanup(server.Close)
	for where, sum := range map[string]string{name: "", server.URL + "/linux-4.7.3.tar.gz": digest} {
		o := r.options(t)
		o.APIURL, o.CloneURL, o.From, o.SHA256 = "", "", where, sum
		got, err := Checkout(t.Context(), target(t, "4.7.3"), o)
		if err != nil {
			t.Fatal(err)
		}
		wanted := Tree{Dir: o.Dir, Rung: RungTarball, Ref: "linux-4.7.3.tar.gz", Commit: digest, Version: "4.7.3"}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, snapshot(t, o.Dir)); diff != "" {
			t.Errorf("files (-git +got):\n%s", diff)
		}
		wantEmpty(t, o.Scratch)
		asked := len(r.requests())
		if again, err := Checkout(t.Context(), target(t, "4.7.3"), o); err != nil || !again.Reused {
			t.Errorf("it is not reused: %v", err)
		}
		whole, err := Complete(t.Context(), target(t, "4.7.3"), o)
		if err != nil || whole.Commit != digest {
			t.Errorf("Complete: %v", err)
		}
		gittest.Run(t, r.dir, "checkout", "--quiet", "v4.7.3")
		if diff := cmp.Diff(snapshot(t, r.dir), snapshot(t, o.Dir)); diff != "" {
			t.Errorf("the whole tree (-git +got):\n%s", diff)
		}
		write(t, filepath.Join(o.Dir, "kernel/bounds.c"), "mine")
		_, err = Complete(t.Context(), target(t, "4.7.3"), o)
		wantError(t, err, stage.Source, "holds changes")
		if len(r.requests()) != asked {
			t.Errorf("the git server was asked")
		}
	}
}

// TestTarballOfACheckout takes what an earlier run has checked out, and somebody has carried
// elsewhere, with its repository in it.
func TestTarballOfACheckout(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	first := r.options(t)
	tree, err := Checkout(t.Context(), target(t, "4.7.3"), first)
	if err != nil {
		t.Fatal(err)
	}
	o := r.options(t)
	o.APIURL, o.CloneURL, o.From, o.Offline = "", "", filepath.Join(t.TempDir(), "linux.tar"), true
	if out, err := exec.Command("tar", "-cf", o.From, "-C", filepath.Dir(tree.Dir), filepath.Base(tree.Dir)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := Checkout(t.Context(), target(t, "4.7.3"), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshot(t, tree.Dir), snapshot(t, o.Dir)); diff != "" {
		t.Errorf("files (-carried +got):\n%s", diff)
	}
}

func TestTarballOfAServerThatDrops(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	name, digest := tarball(t, r, "v4.7.3")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
		case 2:
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:len(content)/2])
		default:
			_, _ = w.Write(content)
		}
	}))
	t.Cleanup(server.Close)
	o := r.options(t)
	o.APIURL, o.CloneURL, o.From, o.SHA256 = "", "", server.URL+"/linux-4.7.3.tar.gz", digest
	if _, err := Checkout(t.Context(), target(t, "4.7.3"), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gits(t, r, "v4.7.3"), snapshot(t, o.Dir)); diff != "" || asked.Load() != 3 {
		t.Errorf("after %d requests (-git +got):\n%s", asked.Load(), diff)
	}
	wantEmpty(t, o.Scratch)
}

func TestTarballsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	name, digest := tarball(t, r, "v4.7.3")
	garbage := filepath.Join(t.TempDir(), "linux.tar.xz")
	write(t, garbage, "<!doctype html>")
	cut := filepath.Join(t.TempDir(), "linux.tar.gz")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cut, string(b[:len(b)/2]))
	header := filepath.Join(t.TempDir(), "linux.tar")
	gittest.Run(t, r.dir, "archive", "--format=tar", "--prefix=linux-4.7.3/", "--output="+header, "v4.7.3")
	if err := os.Truncate(header, 1024); err != nil { // git's comment: its header and its data
		t.Fatal(err)
	}
	for test, o := range map[string]struct {
		Options
		name     stage.Name
		sentence string
	}{
		"another digest":        {Options{From: name, SHA256: strings.Repeat("ab", 32)}, stage.Source, "has the SHA-256 " + digest},
		"a server, no digest":   {Options{From: "https://cdn.kernel.org/linux-6.1.tar.xz"}, stage.Usage, "--source-sha256"},
		"a password":            {Options{From: "https://me:secret@cdn.kernel.org/linux-6.1.tar.xz", SHA256: digest}, stage.Usage, "may hold no password"},
		"a password, unescaped": {Options{From: "https://me:hun/ter2@cdn.kernel.org/linux-6.1.tar.xz"}, stage.Usage, "has to be percent-encoded"},
		"no URL":                {Options{From: "https://cdn.kernel.org/%zz/linux-6.1.tar.xz?token=hunter2", SHA256: digest}, stage.Usage, "has to be percent-encoded"},
		"no digest":             {Options{From: name, SHA256: "x"}, stage.Usage, `"x" is not a SHA-256`},
		"two places":            {Options{From: name, CloneURL: "https://example.com/x.git"}, stage.Usage, "from one place"},
		"garbage":               {Options{From: garbage}, stage.Source, "cannot unpack"},
		"cut":                   {Options{From: cut}, stage.Source, "Fetch it again"},
		"cut behind a member":   {Options{From: header}, stage.Source, "breaks off before its end mark: unexpected EOF. Fetch it again"},
		"another version":       {Options{From: tarballOf(t, r, "v4.8.1-coreos")}, stage.Source, "is the source of 4.8.1-coreos, not of kernel 4.7.3"},
		"nothing":               {Options{From: filepath.Join(t.TempDir(), "gone.tar")}, stage.Source, "cannot be read"},
		"a server, and no net":  {Options{From: "https://cdn.kernel.org/linux-6.1.tar.xz", SHA256: digest, Offline: true}, stage.Source, "--offline forbids"},
	} {
		t.Run(test, func(t *testing.T) {
			share := t.TempDir()
			o.Dir = filepath.Join(share, "linux")
			_, err := Checkout(t.Context(), target(t, "4.7.3"), o.Options)
			wantError(t, err, o.name, o.sentence)
			if strings.Contains(err.Error(), "ter2") {
				t.Errorf("the error tells a secret: %v", err)
			}
			wantEmpty(t, share)
		})
	}
}

// TestSecretInAQuery has sources whose URLs hold a token that is another each
// time, as those do that a bucket signs.
func TestSecretInAQuery(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	name, digest := tarball(t, r, "v4.7.3")
	var tokens []string
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		tokens = append(tokens, request.URL.Query().Get("token"))
		if len(tokens) == 1 {
			w.WriteHeader(http.StatusBadGateway) // which is logged
			return
		}
		http.ServeFile(w, request, name)
	}))
	t.Cleanup(bucket.Close)
	of := r.options(t)
	of.APIURL, of.CloneURL, of.From, of.SHA256 = "", "", bucket.URL+"/linux-4.7.3.tar.gz", digest
	mirror := r.options(t)
	mirror.APIURL, mirror.CloneURL, mirror.From = "", "", strings.Replace(mirror.CloneURL, "//", "//me:hunter2@", 1)
	moved := map[string]int{"a repository": 1} // the question whether the tag was
	for name, o := range map[string]Options{"a tarball": of, "a repository": mirror} {
		t.Run(name, func(t *testing.T) {
			from := o.From
			asked := 0
			for i, query := range []string{"?token=hunter2", "?token=hunter22#hunter2"} {
				var log bytes.Buffer
				o.From = from + query
				got, err := Checkout(zerolog.New(&log).WithContext(t.Context()), target(t, "4.7.3"), o)
				if err != nil {
					t.Fatal(err)
				}
				if now := len(tokens) + len(r.requests()); got.Reused != (i == 1) || i == 1 && now != asked+moved[name] {
					t.Errorf("run %d: reused %v after %d requests", i, got.Reused, now)
				}
				asked = len(tokens) + len(r.requests())
				wantUntold(t, log.String(), got, o)
			}
			// A tree that was left with the token, by an earlier version.
			record, err := readRecord(o.Dir)
			if err != nil {
				t.Fatal(err)
			}
			record.URL += "?token=hunter2"
			if err := writeRecord(o.Dir, record); err != nil {
				t.Fatal(err)
			}
			steps, err := plan(t.Context(), target(t, "4.7.3"), o)
			if text := fmt.Sprint(steps, err); strings.Contains(text, "hunter2") || !strings.Contains(text, "it came from http://127") {
				t.Errorf("the plan is %s", text)
			}
		})
	}
	if diff := cmp.Diff([]string{"hunter2", "hunter2"}, tokens); diff != "" {
		t.Errorf("tokens that were sent (-want +got):\n%s", diff)
	}
}

// wantUntold wants no secret in a log, a tree, or what is on the disk about it.
func wantUntold(t *testing.T, log string, got Tree, o Options) {
	t.Helper()
	texts := map[string]string{"the log": log, "the tree": fmt.Sprintf("%+v", got)}
	for _, name := range []string{recordName, ".git/config"} {
		text, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	if texts[recordName] == "" {
		t.Error("there is no record")
	}
	for what, text := range texts {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s tells a secret:\n%s", what, text)
		}
	}
}

// TestSecretInAQueryOfWhatFails tells no token where there is nothing to be had.
func TestSecretInAQueryOfWhatFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer http.HandlerFunc // nil: nobody answers
		says   string
	}{
		"absent":  {http.NotFound, "not found"},
		"refused": {nil, "connection refused"},
		"gone":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, "410"},
		"broken":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502"},
		"a loop":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "?token=hunter2", http.StatusFound) }, "redirect"},
		"led astray": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://me:hunter2@x/?hunter2", http.StatusFound)
		}, "unsupported"},
		"led nowhere": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://x/%zz?token=hunter2")
			w.WriteHeader(http.StatusFound)
		}, "the address"},
		"led to a gap": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://me:hunter2@127.0.0.1:1/info/refs?token=hunter2", http.StatusFound)
		}, "connection refused"},
	} {
		for _, path := range []string{"/linux-4.7.3.tar.gz", "/linux.git"} {
			t.Run(name+path, func(t *testing.T) {
				server := httptest.NewServer(test.answer)
				t.Cleanup(server.Close)
				if test.answer == nil {
					server.Close()
				}
				o := Options{Dir: filepath.Join(t.TempDir(), "linux"), From: server.URL + path + "?token=hunter2", Pause: time.Millisecond}
				if archive.MatchString(path) {
					o.SHA256 = strings.Repeat("ab", 32)
				}
				var log bytes.Buffer
				_, err := Checkout(zerolog.New(&log).WithContext(t.Context()), target(t, "4.7.3"), o)
				wantError(t, err, stage.Source, server.URL+path)
				if !strings.Contains(strings.ToLower(err.Error()), test.says) {
					t.Errorf("the error does not say %q: %v", test.says, err)
				}
				if strings.Contains(err.Error()+log.String(), "hunter2") {
					t.Errorf("a secret is told: %v\n%s", err, &log)
				}
			})
		}
	}
}

func tarballOf(t *testing.T, r *repository, tag string) string {
	t.Helper()
	name, _ := tarball(t, r, tag)
	return name
}

func TestRepositoryInAFolderOfAnyName(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, name := range []string{"my linux.git", "linux?5%.git", "linux#1.git"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		o := r.options(t)
		o.APIURL, o.CloneURL, o.From = "", "", dir
		if got, err := Checkout(t.Context(), target(t, "4.7.3"), o); err != nil || got.Ref != "refs/tags/v4.7.3" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestLocalTree(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	gittest.Run(t, r.dir, "checkout", "--quiet", "v4.7.3")
	dir := filepath.Join(t.TempDir(), "linux-4.7.3")
	if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	o := r.options(t)
	o.CloneURL, o.From = "", dir
	checkOut := func() Tree {
		t.Helper()
		got, err := Checkout(t.Context(), target(t, "4.7.3"), o)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := checkOut()
	want := Tree{Dir: dir, Rung: RungLocal, Ref: "linux-4.7.3", Commit: first.Commit, Version: "4.7.3", Reused: true}
	if diff := cmp.Diff(want, first); diff != "" || len(first.Commit) != 64 {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	write(t, filepath.Join(dir, "drivers/new.c"), "not needed")
	if again := checkOut(); again.Commit != first.Commit {
		t.Error("what no build needs changed the digest")
	}
	write(t, filepath.Join(dir, "include/new.h"), "needed")
	if again := checkOut(); again.Commit == first.Commit {
		t.Error("another header did not change the digest")
	}
	_, err := Checkout(t.Context(), target(t, "4.8.1"), o)
	wantError(t, err, stage.Source, "is the source of 4.7.3, not of kernel 4.8.1")
	steps, err := plan(t.Context(), target(t, "4.7.3"), o)
	if diff := cmp.Diff([]Step{{RungLocal, dir, true, "is the source of 4.7.3"}}, steps); diff != "" || err != nil {
		t.Errorf("plan (-want +got): %v\n%s", err, diff)
	}
	if len(r.requests()) > 0 {
		t.Errorf("the network was asked: %v", r.requests())
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	name, digest := tarball(t, r, "v4.7.3")
	tree := t.TempDir()
	write(t, filepath.Join(tree, "include/a.h"), "a")
	of := func(from, sum string) string {
		t.Helper()
		got, err := Fingerprint(target(t, "4.7.3"), Options{Dir: "/opt/share/linux", From: from, SHA256: sum})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, test := range map[string]struct{ got, want string }{
		"nothing":       {of("", ""), ""},
		"a file":        {of(name, ""), digest},
		"a file by sum": {of(name, strings.Repeat("ab", 32)), strings.Repeat("ab", 32)},
		"a repository":  {of(r.dir, ""), r.dir},
		"a server's":    {of("https://example.com/x.git", ""), "https://example.com/x.git"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", name, test.got, test.want)
		}
	}
	// What CI makes anew for each run is no other source.
	first := of("https://ci:hunter2@example.com/x.git?token=hunter2", "")
	if again := of("https://ci:hunter3@example.com/x.git?token=hunter3", ""); again != first || strings.Contains(first, "hunter") {
		t.Errorf("a repository is %q with one token and %q with another", first, again)
	}
	if other := of("https://ci:hunter2@example.com/y.git?token=hunter2", ""); other == first {
		t.Errorf("two repositories are both %q", other)
	}
	before := of(tree, "")
	write(t, filepath.Join(tree, "include/a.h"), "b")
	if after := of(tree, ""); after == before || len(after) != 64 {
		t.Errorf("a tree that changed: %q and %q", before, after)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	bare := filepath.Join(t.TempDir(), "linux.git")
	gittest.Run(t, r.dir, "clone", "--quiet", "--mirror", r.dir, bare)
	for _, where := range []string{bare, r.dir, "file://" + bare} {
		o := r.options(t)
		o.APIURL, o.CloneURL, o.From, o.Offline = "", "", where, true
		got, err := Checkout(t.Context(), target(t, "4.7.3-coreos-r2"), o)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ref != "refs/tags/v4.7.3-coreos" || got.Rung != RungTag {
			t.Errorf("tree is %+v", got)
		}
		wantLikeGits(t, r, o.Dir, got.Commit)
	}
	if len(r.requests()) > 0 {
		t.Errorf("the network was asked: %v", r.requests())
	}
}

func TestOffline(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	o.Offline = true
	_, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "--offline forbids to fetch it", "--source")
	if _, err := plan(t.Context(), target(t, "4.7.3-coreos"), o); err == nil {
		t.Error("Plan goes on without the network")
	}
	if len(r.requests()) > 0 {
		t.Fatalf("the network was asked: %v", r.requests())
	}
	o.Offline = false
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	asked := len(r.requests())
	o.Offline = true
	got, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil || !got.Reused || len(r.requests()) != asked {
		t.Errorf("the tree that is there: %+v, %v", got, err)
	}
}

func TestCommit(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	commit := gittest.Run(t, r.dir, "rev-parse", "v4.7.3-coreos^{commit}")
	o := r.options(t)
	o.Commit = strings.Repeat("ab", 20)
	_, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "is commit "+commit, "--source-commit asks for")
	wantEmpty(t, o.Scratch)
	o.Commit = "v4.7.3"
	_, err = Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Usage, "is not a commit")
	o.Commit = commit
	for _, reused := range []bool{false, true} {
		if got, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil || got.Reused != reused {
			t.Errorf("Checkout: %+v, %v", got, err)
		}
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	o.Full = true
	got, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil {
		t.Fatal(err)
	}
	gittest.Run(t, r.dir, "checkout", "--quiet", got.Commit)
	if diff := cmp.Diff(snapshot(t, r.dir), snapshot(t, o.Dir)); diff != "" {
		t.Errorf("the whole tree (-git +got):\n%s", diff)
	}
}

// What a user does with git in the tree does not keep it from being used.
func TestAfterSparseCheckout(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range map[string]struct {
		command []string
		reused  bool
	}{
		"all of it": {[]string{"sparse-checkout", "disable"}, true},
		"less":      {[]string{"sparse-checkout", "set", "--cone", "drivers"}, false},
		"more":      {[]string{"sparse-checkout", "add", "/drivers/"}, true},
		"gc":        {[]string{"gc", "--quiet"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
				t.Fatal(err)
			}
			gittest.Run(t, o.Dir, test.command...)
			got, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
			if err != nil || got.Reused != test.reused {
				t.Fatalf("reused: %v, %v", got.Reused, err)
			}
			// It is still known to be ours, and unchanged.
			if _, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestStalledServer(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() }))
	t.Cleanup(hung.Close)
	o := r.options(t)
	o.CloneURL, o.Stall = hung.URL+"/x.git", 200*time.Millisecond
	_, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "fell silent")
}
