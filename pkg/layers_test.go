// Package pkg_test holds what the whole tree agrees on.
package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/k8sp/cuda/"

// layers are the tree's, the highest first. What is in one imports nothing of a
// higher layer, and nothing of its own but what is beneath the same folder.
var layers = [][]string{
	{"cmd/builder"},
	{"pkg/matrix", "pkg/nextkernel"},
	{"pkg/job", "pkg/node", "pkg/prune"},
	{"pkg/registry", "pkg/sysext", "pkg/cluster"},
	{"pkg/cuda", "pkg/modules"},
	{"pkg/kernel"},
	{"pkg/share", "pkg/patch"},
	{"pkg/stage"},
	{"internal"},
}

// place is the layer of a package, by its path in the module, and the folder of
// that layer that it is beneath; -1 where it is in none.
func place(pkg string) (layer int, folder string) {
	for layer, folders := range layers {
		for _, folder := range folders {
			if pkg == folder || strings.HasPrefix(pkg, folder+"/") {
				return layer, folder
			}
		}
	}
	return -1, ""
}

// sources are the Go files of the program, by their paths in the module, without
// its tests and what helps them.
func sources(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, top := range []string{"cmd", "pkg", "internal"} {
		err := fs.WalkDir(os.DirFS(".."), top, func(name string, d fs.DirEntry, err error) error {
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				list = append(list, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(list) < 100 {
		t.Fatalf("%d files are not the tree", len(list))
	}
	return list
}

func TestImportsPointDown(t *testing.T) {
	for _, name := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		from, folder := place(path.Dir(name))
		if from < 0 {
			t.Errorf("%s is in no layer", name)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			pkg, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if to, other := place(pkg); to < from || to == from && other != folder {
				t.Errorf("%s imports %s", name, pkg)
			}
		}
	}
}

// TestNothingRunsUnconfined: programs are run by package confine, and what runs
// them otherwise is for tests, which alone import it.
func TestNothingRunsUnconfined(t *testing.T) {
	may := map[string][]string{
		"os/exec": {"internal/confine", "internal/command", "internal/command/unconfined", "internal/gittest", "internal/testkit",
			// It is one of those programs itself, where they are.
			"pkg/cuda/conftest/standin",
			// What it runs needs the GPUs, and is the driver's, whose modules the kernel has.
			"pkg/node/daemons"},
		module + "internal/command/unconfined": {},
	}
	starts := map[string][]string{
		"os":                    {"StartProcess"},
		"syscall":               {"ForkExec", "StartProcess", "Exec"},
		"golang.org/x/sys/unix": {"Exec"},
	}
	seen := 0
	for _, name := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if allowed, ruled := may[imported]; ruled {
				seen++
				if !slices.Contains(allowed, dir) {
					t.Errorf("%s imports %s", name, imported)
				}
			}
			// A process can be started without os/exec, too.
			ast.Inspect(file, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				pkg, ok := selector.X.(*ast.Ident)
				if ok && pkg.Name == path.Base(imported) && slices.Contains(starts[imported], selector.Sel.Name) && dir != "internal/confine" {
					t.Errorf("%s calls %s.%s", name, pkg.Name, selector.Sel.Name)
				}
				return true
			})
		}
	}
	if seen < 4 {
		t.Errorf("%d imports are not all", seen)
	}
}

// TestNVIDIAIsPkgCudas: the kernel and its modules are anybody's.
func TestNVIDIAIsPkgCudas(t *testing.T) {
	looked := 0
	for _, top := range []string{"pkg/kernel", "pkg/modules"} {
		err := fs.WalkDir(os.DirFS(".."), top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if err == nil && d.Name() == "testdata" {
					return fs.SkipDir
				}
				return err
			}
			if strings.HasSuffix(name, "_test.go") {
				return nil // tests show what the program is used for
			}
			looked++
			text, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				return err
			}
			for n, line := range strings.Split(strings.ToLower(string(text)), "\n") {
				if slices.ContainsFunc([]string{"nvidia", "10de"}, func(word string) bool { return strings.Contains(line, word) }) {
					t.Errorf("%s:%d: %s (what is about NVIDIA, be it a word, is pkg/cuda's)", name, n+1, line)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if looked < 50 {
		t.Errorf("%d files are not those packages", looked)
	}
}

// TestErrorsSayWhatToDo: a failure that a user reads ends with what to do next,
// and "check" is not that.
func TestErrorsSayWhatToDo(t *testing.T) {
	hints := 0
	for _, name := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			function, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || len(call.Args) == 0 || function.Sel.Name != "New" && function.Sel.Name != "Wrap" {
				return true
			}
			if pkg, ok := function.X.(*ast.Ident); !ok || pkg.Name != "stage" {
				return true
			}
			hint, ok := call.Args[len(call.Args)-1].(*ast.BasicLit)
			if !ok {
				return true // made of parts
			}
			hints++
			if text, err := strconv.Unquote(hint.Value); err != nil || len(strings.Fields(text)) < 2 || text == "check the share" {
				t.Errorf("%s: the hint %s says nothing", name, hint.Value)
			}
			return true
		})
	}
	if hints < 50 {
		t.Errorf("%d hints are not all", hints)
	}
}
