package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8sp/cuda/pkg/share"
)

// TestUsedShare walks a share after a build, with what loads and runs of all kinds
// that died leave in one: nothing in it is a stranger, and prune leaves only what
// is published, the user's, or listed as kept.
func TestUsedShare(t *testing.T) {
	t.Parallel()
	const boot = "11111111-2222-3333-4444-555555555555"
	f := newFixture(t)
	f.build(t)
	s, err := share.Open(f.share)
	if err != nil {
		t.Fatal(err)
	}
	digest := strings.Repeat("0a", 6)
	left := []string{
		// By builders before this one.
		filepath.Join(s.Loaded(), "0a0a0a0a0a0a0a0a", boot+".json"), filepath.Join(s.Loaded(), "unknown", boot+".lock"),
		filepath.Join(s.Loaded(), "unknown", "."+boot+".json.tmp-1"),
		s.Image(strings.Repeat("0a", 32)),
		filepath.Join(s.Downloads(), "NVIDIA-Linux-x86_64-1.2.3.run"),
		filepath.Join(s.Downloads(), "NVIDIA-Linux-x86_64-1.2.3.run.part"),
		filepath.Join(s.Downloads(), "NVIDIA-Linux-x86_64-1.2.3.run.part.json"),
		filepath.Join(s.Exports(), fixtureRelease+"-"+digest+".symvers"),
		filepath.Join(s.Digests(), "downloads", ".NVIDIA-Linux-x86_64-1.2.3.run.json.tmp-1"),
		filepath.Join(s.Prepared(), "6.1.0-"+digest, "Makefile"),
		filepath.Join(s.Scratch(), "driver", "nv.c"),
		filepath.Join(share.Content(s.Result(fixtureRelease, fixtureDriver), digest, 1), "nvidia.ko"),
		filepath.Join(share.Content(s.Driver(fixtureDriver), digest, 0), "manifest.json"),
		filepath.Join(s.Drivers(), "."+fixtureDriver+".tmp-1"),
		filepath.Join(s.CDI(), ".nvidia.com-gpu.json.tmp-1"),
	}
	for _, name := range []string{"lock.d/lock-1", "lock-2/lock-2", "dead-lock-3/lock-3", "left-lock-4/lock-4", "writable-5"} {
		left = append(left, filepath.Join(s.Private(), name))
	}
	kept := []string{filepath.Join(s.CDI(), "nvidia.com-gpu.json")}
	old := time.Now().Add(-time.Hour)
	for _, path := range append(left, kept...) {
		write(t, path, 0o644, "{}\n")
		for ; path != f.share; path = filepath.Dir(path) {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, place := range places(t, s) {
		if place.Kind == share.Stranger {
			t.Errorf("nobody knows %s", path)
		}
	}

	result := f.prune(t, "--yes")
	listed := map[string]bool{}
	for _, k := range result.Kept {
		t.Errorf("%s %s", k.Path, k.Why)
		listed[filepath.Join(f.share, k.Path)] = true
	}
	for _, path := range left {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range kept {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	for path, place := range places(t, s) {
		switch place.Kind {
		case share.Users, share.Published, share.Log, share.Folder:
			continue
		case share.Held: // the two files that the next run locks
			if base := filepath.Base(path); base == "lock" || base == "lock.range" {
				continue
			}
		}
		if !listed[path] {
			t.Errorf("%s, which is %s, is neither gone nor listed as kept", path, place.Kind)
		}
	}
}

// places is what each path of a share is.
func places(t *testing.T, s *share.Share) map[string]share.Place {
	t.Helper()
	list := map[string]share.Place{}
	err := filepath.WalkDir(s.Dir(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.Dir(), path)
		list[path] = share.Identify(filepath.ToSlash(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
