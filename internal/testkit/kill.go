package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// variable has what a process that is to be killed works on, in JSON.
const variable = "KILLTEST_WORK"

// begins is what such a process prints when it begins to.
const begins = "begins"

// KillMain is for TestMain: it runs the tests, or, in a process that is to be
// killed, work on what Run was given.
func KillMain[W any](m *testing.M, work func(W) error) {
	Killable(work)
	os.Exit(m.Run())
}

// Killable is [KillMain] for an init, where TestMain has other things to do: in a
// process that is to be killed it does not return.
func Killable[W any](work func(W) error) {
	text := os.Getenv(variable)
	if text == "" {
		return
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
	cmd, _ := start(t, on)
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

// Part is a part of what a process works on. The process tells of it by the lines
// that it prints.
type Part struct {
	Name string
	// Begins and Ends say of a line whether it tells that the part begins, or has
	// ended.
	Begins, Ends func(line string) bool
	// Took is about how long it takes. It is measured while it is zero, and then grows
	// with each kill and shrinks with each part that ended before, so that its end is
	// met as often as its beginning, however busy the machine is.
	Took time.Duration
	// Kills counts those that were killed in it.
	Kills int
}

// RunPart has a process work on something and kills it, and its process group, at a
// random moment of a part of that. It returns when after the part's beginning, and
// whether the process died before the part's end. One that ends before is to succeed.
func (k *Killer) RunPart(t *testing.T, on any, part *Part) (after time.Duration, died bool) {
	t.Helper()
	cmd, lines := start(t, on)
	var begin, end time.Time // as of when all is closed
	began, all := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(all)
		for {
			line, err := lines.ReadString('\n')
			switch {
			case err != nil:
				return
			case begin.IsZero() && part.Begins(line):
				begin = time.Now()
				close(began)
			case !begin.IsZero() && end.IsZero() && part.Ends(line):
				end = time.Now()
			}
		}
	}()
	select {
	case <-all:
	case <-began:
		if part.Took > 0 {
			after = time.Duration(k.Random.Int64N(int64(part.Took)))
			select {
			case <-all:
			case <-time.After(after):
				_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may have ended just now
			}
		}
	}
	<-all
	err := cmd.Wait()
	died = cmd.ProcessState.ExitCode() < 0 // by a signal
	switch {
	case err != nil && !died:
		t.Fatalf("undisturbed: %v", err)
	case begin.IsZero():
		t.Fatalf("%s did not begin", part.Name)
	case part.Took == 0:
		part.Took = max(end.Sub(begin), time.Millisecond)
	case !end.IsZero():
		part.Took -= part.Took / 4
	case died:
		part.Took += part.Took / 8
		k.Kills++
		part.Kills++
		return after, true
	}
	return after, false
}

// Random is the chance of a test that kills, by a seed that the log has. Another is
// given by the environment variable SOAK_SEED.
func Random(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	if text := os.Getenv("SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SOAK_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// start starts a process, and returns when it begins to work. What it prints from
// then on can be read.
func start(t *testing.T, on any) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	text, err := json.Marshal(on)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	lines := bufio.NewReader(stdout)
	if err == nil {
		_, err = lines.ReadString('\n')
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, lines
}
