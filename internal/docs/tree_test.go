package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is what git would have of a repository: its files and folders, by their paths.
type tree struct {
	root  string
	files []string // sorted
	has   map[string]fs.FileMode
}

// readTree passes by folders that begin with a dot, but .github, and what a share fills
// where the checkout is one, which .gitignore names.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	list := tree{root: root, has: map[string]fs.FileMode{}}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	shares := strings.Fields(string(ignored))
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dot := strings.HasPrefix(d.Name(), ".") && name != "." && d.Name() != ".github"
		if d.IsDir() && (dot || slices.Contains(shares, "/"+name+"/")) {
			return fs.SkipDir
		}
		list.has[name] = d.Type()
		if d.Type().IsRegular() {
			list.files = append(list.files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (r tree) read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tests are the files of tests with their names: of all modules, and by whatever tags they
// are built.
func (r tree) tests(t *testing.T) map[*ast.File]string {
	t.Helper()
	files := map[*ast.File]string{}
	for _, name := range r.files {
		if !strings.HasSuffix(name, "_test.go") || example(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, r.read(t, name), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = name
	}
	return files
}

// markdown are the documents.
func (r tree) markdown() (list []string) {
	for _, name := range r.files {
		if path.Ext(name) == ".md" {
			list = append(list, name)
		}
	}
	return list
}

// example says whether a file has what tests read, such as links that lead nowhere.
func example(name string) bool {
	return slices.Contains(strings.Split(name, "/"), "testdata") || strings.HasPrefix(name, "internal/docs/") && strings.HasSuffix(name, "_test.go")
}
