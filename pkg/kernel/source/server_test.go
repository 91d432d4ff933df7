package source

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8sp/cuda/internal/gittest"
)

// repository is a small kernel, made with git itself and served as GitHub
// serves one: by git http-backend, with the part of GitHub's API that finds
// refs beside it.
type repository struct {
	dir  string // the work tree that it is made in
	git  *httptest.Server
	api  *httptest.Server
	mu   sync.Mutex
	seen []*http.Request // every request to either server
}

const repositoryName = "coreos/linux"

// newRepository has
//
//	v4.7.3, v4.7.3-coreos (annotated), v4.7.3-coreos-r3 (a tag of that tag)
//	v4.8.1-coreos    a later commit
//	v4.8.2-coreos    whose Makefile still says 4.8.1
//	coreos/v3.17.2   a branch
func newRepository(t *testing.T) *repository {
	t.Helper()
	top := t.TempDir()
	r := &repository{dir: filepath.Join(top, repositoryName+".git")}
	small.Copy(t, r.dir, func() { r.make(t) })
	r.git = httptest.NewServer(r.watched(gittest.Backend(t, top)))
	t.Cleanup(r.git.Close)
	r.api = httptest.NewServer(r.watched(http.HandlerFunc(r.serveRef)))
	t.Cleanup(r.api.Close)
	return r
}

var small gittest.Template

func (r *repository) make(t *testing.T) {
	t.Helper()
	gittest.Init(t, r.dir, "coreos/v3.17.2")
	r.commit(t, "3.17.2", "")
	gittest.Run(t, r.dir, "checkout", "--quiet", "-b", "master")
	r.commit(t, "4.7.3", "")
	gittest.Run(t, r.dir, "tag", "v4.7.3")
	r.commit(t, "4.7.3", "-coreos")
	gittest.Run(t, r.dir, "tag", "-m", "CoreOS's own", "v4.7.3-coreos")
	gittest.Run(t, r.dir, "tag", "-m", "a tag of a tag", "v4.7.3-coreos-r3", "v4.7.3-coreos")
	r.commit(t, "4.8.1", "-coreos")
	gittest.Run(t, r.dir, "tag", "v4.8.1-coreos")
	gittest.Run(t, r.dir, "tag", "v4.8.2-coreos")
}

// options are what a user of the servers would give, into folders of the test.
func (r *repository) options(t *testing.T) Options {
	t.Helper()
	share := t.TempDir()
	scratch := filepath.Join(share, ".builder", "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: filepath.Join(share, "linux"), Scratch: scratch,
		Repository: repositoryName, APIURL: r.api.URL + "/api/v3", CloneURL: r.git.URL + "/" + repositoryName + ".git",
		Pause: time.Millisecond,
	}
}

func (r *repository) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, request.Clone(request.Context()))
		r.mu.Unlock()
		next.ServeHTTP(w, request)
	})
}

// requests are the requests so far, as "METHOD PATH".
func (r *repository) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, request := range r.seen {
		all = append(all, request.Method+" "+request.URL.Path)
	}
	return all
}

// commit commits a tree that has what makes a kernel's hard to check out.
func (r *repository) commit(t *testing.T, version, extra string) {
	t.Helper()
	part := strings.Split(version, ".")
	files := map[string]string{
		"Makefile": fmt.Sprintf("# SPDX-License-Identifier: GPL-2.0\nVERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\nEXTRAVERSION =%s\nNAME = Test\n",
			part[0], part[1], part[2], extra),
		"drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c": "/* a name that NTFS reserves */\n",
		"include/uapi/linux/netfilter/xt_CONNMARK.h":    "/* target */\n",
		"include/uapi/linux/netfilter/xt_connmark.h":    "/* match */\n",
		"scripts/setlocalversion":                       "#!/bin/sh\n",
		"kernel/empty.c":                                "",
		".gitattributes":                                "*.c diff=cpp\n",
		".gitignore":                                    "*.o\n",
		"lib/crlf.txt":                                  "a\r\nb\r\n",
		"lib/" + version:                                "only in this version\n",
	}
	gittest.Run(t, r.dir, "rm", "-r", "--quiet", "--ignore-unmatch", ".")
	for name, text := range files {
		write(t, filepath.Join(r.dir, name), text)
	}
	if err := os.Chmod(filepath.Join(r.dir, "scripts/setlocalversion"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../include/uapi", filepath.Join(r.dir, "scripts/dtc-include")); err != nil {
		t.Fatal(err)
	}
	gittest.Run(t, r.dir, "add", "--all")
	gittest.Run(t, r.dir, "commit", "--quiet", "-m", "Linux "+version+extra)
}

// serveRef answers GET /repos/OWNER/NAME/git/ref/REF as GitHub documents it:
// exactly the ref, or 404.
func (r *repository) serveRef(w http.ResponseWriter, request *http.Request) {
	ref, ok := strings.CutPrefix(request.URL.Path, "/api/v3/repos/"+repositoryName+"/git/ref/")
	line, err := exec.Command("git", "-C", r.dir, "for-each-ref", "--format=%(objectname) %(objecttype)", "refs/"+ref).Output()
	if !ok || err != nil || len(line) == 0 || strings.Count(string(line), "\n") != 1 {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message": "Not Found"}`)
		return
	}
	hash, kind, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"ref": "refs/" + ref, "object": map[string]string{"sha": hash, "type": kind},
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
