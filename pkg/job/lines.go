package job

import (
	"bytes"
	"strings"
)

// lineWriter hands on what is written to it line by line, without empty ones.
// A line ends with a newline, or with the carriage return by which git rewrites
// its progress. It never fails.
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
