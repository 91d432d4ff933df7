package matrix

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"strings"
)

//go:embed head.html
var head string

// page is written without html/template: a template calls methods by their names, so with
// one in it the linker has to keep every method that there is, a fifth of the program.
type page struct{ strings.Builder }

// put writes a format's text, which is HTML, with the values as text in it.
func (p *page) put(format string, values ...any) {
	for i, v := range values {
		if _, number := v.(int); !number {
			values[i] = html.EscapeString(fmt.Sprint(v))
		}
	}
	fmt.Fprintf(p, format, values...)
}

// WriteHTML writes the table as a page that loads nothing else and runs no script.
func (t Table) WriteHTML(w io.Writer) error {
	var p page
	p.WriteString(head)
	p.put("<h1>NVIDIA drivers for kernels</h1>\n<p>%d builds: %d proven, %d built, %d known breaks, %d failed",
		len(t.Cells), t.Count(Proven), t.Count(Built), t.Count(KnownBreak), t.Count(Failed))
	if n := t.Count(NotRun); n > 0 {
		p.put(", %d not run", n)
	}
	p.put(". By builder %s, %s.</p>\n", t.Builder, t.Time)
	p.put("<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">kernel</th>")
	for _, driver := range t.Drivers {
		p.put("<th scope=\"col\">%s</th>", driver)
	}
	p.put("</tr></thead>\n<tbody>\n")
	for r, row := range t.Rows() {
		p.put("<tr><th scope=\"row\">%s</th>\n", row.Kernel)
		for c, cell := range row.Cells {
			p.cell(cell, r, c)
		}
		p.put("</tr>\n")
	}
	p.put("</tbody>\n</table></div>\n" +
		"<p><b>proven</b>: built, and every check passed, of what the kernel asks of a module when it loads it and of what builder does. " +
		"<b>built</b>: some check could not be made. <b>known-break</b>: known not to compile against this kernel. An option of a kernel or a driver that is named below is written in the matrix's file.</p>\n<dl>\n")
	for r, row := range t.Rows() {
		for c, cell := range row.Cells {
			p.why(cell, r, c)
		}
	}
	p.put("</dl>\n</body>\n</html>\n")
	_, err := io.WriteString(w, p.String())
	return err
}

// cell writes what came of a driver for a kernel. The row and the column are of its link
// to why.
func (p *page) cell(c Cell, row, column int) {
	p.put("<td class=\"%s\">", c.Verdict)
	if c.Why() != "" {
		p.put("<a href=\"#why-%d-%d\">%s</a>", row, column, c.Verdict)
	} else {
		p.put("%s", c.Verdict)
	}
	if c.Release != "" {
		p.put("<small>%s %s<br>%s", c.Version, c.ModuleType, c.Release)
		if c.Reused {
			p.put("<br>built before")
		}
		p.put("</small>")
	}
	if c.Artefact != "" {
		p.put("<details><summary>artefact</summary><code>%s</code></details>", c.Artefact)
	}
	p.put("</td>\n")
}

// why writes why a cell is not proven, where it is not.
func (p *page) why(c Cell, row, column int) {
	why := c.Why()
	if why == "" {
		return
	}
	p.put("<dt id=\"why-%d-%d\">%s, driver %s: %s</dt><dd>%s", row, column, c.Kernel, c.Driver, c.Verdict, why)
	if c.Do != "" {
		p.put("<br>What to do: %s.", c.Do)
	}
	p.put("</dd>\n")
}
