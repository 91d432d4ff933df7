package unconfined_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/command/unconfined"
)

func TestExecRunsInDirWithEnvAndOutput(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BUILDER_GITHUB_TOKEN", "secret")
	var out bytes.Buffer
	err := unconfined.Exec{}.Run(t.Context(), command.Command{
		Args:   []string{"sh", "-c", `pwd; echo "$GREETING$BUILDER_GITHUB_TOKEN"; echo err >&2`},
		Dir:    dir,
		Env:    []string{"GREETING=hello"},
		Output: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), dir+"\nhello\nerr\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func TestExecReportsExitStatus(t *testing.T) {
	err := unconfined.Exec{}.Run(t.Context(), command.Command{Args: []string{"sh", "-c", "exit 3"}})
	var exit *command.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Program != "sh" {
		t.Fatalf("error %v, want exit status 3 of sh", err)
	}
}

func TestExecReportsWhatCannotStart(t *testing.T) {
	err := unconfined.Exec{}.Run(t.Context(), command.Command{Args: []string{filepath.Join(t.TempDir(), "absent")}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want one that is os.ErrNotExist", err)
	}
	if err := (unconfined.Exec{}).Run(t.Context(), command.Command{}); err == nil {
		t.Fatal("an empty command ran")
	}
}

// TestExecStopsTheWholeGroup cancels a program that ignores SIGTERM and has a
// child of its own: both must be gone when Run returns, well inside the five
// seconds that a canceled job has.
func TestExecStopsTheWholeGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- unconfined.Exec{}.Run(ctx, command.Command{
			Args: []string{"sh", "-c", `trap "" TERM; sleep 60 & echo $$ $! >` + pids + `.tmp; mv ` + pids + `.tmp ` + pids + `; while :; do sleep 60; done`},
		})
	}()
	var fields []string
	for deadline := time.Now().Add(time.Minute); len(fields) < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the program did not start")
		}
		data, _ := os.ReadFile(pids)
		fields = strings.Fields(string(data))
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return within 20 s of the cancel")
	}
	for _, field := range fields {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// alive waits for an orphan's end to be seen: init reaps it in its own time.
func alive(pid int) bool {
	for range 1000 {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return false
		}
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
