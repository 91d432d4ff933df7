package progress

import (
	"fmt"
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
