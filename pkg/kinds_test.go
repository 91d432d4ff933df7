package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/docs"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

// passedOn are the kinds that a failure is given which somebody else has chosen.
var passedOn = []string{
	"kind", "findings[0].Name", "GPUFails.Name", "said.Kind", // of a list, of a Job's log
	"stage.KindOf(failure)",
}

// sameKind are the words that are given by more than one name, and mean one thing to who
// reads them.
var sameKind = map[string][]string{
	"check":     {"a refusal", "a stage"}, // the gate's, before a load and after a build
	"signature": {"a refusal", "modules.SignatureCheck"},
	"untrusted": {"a refusal", "modules.UntrustedKind"},
}

// TestKindsAreDocumented: docs/kinds.md has each kind of failure that the program knows, and
// no other.
func TestKindsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/kinds.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, row[1])
	}
	known := map[string]bool{stage.NoSpace: true, stage.Bug: true}
	for _, name := range stage.Names() {
		known[string(name)] = true
	}
	for _, r := range node.Refusals() {
		known[r.Name] = true
	}
	given := kindsInCode(t)
	if len(given) < 12 {
		t.Errorf("%q are not all", given)
	}
	for _, kind := range given {
		known[kind] = true
	}
	documented = slices.Compact(slices.Sorted(slices.Values(documented)))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), documented); diff != "" {
		t.Errorf("the kinds (-code +docs/kinds.md):\n%s", diff)
	}
}

// TestKindsAreTold: no two failures are given one word, by which programs tell them apart. A
// constant is one failure wherever it is given, and so is a word that is written out in one
// package.
func TestKindsAreTold(t *testing.T) {
	t.Parallel()
	names := map[string][]string{}
	for name, kind := range kindsInCode(t) {
		names[kind] = append(names[kind], name)
	}
	for _, name := range stage.Names() {
		names[string(name)] = append(names[string(name)], "a stage")
	}
	for _, r := range node.Refusals() {
		names[r.Name] = append(names[r.Name], "a refusal")
	}
	for kind, of := range names {
		if slices.Sort(of); len(of) > 1 && !slices.Equal(of, sameKind[kind]) {
			t.Errorf("the kind %s is of %q", kind, of)
		}
	}
}

// TestRefusalsPage has the page's table of a load's refusals be the program's sentences, in
// their order.
func TestRefusalsPage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| kind | it says | what to do |\n|---|---|---|\n")
	for _, r := range node.Refusals() {
		b.WriteString("| `" + r.Name + "` | " + strings.ReplaceAll(r.Says, "%s", "…") + " | " + r.Do + " |\n")
	}
	docs.Section(t, "docs/kinds.md", "refusals", b.String())
}

// kindsInCode are the kinds that failures are given: by a literal of stage.Error, by
// stage.OfKind, or later. They are under their constants' names, "breaks.Check", or their
// package's where they are written out: `modules "sysext"`.
func kindsInCode(t *testing.T) map[string]string {
	t.Helper()
	kinds := map[string]string{}
	files := map[string]*ast.File{}
	constants := map[string]string{} // "breaks.Check": "known-break"
	for _, name := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.CONST {
				addConstants(constants, path.Base(path.Dir(name)), d)
			}
		}
	}
	for name, file := range files {
		pkg := path.Base(path.Dir(name))
		ast.Inspect(file, func(n ast.Node) bool {
			for _, expression := range kindsGiven(n) {
				said := source(expression)
				named := said
				kind, ok := constants[said]
				if literal, is := expression.(*ast.BasicLit); is {
					named = pkg + " " + said
					kind, _ = strconv.Unquote(literal.Value)
				} else if !ok {
					named = pkg + "." + said
					kind = constants[named]
				}
				switch {
				case kind != "":
					kinds[named] = kind
				case !slices.Contains(passedOn, said):
					t.Errorf("%s: the kind %s is not known to this test", name, said)
				}
			}
			return true
		})
	}
	return kinds
}

func addConstants(to map[string]string, pkg string, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		spec := spec.(*ast.ValueSpec)
		for i, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, _ := strconv.Unquote(literal.Value)
				to[pkg+"."+spec.Names[i].Name] = text
			}
		}
	}
}

// kindsGiven are the expressions of the kinds that a node gives a failure, by whose name, e,
// it is told from what else has a field of that name.
func kindsGiven(n ast.Node) (list []ast.Expr) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		if source(n.Type) != "stage.Error" {
			return nil
		}
		for _, element := range n.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok && source(pair.Key) == "Kind" {
				list = append(list, pair.Value)
			}
		}
	case *ast.CallExpr:
		if source(n.Fun) == "stage.OfKind" && len(n.Args) == 2 {
			list = append(list, n.Args[0])
		}
	case *ast.AssignStmt:
		for i, to := range n.Lhs {
			if source(to) == "e.Kind" && i < len(n.Rhs) {
				list = append(list, n.Rhs[i])
			}
		}
	}
	return list
}

// source is an expression of names, calls and indexes as it is written.
func source(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return source(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return source(e.X) + "[" + source(e.Index) + "]"
	case *ast.BasicLit:
		return e.Value
	case *ast.CallExpr:
		var args []string
		for _, arg := range e.Args {
			args = append(args, source(arg))
		}
		return source(e.Fun) + "(" + strings.Join(args, ", ") + ")"
	}
	return ""
}
