package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/testkit"
)

// A section is the lines between these, each on a line of its own.
const (
	sectionBegins = "<!-- generated: %s -->"
	sectionEnds   = "<!-- /generated -->"
)

// Section fails the test unless the part of a document that is called name is want: what
// is between the lines "<!-- generated: NAME -->" and "<!-- /generated -->", without the
// one blank line after the first and before the last of them. file is the document's path
// in the repository. With -update the part is written, and not compared.
func Section(t testing.TB, file, name, want string) {
	t.Helper()
	section(t, filepath.Join(Root(t), filepath.FromSlash(file)), name, want, testkit.Update())
}

func section(t testing.TB, path, name, want string, update bool) {
	t.Helper()
	if update {
		if err := rewrite(path, name, want); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := withSection(string(text), name, want)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if diff := cmp.Diff(string(text), whole); diff != "" {
		t.Errorf("%s: generated: %s (-page +program), run this test with -update if it is meant:\n%s", path, name, diff)
	}
}

// rewrite puts a section into a document. Tests of several packages, which run at once,
// have sections in one document: they take turns.
func rewrite(path, name, want string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", folder.Name(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	whole, err := withSection(string(text), name, want)
	if err != nil || whole == string(text) {
		return err
	}
	return atomicfile.WriteFile(path, []byte(whole), 0o644)
}

// withSection is a document's text with a section as it should be.
func withSection(text, name, want string) (string, error) {
	want = strings.Trim(want, "\n")
	begins := fmt.Sprintf(sectionBegins, name)
	lines, body := strings.Split(text, "\n"), strings.Split(want, "\n")
	switch from := slices.Index(lines, begins); {
	case want == "":
		return "", fmt.Errorf("generated: %s would be empty", name)
	case slices.ContainsFunc(body, isMarker):
		return "", fmt.Errorf("generated: %s would have a marker of a section in it", name)
	case from < 0:
		return "", fmt.Errorf("it has no line %s", begins)
	case slices.Contains(lines[from+1:], begins):
		return "", fmt.Errorf("it has the line %s twice", begins)
	default:
		length := slices.IndexFunc(lines[from+1:], isMarker)
		if length < 0 || lines[from+1+length] != sectionEnds {
			return "", fmt.Errorf("no line %s ends %s", sectionEnds, begins)
		}
		return strings.Join(slices.Concat(lines[:from+1], []string{""}, body, []string{""}, lines[from+1+length:]), "\n"), nil
	}
}

// isMarker says whether a line begins or ends a section.
func isMarker(line string) bool {
	before, _, _ := strings.Cut(sectionBegins, "%s")
	return line == sectionEnds || strings.HasPrefix(line, before)
}
