package gitpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
)

// gitsPack is a pack that git made, in which most objects are deltas, and what
// is in it: the content of each object by its name.
func gitsPack(t *testing.T, flags ...string) ([]byte, map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "r")
	similar.Copy(t, dir, func() { makeSimilar(t, dir) })
	cmd := exec.Command("git", append([]string{"pack-objects", "--all", "--stdout", "-q"}, flags...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader("")
	pack, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	cat := exec.Command("git", "cat-file", "--batch-all-objects", "--batch")
	cat.Dir = dir
	all, err := cat.Output()
	if err != nil {
		t.Fatal(err)
	}
	return pack, objects(t, all)
}

// similar is a repository of files that differ in a line.
var similar gittest.Template

func makeSimilar(t *testing.T, dir string) {
	gittest.Init(t, dir, "main")
	for i := range 20 {
		var b strings.Builder
		for line := range 200 {
			fmt.Fprintf(&b, "line %d of a file that changes in line %d\n", line, i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gittest.Run(t, dir, "add", "--all")
	gittest.Run(t, dir, "commit", "--quiet", "-m", "x")
}

// objects reads what git cat-file --batch prints: "NAME TYPE SIZE", and the
// content, on lines.
func objects(t *testing.T, all []byte) map[string]string {
	t.Helper()
	contents := map[string]string{}
	for len(all) > 0 {
		line, rest, _ := bytes.Cut(all, []byte("\n"))
		var name, kind string
		var size int
		if _, err := fmt.Sscan(string(line), &name, &kind, &size); err != nil {
			t.Fatalf("git cat-file says %q: %v", line, err)
		}
		contents[name] = kind + " " + string(rest[:size])
		all = rest[size+1:]
	}
	return contents
}

// collect is an Each that keeps all.
func collect(into map[string]string) func(Object) error {
	return func(o Object) error {
		into[o.Hash.String()] = o.Type.String() + " " + string(o.Content)
		return nil
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"deltas by offset": {"--delta-base-offset"},
		"deltas by name":   nil,
		"no deltas":        {"--window=0"},
	} {
		t.Run(name, func(t *testing.T) {
			pack, want := gitsPack(t, flags...)
			dir, got := t.TempDir(), map[string]string{}
			n, err := Store(t.Context(), dir, iotest.HalfReader(bytes.NewReader(pack)), Options{Each: collect(got)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" || n != len(want) {
				t.Errorf("%d objects (-git +got):\n%s", n, diff)
			}
			wantSound(t, dir, want)
		})
	}
}

// wantSound asks git what it thinks of the one pack in a folder.
func wantSound(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("the folder holds %v, want a pack, its index and its mark", files)
	}
	objects := 0
	for line := range strings.Lines(gittest.Run(t, dir, "verify-pack", "-v", files[0])) {
		name, _, _ := strings.Cut(line, " ")
		if _, ok := want[name]; ok {
			objects++
		}
	}
	if objects != len(want) {
		t.Errorf("git sees %d objects in the pack, want %d", objects, len(want))
	}
}

// Wherever a stream breaks off, what is saved is a sound pack or nothing.
func TestSalvage(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"by offset": {"--delta-base-offset"}, "by name": nil, "whole": {"--window=0"}} {
		t.Run(name, func(t *testing.T) {
			pack, all := gitsPack(t, flags...)
			most := 0
			for end := 0; end < len(pack); end += 1 + len(pack)/60 {
				dir, got := t.TempDir(), map[string]string{}
				_, err := Store(t.Context(), dir, bytes.NewReader(pack[:end]), Options{Each: collect(got), Salvage: true})
				if !errors.Is(err, ErrBrokenOff) {
					t.Fatalf("after %d bytes: %v", end, err)
				}
				files, _ := filepath.Glob(filepath.Join(dir, "*"))
				if len(files) == 0 {
					continue
				}
				names := map[string]string{}
				for line := range strings.Lines(gittest.Run(t, dir, "verify-pack", "-v", files[0])) {
					if name, _, _ := strings.Cut(line, " "); all[name] != "" {
						names[name] = all[name]
					}
				}
				for name, content := range names {
					if got[name] != content {
						t.Fatalf("after %d bytes: %s was saved and not given", end, name)
					}
				}
				most = max(most, len(names))
			}
			if most < len(all)/2 {
				t.Errorf("at most %d of %d objects were saved", most, len(all))
			}
		})
	}
}

func TestStoreRefuses(t *testing.T) {
	t.Parallel()
	pack, _ := gitsPack(t, "--delta-base-offset")
	damaged := bytes.Clone(pack)
	damaged[len(damaged)/2] ^= 1
	broken := errors.New("the line is cut")
	for name, test := range map[string]struct {
		r    io.Reader
		o    Options
		want error
	}{
		"a bit that changed":      {bytes.NewReader(damaged), Options{}, ErrDamaged},
		"more behind it":          {bytes.NewReader(append(bytes.Clone(pack), "more"...)), Options{}, ErrDamaged},
		"too many objects":        {bytes.NewReader(pack), Options{Limits: Limits{Objects: 5}}, ErrTooMuch},
		"an object too large":     {bytes.NewReader(pack), Options{Limits: Limits{Object: 4000}}, ErrTooMuch},
		"too large together":      {bytes.NewReader(pack), Options{Limits: Limits{Total: 20_000}}, ErrTooMuch},
		"a reader that fails":     {io.MultiReader(bytes.NewReader(pack[:500]), iotest.ErrReader(broken)), Options{}, broken},
		"a receiver that refuses": {bytes.NewReader(pack), Options{Each: func(Object) error { return broken }}, broken},
		"nothing":                 {strings.NewReader(""), Options{}, ErrBrokenOff},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Store(t.Context(), dir, test.r, test.o); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

func TestResultSize(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		delta []byte
		want  int64
	}{
		"two numbers": {[]byte{0x80, 0x01, 0x90, 0x02}, 272},
		"one":         {[]byte{0x10}, -1},
		"none":        {nil, -1},
		"endless":     {bytes.Repeat([]byte{0xff}, 30), -1},
	} {
		if got := resultSize(test.delta); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
