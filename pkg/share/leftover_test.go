package share

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// age makes files look as if nobody had written to them for so long.
func age(t *testing.T, by time.Duration, paths ...string) {
	t.Helper()
	then := time.Now().Add(-by)
	for _, path := range paths {
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
}

// leave makes a file in the share, with the folder that it is in.
func leave(t *testing.T, s *Share, name string) string {
	t.Helper()
	path := filepath.Join(s.Dir(), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLeftovers leaves one of each kind, all of it old or all of it new, beside
// what is no leftover.
func TestLeftovers(t *testing.T) {
	left := []string{
		".builder/dead-lock-1", ".builder/left-lock-2", ".builder/lock-3", ".builder/writable-4",
		"cdi/.nvidia.com-gpu.json.tmp-5",
	}
	kinds(t, func(t *testing.T, open func() *Share) {
		s := open()
		lock, err := s.Lock(t.Context(), quick)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, name := range left[:3] {
			all = append(all, leave(t, s, filepath.Join(name, "lock-9")), filepath.Join(s.Dir(), name))
		}
		for _, name := range append(left[3:], ".builder/bin", ".builder/logs/x.log", "cdi/mine.json", "loaded/"+aHost+"/"+aBoot+".json", ".builder/scratch/x") {
			all = append(all, leave(t, s, name))
		}
		all = append(all, s.Scratch(), s.lockFile())
		list := func() []string {
			t.Helper()
			paths, err := lock.Leftovers()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, path := range paths {
				name, err := filepath.Rel(s.Dir(), path)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			return names
		}
		age(t, staleAfter-time.Minute, all...)
		if got := list(); len(got) != 0 {
			t.Errorf("what may be in use is taken for left behind: %q", got)
		}
		age(t, staleAfter+time.Minute, all...)
		want := left
		if lock.held != nil {
			want = left[1:] // it moved the dead holder away itself, and clears up when it leaves
		}
		if diff := cmp.Diff(want, list()); diff != "" {
			t.Error(diff)
		}
		// A waiting run writes to its file, not to the folder.
		age(t, 0, filepath.Join(s.Dir(), left[2], "lock-9"))
		if got := list(); len(got) != len(want)-1 {
			t.Errorf("the folder of a run that waits is taken for left behind: %q", got)
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLeftoversOfALockFolder: beside a lock of the kernel's, one that is a folder
// is of a client of the file system that has no such locks.
func TestLeftoversOfALockFolder(t *testing.T) {
	s := open(t)
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	file := leave(t, s, ".builder/lock.d/lock-1")
	dead := leave(t, s, ".builder/dead-lock-2/lock-2")
	age(t, time.Hour, dead, filepath.Dir(dead), s.lockFolder())
	for _, tt := range []struct {
		last time.Duration
		want []string
	}{
		{staleAfter - time.Minute, nil},
		{staleAfter + time.Minute, []string{filepath.Dir(dead), s.lockFolder()}},
	} {
		age(t, tt.last, file)
		got, err := lock.Leftovers()
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("heard of %s ago: %v %s", tt.last, err, diff)
		}
	}
}

func TestLeftoversOfAShareThatIsFull(t *testing.T) {
	s := open(t)
	lock, err := s.Lock(t.Context(), quick)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	s.create = func(string, string) (*os.File, error) { return nil, unix.ENOSPC }
	if _, err := lock.Leftovers(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

func TestStale(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lock-1")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	at := func(path string, when time.Time) {
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		file, dir time.Duration // how long ago
		want      bool
	}{
		"both are old":     {staleAfter, staleAfter, true},
		"the file is not":  {staleAfter - time.Nanosecond, time.Hour, false},
		"the folder's not": {time.Hour, staleAfter - time.Nanosecond, false},
	} {
		at(file, now.Add(-tt.file))
		at(dir, now.Add(-tt.dir))
		if got := stale(dir, now); got != tt.want {
			t.Errorf("%s: stale: %v", name, got)
		}
	}
	if stale(filepath.Join(dir, "absent"), now) {
		t.Error("what is gone is somebody's who cleared up")
	}
}

// TestOldRecords finds those of a boot that builders before this one kept, and
// nothing where a link leads elsewhere.
func TestOldRecords(t *testing.T) {
	s := open(t)
	if got := s.OldRecords(aBoot); len(got) > 0 {
		t.Errorf("of none: %q", got)
	}
	want := []string{leave(t, s, "loaded/"+aHost+"/"+aBoot+".json"), leave(t, s, "loaded/unknown/"+aBoot+".json")}
	leave(t, s, "loaded/"+aHost+"/1"+aBoot[1:]+".json")
	leave(t, s, "loaded/"+aHost+"/"+aBoot+".lock")
	leave(t, s, "loaded/README")
	elsewhere := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(elsewhere, aBoot+".json"), nil, 0o600), os.Symlink(elsewhere, filepath.Join(s.Loaded(), "linked"))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.OldRecords(aBoot)); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(os.Rename(s.Loaded(), filepath.Join(elsewhere, "loaded")), os.Symlink(filepath.Join(elsewhere, "loaded"), s.Loaded())); err != nil {
		t.Fatal(err)
	}
	if got := s.OldRecords(aBoot); len(got) > 0 {
		t.Errorf("where a link leads: %q", got)
	}
}
