package nextkernel

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options say how the driver for the next kernel is come by.
type Options struct {
	// Build is as for the kernel that runs; but its Host is the capture.
	Build job.Options
	// Watch is where updates are looked for, or where somebody else leaves them: its Dir.
	Watch WatchOptions
	// StatusFile is where the status is written, for others on the host; empty is nowhere.
	StatusFile string
	// Retry is how long to wait after a failure; zero means ten minutes.
	Retry time.Duration

	// make is job.Build, but in tests.
	make func(context.Context, job.Options) (job.Result, error)
}

// Once sees to it that the kernel of the next boot has a driver, and says how that ended;
// where no update is staged there is nothing to do. Errors are of the stage that failed.
func Once(ctx context.Context, o Options) (Status, error) {
	dir, err := os.MkdirTemp("", "staged-")
	if err != nil {
		return Status{}, stage.Wrap(stage.Detect, err, "there is no space to capture the next kernel", "make the container's /tmp writable")
	}
	defer os.RemoveAll(dir)
	o.Watch.Dir = dir
	w, err := newWatcher(o.Watch)
	if err != nil {
		return Status{}, err
	}
	if err := w.look(ctx); err != nil {
		return Status{}, err
	}
	status, err := w.last.Status, w.failure
	if w.last.Capture != "" {
		status, err = o.build(ctx, w.last)
	}
	if failed := status.write(o.StatusFile); failed != nil && err == nil {
		err = stage.Wrap(stage.Publish, failed, "the status cannot be written", "name a file in a folder that is there with --status")
	}
	return status, err
}

// build has modules be in the share for the host that was captured.
func (o Options) build(ctx context.Context, s sighting) (Status, error) {
	b := o.Build
	b.Host.Root = filepath.Join(o.Watch.Dir, s.Capture)
	build := job.Build
	if o.make != nil {
		build = o.make
	}
	result, err := build(ctx, b)
	if err == nil {
		err = o.trusted(ctx, b.Host, result)
	}
	if err != nil {
		return s.failed(err), err
	}
	return s.ready(result), nil
}

// trusted is an error where the node that boots the kernel would not load the result, as
// nobody has signed it whom it trusts: as what it has built itself.
func (o Options) trusted(ctx context.Context, h job.Host, r job.Result) error {
	if len(o.Build.Trust) == 0 {
		return nil
	}
	checks, err := job.Verify(ctx, filepath.Dir(r.Manifest), h, "", o.Build.Trust)
	if err != nil {
		return err
	}
	return modules.Judge(checks, modules.Policy{Strict: o.Build.Strict, Allow: o.Build.Allow, Published: true})
}

// Agent has a driver be there for every update that a watcher finds, and tells how far that
// is.
type Agent struct {
	Options
	began time.Time
	// asking are the questions that are being answered: no more than it has room for.
	asking chan struct{}

	// tried is the update for which a build failed, and again when it is tried again.
	tried string
	again time.Time

	mu     sync.Mutex
	status Status
}

// questions are as many as are answered at once. One asks: who lets the node reboot.
const questions = 16

// NewAgent is an agent that goes by what a watcher leaves in the folder Watch.Dir.
func NewAgent(o Options) *Agent {
	return &Agent{Options: o, began: time.Now(), asking: make(chan struct{}, questions)}
}

// Run works until the context ends.
func (a *Agent) Run(ctx context.Context) {
	tick := time.NewTicker(cmp.Or(a.Watch.Pause, 2*time.Second))
	defer tick.Stop()
	for {
		// One from before this agent may be of an earlier boot.
		if s, looked, err := readSighting(a.Watch.Dir); err == nil && looked.After(a.began) {
			a.follow(ctx, s)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow does what a sighting asks for, unless that is done.
func (a *Agent) follow(ctx context.Context, s sighting) {
	if s.Capture == "" {
		a.tell(ctx, s.Status)
		return
	}
	known := a.known()
	if known.Update == s.Update && known.State == Ready || a.tried == s.Update && time.Now().Before(a.again) {
		return
	}
	working := s.Status
	working.Says = fmt.Sprintf("a driver for kernel %s, which the next boot brings, is looked for or built", s.Release)
	a.tell(ctx, working)
	status, err := a.build(ctx, s)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		wait := cmp.Or(a.Retry, 10*time.Minute)
		a.tried, a.again = s.Update, time.Now().Add(wait)
		zerolog.Ctx(ctx).Error().Str("next", status.Next).Str("stage", string(status.Stage)).Stringer("again_in", wait).Msg(status.Says)
	}
	a.tell(ctx, status)
}

func (a *Agent) known() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// tell makes a status known.
func (a *Agent) tell(ctx context.Context, s Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s == a.status {
		return
	}
	a.status = s
	log := zerolog.Ctx(ctx)
	if s.State != Failed {
		log.Info().Str("state", string(s.State)).Str("release", s.Release).Msg(s.Says)
	}
	if err := s.write(a.StatusFile); err != nil {
		log.Warn().Err(err).Str("file", a.StatusFile).Msg("the status is not there for others to read")
	}
}
