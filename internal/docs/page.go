package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
	"golang.org/x/net/html"
)

// page is a parsed document.
type page struct {
	source []byte
	root   ast.Node
}

func read(t testing.TB, file string) page {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return parse(source)
}

// parse takes GitHub's Markdown: with tables, and with bare URLs that are links.
func parse(source []byte) page {
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	return page{source: source, root: markdown.Parser().Parse(text.NewReader(source))}
}

// line is the number of the line that a node begins in.
func (p page) line(n ast.Node) int {
	return 1 + bytes.Count(p.source[:max(n.Pos(), 0)], []byte("\n"))
}

// walk calls f for each node of a page, in their order.
func (p page) walk(f func(ast.Node)) {
	_ = ast.Walk(p.root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			f(n)
		}
		return ast.WalkContinue, nil
	})
}

// anchors are what a link to the page may have after its #: of each heading, as GitHub
// makes them, and those that are written as HTML.
func (p page) anchors() map[string]bool {
	found, times := map[string]bool{}, map[string]int{}
	p.walk(func(n ast.Node) {
		if heading, ok := n.(*ast.Heading); ok {
			base := slug(p.plain(heading))
			name := base
			for found[name] {
				times[base]++
				name = base + "-" + strconv.Itoa(times[base])
			}
			found[name] = true
		}
		for _, element := range elements(p.html(n)) {
			for _, a := range element.Attr {
				if element.Data == "a" && (a.Key == "id" || a.Key == "name") {
					found[a.Val] = true
				}
			}
		}
	})
	return found
}

// slug is what GitHub makes of a heading's text: lower case, no punctuation, and hyphens
// for spaces.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.Is(unicode.Nd, r) || unicode.Is(unicode.Pc, r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// plain is what is read of a node: without marks, and without images.
func (p page) plain(n ast.Node) string {
	var out strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			out.Write(util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(child.Segment.Value(p.source)))))
		case *ast.String:
			out.Write(child.Value)
		case *ast.AutoLink:
			out.Write(child.Label(p.source))
		case *ast.CodeSpan:
			out.WriteString(p.code(child))
		case *ast.Image, *ast.RawHTML:
		default:
			out.WriteString(p.plain(child))
		}
	}
	return out.String()
}

// code is the text of a code span, in which no character has another meaning.
func (p page) code(n ast.Node) string {
	var out strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		if child, ok := child.(*ast.Text); ok {
			out.Write(child.Segment.Value(p.source))
		}
	}
	return out.String()
}

// html is the HTML that a node is, empty for one of Markdown.
func (p page) html(n ast.Node) string {
	var out strings.Builder
	switch n := n.(type) {
	case *ast.HTMLBlock:
		out.Write(n.Lines().Value(p.source))
		if n.HasClosure() {
			out.Write(n.ClosureLine.Value(p.source))
		}
	case *ast.RawHTML:
		out.Write(n.Segments.Value(p.source))
	}
	return out.String()
}

// elements are the tags that begin or are elements in a piece of HTML.
func elements(piece string) (list []html.Token) {
	for tokens := html.NewTokenizer(strings.NewReader(piece)); ; {
		switch tokens.Next() {
		case html.ErrorToken:
			return list
		case html.StartTagToken, html.SelfClosingTagToken:
			list = append(list, tokens.Token())
		}
	}
}
