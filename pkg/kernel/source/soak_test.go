//go:build integration

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/pkg/kernel"
)

// killed is how the test binary, run again, knows that it is to check out and
// be killed: what, where to and from where, in JSON.
const killed = "SOURCE_TEST_KILLED"

type killedRun struct {
	Release, Dir, Scratch, APIURL, CloneURL string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(killed); text != "" {
		os.Exit(beKilled(text))
	}
	os.Exit(m.Run())
}

func beKilled(text string) int {
	var run killedRun
	if err := json.Unmarshal([]byte(text), &run); err != nil {
		panic(err)
	}
	release, err := kernel.ParseRelease(run.Release)
	if err != nil {
		panic(err)
	}
	_, err = Checkout(context.Background(), kernel.Target{Release: release, Arch: kernel.X86_64}, Options{
		Dir: run.Dir, Scratch: run.Scratch, Repository: repositoryName, APIURL: run.APIURL, CloneURL: run.CloneURL,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child starts a process that checks a release out.
func child(t *testing.T, release string, o Options) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(killedRun{release, o.Dir, o.Scratch, o.APIURL, o.CloneURL})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killed+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// A process that dies at any moment leaves the tree that was there, the new one
// or none; and the next run makes of it what an undisturbed one does.
func TestSoakKilled(t *testing.T) {
	r := newRepository(t)
	releases := []string{"4.7.3-coreos", "4.8.1-coreos"}
	var want []map[string]string
	for _, release := range releases {
		o := r.options(t)
		if _, err := Checkout(t.Context(), target(t, release), o); err != nil {
			t.Fatal(err)
		}
		want = append(want, snapshot(t, o.Dir))
	}
	o := r.options(t)
	random := rand.New(rand.NewPCG(3, 4))
	took := time.Second // of a run that is not killed, about
	interrupted := 0
	for i := 0; interrupted < 50; i++ {
		if i == 300 {
			t.Fatalf("%d of %d runs were killed before their end, want 50", interrupted, i)
		}
		release := releases[i%2]
		if i%4 < 2 { // nothing is there yet, and all of it is fetched
			if err := os.RemoveAll(o.Dir); err != nil {
				t.Fatal(err)
			}
		}
		scratch := filepath.Join(t.TempDir(), "scratch") // as each run of the job has its own
		if err := os.Mkdir(scratch, 0o755); err != nil {
			t.Fatal(err)
		}
		o.Scratch = scratch
		began := time.Now()
		cmd := child(t, release, o)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		after := time.Duration(random.Int64N(int64(took)))
		select {
		case err := <-ended:
			if took = time.Since(began); err != nil {
				t.Fatalf("undisturbed: %v", err)
			}
		case <-time.After(after):
			_ = cmd.Process.Kill() // it may have ended just now
			if <-ended != nil {
				interrupted++
			}
		}
		if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
			left := snapshot(t, o.Dir)
			if !cmp.Equal(left, want[0]) && !cmp.Equal(left, want[1]) {
				t.Fatalf("kill %d, after %s, left a part of a tree:\n%s", i, after, cmp.Diff(want[i%2], left))
			}
		}
		o.Scratch = t.TempDir()
		if _, err := Checkout(t.Context(), target(t, release), o); err != nil {
			t.Fatalf("the run after kill %d, after %s: %v", i, after, err)
		}
		if diff := cmp.Diff(want[i%2], snapshot(t, o.Dir)); diff != "" {
			t.Fatalf("the tree of the run after kill %d, after %s (-undisturbed +got):\n%s", i, after, diff)
		}
		if out := gittest.Run(t, o.Dir, "status", "--porcelain", "--ignored"); out != "" {
			t.Fatalf("after kill %d git status says\n%s", i, out)
		}
	}
}
