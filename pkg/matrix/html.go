package matrix

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed table.html.tmpl
var pageText string

var page = template.Must(template.New("table").Parse(pageText))

// WriteHTML writes the table as a page that loads nothing else and runs no script.
func (t Table) WriteHTML(w io.Writer) error { return page.Execute(w, t) }
