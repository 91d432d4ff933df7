package cuda

import (
	"bufio"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/cause"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/progress"
)

// The shapes of a line in nvidia-installer's log. Everything that a command
// prints is indented by three spaces; the rest is the installer's own words,
// whose paragraphs may go on over several lines.
const (
	stepPrefix    = "-> "
	errorPrefix   = "ERROR: "
	warningPrefix = "WARNING: "
	outputPrefix  = "   "
)

// logLine is the longest line that is looked at; the installer itself breaks
// a command's output at about a thousand characters.
const logLine = 16 << 10

// findings are what an installer's log says about how a build went.
type findings struct {
	// Cause is the first line in which a compiler, a linker, modpost or make
	// says what is wrong. What follows it are consequences, since the
	// installer runs make -k and then tries each missing module once more.
	Cause string
	// Complaint is the first paragraph in which the installer itself says
	// what is wrong, preferably one that is not merely "has failed".
	Complaint string
	// Undefined are the symbols that modpost found nowhere, sorted.
	Undefined []string
}

// noSpace is a full disk in the words of the C library.
const noSpace = "No space left on device"

var undefinedSymbol = regexp.MustCompile(`"([^"]+)" \[[^\]]+\] undefined!`)

// summaries are the installer's errors that only repeat that something failed.
var summaries = []string{"An error occurred", "Installation has failed", "Failed to"}

// readFindings reads an installer's log to its end.
func readFindings(r io.Reader) (findings, error) {
	var f findings
	var summary string
	var paragraph *string // the complaint that the next lines go on with
	symbols := map[string]bool{}
	err := eachLine(r, func(line string) {
		text := strings.TrimSpace(line)
		if m := undefinedSymbol.FindStringSubmatch(text); m != nil {
			symbols[m[1]] = true
		}
		if f.Cause == "" && cause.Named(text) {
			f.Cause = text
		}
		complaint, isError := strings.CutPrefix(line, errorPrefix)
		switch {
		case isError && isSummary(complaint):
			paragraph = nil
			if summary == "" {
				summary = complaint
			}
		case isError && f.Complaint == "":
			f.Complaint = complaint
			paragraph = &f.Complaint
		case isError, strings.HasPrefix(line, stepPrefix), strings.HasPrefix(line, warningPrefix), strings.HasPrefix(line, outputPrefix):
			paragraph = nil
		case paragraph != nil && text != "" && len(*paragraph) < 1000:
			*paragraph += " " + text
		}
	})
	if f.Complaint == "" {
		f.Complaint = summary
	}
	for name := range symbols {
		f.Undefined = append(f.Undefined, name)
	}
	slices.Sort(f.Undefined)
	return f, err
}

func isSummary(complaint string) bool {
	return slices.ContainsFunc(summaries, func(s string) bool { return strings.HasPrefix(complaint, s) })
}

// eachLine calls f with every line, without its end and cut to logLine bytes.
func eachLine(r io.Reader, f func(string)) error {
	lines := bufio.NewReaderSize(r, logLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			f(strings.TrimRight(string(line), "\r\n"))
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLog reads the findings of a log file; a log that was never written has
// none.
func readLog(path string) (findings, error) {
	f, err := command.OpenLeft(path)
	if errors.Is(err, os.ErrNotExist) {
		return findings{}, nil
	}
	if err != nil {
		return findings{}, err
	}
	defer f.Close()
	return readFindings(f)
}

// follower reads what a running installer adds to its log. A silent installer
// prints nothing else while it works.
type follower struct {
	path   string
	offset int64
	rest   string // the beginning of a line whose end is not written yet

	task *progress.Task // counts steps: tests of the kernel's interfaces, and objects
	// left are the steps that the package counts; tests are those seen, which may be
	// some more.
	left  steps
	tests int64
	step  func(step string)
}

// poll reads what is new, and counts how far make has come.
func (f *follower) poll() {
	file, err := command.OpenLeft(f.path)
	if err != nil {
		return // not written yet
	}
	defer file.Close()
	added, err := io.ReadAll(io.NewSectionReader(file, f.offset, 1<<20))
	if err != nil || len(added) == 0 {
		return
	}
	f.offset += int64(len(added))
	lines := strings.Split(f.rest+string(added), "\n")
	f.rest = lines[len(lines)-1]
	if len(f.rest) > logLine {
		f.rest = ""
	}
	for _, line := range lines[:len(lines)-1] {
		f.line(line)
	}
}

// total says how many steps there are with so many tests, where the package has counted.
func (f *follower) total(tests int64) {
	if f.left != (steps{}) {
		f.task.SetTotal(tests + f.left.objects)
	}
}

func (f *follower) line(line string) {
	if step, ok := strings.CutPrefix(line, stepPrefix); ok && step != "done." {
		f.step(step)
	}
	if output, ok := strings.CutPrefix(line, outputPrefix); ok {
		switch output = strings.TrimSpace(output); {
		case strings.HasPrefix(output, "CONFTEST: "):
			f.tests++
			f.total(max(f.tests, f.left.tests))
			f.task.Note("testing the kernel's interfaces")
			f.task.Add(1)
		case strings.HasPrefix(output, "CC "):
			f.total(f.tests) // which are over
			f.task.Note("compiling")
			f.task.Add(1)
		}
	}
}
