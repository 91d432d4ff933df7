// Package gittest serves git repositories to tests as GitHub serves them: by
// git's own http-backend.
package gittest

import (
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Run runs git with a configuration of the test's own and returns its output.
func Run(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return Pipe(t, dir, nil, args...)
}

// Pipe is [Run] with something to read.
func Pipe(t testing.TB, dir string, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, stdin
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Init makes an empty repository, with a working tree, that allows what GitHub
// allows.
func Init(t testing.TB, dir, branch string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	Run(t, dir, "init", "--quiet", "--template=", "--initial-branch="+branch)
	config, err := os.OpenFile(filepath.Join(dir, ".git/config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Threads that look for deltas make another pack of the same objects each time.
	_, err = config.WriteString("[uploadpack]\n\tallowFilter\n\tallowTipSHA1InWant\n\tallowReachableSHA1InWant\n" +
		"[pack]\n\tthreads = 1\n[maintenance]\n\tauto = false\n")
	if err := errors.Join(err, config.Close()); err != nil {
		t.Fatal(err)
	}
}

// Backend serves the repositories below root.
func Backend(t testing.TB, root string) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path: filepath.Join(Run(t, root, "--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
		// The configuration of whoever runs the tests is not the server's.
		InheritEnv: []string{"PATH"},
		Stderr:     t.Output(),
	}
}
