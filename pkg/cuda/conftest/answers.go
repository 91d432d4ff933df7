package conftest

import (
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda/conftest/standin"
)

// Set are answers by the keys of their questions: whether a text compiles, or a header
// is there.
type Set map[string]bool

// Answers are those of a build: what it knows before, and what it finds out.
type Answers struct {
	Known Set
	// Used are those of Known that were asked for, Learned what the compiler answered.
	Used, Learned Set
}

// most bounds the answers of a file, and of a build: ten times what a driver asks.
const most = 5000

// Lines are the answers as the stand-in reads them.
func (s Set) Lines() []byte {
	var lines []byte
	for _, key := range slices.Sorted(maps.Keys(s)) {
		answer := standin.No
		if s[key] {
			answer = standin.Yes
		}
		lines = append(lines, key+" "+answer+"\n"...)
	}
	return lines
}

// parse is Lines undone; false where a line is not one of its.
func parse(lines string) (Set, bool) {
	s := Set{}
	for line := range strings.Lines(lines) {
		m := answerLine.FindStringSubmatch(line)
		if m == nil || len(s) == most {
			return nil, false
		}
		s[m[1]] = m[2] == standin.Yes
	}
	return s, true
}

var (
	answerLine = regexp.MustCompile(`^([0-9a-f]{64}) ([` + standin.Yes + standin.No + `])\n$`)
	note       = regexp.MustCompile(`^([0-9a-f]{64})\.([` + standin.Yes + standin.No + standin.Known + `])$`)
)

// Learn reads the notes that the stand-in left in a folder. Anything else that is there
// is not its.
func (a *Answers) Learn(notes string) error {
	f, err := beneath.Open(notes)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	a.Used, a.Learned = Set{}, Set{}
	for _, name := range names {
		m := note.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		key := m[1]
		switch known, is := a.Known[key]; {
		case m[2] != standin.Known:
			a.Learned[key] = m[2] == standin.Yes
		case is:
			a.Used[key] = known
		}
	}
	return nil
}
