package progress

import (
	"bytes"
	"io"
	"strings"
)

// maxNote bounds a note, in bytes.
const maxNote = 200

// Note says in a few words what is not counted; the last note is shown. It may
// be a stranger's: what would move a terminal's cursor is left out.
func (t *Task) Note(text string) {
	if t == nil {
		return
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return -1
		}
		return r
	}, text[:min(len(text), maxNote)])
	t.note.Store(&text)
}

// Notes takes each line that is written to it for the task's note. A line ends
// with a newline, or with the carriage return by which git rewrites its
// progress. It never fails.
func (t *Task) Notes() io.Writer { return &lineWriter{line: t.Note} }

// Lines counts a unit for each line that is written to it, as make prints one for
// each step. It never fails.
func (t *Task) Lines() io.Writer { return &lineWriter{line: func(string) { t.Add(1) }} }

// lineWriter hands on what is written to it line by line, without empty ones.
type lineWriter struct {
	line func(string)
	rest []byte
}

// maxRest bounds a line that does not end.
const maxRest = 4 << 10

// Write implements [io.Writer].
func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexAny(w.rest, "\r\n")
		if i < 0 {
			break
		}
		if line := strings.TrimSpace(string(w.rest[:i])); line != "" {
			w.line(line)
		}
		w.rest = w.rest[i+1:]
	}
	if len(w.rest) > maxRest {
		w.rest = nil
	}
	return len(p), nil
}
