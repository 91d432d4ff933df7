// Command nvidia-installer stands in for the program of that name in NVIDIA's
// driver packages, for tests. It is not NVIDIA's and says so.
//
// The real one cannot be had without a download from NVIDIA; the kernel
// modules' sources can, from Debian. This program does the one thing that
// builder asks of an installer, as the real one of the 535 line does it:
// --kernel-modules-only. It knows the same options and dies of others, insists
// on the same record of an installed driver, runs the same make commands in
// the package's sources, writes the same log and exits with the same status.
// What it does not do: look for GPUs, load modules, sign them, ask.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// version is what the log and --version say.
const version = "535 (stand-in for tests, not NVIDIA's)"

func main() {
	var name unix.Utsname
	_ = unix.Uname(&name)
	i := installer{
		program: os.Args[0],
		uid:     os.Geteuid(),
		running: unix.ByteSliceToString(name.Release[:]),
		record:  "/var/lib/nvidia/log",
		helper:  "/proc/sys/kernel/modprobe",
		stdout:  os.Stdout,
		stderr:  os.Stderr,
	}
	os.Exit(i.run(os.Args[1:]))
}

// installer is one run of the program.
type installer struct {
	program string // as it was called; its folder is the package
	uid     int
	running string // the release of the kernel that runs here
	record  string // the file that says which driver is installed
	helper  string // the file that says with what the kernel loads modules

	stdout, stderr io.Writer
	log            io.Writer
	given          map[string]string
	output         []byte // what make has printed
}

// run is the whole program; it returns the exit status.
func (i *installer) run(args []string) int {
	given, err := parse(args)
	if err != nil {
		fmt.Fprintf(i.stderr, "%s: %v\n", i.program, err)
		fmt.Fprintf(i.stderr, "\nERROR: Invalid commandline, please run `%s --help` for usage information.\n\n", i.program)
		return 1
	}
	i.given = given
	for _, name := range []string{"version", "help", "advanced-options"} {
		if _, ok := given[name]; ok {
			i.printHelp(name)
			return 0
		}
	}
	file, err := os.Create(i.value("log-file-name", "/var/log/nvidia-installer.log"))
	if err != nil {
		fmt.Fprintf(i.stderr, "nvidia-installer: Error opening log file: %v; disabling logging.\n", err)
		i.log = io.Discard
	} else {
		defer file.Close()
		i.log = file
	}
	i.header(args)
	if err := i.install(); err != nil {
		if !errors.Is(err, errReported) {
			i.error(err.Error())
		}
		i.error(fmt.Sprintf("Installation has failed.  Please see the file '%s' for details.  (This is a stand-in for tests.)",
			i.value("log-file-name", "/var/log/nvidia-installer.log")))
		return 1
	}
	return 0
}

func (i *installer) printHelp(name string) {
	fmt.Fprintf(i.stdout, "\nnvidia-installer:  version %s\n", version)
	fmt.Fprintf(i.stdout, "  A stand-in for the NVIDIA Software Installer, which this is not.\n\n")
	if name == "version" {
		return
	}
	fmt.Fprintf(i.stdout, "\n%s [options]\n\n", i.program)
	printOptions(i.stdout, name == "advanced-options")
}

// header begins the log as the real installer does.
func (i *installer) header(args []string) {
	fmt.Fprintf(i.log, "nvidia-installer log file '%s'\n", i.value("log-file-name", ""))
	fmt.Fprintf(i.log, "creation time: %s\n", time.Now().Format(time.ANSIC))
	fmt.Fprintf(i.log, "installer version: %s\n\nPATH: %s\n\nnvidia-installer command line:\n", version, os.Getenv("PATH"))
	for _, arg := range append([]string{i.program}, args...) {
		fmt.Fprintf(i.log, "    %s\n", arg)
	}
	fmt.Fprintf(i.log, "\nUsing built-in stream user interface\n")
}

func (i *installer) has(name string) bool { _, ok := i.given[name]; return ok }

func (i *installer) value(name, otherwise string) string {
	if v, ok := i.given[name]; ok {
		return v
	}
	return otherwise
}

func (i *installer) step(words string)    { fmt.Fprintf(i.log, "-> %s\n", words) }
func (i *installer) warning(words string) { i.say("WARNING: ", words) }
func (i *installer) error(words string)   { i.say("ERROR: ", words) }

func (i *installer) say(prefix, words string) {
	fmt.Fprintf(i.log, "%s%s\n", prefix, words)
	fmt.Fprintf(i.stderr, "\n%s%s\n\n", prefix, words)
}

// sh runs a shell command in the package's folder, with its output indented in
// the log.
func (i *installer) sh(command string) error {
	fmt.Fprintf(i.log, "   executing: '%s'...\n", command)
	var output bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", command+" 2>&1")
	cmd.Dir = filepath.Dir(i.program)
	cmd.Stdout = io.MultiWriter(&output, &indenter{w: i.log})
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "LANG=") || strings.HasPrefix(v, "LC_ALL=")
	})
	err := cmd.Run()
	i.output = output.Bytes()
	return err
}

// indenter indents every line by three spaces.
type indenter struct {
	w      io.Writer
	inside bool // the last write ended inside a line
}

func (n *indenter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !n.inside {
			if _, err := io.WriteString(n.w, "   "); err != nil {
				return 0, err
			}
		}
		if _, err := n.w.Write(line); err != nil {
			return 0, err
		}
		n.inside = !bytes.HasSuffix(line, []byte("\n"))
	}
	return len(p), nil
}
