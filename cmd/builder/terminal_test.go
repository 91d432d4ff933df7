package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is one of the kernel's own, so many columns wide: what is written to
// the file comes back from the reader.
func terminal(t *testing.T, columns uint16) (*os.File, io.Reader) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return theirs, ours
}

// TestBarOnATerminal builds with an installer that ends when the bar has shown
// its object, and looks at what a person would have seen.
func TestBarOnATerminal(t *testing.T) {
	for _, columns := range []uint16{0, 30, 120} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			f := newFixture(t)
			fifo := f.state + ".seen"
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			f.writeInstaller(t, fixtureDriver, `echo "     CC [M]  nv.o" >>"$log"; read seen <`+fifo+`; cp "$modules"/*.ko "$install"`)
			f.environ = append(f.environ, "BUILDER_LOG_FORMAT=console")
			t.Setenv("TERM", "xterm")
			stderr, screen := terminal(t, columns)
			text := make(chan string, 1)
			go func() {
				var seen bytes.Buffer
				told := false
				buffer := make([]byte, 4096)
				for {
					n, err := screen.Read(buffer)
					seen.Write(buffer[:n])
					if !told && bytes.Contains(seen.Bytes(), []byte("kernel modules  1 steps")) {
						told = true
						_ = os.WriteFile(fifo, []byte("seen\n"), 0)
					}
					if err != nil { // the other side is closed
						text <- seen.String()
						return
					}
				}
			}()
			var stdout bytes.Buffer
			code := run(t.Context(), defaults{build: f.options()}, []string{"--build-timeout=1m"}, f.environ, &stdout, stderr)
			stderr.Close()
			seen := <-text
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, seen)
			}
			if bars := strings.Count(seen, "\r\x1b[K"); bars < 2 || !strings.Contains(seen, "finished") {
				t.Errorf("the bar was drawn and erased %d times in\n%q", bars, seen)
			}
			for line := range strings.Lines(seen) {
				// What was last drawn in the line is all that stays of it.
				if i := strings.LastIndex(line, "\r\x1b[K"); strings.Contains(line[i+1:], "steps") {
					t.Errorf("the bar is in a line of the log: %q", line)
				}
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.environ = append(f.environ, "BUILDER_NO_SUCH_OPTION=1") // a warning otherwise
	if o := f.run(t, "--quiet"); o.code != 0 || o.stderr != "" || !strings.HasSuffix(o.stdout, "manifest.json\n") {
		t.Errorf("exit code %d, stdout %q, stderr %q, want the manifest's path and no more", o.code, o.stdout, o.stderr)
	}
	o := f.run(t, "--quiet", "--driver-version=1.2.3")
	if o.code != 11 || o.stdout != "" || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, "1.2.3") {
		t.Errorf("exit code %d, stdout %q, stderr %q, want the one line of the error", o.code, o.stdout, o.stderr)
	}
	if o := f.run(t, "--quiet", "--debug"); o.code != 2 || !strings.Contains(o.stderr, "--quiet and --debug") {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
}
