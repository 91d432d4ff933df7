package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
)

// Fence is a fenced block of code. Directly before it a comment may say by which name a
// test runs it, or why none does:
//
//	<!-- run: NAME -->
//	<!-- not run: WHY -->
type Fence struct {
	Language string // the first word after the fence, such as "sh"
	Text     string
	Line     int // of the fence that begins it

	Run    string // the name by which a test runs it
	NotRun string // why none does
}

// Blocks are the fenced blocks of code in a document, which is named by its path in the
// repository. The test fails where a comment of theirs is not as [Fence] has it, stands
// before something else, or gives a name twice.
func Blocks(t testing.TB, file string) []Fence {
	t.Helper()
	fences, err := read(t, file).fences()
	if err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	return fences
}

// Block is the text of the block that a document has a test run by that name.
func Block(t testing.TB, file, name string) string {
	t.Helper()
	for _, fence := range Blocks(t, file) {
		if fence.Run == name {
			return fence.Text
		}
	}
	t.Fatalf("%s has no block after <!-- run: %s -->", file, name)
	return ""
}

func (p page) fences() (list []Fence, err error) {
	names := map[string]bool{}
	p.walk(func(n ast.Node) {
		if err != nil {
			return
		}
		if said := p.html(n); isRunMarker(said) {
			if _, ok := n.NextSibling().(*ast.FencedCodeBlock); !ok || n.Type() != ast.TypeBlock {
				err = fmt.Errorf("%d: %s stands before no fenced block", p.line(n), strings.TrimSpace(said))
			}
			return
		}
		block, ok := n.(*ast.FencedCodeBlock)
		if !ok {
			return
		}
		fence := Fence{Language: string(block.Language(p.source)), Text: string(block.Lines().Value(p.source)), Line: p.line(n)}
		if before, ok := n.PreviousSibling().(*ast.HTMLBlock); ok && isRunMarker(p.html(before)) {
			if err = fence.mark(p.html(before)); err != nil {
				err = fmt.Errorf("%d: %w", p.line(before), err)
				return
			}
		}
		if fence.Run != "" && names[fence.Run] {
			err = fmt.Errorf("%d: a block before is run as %s, too", fence.Line, fence.Run)
			return
		}
		names[fence.Run] = true
		list = append(list, fence)
	})
	return list, err
}

var (
	anyRunMarker = regexp.MustCompile(`(?i)<!--\s*(not[ -])?run\b`)
	runMarker    = regexp.MustCompile(`^<!-- run: ([a-z0-9-]+) -->$`)
	notRunMarker = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
)

// isRunMarker says whether a piece of HTML means to be a marker, well written or not.
func isRunMarker(piece string) bool { return anyRunMarker.MatchString(piece) }

// mark takes a comment's word for whether the fence is run.
func (f *Fence) mark(comment string) error {
	comment = strings.Join(strings.Fields(comment), " ")
	if run := runMarker.FindStringSubmatch(comment); run != nil {
		f.Run = run[1]
		return nil
	}
	if why := notRunMarker.FindStringSubmatch(comment); why != nil && !strings.Contains(why[1], "-->") {
		f.NotRun = why[1]
		return nil
	}
	return fmt.Errorf("%s is neither <!-- run: NAME --> nor <!-- not run: WHY -->", comment)
}
