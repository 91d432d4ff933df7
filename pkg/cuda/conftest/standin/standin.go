package standin

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Word is the first argument of the stand-in. After it come the file of known answers,
// the folder for notes, and the compiler with its arguments.
const Word = "@conftest"

// What is known of a question, in the file of known answers after the question's key
// and a space, and as the suffix of a note's name. A note of Known says that a question
// did not have to be asked.
const (
	Yes   = "y"
	No    = "n"
	Known = "k"
)

// init is where the stand-in begins, and ends.
func init() {
	if len(os.Args) < 5 || os.Args[1] != Word {
		return
	}
	s := standin{known: os.Args[2], notes: os.Args[3], compiler: os.Args[4:]}
	syscall.Exit(s.run()) // a test's program has more to do at an end of its own
}

// standin is one call of the compiler.
type standin struct {
	known, notes string
	compiler     []string
}

// run returns the exit status that the compiler has, or would have.
func (s standin) run() int {
	dir, err := os.Getwd()
	if err != nil {
		return s.compile(os.Stdin, io.Discard)
	}
	q, input, asks := read(s.compiler[1:], dir, os.Stdin)
	if !asks {
		return s.compile(input, io.Discard)
	}
	key := q.key()
	if answer := s.answer(key); answer != "" {
		s.note(key, Known)
		return q.say(answer == Yes)
	}
	var said bytes.Buffer
	code := s.compile(input, &said)
	if answer := q.heard(code, said.Bytes()); answer != "" {
		s.note(key, answer)
	}
	return code
}

// compile runs the compiler, and keeps a copy of what it says of errors.
func (s standin) compile(input io.Reader, said io.Writer) int {
	c := exec.Command(s.compiler[0], s.compiler[1:]...)
	c.Stdin, c.Stdout, c.Stderr = input, os.Stdout, io.MultiWriter(os.Stderr, said)
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case errors.As(err, &exit):
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal()) // as a shell has it
	}
	os.Stderr.WriteString(filepath.Base(s.compiler[0]) + ": " + err.Error() + "\n")
	return 127
}

// answer is what is known of a question; "" for nothing.
func (s standin) answer(key string) string {
	text, err := os.ReadFile(s.known)
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), key+" ")
	answer, _, _ := strings.Cut(after, "\n")
	return answer
}

// note leaves a note. One that cannot be left is missed by nobody.
func (s standin) note(key, answer string) {
	f, err := os.OpenFile(filepath.Join(s.notes, key+"."+answer), os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		f.Close()
	}
}
