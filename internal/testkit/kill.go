package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// variable has what a process that is to be killed works on, in JSON.
const variable = "KILLTEST_WORK"

// begins is what such a process prints when it begins to.
const begins = "begins"

// KillMain is for TestMain: it runs the tests, or, in a process that is to be
// killed, work on what Run was given.
func KillMain[W any](m *testing.M, work func(W) error) {
	text := os.Getenv(variable)
	if text == "" {
		os.Exit(m.Run())
	}
	var on W
	if err := json.Unmarshal([]byte(text), &on); err != nil {
		panic(err)
	}
	fmt.Println(begins)
	if err := work(on); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Killer kills a process at random moments of its work, again and again, for
// tests of what it then leaves behind. The process is the test's own program: its
// TestMain is [KillMain], and [Killer.Run] starts it once more.
type Killer struct {
	// Random says when.
	Random *rand.Rand
	// Took is how long one takes that is not killed, about; it is corrected by
	// those that end before their time.
	Took time.Duration
	// Kills counts those that were killed before their end.
	Kills int
}

// Run has a process work on something and kills it at a random moment, which it
// returns. One that ends before is to succeed.
func (k *Killer) Run(t *testing.T, on any) (after time.Duration) {
	t.Helper()
	cmd := start(t, on)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	after = time.Duration(k.Random.Int64N(int64(k.Took)))
	select {
	case err := <-ended:
		if k.Took = time.Since(began); err != nil {
			t.Fatalf("undisturbed: %v", err)
		}
	case <-time.After(after):
		_ = cmd.Process.Kill() // it may have ended just now
		if <-ended != nil {
			k.Kills++
		}
	}
	return after
}

// start starts a process, and returns when it begins to work.
func start(t *testing.T, on any) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(on)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = bufio.NewReader(stdout).ReadString('\n')
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}
