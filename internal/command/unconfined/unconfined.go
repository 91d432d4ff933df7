// Package unconfined runs programs with all that their caller may do, for tests
// whose programs are their own. Only tests import it.
package unconfined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
)

// Exec runs programs on this machine, in a process group of their own. When the
// context ends it stops the whole group.
type Exec struct{}

// Run implements [command.Runner].
func (Exec) Run(ctx context.Context, c command.Command) error {
	if len(c.Args) == 0 {
		return errors.New("no program to run")
	}
	restore, err := command.PutFiles(c.Files)
	if err != nil {
		return err
	}
	defer restore()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(inherited(), c.Env...)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	// A grandchild that left the group may hold the output pipe open.
	cmd.WaitDelay = command.Grace
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
	case <-time.After(command.Grace):
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
		return &command.ExitError{Program: program, Code: exit.ExitCode(), State: exit.String()}
	}
	return err
}
