package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/internal/gittest"
)

func TestClone(t *testing.T) {
	root := t.TempDir()
	repository := filepath.Join(root, "linux")
	gittest.Init(t, repository, "main")
	// aux.c is the name that go-git refuses by default.
	for _, name := range []string{"Makefile", "aux.c"} {
		if err := os.WriteFile(filepath.Join(repository, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gittest.Run(t, repository, "add", "--all")
	gittest.Run(t, repository, "commit", "--quiet", "--message=kernel")
	gittest.Run(t, repository, "tag", "--annotate", "--message=v1", "v1")
	server := httptest.NewServer(gittest.Backend(t, root))
	defer server.Close()

	dir := filepath.Join(t.TempDir(), "clone")
	if err := clone(t.Context(), server.URL+"/linux/.git", "v1", dir); err != nil {
		t.Fatal(err)
	}
	if status := gittest.Run(t, dir, "status", "--porcelain"); status != "" {
		t.Errorf("not all is checked out: %s", status)
	}
}
