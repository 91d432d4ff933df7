package gittest

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
)

// Template is a repository that the tests of a package make once, in dozens of
// runs of git, and of which each test has a copy.
type Template struct {
	once  sync.Once
	files fstest.MapFS
}

// Copy leaves a copy in the folder dir. The first one is made there by create,
// whose failure is the test's, and of all later ones.
func (r *Template) Copy(t testing.TB, dir string, create func()) {
	t.Helper()
	first := false
	r.once.Do(func() {
		first = true
		create()
		files, err := read(dir)
		if err != nil {
			t.Fatal(err)
		}
		r.files = files
	})
	switch {
	case first:
	case r.files == nil:
		t.Fatal("the repository could not be made, in the test that was the first to want it")
	default:
		if err := os.CopyFS(dir, r.files); err != nil {
			t.Fatal(err)
		}
	}
}

func read(dir string) (fstest.MapFS, error) {
	files := fstest.MapFS{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		file := &fstest.MapFile{Mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			file.Data, err = os.ReadFile(path)
		case info.Mode()&fs.ModeSymlink != 0:
			var target string
			target, err = os.Readlink(path)
			file.Data = []byte(target)
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = file
		return err
	})
	return files, err
}
