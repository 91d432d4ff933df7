package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// Apply applies the patches to the subject's files at dir. Its errors are of the subject's
// stage, and name the file and the hunk that does not fit; what was applied before stays so.
func (s Set) Apply(dir string, of Subject) error {
	for _, p := range s {
		for _, f := range p.files {
			if err := apply(dir, f); err != nil {
				return stage.Wrap(of.Stage, err, fmt.Sprintf("the patch %s does not apply to %s", p.Name, of.Of),
					"make it fit the sources of this version, or take it out of the folder that "+of.Option+" names")
			}
		}
	}
	return nil
}

func apply(dir string, f *gitdiff.File) error {
	name := name(f)
	at := filepath.Join(dir, filepath.FromSlash(name))
	info, err := beneath.Lstat(at)
	switch {
	case f.IsNew && err == nil:
		return fmt.Errorf("it adds %s, which is there already", name)
	case f.IsNew && errors.Is(err, fs.ErrNotExist):
		return create(at, f)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s", name)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no plain file", name)
	}
	text, err := beneath.ReadFile(at)
	if err != nil {
		return err
	}
	changed, err := patched(text, f)
	switch {
	case err != nil:
		return fmt.Errorf("%s, %w", name, err)
	case f.IsDelete && len(changed) > 0:
		return fmt.Errorf("it removes %s, which has more in it", name)
	}
	if err := beneath.Remove(at); err != nil || f.IsDelete {
		return err
	}
	return beneath.WriteFile(at, changed, info.Mode().Perm())
}

// create makes a file that a patch adds.
func create(at string, f *gitdiff.File) error {
	text, err := patched(nil, f)
	if err != nil {
		return fmt.Errorf("%s, %w", f.NewName, err)
	}
	if err := beneath.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return beneath.WriteFile(at, text, 0o644)
}

// patched is a file's text after its patch. Each hunk is put where it fits: at the
// line that it says, shifted by as much as the one before, or at the nearest after that
// one where it fits to the letter.
func patched(text []byte, f *gitdiff.File) ([]byte, error) {
	lines := slices.Collect(bytes.Lines(text))
	var out [][]byte
	done, shift := 0, 0 // lines of the text, and how far the hunk before was off
	for i, h := range f.TextFragments {
		was, is := sides(h)
		says := int(h.OldPosition) - 1
		if len(was) == 0 {
			says = int(h.OldPosition) // the line that it comes after
		}
		at := nearest(lines, was, says+shift, done)
		if at < 0 {
			return nil, fmt.Errorf("hunk %d (%s): the lines that it changes are not there", i+1, strings.TrimSpace(h.Header()))
		}
		out = slices.Concat(out, lines[done:at], is)
		done, shift = at+len(was), at-says
	}
	return bytes.Join(append(out, lines[done:]...), nil), nil
}

// sides are the lines that a hunk finds and those that it leaves, with their ends.
func sides(h *gitdiff.TextFragment) (was, is [][]byte) {
	for _, l := range h.Lines {
		if l.Old() {
			was = append(was, []byte(l.Line))
		}
		if l.New() {
			is = append(is, []byte(l.Line))
		}
	}
	return was, is
}

// nearest is the line from which on some lines are those of a text, next to the one
// that is wanted and not before the first that is left; -1 where they are nowhere.
func nearest(lines, want [][]byte, wanted, first int) int {
	last := len(lines) - len(want)
	if last < first {
		return -1
	}
	wanted = min(max(wanted, first), last)
	for off := range last - first + 1 {
		for _, at := range []int{wanted - off, wanted + off} {
			if at >= first && at <= last && slices.EqualFunc(lines[at:at+len(want)], want, bytes.Equal) {
				return at
			}
		}
	}
	return -1
}
