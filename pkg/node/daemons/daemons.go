// Package daemons runs the programs of NVIDIA's that have to run beside a driver, for as
// long as a container stays: each is started, watched, started again with pauses where
// it ends, and ended last. What it prints goes to the log.
//
// [Keep] does that with each [Daemon], and tells a [Watcher] of every change. A daemon is
// ready once it has printed what it prints then, or at once where there is no such
// thing. One that does not get so far in time is told of and goes on: it may do its work,
// and to end it would end that of whoever uses it.
package daemons

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Daemon is a program that stays in the foreground, or leaves a process behind.
type Daemon struct {
	// Name is what people call it: "fabric manager".
	Name string
	// Args is the program, by its path, and its arguments; Env all of its environment.
	Args, Env []string
	// Ready is what it prints once it is; nil has it be ready as it is started.
	Ready *regexp.Regexp
	// Within is how long it may take for that before it is told of; zero is without a
	// limit.
	Within time.Duration
	// PIDFile is of one that goes into the background, as it ends with exit status 0: it
	// has the number of the process that goes on. What that prints is not heard.
	PIDFile string
}

// The states of a daemon.
const (
	Starting = "starting"
	Ready    = "ready"
	Ended    = "ended" // and will be started again
)

// Status is how a daemon is.
type Status struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Says is why it ended, with the last of what it printed.
	Says string `json:"says,omitempty"`
}

// Watcher is told of each change. It is called by several goroutines.
type Watcher func(Status)

// Options are how daemons are kept. The zero value is for use; others are for tests.
type Options struct {
	// Pause is how long to wait before the first try again; it doubles with each that
	// follows soon, up to LongestPause. Zero means a second and a minute.
	Pause, LongestPause time.Duration
	// Grace is how long one may take to end; zero means ten seconds.
	Grace time.Duration
}

func (o Options) filled() Options {
	if o.Pause == 0 {
		o.Pause = time.Second
	}
	if o.LongestPause == 0 {
		o.LongestPause = time.Minute
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	return o
}

// Keep runs daemons until the context ends, and returns when all of them have ended.
func Keep(ctx context.Context, all []Daemon, watch Watcher, o Options) {
	// Who goes into the background becomes our child, as it would be the first process's.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	var group sync.WaitGroup
	for _, d := range all {
		group.Go(func() { d.keep(ctx, watch, o.filled()) })
	}
	group.Wait()
}

// keep runs one, again and again.
func (d Daemon) keep(ctx context.Context, watch Watcher, o Options) {
	// What is to end with us does so with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	log := zerolog.Ctx(ctx).With().Str("daemon", d.Name).Logger()
	pause := o.Pause
	for ctx.Err() == nil {
		watch(Status{Name: d.Name, State: Starting})
		began := time.Now()
		err := d.run(ctx, log, watch, o)
		if ctx.Err() != nil {
			log.Info().Msg("stopped")
			return
		}
		if time.Since(began) > 2*o.LongestPause {
			pause = o.Pause // it had been well
		}
		watch(Status{Name: d.Name, State: Ended, Says: err.Error()})
		log.Error().Err(err).Dur("again_in_ms", pause).Msg("a daemon that this host needs has ended; it is started again")
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, o.LongestPause)
	}
}

// run runs it once, to its end, which is an error always.
func (d Daemon) run(ctx context.Context, log zerolog.Logger, watch Watcher, o Options) error {
	life, end := context.WithCancel(ctx)
	defer end()
	cmd := exec.CommandContext(life, d.Args[0], d.Args[1:]...)
	cmd.Env = append([]string{}, d.Env...)
	// Its own group, so that a terminal's interrupt reaches it by us alone, and in order;
	// and gone with us, whatever becomes of us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		if d.PIDFile != "" {
			return os.ErrProcessDone // it ends by itself, and what it leaves behind is ended then
		}
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = o.Grace
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		in.Close()
		return fmt.Errorf("it cannot be started: %w", err)
	}
	in.Close()
	log.Info().Int("pid", cmd.Process.Pid).Strs("args", d.Args).Msg("started")
	ready := make(chan struct{})
	if d.Ready == nil && d.PIDFile == "" {
		close(ready)
	}
	var last tail
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		last.listen(out, log, d.Ready, ready)
	}()
	awaited := make(chan struct{})
	go func() {
		defer close(awaited)
		d.await(life, log, ready, watch)
	}()
	err = cmd.Wait()
	_ = out.SetReadDeadline(time.Now().Add(time.Second)) // of a grandchild that has it open
	<-heard
	if d.PIDFile != "" && (cmd.ProcessState.Success() || life.Err() != nil) {
		err = d.follow(life, o, ready)
	}
	end()
	<-awaited // what is told next is told last
	if err == nil {
		err = errors.New("it ended by itself, with exit status 0")
	}
	if said := last.String(); said != "" {
		err = fmt.Errorf("%w; it said last: %s", err, said)
	}
	return err
}

// follow waits for the end of the process that a daemon has left behind, which is an
// error, and ends it where it is to end.
func (d Daemon) follow(life context.Context, o Options, ready chan struct{}) error {
	text, err := os.ReadFile(d.PIDFile)
	if err != nil {
		return fmt.Errorf("it went into the background, and does not say as which process: %w", err)
	}
	// What is behind the first line is of one before it: the file is not always emptied.
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return fmt.Errorf("it went into the background, and %s has no process", d.PIDFile)
	}
	// Whose parent has ended is our child: else it is a number of long ago.
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != nil || got == pid {
		return fmt.Errorf("it went into the background, and the process that %s has, %d, is not there", d.PIDFile, pid)
	}
	close(ready)
	poll := time.NewTicker(o.Grace / 100)
	defer poll.Stop()
	var over <-chan time.Time
	done := life.Done()
	for !gone(pid) {
		select {
		case <-done:
			done, over = nil, time.After(o.Grace)
			_ = syscall.Kill(pid, syscall.SIGTERM)
		case <-over:
			over = nil
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case <-poll.C:
		}
	}
	return fmt.Errorf("its process in the background, %d, has ended", pid)
}

// gone says whether a process has ended. Whose parents ended are ours, and it is for us
// to ask for their end.
func gone(pid int) bool {
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err == nil {
		return got == pid
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// await tells that it is ready, and that it is not in time.
func (d Daemon) await(life context.Context, log zerolog.Logger, ready chan struct{}, watch Watcher) {
	var late <-chan time.Time
	if d.Within > 0 {
		timer := time.NewTimer(d.Within)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-ready:
			watch(Status{Name: d.Name, State: Ready})
			return
		case <-late:
			late = nil
			says := fmt.Sprintf("it is not ready after %s", d.Within)
			log.Warn().Msg(says + "; it goes on")
			watch(Status{Name: d.Name, State: Starting, Says: says})
		case <-life.Done():
			return
		}
	}
}

// tail is the last lines of what a daemon printed.
type tail struct {
	mu    sync.Mutex
	lines []string
}

// tailLines is how many of them go into an error.
const tailLines = 5

// maxLine is as much of a line as is told.
const maxLine = 2 << 10

// listen passes lines on until the daemon has no more.
func (t *tail) listen(out io.Reader, log zerolog.Logger, ready *regexp.Regexp, is chan struct{}) {
	in := bufio.NewReaderSize(out, maxLine)
	told := ready == nil
	for {
		line, more, err := in.ReadLine()
		if text := strings.TrimSpace(strings.ToValidUTF8(string(line), "?")); text != "" {
			log.Info().Msg(text)
			t.add(text)
			if !told && ready.MatchString(text) {
				told = true
				close(is)
			}
		}
		for more && err == nil { // the rest of a line that is too long
			_, more, err = in.ReadLine()
		}
		if err != nil {
			return
		}
	}
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	t.lines = t.lines[max(0, len(t.lines)-tailLines):]
}

// String is the lines in one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, " | ")
}

// Running says whether a program of that name runs, as far as a proc shows: by the
// 15 bytes that the kernel keeps of it.
func Running(proc, program string) bool {
	name := program[:min(len(program), 15)]
	files, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm")) // its pattern is right
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == name {
			return true
		}
	}
	return false
}
