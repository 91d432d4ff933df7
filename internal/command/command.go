// Package command says what a program is run with: kbuild's make, a package's
// installer.
//
// Everything that starts a process takes a [Runner], so that a test can hand
// in a recording one and assert the exact argument list. The real one is in
// package confine: what is run is other people's, and sees and writes only
// what its [Command] names.
package command

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Command is a program to run, with everything that it may see.
type Command struct {
	// Args is the program and its arguments; Args[0] is looked up on PATH
	// when it holds no slash.
	Args []string
	// Dir is the working directory; empty means the root.
	Dir string
	// Env is all of the program's environment, as KEY=VALUE, but for PATH, HOME,
	// TMPDIR, LANG and LC_ALL where it does not name them; a later entry wins.
	// Nothing else of the caller's is passed on: it has a token there.
	Env []string
	// Reads are the files and folders, by absolute path and with all beneath
	// them, that the program may read and run, beside the system's own.
	Reads []string
	// Writes are folders that it may also change. They, and the folders in them,
	// are the program's user's while it runs; when it has ended they are the
	// caller's, with all that it left there. What it left is to be opened with
	// care: there may be links.
	Writes []string
	// Files are what the program finds at these absolute paths while it runs,
	// in folders that it may write to; whatever is there otherwise is as before
	// when it has ended.
	Files map[string][]byte
	// Output receives stdout and stderr as the program writes them. Nil
	// discards them.
	Output io.Writer
}

// Runner runs a command to its end.
type Runner interface {
	// Run returns nil when the program exits with status 0, an [ExitError]
	// when it exits with another, the context's error when that ended first, a
	// [FilesError] where a file of Files could not be put into its place, and
	// any other error when it could not be started.
	Run(ctx context.Context, c Command) error
}

// ExitError is a program that ran and failed.
type ExitError struct {
	// Program is the name it was called by.
	Program string
	// Code is the exit status, or -1 when a signal ended it.
	Code int
	// State is the operating system's words for it ("exit status 2").
	State string
}

// Error names the program and its end.
func (e *ExitError) Error() string { return fmt.Sprintf("%s: %s", e.Program, e.State) }

// Grace is how long a canceled program has to end by itself after SIGTERM, with
// all that it started, before SIGKILL. It leaves room inside the five seconds in
// which the job as a whole must end.
const Grace = 2 * time.Second

// ErrNotFound is in the error for a program that is not on PATH.
var ErrNotFound = exec.ErrNotFound

// LookPath finds a program on PATH, as a Runner does.
func LookPath(name string) (string, error) { return exec.LookPath(name) }
