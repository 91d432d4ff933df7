package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestFilesErrors: what befalls builder's files in a step is the stage's failure, and any
// other error that nobody has explained a bug.
func TestFilesErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		kind string
		code int
	}{
		{&fs.PathError{Op: "remove", Path: "x", Err: unix.ELOOP}, "prepare", 13},
		{fmt.Errorf("put: %w", &os.LinkError{Op: "rename", Old: "x", New: "y", Err: unix.ENOENT}), "prepare", 13},
		{stage.Wrap(stage.Source, &fs.PathError{Op: "open", Path: "x", Err: unix.ENOENT}, "r", "h"), "source", 12},
		{errors.New("what nobody thought of"), stage.Bug, 1},
	} {
		fails := step[nothing, nothing]{
			stage: stage.Prepare,
			plan:  func(context.Context) ([]string, error) { return nil, c.err },
			do:    func(context.Context, nothing) (nothing, error) { return nothing{}, c.err },
		}
		list := begin(fails)
		_, planned := list.plan(t.Context())
		_, done := list.do(t.Context(), &brackets{dry: true}, nothing{})
		for _, err := range []error{planned, done} {
			if stage.KindOf(err) != c.kind || stage.ExitCode(err) != c.code {
				t.Errorf("%v is of kind %q with exit code %d, want %q and %d", err, stage.KindOf(err), stage.ExitCode(err), c.kind, c.code)
			}
		}
	}
}

// TestExchangedScratch has somebody put a link in the place of the run's scratch while a
// tool runs.
func TestExchangedScratch(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"make", "nvidia-installer"} {
		f := newFixture(t)
		f.tools.before[tool] = func() {
			scratch := filepath.Join(f.share, ".builder/scratch")
			if err := os.Rename(scratch, scratch+".aside"); err == nil {
				err = os.Symlink(t.TempDir(), scratch)
				if err != nil {
					t.Error(err)
				}
			}
		}
		if o := f.build(t); stage.KindOf(o.err) == stage.Bug || stage.ExitCode(o.err) < 10 {
			t.Errorf("exchanged when %s ran: exit code %d, %v", tool, stage.ExitCode(o.err), o.err)
		}
	}
}
