package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// recorder is a test that notes how it fails, and goes on.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatalf(f string, a ...any) {
	r.said = append(r.said, "fatal: "+fmt.Sprintf(f, a...))
	panic(r)
}
func (r *recorder) Fatal(a ...any) { r.Fatalf("%s", fmt.Sprint(a...)) }

// record is what a test says that calls f.
func record(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if ended := recover(); ended != nil && ended != any(r) {
				panic(ended)
			}
		}()
		f(r)
	}()
	return strings.Join(r.said, "\n")
}

// writePage writes a document of its own.
func writePage(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const twoSections = `# Page

<!-- generated: options -->

| a |

<!-- /generated -->
Between.
<!-- generated: kinds -->
stale
<!-- /generated -->

End.
`

func TestSectionCompares(t *testing.T) {
	for _, test := range []struct {
		name, text, section, want, says string
	}{
		{"the same", twoSections, "options", "| a |", ""},
		{"outer newlines", twoSections, "options", "\n\n| a |\n", ""},
		{"another row", twoSections, "options", "| a |\n| b |", "| b |"},
		{"a row less", twoSections, "options", "| b |", "| a |"},
		{"no blank lines", twoSections, "kinds", "stale", "run this test with -update"},
		{"two blank lines", "<!-- generated: x -->\n\n\nx\n\n<!-- /generated -->\n", "x", "x", "run this test with -update"},
		{"leading space is of the text", twoSections, "options", "  | a |", "run this test with -update"},
		{"no such section", twoSections, "exits", "x", "no line <!-- generated: exits -->"},
		{"twice", twoSections + twoSections, "kinds", "x", "the line <!-- generated: kinds --> twice"},
		{"no end", "<!-- generated: x -->\n\nx\n", "x", "x", "no line <!-- /generated --> ends <!-- generated: x -->"},
		{"another begins first", "<!-- generated: x -->\n<!-- generated: y -->\n<!-- /generated -->\n", "x", "x", "no line <!-- /generated --> ends"},
		{"nothing", twoSections, "options", "\n", "would be empty"},
		{"a marker in it", twoSections, "options", "a\n<!-- /generated -->", "would have a marker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writePage(t, test.text)
			said := record(t, func(tb testing.TB) { section(tb, path, test.section, test.want, false) })
			if (said == "") != (test.says == "") || !strings.Contains(said, test.says) {
				t.Errorf("it says %q, want %q", said, test.says)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != test.text {
				t.Errorf("the page is changed: %v\n%s", err, text)
			}
		})
	}
}

// TestSectionIsWritten: with -update the section is what it should be, and everything
// else what it was.
func TestSectionIsWritten(t *testing.T) {
	path := writePage(t, twoSections)
	section(t, path, "kinds", "one\n\ntwo\n", true)
	want := strings.Replace(twoSections, "\nstale\n", "\n\none\n\ntwo\n\n", 1)
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%v\n%s", err, text)
	}
	section(t, path, "kinds", "one\n\ntwo\n", false)
	if said := record(t, func(tb testing.TB) { section(tb, path, "exits", "x", true) }); !strings.Contains(said, "fatal: ") {
		t.Errorf("a section that is not there is written: %q", said)
	}
}

// TestSectionsAreWrittenAtOnce: the tests of several packages have sections in one page.
func TestSectionsAreWrittenAtOnce(t *testing.T) {
	const sections = 16
	var text, want strings.Builder
	for i := range sections {
		fmt.Fprintf(&text, "<!-- generated: s%d -->\n<!-- /generated -->\n", i)
		fmt.Fprintf(&want, "<!-- generated: s%d -->\n\nrow %d\n\n<!-- /generated -->\n", i, i)
	}
	path := writePage(t, text.String())
	var all sync.WaitGroup
	for i := range sections {
		all.Go(func() {
			if err := rewrite(path, fmt.Sprintf("s%d", i), fmt.Sprintf("row %d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if text, err := os.ReadFile(path); err != nil || string(text) != want.String() {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestRoot: modules inside of this one are passed by.
func TestRoot(t *testing.T) {
	root := Root(t)
	inner, err := rootAbove(filepath.Join(root, "deploy", "check"))
	if err != nil || inner != root {
		t.Errorf("%s, %v; want %s", inner, err, root)
	}
	if found, err := rootAbove(t.TempDir()); err == nil {
		t.Errorf("%s is no root", found)
	}
}
