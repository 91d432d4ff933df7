//go:build integration

package modules

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/share"
)

// killedRun is what a process that is to be killed publishes, and where.
type killedRun struct {
	Share    string
	Manifest Manifest
	Firmware map[string]string // as PublishOptions has it
}

func TestMain(m *testing.M) {
	testkit.KillMain(m, func(k killedRun) error { return k.publish(context.Background()) })
}

// publish does what a run of the job does: it takes the share, and scratch that
// an earlier run may have left full.
func (k killedRun) publish(ctx context.Context) error {
	s, err := share.Open(k.Share)
	if err != nil {
		return err
	}
	lock, err := s.Lock(ctx, share.LockOptions{NoWait: true})
	if err != nil {
		return err
	}
	scratch, err := lock.Scratch()
	if err != nil {
		return err
	}
	_, err = Publish(ctx, PublishOptions{Share: s, Scratch: scratch, Dir: filepath.Join("testdata", "ko"), Firmware: k.Firmware, Manifest: k.Manifest})
	if err != nil {
		return err
	}
	return lock.Unlock()
}

// everything is a picture of a share: each path but the lock's, which names its
// last holder, and what is there.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case e.Name() == "lock":
			return nil
		case e.Type()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		case e.Type().IsRegular():
			var text []byte
			text, err = os.ReadFile(path)
			content = string(text)
		}
		name, _ := filepath.Rel(dir, path) // path begins with dir
		seen[name] = fmt.Sprintf("%v %q", info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// A process that dies at any moment of publishing leaves the result that was
// there or the new one, and the next run makes of the share what an undisturbed
// one does.
func TestSoakKilledPublish(t *testing.T) {
	_, o := shelf(t)
	manifests := []Manifest{o.Manifest, newer(o).Manifest}
	var want []map[string]string
	for i := range manifests {
		dir := t.TempDir()
		for _, m := range []Manifest{manifests[1-i], manifests[i]} {
			if err := (killedRun{dir, m, o.Firmware}).publish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, everything(t, dir))
	}
	dir := t.TempDir()
	s, err := share.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := (killedRun{dir, manifests[1], o.Firmware}).publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	killer := testkit.Killer{Random: testkit.Random(t, 7), Took: 100 * time.Millisecond}
	before, after := 0, 0
	for i := 0; killer.Kills < 60; i++ {
		if i == 600 {
			t.Fatalf("%d of %d runs were killed before their end, want 60", killer.Kills, i)
		}
		run := killedRun{dir, manifests[i%2], o.Firmware}
		at := killer.Run(t, run)
		m, _, err := published(s, release, version)
		if err != nil {
			t.Fatalf("after kill %d, at %s, what is published is not whole: %v", i, at, err)
		}
		switch {
		case maps.Equal(m.Inputs, run.Manifest.Inputs):
			after++
		case maps.Equal(m.Inputs, manifests[1-i%2].Inputs):
			before++
		default:
			t.Fatalf("after kill %d, at %s, something else is published: %s", i, at, m.Inputs)
		}
		if err := run.publish(t.Context()); err != nil {
			t.Fatalf("the run after kill %d, at %s: %v", i, at, err)
		}
		if diff := cmp.Diff(want[i%2], everything(t, dir)); diff != "" {
			t.Fatalf("the share of the run after kill %d, at %s (-undisturbed +got):\n%s", i, at, diff)
		}
	}
	t.Logf("%d kills; the old result was left %d times, the new one %d times", killer.Kills, before, after)
}
