package progress

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(line string) { got = append(got, line) }}
	for _, part := range []string{"Counting obj", "ects:  50%\rCounting objects: 100%, done.\n\n", strings.Repeat("x", maxRest+1), "Total 7\n"} {
		fmt.Fprint(w, part)
	}
	want := []string{"Counting objects:  50%", "Counting objects: 100%, done.", "Total 7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestLinesAreSteps(t *testing.T) {
	task := Begin(NewBar(io.Discard, func() int { return 80 }).WithContext(t.Context()), "kernel tree", "steps", 0)
	defer task.End()
	fmt.Fprint(task.Lines(), "  HOSTCC scripts/a\n\n  HOSTLD scripts/a\n  CC b.o")
	if got := task.state(); got.done != 2 {
		t.Errorf("%d steps, want the 2 whole lines", got.done)
	}
}
