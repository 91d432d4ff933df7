package conftest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
)

// key is the n-th of some keys.
func key(n int) string { return fmt.Sprintf("%064x", n) }

// many are answers, in turns.
func many(from, to int) Set {
	s := Set{}
	for n := from; n < to; n++ {
		s[key(n)] = n%2 == 0
	}
	return s
}

func TestLearn(t *testing.T) {
	t.Parallel()
	notes := testkit.WriteTree(t, map[string]string{
		key(1) + ".y": "", key(2) + ".n": "", key(3) + ".k": "", key(4) + ".k": "", key(5) + ".y/file": "",
		key(6): "", key(7) + ".yes": "", key(8)[1:] + ".y": "", strings.ToUpper(key(10)) + ".y": "", "x": "",
	})
	a := Answers{Known: Set{key(3): true, key(9): true}}
	if err := a.Learn(notes); err != nil {
		t.Fatal(err)
	}
	// A note is a name: of what, is all the same. What is not known was not used.
	want := Answers{Known: a.Known, Used: Set{key(3): true}, Learned: Set{key(1): true, key(2): false, key(5): true}}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(notes, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{link, link + ".none"} {
		if err := a.Learn(dir); err == nil {
			t.Errorf("%s was read", dir)
		}
	}
}

// A driver's programs can leave as many notes as there is disk.
func TestLearnIsBounded(t *testing.T) {
	t.Parallel()
	notes := t.TempDir()
	for n := range most + 100 {
		if err := os.WriteFile(filepath.Join(notes, key(n)+".y"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var a Answers
	if err := a.Learn(notes); err != nil || len(a.Learned) != most {
		t.Errorf("%d answers, %v", len(a.Learned), err)
	}
}

func file(t *testing.T) File {
	return File{Path: filepath.Join(t.TempDir(), "6.1-0123456789ab.answers"), Of: strings.Repeat("ab", 32)}
}

func add(t *testing.T, f File, a Answers) {
	t.Helper()
	if err := f.Add(a); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, f File, want Set) {
	t.Helper()
	got, err := f.Read()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	f := file(t)
	if _, err := f.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one of no file", err)
	}
	add(t, f, Answers{Known: many(1, 3)})
	if _, err := f.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a build that asked nothing wrote a file: %v", err)
	}
	add(t, f, Answers{Used: many(0, 1), Learned: many(1, 4)})
	holds(t, f, many(0, 4))
	add(t, f, Answers{Learned: Set{key(3): true, key(4): true}})
	holds(t, f, Set{key(0): true, key(1): false, key(2): true, key(3): true, key(4): true})
	// What it holds already is not written again.
	before, err := os.Stat(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	add(t, f, Answers{Used: Set{key(3): true}, Learned: many(0, 2)})
	if after, err := os.Stat(f.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it is another file, %v", err)
	}
	// What a run left that died while it wrote goes.
	left := filepath.Join(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".tmp-1")
	if err := os.WriteFile(left, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	add(t, f, Answers{Learned: many(5, 6)})
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
}

// A file is bounded: what a build needed stays.
func TestFileIsBounded(t *testing.T) {
	t.Parallel()
	f := file(t)
	add(t, f, Answers{Learned: many(0, most)})
	holds(t, f, many(0, most))
	add(t, f, Answers{Used: many(10, 20), Learned: many(most, most+2)})
	want := many(10, 20)
	want[key(most)], want[key(most+1)] = true, false
	holds(t, f, want)
}

// So is a folder: what nothing was added to for longest goes, and nothing else.
func TestFolderIsBounded(t *testing.T) {
	t.Parallel()
	f := file(t)
	dir := filepath.Dir(f.Path)
	old := func(n int) string { return filepath.Join(dir, fmt.Sprintf("6.0-%012x.answers", n)) }
	for n := range mostFiles + 3 {
		then := time.Unix(int64(1e9+n), 0)
		if err := errors.Join(os.WriteFile(old(n), nil, 0o644), os.Chtimes(old(n), then, then)); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(dir, "notes")
	if err := errors.Join(os.WriteFile(other, nil, 0o644), os.Chtimes(other, time.Unix(1, 0), time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
	add(t, f, Answers{Learned: many(0, 1)})
	for n := range mostFiles + 3 {
		if _, err := os.Lstat(old(n)); (err == nil) != (n >= 4) {
			t.Errorf("the file %d: %v", n, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != mostFiles+1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestDamage: a file that is not whole is none, and the next build replaces it.
func TestDamage(t *testing.T) {
	t.Parallel()
	f := file(t)
	add(t, f, Answers{Learned: many(0, 10)})
	whole, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(whole)
	for name, damaged := range map[string]string{
		"empty":                   "",
		"cut off":                 text[:len(text)/2],
		"cut off at a line":       text[:strings.Index(text, key(5))],
		"without its sum":         text[:strings.Index(text, sumWord)],
		"another answer":          strings.Replace(text, key(5)+" n", key(5)+" y", 1),
		"another question":        strings.Replace(text, key(5), key(50), 1),
		"of another tree":         strings.Replace(text, "ab", "cd", 1),
		"with more":               text + key(11) + " y\n",
		"of another format":       strings.Replace(text, "answers 1", "answers 2", 1),
		"zeros":                   strings.Repeat("\x00", len(text)),
		"more than is ever there": text + strings.Repeat(" ", 200*most),
	} {
		if err := os.WriteFile(f.Path, []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Read(); err == nil || errors.Is(err, fs.ErrNotExist) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		add(t, f, Answers{Used: many(19, 20), Learned: many(20, 22)})
		holds(t, f, many(19, 22))
	}
}

// TestHostileAnswers: whoever owns the share leaves other things at the path.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := file(t)
	add(t, elsewhere, Answers{Learned: many(0, 10)})
	for name, leave := range map[string]func(path string) error{
		"a link to a file":    func(path string) error { return os.Symlink(elsewhere.Path, path) },
		"a link to nothing":   func(path string) error { return os.Symlink(elsewhere.Path+".new", path) },
		"a FIFO":              func(path string) error { return unix.Mkfifo(path, 0o644) },
		"another's hard link": func(path string) error { return os.Link(elsewhere.Path, path) },
	} {
		f := file(t)
		if err := leave(f.Path); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Read(); name != "another's hard link" && err == nil {
			t.Errorf("%s: %v", name, got)
		}
		add(t, f, Answers{Learned: many(20, 22)})
		if got, err := f.Read(); err != nil || !got[key(20)] {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		holds(t, elsewhere, many(0, 10))
		if _, err := os.Lstat(elsewhere.Path + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := file(t)
	if err := os.Mkdir(f.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Add(Answers{Learned: many(0, 1)}); err == nil {
		t.Error("a file replaced a folder")
	}
}
