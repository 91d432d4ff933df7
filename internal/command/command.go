// Package command runs other programs: kbuild's make and nvidia-installer.
//
// Everything that starts a process takes a [Runner], so that a test can hand
// in a recording one and assert the exact argument list. [Exec] is the real
// one: it starts the program in a process group of its own and, when the
// context ends, stops the whole group, so that a compile does not outlive the
// job that asked for it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run, with everything that it may see.
type Command struct {
	// Args is the program and its arguments; Args[0] is looked up on PATH
	// when it holds no slash.
	Args []string
	// Dir is the working directory; empty means the caller's.
	Dir string
	// Env is added to the caller's environment, as KEY=VALUE; a later entry
	// wins. The caller's BUILDER_ variables are not passed on: they are its
	// own options, and one of them is a token.
	Env []string
	// Output receives stdout and stderr as the program writes them. Nil
	// discards them.
	Output io.Writer
}

// Runner runs a command to its end.
type Runner interface {
	// Run returns nil when the program exits with status 0, an [ExitError]
	// when it exits with another, the context's error when that ended first,
	// and any other error when it could not be started.
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

// Grace is how long a canceled program group has to end by itself after
// SIGTERM before SIGKILL. It leaves room inside the five seconds in which the
// job as a whole must end.
const Grace = 2 * time.Second

// Exec runs programs on this machine.
type Exec struct{}

// Run implements [Runner].
func (Exec) Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("no program to run")
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(inherited(), c.Env...)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	// A grandchild that left the group may hold the output pipe open.
	cmd.WaitDelay = Grace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return exitError(c.Args[0], err)
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	_ = unix.Kill(group, unix.SIGTERM)
	select {
	case <-done:
	case <-time.After(Grace):
		_ = unix.Kill(group, unix.SIGKILL)
		<-done
	}
	// The leader is gone; whatever it left in the group goes with it.
	_ = unix.Kill(group, unix.SIGKILL)
	return ctx.Err()
}

// inherited is this process's environment without builder's own options.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "BUILDER_") })
}

func exitError(program string, err error) error {
	// The program itself succeeded; only something it left behind still
	// held the output.
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Program: program, Code: exit.ExitCode(), State: exit.String()}
	}
	return err
}
