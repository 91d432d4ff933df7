package partial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/k8sp/cuda/internal/gittest"
)

func TestMirror(t *testing.T) {
	r := newRepository(t)
	bare := filepath.Join(t.TempDir(), "mirror.git")
	gittest.Run(t, r.dir, "clone", "--quiet", "--mirror", r.dir, bare)
	t.Setenv("PATH", t.TempDir()) // git is not needed
	path := os.Getenv("PATH")
	for name, where := range map[string]string{"bare": bare, "with a working tree": r.dir, "as a URL": "file://" + bare} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", originalPath)
			o := r.options(t, where, "v1")
			want := r.undisturbed(t, "v1")
			t.Setenv("PATH", path)
			if _, err := Checkout(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			refs, err := Refs(t.Context(), o)
			if err != nil || refs["refs/tags/v1"] != o.Want {
				t.Errorf("refs are %v, %v", refs, err)
			}
			t.Setenv("PATH", originalPath)
			wantTree(t, want, o.Dir)
		})
	}
}

var originalPath = os.Getenv("PATH")

func TestMirrorThatLacksIt(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.dir, "v1")
	o.Want, o.Ref, o.Pinned = plumbing.NewHash(strings.Repeat("ab", 20)), "refs/heads/gone", false
	if _, err := Checkout(t.Context(), o); err == nil || Temporary(err) {
		t.Errorf("error is %v", err)
	}
	o = r.options(t, t.TempDir(), "v1")
	if _, err := Checkout(t.Context(), o); err == nil || !strings.Contains(err.Error(), "repository not found") {
		t.Errorf("error is %v", err)
	}
}
