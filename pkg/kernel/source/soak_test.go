//go:build integration

package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// killedRun is what a process that is to be killed checks out, where to and from
// where.
type killedRun struct {
	Release, Dir, Scratch, APIURL, CloneURL string
}

func TestMain(m *testing.M) {
	testkit.KillMain(m, killedRun.checkOut)
}

func (k killedRun) checkOut() error {
	release, err := kernel.ParseRelease(k.Release)
	if err != nil {
		return err
	}
	_, err = Checkout(context.Background(), kernel.Target{Release: release, Arch: kernel.X86_64}, Options{
		Dir: k.Dir, Scratch: k.Scratch, Repository: repositoryName, APIURL: k.APIURL, CloneURL: k.CloneURL,
	})
	return err
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
	killer := testkit.Killer{Random: testkit.Random(t, 3), Took: time.Second}
	for i := 0; killer.Kills < 50; i++ {
		if i == 300 {
			t.Fatalf("%d of %d runs were killed before their end, want 50", killer.Kills, i)
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
		after := killer.Run(t, killedRun{release, o.Dir, o.Scratch, o.APIURL, o.CloneURL})
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
