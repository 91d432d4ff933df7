package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
)

// daemon is a program that goes on beside the steps.
type daemon struct {
	cmd            *exec.Cmd
	stdout, stderr *heard
	ended          chan struct{}
	err            error
}

// heard is what a program has printed so far.
type heard struct {
	mu   sync.Mutex
	more *sync.Cond
	text bytes.Buffer
	from int // what came before is forgotten
	over bool
}

func newHeard() *heard {
	h := &heard{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.more.Broadcast()
	return h.text.Write(p)
}

func startDaemon(argv []string) (*daemon, error) {
	d := &daemon{cmd: exec.Command(argv[0], argv[1:]...), stdout: newHeard(), stderr: newHeard(), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d.stdout, d.stderr
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		d.err = d.cmd.Wait()
		d.stderr.mu.Lock()
		d.stderr.over = true
		d.stderr.more.Broadcast()
		d.stderr.mu.Unlock()
		close(d.ended)
	}()
	return d, nil
}

// forget has only what is printed from now on count for await.
func (d *daemon) forget() {
	d.stderr.mu.Lock()
	defer d.stderr.mu.Unlock()
	d.stderr.from = d.stderr.text.Len()
}

// await waits until the program has printed a text on stderr, or has ended.
func (d *daemon) await(text string) error {
	h := d.stderr
	h.mu.Lock()
	defer h.mu.Unlock()
	for !bytes.Contains(h.text.Bytes()[h.from:], []byte(text)) {
		if h.over {
			return fmt.Errorf("%s ended, and did not print %q: %s", d.cmd.Path, text, h.text.Bytes())
		}
		h.more.Wait()
	}
	return nil
}

// stop ends the program, and is what came of it.
func (d *daemon) stop() (*plan.Ran, error) {
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return nil, err
	}
	<-d.ended
	if failed := new(exec.ExitError); d.err != nil && !errors.As(d.err, &failed) {
		return nil, d.err
	}
	return &plan.Ran{Exit: d.cmd.ProcessState.ExitCode(), Stdout: d.stdout.text.Bytes(), Stderr: d.stderr.text.Bytes()}, nil
}
