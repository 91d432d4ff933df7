//go:build integration

package integration

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/prune"
	layout "github.com/k8sp/cuda/pkg/share"
)

// TestNoStrangers walks the share that all tests use: builder left nothing in it
// that it does not know for its own, and prune lists all that can be made again.
func TestNoStrangers(t *testing.T) {
	c := needDemo(t)
	o := run(t, c.builder(t, "prune", "--output=json"))
	var pruned prune.Result
	if err := json.Unmarshal([]byte(o.stdout), &pruned); o.code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", o.code, err)
	}
	listed := func(name string) bool {
		for _, item := range pruned.Items {
			if name == item.Path || strings.HasPrefix(name, item.Path+"/") {
				return true
			}
		}
		for _, kept := range pruned.Kept {
			if name == kept.Path || strings.HasPrefix(name, kept.Path+"/") {
				return true
			}
		}
		return false
	}
	found := map[layout.Kind]int{}
	err := filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(c.dir, path)
		if err != nil {
			return err
		}
		place := layout.Identify(filepath.ToSlash(name))
		found[place.Kind]++
		switch place.Kind {
		case layout.Stranger:
			t.Errorf("nobody knows %s", name)
		case layout.Cache, layout.Leftover, layout.Record:
			if !listed(name) {
				t.Errorf("prune does not list %s, which is %s", name, place.Kind)
			}
		}
		if place.Whole && e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []layout.Kind{layout.Users, layout.Folder, layout.Published, layout.Cache, layout.Log, layout.Held} {
		if found[kind] == 0 {
			t.Errorf("nothing in the share is %s", kind)
		}
	}
	for _, kept := range pruned.Kept {
		if strings.Contains(kept.Why, string(layout.Stranger)) {
			t.Errorf("%s %s", kept.Path, kept.Why)
		}
	}
}
