package cause

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Finder is told what a build prints, by writing to it or a line at a time. The
// zero value is ready.
type Finder struct {
	line   []byte // the one being written
	named  string // by whoever failed
	hinted string // a line with the words of a failure in it
	makes  string // make's for the target that failed
	latest string
}

// maxLine bounds a line; kbuild's longest commands are beyond any use in an
// error.
const maxLine = 300

// named match what compilers, linkers, shells and kbuild print when they fail.
// The order does not matter: the first line wins, not the first pattern.
var named = []*regexp.Regexp{
	regexp.MustCompile(`^[^\s:][^:]*:\d+:(\d+:)? (fatal )?error: `),                           // cc: FILE:LINE:COLUMN: error:
	regexp.MustCompile(`^([\w./+-]*[/-])?(cc1?|gcc|clang|ld|as|objtool)(-\d+)?(\.[a-z]+)?: `), // cc: error: unrecognized option; ld: cannot find; gcc: fatal error: Killed
	regexp.MustCompile(`^(ERROR: )?modpost: |^ERROR: modpost|^ERROR: "[^"]+" \[[^\]]+\] undefined!`),
	regexp.MustCompile(`^make(\[\d+\])?: \*\*\* No rule to make target`),
	regexp.MustCompile(`^[^\s:]+:\d+: \*\*\* `), // Makefile:12: *** reason.  Stop.
	regexp.MustCompile(`^[\w./]*sh: (line )?(\d+: )?.*: (command )?not found$`),
	regexp.MustCompile(`^[\w./]*sh: (line )?(\d+: )?.*cannot open .*: No such file( or directory)?$`), // dash, of a file to read from
	regexp.MustCompile(`: undefined reference to |No space left on device`),
	regexp.MustCompile(`^Killed$`),
}

// hinted matches the words of scripts and other programs that fail.
var hinted = regexp.MustCompile(`(?i)\berror:|: (command )?not found|No such file or directory|Killed|\*\*\* [^\[]`)

// harmless are lines of the same shape that fail nothing: warnings, make's word
// that it will stop, and what nvidia-installer's estimate of a build's length
// prints, which reads a .config that is elsewhere and does without it.
var harmless = regexp.MustCompile(`(?i): warning: |: note: |: In function|: (all|some) warnings being treated as errors` +
	`|\*\*\* Waiting for unfinished jobs|count-lines\.mk|: cannot open \.config: No such file`)

// makes matches make's own line for a target that failed.
var makes = regexp.MustCompile(`^make(\[\d+\])?: \*\*\* \[`)

// Named says whether a line, without what indents it, is one in which a
// compiler, a linker, a shell, modpost or make says what is wrong.
func Named(line string) bool {
	return !harmless.MatchString(line) &&
		slices.ContainsFunc(named, func(c *regexp.Regexp) bool { return c.MatchString(line) })
}

// Write implements io.Writer and never fails.
func (f *Finder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		f.line = append(f.line, part[:min(len(part), maxLine-len(f.line))]...)
		if whole {
			f.end()
		}
		rest = after
	}
	return len(p), nil
}

func (f *Finder) end() {
	line := strings.TrimSpace(string(f.line))
	f.line = f.line[:0]
	switch {
	case line == "", harmless.MatchString(line):
	case makes.MatchString(line):
		f.makes = cmp.Or(f.makes, line)
	case Named(line):
		f.named = cmp.Or(f.named, line)
	case hinted.MatchString(line):
		f.hinted = cmp.Or(f.hinted, line)
	default:
		f.latest = line
	}
}

// Cause is the line that best says why the build failed: the first in which
// somebody names what is wrong, else the first that sounds like a failure, else
// make's own, else the last. It is empty when nothing was printed.
func (f *Finder) Cause() string {
	f.end()
	return cmp.Or(f.named, f.hinted, f.makes, f.latest)
}
