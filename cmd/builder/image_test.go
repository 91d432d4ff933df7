package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// published is a server that has a file under every name.
func published(t *testing.T, content string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/absent/") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

var badImages = []badInput{
	{"one that is not there", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image", "/absent/vmlinuz"}
	}, 10, []string{"/absent/vmlinuz"}},
	{"one that is none", func(t *testing.T, f *fixture) []string {
		file := filepath.Join(t.TempDir(), "vmlinuz")
		write(t, file, 0o644, "not a kernel")
		return []string{"--kernel-image", file}
	}, 10, []string{"not a kernel image", "vmlinuz"}},
	{"one that the server does not have", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "") + "/absent/vmlinuz?token=hunter2"}
	}, 10, []string{"/absent/vmlinuz", "404"}},
	{"one of another digest", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "altered") + "/vmlinuz", "--kernel-image-sha256", strings.Repeat("0", 64)}
	}, 10, []string{"SHA-256", "not 000"}},
	{"a digest of none", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image-sha256", strings.Repeat("0", 64)}
	}, 2, []string{"--kernel-image"}},
}
