package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestSettled: what is put in place was on the disk before, in the order in which
// a power cut leaves no doubt whose it is.
func TestSettled(t *testing.T) {
	r := newRepository(t)
	tar, digest := tarball(t, r, "v4.8.2-coreos")
	for name, change := range map[string]func(*Options){
		"of a repository": func(o *Options) { o.Ref = "v4.8.2-coreos" },
		"of a tarball":    func(o *Options) { o.From, o.SHA256, o.CloneURL = tar, digest, "" },
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, o.Dir)
			change(&o)
			calls := 0
			o.flush = func(dir string) error {
				calls++
				if got, err := readRecord(dir); err != nil || !got.Unsettled {
					t.Errorf("while the tree is flushed its record is %+v, %v", got, err)
				}
				if _, err := readVersion(dir); err != nil {
					t.Errorf("what is flushed is no tree: %v", err)
				}
				if diff := cmp.Diff(before, snapshot(t, o.Dir)); diff != "" {
					t.Errorf("the tree was put in place before it was on the disk:\n%s", diff)
				}
				return nil
			}
			if _, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o); err != nil {
				t.Fatal(err)
			}
			if got, err := readRecord(o.Dir); calls != 1 || err != nil || got.Unsettled {
				t.Errorf("flushed %d times; the record is %+v, %v", calls, got, err)
			}
		})
	}
}

// TestDiskThatCannotBeFlushed: a tree that may not be on the disk is not put in
// place of one that is.
func TestDiskThatCannotBeFlushed(t *testing.T) {
	r := newRepository(t)
	o := r.options(t)
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, o.Dir)
	broken := errors.New("input/output error")
	o.flush = func(string) error { return broken }
	_, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o)
	wantError(t, err, stage.Source, "input/output error")
	if diff := cmp.Diff(before, snapshot(t, o.Dir)); diff != "" {
		t.Errorf("the tree changed:\n%s", diff)
	}
	wantEmpty(t, o.Scratch)
}

// cut is what a power cut can do to a tree that is not settled, or a user after
// it.
type cut struct {
	t   *testing.T
	dir string
}

// lose cuts a file to so many bytes, of which the disk had no more, without
// writing to it as anybody would.
func (c cut) lose(name string, size int64) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = os.Chmod(path, 0o644) // git's packs are read-only
	if err := errors.Join(os.Truncate(path, size), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		c.t.Fatal(err)
	}
}

func (c cut) remove(name string) {
	c.t.Helper()
	if err := os.Remove(filepath.Join(c.dir, name)); err != nil {
		c.t.Fatal(err)
	}
}

// loseAll empties every file that is below a folder of the tree, but the record.
func (c cut) loseAll(below string) {
	c.t.Helper()
	err := filepath.WalkDir(filepath.Join(c.dir, below), func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, c.dir+"/")
		if err == nil && d.Type().IsRegular() && name != recordName {
			c.lose(name, 0)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// work writes a file as a user does, some time after.
func (c cut) work(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if _, err := os.Lstat(path); err == nil {
		c.remove(name) // it may be another tree's, too
	}
	write(c.t, path, text)
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(path, later, later); err != nil {
		c.t.Fatal(err)
	}
}

// records are what a power cut can leave of the record of a tree that was put in
// place, where a disk keeps no order. It cannot be lost: it was there, and on the
// disk, before the tree was in place.
var records = map[string]func(c cut){
	"that is old": func(c cut) {
		r, err := readRecord(c.dir)
		if err != nil {
			c.t.Fatal(err)
		}
		r.Unsettled = true
		if err := writeRecord(c.dir, r); err != nil {
			c.t.Fatal(err)
		}
	},
	"that is half":  func(c cut) { c.lose(recordName, 40) },
	"that is empty": func(c cut) { c.lose(recordName, 0) },
	"that is zeros": func(c cut) {
		info, err := os.Stat(filepath.Join(c.dir, recordName))
		if err != nil {
			c.t.Fatal(err)
		}
		c.lose(recordName, 0)
		c.lose(recordName, info.Size())
	},
}

// TestPowerCut has each of the records with each loss of files: the next run
// fetches the tree again, and has what one that nothing happened to has.
func TestPowerCut(t *testing.T) {
	r := newRepository(t)
	o := r.options(t)
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	want := snapshot(t, o.Dir)
	for state, spoil := range records {
		for loss, lose := range map[string]func(c cut){
			"nothing":               func(cut) {},
			"a file":                func(c cut) { c.remove("Makefile") },
			"the end of a file":     func(c cut) { c.lose("Makefile", 3) },
			"all contents":          func(c cut) { c.loseAll(".") },
			"all of the repository": func(c cut) { c.loseAll(".git") },
			"the index":             func(c cut) { c.remove(".git/index") },
			"the head":              func(c cut) { c.lose(".git/HEAD", 0) },
			"the packs":             func(c cut) { c.loseAll(".git/objects") },
			"nothing, and git and the Finder looked at it": func(c cut) {
				c.work(".git/index", "an index")
				c.work("scripts/.DS_Store", "a view")
			},
		} {
			t.Run("a record "+state+", and lost: "+loss, func(t *testing.T) {
				c := cut{t, o.Dir}
				spoil(c)
				lose(c)
				if why, err := Occupied(o.Dir); why != "" || err != nil {
					t.Errorf("it is not ours: it %s, %v", why, err)
				}
				got, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
				if err != nil || got.Reused {
					t.Fatalf("reused: %v, error %v", got.Reused, err)
				}
				if diff := cmp.Diff(want, snapshot(t, o.Dir)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// TestWorkAfterAPowerCut: what a user did in such a tree since is not lost, and
// neither is a tree that has no record at all, as a clone of the user's has none.
func TestWorkAfterAPowerCut(t *testing.T) {
	r := newRepository(t)
	for state, spoil := range map[string]func(c cut){
		"that is old":  records["that is old"],
		"that is half": records["that is half"],
		"that is lost": func(c cut) { c.remove(recordName) },
	} {
		for name, work := range map[string]func(c cut){
			"a changed file": func(c cut) { c.work("Makefile", "mine") },
			"a new file":     func(c cut) { c.work("scripts/notes", "mine") },
			"a commit":       func(c cut) { c.work(".git/refs/heads/mine", strings.Repeat("0a", 20)+"\n") },
		} {
			t.Run("a record "+state+", and "+name, func(t *testing.T) {
				o := r.options(t)
				if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
					t.Fatal(err)
				}
				c := cut{t, o.Dir}
				spoil(c)
				work(c)
				before := snapshot(t, o.Dir)
				_, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
				want := "holds changes ("
				if state == "that is lost" {
					want = "was not made by builder"
				}
				wantError(t, err, stage.Source, want, "would be lost")
				if diff := cmp.Diff(before, snapshot(t, o.Dir)); diff != "" {
					t.Errorf("the tree changed:\n%s", diff)
				}
			})
		}
	}
}
