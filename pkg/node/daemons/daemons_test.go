package daemons

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// told gathers what a watcher is told of, and waits for things.
type told struct {
	mu      sync.Mutex
	changed *sync.Cond
	all     []Status
}

func newTold() *told {
	t := &told{}
	t.changed = sync.NewCond(&t.mu)
	return t
}

func (t *told) watch(s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, s)
	t.changed.Broadcast()
}

// until waits for n changes to a state, and returns the last of them.
func (t *told) until(state string, n int) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		met := 0
		for _, s := range t.all {
			if s.State != state {
				continue
			}
			if met++; met == n {
				return s
			}
		}
		t.changed.Wait()
	}
}

func (t *told) states() (list []string) {
	for _, s := range t.all {
		list = append(list, s.State)
	}
	return list
}

// safeBuffer is a log that is written to by several.
type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// keep keeps a shell's script, which has to be ready within a time and is killed in a time of
// grace, until the test says so, and returns what ends it.
func keep(t *testing.T, script string, within, grace time.Duration) (*told, *safeBuffer, func()) {
	t.Helper()
	log, heard := &safeBuffer{}, newTold()
	ctx, cancel := context.WithCancel(zerolog.New(log).WithContext(t.Context()))
	d := Daemon{Name: "manager", Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "WORD=hello"}, Ready: regexp.MustCompile("^ready"), Within: within}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Keep(ctx, []Daemon{d}, heard.watch, Options{Pause: time.Millisecond, LongestPause: 4 * time.Millisecond, Grace: grace})
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	return heard, log, end
}

// TestKeep has a daemon get ready, and end when it is told to.
func TestKeep(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ended")
	heard, log, end := keep(t, `trap 'echo bye >`+file+`; exit 0' TERM; echo $WORD; echo ready now; while :; do sleep 0.01; done`, time.Minute, time.Minute)
	heard.until(Ready, 1)
	end()
	if text, err := os.ReadFile(file); err != nil || string(text) != "bye\n" {
		t.Errorf("it was not asked to end: %q %v", text, err)
	}
	if got := heard.states(); !slices.Equal(got, []string{Starting, Ready}) {
		t.Errorf("%q", got)
	}
	for _, want := range []string{`"daemon":"manager","message":"hello"`, "ready now", "stopped"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

// TestKeepRestarts one that crashes, and says what it said last.
func TestKeepRestarts(t *testing.T) {
	t.Parallel()
	heard, log, end := keep(t, `echo ready; echo 'version 595.71.05 does not match driver version 590.48.01' >&2; exit 3`, time.Minute, time.Minute)
	got := heard.until(Ended, 3)
	end()
	if want := "exit status 3; it said last: ready | version 595.71.05 does not match driver version 590.48.01"; got.Says != want {
		t.Errorf("%q, want %q", got.Says, want)
	}
	if !strings.Contains(log.String(), "it is started again") {
		t.Errorf("%s", log.String())
	}
}

// TestKeepTellsOfWhatHangs and lets it go on; it is ended, though it does not want to.
func TestKeepTellsOfWhatHangs(t *testing.T) {
	t.Parallel()
	heard, log, end := keep(t, `trap '' TERM; echo waiting; while :; do sleep 0.01; done`, 20*time.Millisecond, 100*time.Millisecond)
	got := heard.until(Starting, 2)
	end()
	if got.Says != "it is not ready after 20ms" || slices.Contains(heard.states(), Ready) || slices.Contains(heard.states(), Ended) {
		t.Errorf("%+v, and in all %q\n%s", got, heard.states(), log.String())
	}
}

// TestKeepTellsInOrder has what ends at once be ended, and not ready, in the end.
func TestKeepTellsInOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := newTold(), make(chan struct{})
	go func() {
		defer close(done)
		Keep(ctx, []Daemon{{Name: "manager", Args: []string{"/bin/false"}}}, heard.watch, Options{Pause: time.Microsecond, LongestPause: time.Microsecond})
	}()
	heard.until(Ended, 200)
	cancel()
	<-done
	before := ""
	for _, state := range heard.states() {
		if state == Ready && before != Starting || state == Starting && before == Ready {
			t.Fatalf("%q after %q", state, before)
		}
		before = state
	}
}

// TestKeepFollows one that goes into the background, to its end, and ends it.
func TestKeepFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, ended := filepath.Join(dir, "pid"), filepath.Join(dir, "ended")
	// As nvidia-persistenced, which does not empty its file, and there was one before.
	if err := os.WriteFile(file, []byte("12345678\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `rm -f ` + file + `; /bin/sh -c 'trap "echo bye >` + ended + `; exit 0" TERM; (echo $$; echo 5678) >` + file + `; while :; do sleep 0.01; done' </dev/null >/dev/null 2>&1 &
while [ ! -s ` + file + ` ]; do sleep 0.01; done`
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := newTold(), make(chan struct{})
	go func() {
		defer close(done)
		d := Daemon{Name: "persistence", Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, PIDFile: file}
		Keep(ctx, []Daemon{d}, heard.watch, Options{Pause: time.Millisecond, Grace: time.Minute})
	}()
	heard.until(Ready, 1)
	var pid int
	for pid == 0 {
		if text, err := os.ReadFile(file); err == nil {
			pid, _ = strconv.Atoi(strings.Split(string(text), "\n")[0])
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if got := heard.until(Ended, 1); !strings.Contains(got.Says, "has ended") {
		t.Errorf("%+v", got)
	}
	heard.until(Ready, 2)
	for next := pid; next == pid || next == 0; {
		if text, err := os.ReadFile(file); err == nil {
			next, _ = strconv.Atoi(strings.Split(string(text), "\n")[0])
		}
	}
	cancel()
	<-done
	if text, err := os.ReadFile(ended); err != nil || string(text) != "bye\n" {
		t.Errorf("it was not asked to end: %q %v", text, err)
	}
}

// TestKeepTellsOfWhatCannotBeStarted.
func TestKeepTellsOfWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := newTold(), make(chan struct{})
	go func() {
		defer close(done)
		Keep(ctx, []Daemon{{Name: "manager", Args: []string{"/no/such/program"}}}, heard.watch, Options{Pause: time.Millisecond})
	}()
	if got := heard.until(Ended, 1); !strings.Contains(got.Says, "it cannot be started") {
		t.Errorf("%+v", got)
	}
	cancel()
	<-done
}

func TestRunning(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	const name = "builders-own-test" // the kernel keeps 15 bytes
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(sleep, program); err != nil {
		t.Fatal(err)
	}
	if Running("/proc", name) {
		t.Error("it does not run, and is seen")
	}
	cmd := exec.Command(program, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if !Running("/proc", name) {
		t.Error("it runs, and is not seen")
	}
}
