// Command stopwatch runs another program and says what that took: the time from
// its start to its end, the most memory that it held, and how much of the time
// some of its descendants ran. It is the parent process of what the benchmark
// times, and knows nothing of what that does.
//
//	stopwatch [-children make,nvidia-installer] PROGRAM [ARGUMENT …]
//
// The result is one line of JSON on stdout; what the program prints goes to
// stderr. The exit status is the program's.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Result is what a program took.
type Result struct {
	// Seconds is from the start of the process to its end.
	Seconds float64 `json:"seconds"`
	// PeakBytes is the largest resident set of the process itself: wait4(2) counts
	// compilers that it has waited for, too.
	PeakBytes int64 `json:"peak_bytes"`
	// ChildSeconds is the part of Seconds in which the process had a descendant of
	// one of the names asked for.
	ChildSeconds float64 `json:"child_seconds"`
}

func main() {
	children := flag.String("children", "", "`names` of descendants whose time to add up, separated by commas")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	result, code, err := run(flag.Args(), strings.Split(*children, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "stopwatch:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
	os.Exit(code)
}

func run(argv, children []string) (Result, int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{}, 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	busy, peak, err := watch(cmd.Process.Pid, children, done)
	result := Result{Seconds: time.Since(started).Seconds(), PeakBytes: peak, ChildSeconds: busy.Seconds()}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return Result{}, 0, err
	}
	return result, cmd.ProcessState.ExitCode(), nil
}
