//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
)

// TestStop interrupts a job in the middle of its compiles, as `docker stop`
// and Ctrl-C do.
func TestStop(t *testing.T) {
	for name, signal := range map[string]string{"docker stop": "TERM", "Ctrl-C": "INT"} {
		t.Run(name, func(t *testing.T) {
			c := needDemo(t)
			before := c.results(t)
			// Other modules than those that are published.
			b := c.builder(t, "--exclude-modules=nvidia-peermem", "--jobs=2")
			running := start(t, b)
			// Tests of the kernel's interfaces, or sources: the share may have the answers to all tests.
			running.waitFor(t, "kernel modules: ")
			if signal == "TERM" {
				turnedAway(t, c)
			}

			stopped := time.Now()
			if signal == "TERM" {
				docker(t, "stop", b.Name) // kills what has not ended in time
			} else {
				docker(t, "kill", "--signal", signal, b.Name)
			}
			if code := running.wait(t); code != 130 {
				t.Errorf("exit code %d, want 130", code)
			}
			t.Logf("it took %s to end", time.Since(stopped).Round(100*time.Millisecond))
			if left := docker(t, "ps", "--all", "--quiet", "--filter", "name="+b.Name); left != "" {
				t.Errorf("a container is left: %s", left)
			}
			if after := c.results(t); after != before {
				t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
			}
			if left, _ := os.ReadDir(filepath.Join(c.dir, ".builder", "scratch")); len(left) > 0 {
				t.Errorf("left in scratch: %v", left)
			}
			if o := run(t, c.builder(t)); o.code != 0 {
				t.Errorf("the run after it ends with exit code %d, want 0", o.code)
			}
		})
	}
}

// turnedAway runs the job while another holds the share.
func turnedAway(t *testing.T, c *checkout) {
	t.Helper()
	o := run(t, c.builder(t, "--no-wait"))
	if o.code != 75 {
		t.Errorf("with the share taken and --no-wait the exit code is %d, want 75", o.code)
	}
}

// process is a run of builder that has not ended.
type process struct {
	lines chan string
	code  chan int
	seen  strings.Builder
}

func start(t *testing.T, b lab.Builder) *process {
	t.Helper()
	r, w := io.Pipe()
	b.Stdout, b.Stderr = io.Discard, w
	p := &process{lines: make(chan string, 1000), code: make(chan int, 1)}
	go func() {
		defer close(p.lines)
		scanner := bufio.NewScanner(r)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
	}()
	go func() {
		code, err := b.Run(t.Context())
		if err != nil {
			t.Error(err)
		}
		w.Close()
		p.code <- code
	}()
	return p
}

// waitFor returns when the log has said text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		select {
		case line, open := <-p.lines:
			p.seen.WriteString(line + "\n")
			if !open {
				t.Fatalf("it ended without saying %q:\n%s", text, p.seen.String())
			}
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			t.Fatalf("five minutes and it has not said %q:\n%s", text, p.seen.String())
		}
	}
}

func (p *process) wait(t *testing.T) int {
	t.Helper()
	for line := range p.lines {
		p.seen.WriteString(line + "\n")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.seen.String())
		}
	})
	return <-p.code
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", args[0], err, out)
	}
	return string(bytes.TrimSpace(out))
}
