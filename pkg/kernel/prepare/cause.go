package prepare

import (
	"bytes"
	"cmp"
	"regexp"
	"strings"
)

// causeFinder reads what make prints and keeps the line that best says why it
// failed: the first that names a cause. The last lines never do; they are
// make's own "*** [target] Error 2" for each folder that it leaves.
type causeFinder struct {
	line   []byte // the one being written
	cause  string
	makes  string // the first of make's own, for want of a better
	latest string
}

// maxCause bounds a line; kbuild's longest commands are beyond any use in an
// error.
const maxCause = 300

var (
	causeLine = regexp.MustCompile(`(?i)\berror:|: (command )?not found|No such file or directory|No space left|Killed|\*\*\* [^\[]`)
	makeLine  = regexp.MustCompile(`^make(\[\d+\])?: \*\*\* \[`)
)

// Write implements io.Writer and never fails.
func (f *causeFinder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		f.line = append(f.line, part[:min(len(part), maxCause-len(f.line))]...)
		if whole {
			f.end()
		}
		rest = after
	}
	return len(p), nil
}

func (f *causeFinder) end() {
	line := strings.TrimSpace(string(f.line))
	f.line = f.line[:0]
	switch {
	case line == "":
	case makeLine.MatchString(line):
		f.makes = cmp.Or(f.makes, line)
	case causeLine.MatchString(line):
		f.cause = cmp.Or(f.cause, line)
	default:
		f.latest = line
	}
}

// Cause is the best line so far; empty when nothing was printed.
func (f *causeFinder) Cause() string {
	f.end()
	return cmp.Or(f.cause, f.makes, f.latest)
}
