package docs

import (
	"testing"

	"github.com/yuin/goldmark/ast"
)

// Link is a link or an image of a document.
type Link struct {
	To   string // as it is written: a URL, a path, or #anchor
	Line int
}

// Links are those of a document, which is named by its path in the repository: what is
// written as Markdown, bare URLs, and href and src of HTML.
func Links(t testing.TB, file string) []Link {
	t.Helper()
	return read(t, file).links()
}

func (p page) links() (list []Link) {
	add := func(n ast.Node, to string) { list = append(list, Link{To: to, Line: p.line(n)}) }
	p.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			add(n, string(n.Destination))
		case *ast.Image:
			add(n, string(n.Destination))
		case *ast.AutoLink:
			if to := string(n.URL(p.source)); n.AutoLinkType == ast.AutoLinkEmail {
				add(n, "mailto:"+to)
			} else {
				add(n, to)
			}
		}
		for _, element := range elements(p.html(n)) {
			for _, a := range element.Attr {
				if a.Key == "href" || a.Key == "src" {
					add(n, a.Val)
				}
			}
		}
	})
	return list
}
