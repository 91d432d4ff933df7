package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// serve answers on a port of its own on 127.0.0.1, until the context ends:
//
//	/OWNER/NAME.git/…                   git's smart HTTP, by the real git http-backend
//	/api/v3/repos/OWNER/NAME/git/ref/…  GitHub's API for refs and tags, also without /api/v3
//	/files/…                            plain files
//	/fault/KIND/…                       any of these, failing as KIND says (see [faulty])
//
// It prints its base URL as one line on out once it listens.
func serve(ctx context.Context, root string, out io.Writer) error {
	root, err := filepath.Abs(root) // CGI programs run in another folder
	if err != nil {
		return err
	}
	git, err := newGit(ctx, filepath.Join(root, "git"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/{owner}/{name}/git/ref/{ref...}", git.getRef)
	mux.HandleFunc("GET /repos/{owner}/{name}/git/matching-refs/{ref...}", git.matchingRefs)
	mux.HandleFunc("GET /repos/{owner}/{name}/git/tags/{sha}", git.getTag)
	mux.HandleFunc("/repos/", notFound)
	mux.Handle("/api/v3/", http.StripPrefix("/api/v3", mux))
	mux.Handle("GET /files/", http.StripPrefix("/files", http.FileServer(http.Dir(filepath.Join(root, "files")))))
	mux.HandleFunc("/fault/{kind}/", faulty)
	mux.Handle("/", git.backend())

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// git is a folder of bare repositories, OWNER/NAME.git.
type git struct {
	dir      string
	execPath string
}

func newGit(ctx context.Context, dir string) (*git, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	return &git{dir: dir, execPath: strings.TrimSpace(string(out))}, nil
}

// safe lets git read a repository that another user owns: the cache's owner.
var safe = []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}

func (g *git) backend() http.Handler {
	handler := &cgi.Handler{
		Path: filepath.Join(g.execPath, "git-http-backend"),
		Env:  append([]string{"GIT_PROJECT_ROOT=" + g.dir, "GIT_HTTP_EXPORT_ALL=1"}, safe...),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// CGI knows no chunked request; a web server in front of it collects
		// the body, as here.
		if r.ContentLength < 0 {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
			if err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
				return
			}
			r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		}
		handler.ServeHTTP(w, r)
	})
}
