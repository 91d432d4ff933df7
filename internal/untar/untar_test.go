package untar

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type member struct {
	name, content, link string
	kind                byte
	mode                int64
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Linkname: m.link, Typeflag: m.kind, Mode: m.mode, Size: int64(len(m.content))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree lists what is below dir: "name mode content" or "name -> target".
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			list = append(list, rel+"/")
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			list = append(list, rel+" -> "+target)
			return err
		default:
			content, err := os.ReadFile(name)
			list = append(list, rel+" "+info.Mode().String()+" "+string(content))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	data := archive(t,
		member{name: "./", kind: tar.TypeDir, mode: 0o777},
		member{name: "./kernel/", kind: tar.TypeDir, mode: 0o700},
		member{name: "./kernel/nv.c", content: "source", mode: 0o6666},
		member{name: "./installer", content: "program", mode: 0o4755},
		member{name: "deep/down/file", content: "x"},
		member{name: "deep", kind: tar.TypeDir},
		member{name: "deep/link", kind: tar.TypeSymlink, link: "../kernel/nv.c"},
		member{name: "hard", kind: tar.TypeLink, link: "./kernel/nv.c"},
		member{name: "libGL.so", content: "not wanted"},
	)
	err := Extract(t.Context(), bytes.NewReader(data), dir, Options{
		Want: func(name string) bool { return name != "libGL.so" },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"deep/",
		"deep/down/",
		"deep/down/file -rw-r--r-- x",
		"deep/link -> ../kernel/nv.c",
		"hard -rw-r--r-- source",
		"installer -rwxr-xr-x program",
		"kernel/",
		"kernel/nv.c -rw-r--r-- source",
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestExtractRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []member
		want    string
	}{
		{"parent", []member{{name: "../outside", content: "x"}}, `member "../outside" climbs out`},
		{"parent inside", []member{{name: "a/../b", content: "x"}}, "climbs out"},
		{"deep parent", []member{{name: "./a/../../outside", content: "x"}}, "climbs out"},
		{"absolute", []member{{name: "/outside", content: "x"}}, "absolute path"},
		{"unwanted climbs out too", []member{{name: "unwanted/../../outside"}}, "climbs out"},
		{"symlink out", []member{{name: "a", kind: tar.TypeSymlink, link: ".."}}, "symbolic link out"},
		{"symlink absolute", []member{{name: "a", kind: tar.TypeSymlink, link: "/etc"}}, "symbolic link out"},
		{"symlink out by another", []member{
			{name: "d/e/f", content: "x"},
			{name: "l", kind: tar.TypeSymlink, link: "d/e/../../.."},
		}, "symbolic link out"},
		{"symlink through another", []member{
			{name: "top", kind: tar.TypeSymlink, link: "."},
			{name: "d/l", kind: tar.TypeSymlink, link: "../top/../.."},
		}, "symbolic link out"},
		{"through a symlink", []member{
			{name: "d/x", content: "x"},
			{name: "l", kind: tar.TypeSymlink, link: "d"},
			{name: "l/outside", content: "x"},
		}, `written through "l"`},
		{"through a file", []member{{name: "f", content: "x"}, {name: "f/outside", content: "x"}}, `written through "f"`},
		{"over a symlink", []member{
			{name: "l", kind: tar.TypeSymlink, link: "d"},
			{name: "l", content: "x"},
		}, "twice"},
		{"twice", []member{{name: "f", content: "x"}, {name: "./f", content: "y"}}, "twice"},
		{"hard link out", []member{{name: "h", kind: tar.TypeLink, link: "../outside"}}, `hard link to "../outside", which climbs out`},
		{"hard link absolute", []member{{name: "h", kind: tar.TypeLink, link: "/etc/passwd"}}, "which has an absolute path"},
		{"hard link to nothing", []member{{name: "h", kind: tar.TypeLink, link: "f"}}, "no file unpacked before it"},
		{"hard link to a symlink", []member{
			{name: "l", kind: tar.TypeSymlink, link: "f"},
			{name: "h", kind: tar.TypeLink, link: "l"},
		}, "no file unpacked before it"},
		{"too deep", []member{{name: nested(maxDepth) + "f", content: "x"}}, "is more than 127 folders deep"},
		{"too long", []member{{name: strings.Repeat("long/", 1000) + "f", content: "x"}}, "has a name of more than 4095 bytes"},
		{"hard link too long", []member{{name: "h", kind: tar.TypeLink, link: strings.Repeat("f", 1<<16)}}, "which has a name of more than"},
		{"device", []member{{name: "null", kind: tar.TypeChar}}, "neither file"},
		{"fifo", []member{{name: "pipe", kind: tar.TypeFifo}}, "neither file"},
		{"the folder itself", []member{{name: ".", kind: tar.TypeSymlink, link: "x"}}, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "dir")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Extract(t.Context(), bytes.NewReader(archive(t, c.members...)), dir, Options{
				Want: func(name string) bool { return !strings.HasPrefix(name, "unwanted") },
			})
			var refused *Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Extract = %v, want a refusal with %q", err, c.want)
			}
			for _, name := range tree(t, outer) {
				if strings.Contains(name, "outside") {
					t.Errorf("unpacked %s", name)
				}
			}
		})
	}
}

func TestExtractBounds(t *testing.T) {
	data := archive(t, member{name: "a", content: "12345"}, member{name: "b", content: "67890"})
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"bytes", Options{MaxBytes: 9}, "more than 9 bytes"},
		{"files", Options{MaxFiles: 1}, "more than 1 members"},
		{"unwanted bytes", Options{MaxBytes: 9, Want: func(string) bool { return false }}, "more than 9 bytes"},
	} {
		err := Extract(t.Context(), bytes.NewReader(data), t.TempDir(), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Extract = %v, want %q", c.name, err, c.want)
		}
	}
	if err := Extract(t.Context(), bytes.NewReader(data), t.TempDir(), Options{MaxBytes: 10, MaxFiles: 2}); err != nil {
		t.Errorf("within bounds: %v", err)
	}
}

// TestExtractNeedsTheEndMark reads what breaks off where a tar.Reader is content,
// by readers that tell of their end with the last bytes or after them.
func TestExtractNeedsTheEndMark(t *testing.T) {
	data := archive(t, member{name: "a", content: "12345"}, member{name: "b", content: strings.Repeat("\x00", 2048)})
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.DataErrReader, iotest.HalfReader,
	} {
		for i := range len(data) / 512 * 4 {
			cut := i/4*512 + []int{0, 1, len("12345"), 511}[i%4]
			err := Extract(t.Context(), wrap(bytes.NewReader(data[:cut])), t.TempDir(), Options{Want: func(string) bool { return i/4%2 == 0 }})
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), "read archive: ") && !strings.HasPrefix(err.Error(), "unpack ") {
				t.Errorf("%d bytes: %v", cut, err)
			}
		}
		for _, more := range []int{0, 1, 512, 10240} {
			padded := append(bytes.Clone(data), make([]byte, more)...)
			if err := Extract(t.Context(), wrap(bytes.NewReader(padded)), t.TempDir(), Options{}); err != nil {
				t.Errorf("%d bytes behind the mark: %v", more, err)
			}
		}
	}
}

// nested is the name of folders in each other.
func nested(depth int) string { return strings.Repeat("d/", depth) }

func TestExtractBoundsFolders(t *testing.T) {
	var beside []member
	for i := range 10 {
		beside = append(beside, member{name: fmt.Sprintf("d%d/f", i), content: "x"})
	}
	for name, data := range map[string][]byte{
		"one member of depth 4000": archive(t, member{name: nested(4000) + "f", content: "x"}),
		"one member of depth 10":   archive(t, member{name: nested(10) + "f", content: "x"}),
		"ten in ten folders":       archive(t, beside...),
	} {
		dir := t.TempDir()
		var refused *Error
		if err := Extract(t.Context(), bytes.NewReader(data), dir, Options{MaxFiles: 10}); !errors.As(err, &refused) {
			t.Errorf("%s: Extract = %v", name, err)
		}
		if made := len(tree(t, dir)); made > 10 {
			t.Errorf("%s: it made %d files and folders", name, made)
		}
	}
	for name, c := range map[string]struct {
		data []byte
		most int
	}{
		"the deepest":        {archive(t, member{name: nested(maxDepth-1) + "f", content: "x"}), maxDepth},
		"ten in ten folders": {archive(t, beside...), 20},
	} {
		dir := t.TempDir()
		if err := Extract(t.Context(), bytes.NewReader(c.data), dir, Options{MaxFiles: c.most}); err != nil || len(tree(t, dir)) != c.most {
			t.Errorf("%s: Extract = %v, and made %d", name, err, len(tree(t, dir)))
		}
	}
}

func TestExtractNeedsEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	if err := Extract(t.Context(), bytes.NewReader(nil), dir, Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("Extract = %v", err)
	}
}

func TestExtractCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Extract(ctx, bytes.NewReader(archive(t, member{name: "a"})), t.TempDir(), Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Extract = %v", err)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(archive(f, member{name: "./d/f", content: "x"}, member{name: "l", kind: tar.TypeSymlink, link: "d"}))
	f.Add(archive(f, member{name: "../outside", content: "x"}))
	f.Add(archive(f, member{name: "l", kind: tar.TypeSymlink, link: ".."}, member{name: "l/outside"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Extract(t.Context(), bytes.NewReader(data), dir, Options{MaxBytes: 1 << 20, MaxFiles: 100})
		beside, err := os.ReadDir(outer)
		if err != nil || len(beside) != 1 {
			t.Fatalf("beside the folder: %v, %v", beside, err)
		}
		err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.Type() != fs.ModeSymlink {
				return err
			}
			real, err := filepath.EvalSymlinks(name)
			if err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Errorf("%s leads to %s", name, real)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
