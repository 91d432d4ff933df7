package docs

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

// TestBlocksAreRun: whatever a page has its reader type, a test types as well, or the page
// says why none does; and what tests take from pages is there.
func TestBlocksAreRun(t *testing.T) {
	t.Parallel()
	found := checkBlocks(t, readTree(t, Root(t)))
	for _, problem := range found.problems {
		t.Error(problem)
	}
	t.Logf("%d blocks of commands in %d pages: %d are run, of %d no test can", found.blocks, found.pages, found.run, found.notRun)
	if found.pages < 10 || found.blocks < 20 || found.run < 10 {
		t.Error("that is too few to be all")
	}
}

// place is a part of a page.
type place struct{ file, name string }

type blocksFound struct {
	problems                   []string
	pages, blocks, run, notRun int
}

func checkBlocks(t *testing.T, repository tree) (found blocksFound) {
	t.Helper()
	by, tests := takenBy(t, repository, "Block"), map[string]bool{}
	for file := range repository.tests(t) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
	}
	say := func(file string, line int, problem string) {
		found.problems = append(found.problems, file+":"+strconv.Itoa(line)+": "+problem)
	}
	run := map[place]bool{}
	for _, name := range repository.markdown() {
		if !isTyped(name) {
			continue
		}
		found.pages++
		fences, err := parse(repository.read(t, name)).fences()
		if err != nil {
			found.problems = append(found.problems, name+":"+err.Error())
			continue
		}
		for _, fence := range fences {
			block := place{name, fence.Run}
			switch {
			case fence.Run != "" && by[block] == "":
				say(name, fence.Line, "no test calls docs.Block for <!-- run: "+fence.Run+" -->")
			case fence.Run != "":
				found.run++
				run[block] = true
			case !fence.commands():
			case fence.NotRun == "":
				say(name, fence.Line, "these commands have neither <!-- run: NAME --> nor <!-- not run: WHY --> before them")
			case len(strings.Fields(fence.NotRun)) < 4:
				say(name, fence.Line, "why it is not run takes more words than "+strconv.Quote(fence.NotRun))
			default:
				found.notRun++
				for _, test := range testName.FindAllString(fence.NotRun, -1) {
					if !tests[test] {
						say(name, fence.Line, "there is no "+test)
					}
				}
			}
			if fence.commands() {
				found.blocks++
			}
		}
	}
	for block, test := range by {
		if !run[block] {
			found.problems = append(found.problems, test+": it takes the block "+block.name+" of "+block.file+", where none has that name")
		}
	}
	slices.Sort(found.problems)
	return found
}

// takenBy are the parts of pages that tests name in calls of a function of this package,
// with the file of one of these.
func takenBy(t *testing.T, repository tree, function string) map[place]string {
	t.Helper()
	by := map[place]string{}
	for file, name := range repository.tests(t) {
		for _, part := range taken(file, function) {
			by[part] = name
		}
	}
	return by
}

// testName is how a reason says which test does something instead.
var testName = regexp.MustCompile(`\bTest[A-Z]\w*`)

// isTyped says whether a page's commands are for its readers.
func isTyped(name string) bool {
	switch dir, _, _ := strings.Cut(name, "/"); {
	case example(name):
		return false
	case dir == "deploy":
		return true
	}
	return name == "README.md" || name == "CONTRIBUTING.md" || path.Dir(name) == "docs" || path.Dir(name) == "example"
}

// commands says whether a block is what somebody types.
func (f Fence) commands() bool {
	if f.Language == "" {
		return strings.HasPrefix(f.Text, "$ ") || strings.HasPrefix(f.Text, "docker ")
	}
	return slices.Contains([]string{"sh", "bash", "shell", "console"}, f.Language)
}

// taken are the parts of pages that a file of tests names in its calls of a function of
// this package: a page and a name, as literals or as constants of the file, and, where it is
// called with others, those that rows of tables begin with.
func taken(file *ast.File, function string) (list []place) {
	pkg := ""
	for _, spec := range file.Imports {
		if spec.Path.Value == strconv.Quote(module+"/internal/docs") {
			if pkg = "docs"; spec.Name != nil {
				pkg = spec.Name.Name
			}
		}
	}
	if pkg == "" {
		return nil
	}
	known := constants(file)
	var rows []place
	tables := false
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if !calls(n, pkg, function) || len(n.Args) < 3 {
				break
			}
			if part, ok := named(n.Args[1:], known); ok {
				list = append(list, part)
			} else {
				tables = true
			}
		case *ast.CompositeLit:
			if part, ok := named(n.Elts, known); ok && path.Ext(part.file) == ".md" {
				rows = append(rows, part)
			}
		}
		return true
	})
	if tables {
		list = append(list, rows...)
	}
	return list
}

func calls(call *ast.CallExpr, pkg, function string) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != function {
		return false
	}
	of, ok := f.X.(*ast.Ident)
	return ok && of.Name == pkg
}

// constants are the texts that a file gives names.
func constants(file *ast.File) map[string]ast.Expr {
	known := map[string]ast.Expr{}
	ast.Inspect(file, func(n ast.Node) bool {
		if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
			for _, spec := range d.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, value := range spec.Values {
					known[spec.Names[i].Name] = value
				}
			}
		}
		return true
	})
	return known
}

// named are two texts that a list of expressions begins with, by their keys or not.
func named(list []ast.Expr, known map[string]ast.Expr) (place, bool) {
	if len(list) < 2 {
		return place{}, false
	}
	var texts [2]string
	for i, e := range list[:2] {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			e = pair.Value
		}
		if name, ok := e.(*ast.Ident); ok {
			e = known[name.Name]
		}
		literal, ok := e.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return place{}, false
		}
		texts[i], _ = strconv.Unquote(literal.Value) // the parser has read it
	}
	return place{texts[0], texts[1]}, true
}

// TestSectionsAreGenerated: a part of a page that says so is held by a test.
func TestSectionsAreGenerated(t *testing.T) {
	t.Parallel()
	repository := readTree(t, Root(t))
	by := takenBy(t, repository, "Section")
	begins, _, _ := strings.Cut(sectionBegins, "%s")
	for _, name := range repository.markdown() {
		for line := range strings.Lines(string(repository.read(t, name))) {
			section, ok := strings.CutPrefix(line, begins)
			if section = strings.TrimSuffix(section, " -->\n"); ok && by[place{name, section}] == "" {
				t.Errorf("%s: no test calls docs.Section for generated: %s", name, section)
			}
		}
	}
	t.Logf("%d sections are generated", len(by))
}

func TestBlocksThatNobodyRuns(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		".gitignore": "",
		"README.md": "<!-- run: two-lines -->\n~~~sh\ndocker build .\n~~~\n\n<!-- run: nobody -->\n~~~yaml\na: b\n~~~\n\n" +
			"~~~sh\nls\n~~~\n\n~~~\n$ ls\n~~~\n\n~~~\ndocker ps\n~~~\n\n~~~\nls\n~~~\n\n~~~json\n{}\n~~~\n",
		"docs/a.md": "<!-- run: call -->\n~~~bash\nls\n~~~\n\n<!-- run: by-constant -->\n~~~yaml\n~~~\n\n<!-- run: keyed -->\n~~~console\n$ ls\n~~~\n\n" +
			"<!-- not run: TestGone does it; TestOther, too -->\n~~~shell\nls\n~~~\n\n<!-- not run: needs a GPU -->\n~~~sh\nls\n~~~\n",
		"deploy/x/README.md":          "~~~sh\nls\n~~~\n",
		"deploy/x/testdata/README.md": "~~~sh\nls\n~~~\n",
		"docs/sub/b.md":               "~~~sh\nls\n~~~\n",
		"example/c.md":                "<!-- run: a b -->\n~~~sh\n~~~\n",
		"CHANGELOG.md":                "~~~sh\nls\n~~~\n",
		"a_test.go": "//go:build never\n\npackage a\n\nimport \"" + module + "/internal/docs\"\n\n" +
			"var rows = []struct{ file, name, other string }{{\"README.md\", \"two-lines\", \"x\"}, {file: \"docs/a.md\", name: \"keyed\"}, {\"docs/a.md\", \"gone\", \"\"}}\n\n" +
			"var _ = docs.Block(t, rows[0].file, rows[0].name)\n",
		"inner/go.mod": "module inner\n",
		"inner/b_test.go": "package b\n\nimport d \"" + module + "/internal/docs\"\n\nfunc TestOther() {}\n\n// d.Block(t, \"README.md\", \"nobody\")\n" +
			"var _, _ = d.Block(t, \"docs/a.md\", \"call\"), []string{\"README.md\", \"nobody\"}\n",
		"d_test.go":  "package d\n\nimport \"" + module + "/internal/docs\"\n\nconst page = \"docs/a.md\"\n\nvar _, _ = docs.Block(t, page, \"by-constant\"), docs.Section(t, \"README.md\", \"nobody\", \"\")\n",
		"c_test.go":  "package c\n\nimport \"else/docs\"\n\nvar _ = docs.Block(t, \"README.md\", \"nobody\")\n",
		"program.go": "package d\n\nimport \"" + module + "/internal/docs\"\n\nvar _ = docs.Block(t, \"README.md\", \"nobody\")\n",
	}
	for name, text := range pages {
		pages[name] = strings.ReplaceAll(text, "~~~", "```")
	}
	found := checkBlocks(t, readTree(t, testkit.WriteTree(t, pages)))
	const neither = "these commands have neither <!-- run: NAME --> nor <!-- not run: WHY --> before them"
	want := []string{
		"README.md:11: " + neither,
		"README.md:15: " + neither,
		"README.md:19: " + neither,
		"README.md:7: no test calls docs.Block for <!-- run: nobody -->",
		"a_test.go: it takes the block gone of docs/a.md, where none has that name",
		"deploy/x/README.md:1: " + neither,
		"docs/a.md:16: there is no TestGone",
		"docs/a.md:21: why it is not run takes more words than \"needs a GPU\"",
		"example/c.md:1: <!-- run: a b --> is neither <!-- run: NAME --> nor <!-- not run: WHY -->",
	}
	if diff := cmp.Diff(want, found.problems); diff != "" {
		t.Errorf("the problems (-want +got):\n%s", diff)
	}
	found.problems = nil
	if diff := cmp.Diff(blocksFound{pages: 4, blocks: 9, run: 4, notRun: 1}, found, cmp.AllowUnexported(blocksFound{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
