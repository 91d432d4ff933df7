package nextkernel

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/staged"
	"github.com/k8sp/cuda/pkg/stage"
)

// WatchOptions say what [Watch] watches.
type WatchOptions struct {
	// HostRoot is the host's root, whose /run, /dev and /boot are looked at; empty is
	// /host where something of a host is mounted there.
	HostRoot string
	// Dir is the folder in which what was found is left.
	Dir string
	// Mount mounts a partition; nil is the kernel's own mount.
	Mount staged.Mounter
	// Pause is how long to wait between two looks; zero means two seconds.
	Pause time.Duration
}

// The files of the folder between the two halves.
const (
	sightingFile  = "staged.json"
	captureSuffix = ".tar"
)

// sighting is what the watcher has seen: the status as far as it knows that, which is Working
// where there is work for who builds. When it looked for the last time is the time of the
// sighting's file.
type sighting struct {
	Status
	// Capture is the name of the capture beside it; "" where there is none.
	Capture string `json:"capture,omitempty"`
}

// again is how long a watcher waits before it looks at an update again that could not be
// captured.
const again = time.Minute

// Watch looks for staged updates, and leaves a capture of what each brings in a folder, until
// the context ends. What stands in the way is there, too, in the place of a capture. Its
// error is that it cannot write there, or does not see a host.
func Watch(ctx context.Context, o WatchOptions) error {
	w, err := newWatcher(o)
	if err != nil {
		return err
	}
	tick := time.NewTicker(cmp.Or(o.Pause, 2*time.Second))
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

type watcher struct {
	WatchOptions
	host *kernel.Root
	last sighting
	// failure is why the last is that of a failure.
	failure error
	// began is when the look began that is going on, and captured when the last capture did.
	began, captured time.Time
}

func newWatcher(o WatchOptions) (*watcher, error) {
	host, err := kernel.FindRoot(o.HostRoot, kernel.HostMount)
	if err != nil {
		return nil, stage.Wrap(stage.Detect, err, "the host root cannot be opened", "name the folder with the host's /run, /dev and /boot with --host-root")
	}
	if o.Mount == nil {
		o.Mount = staged.Mount
	}
	w := &watcher{WatchOptions: o, host: host}
	// What an earlier one has seen in this boot need not be captured again.
	if s, _, err := readSighting(o.Dir); err == nil && s.Boot == w.boot() {
		w.last = s
	}
	return w, nil
}

// boot identifies the host's boot; "" where nothing does.
func (w *watcher) boot() string {
	id, err := kernel.BootID(w.host)
	if err != nil {
		return ""
	}
	return id
}

// look looks once, and notes what it has seen and when.
func (w *watcher) look(ctx context.Context) error {
	w.began = time.Now()
	s := w.see(ctx)
	if ctx.Err() != nil {
		return ctx.Err() // what was seen may be half of it
	}
	if s != w.last {
		if err := w.note(s); err != nil {
			return w.noPlace(err)
		}
		w.last = s
		zerolog.Ctx(ctx).Info().Str("state", string(s.State)).Str("release", s.Release).Msg(s.Says)
	}
	return w.noPlace(os.Chtimes(filepath.Join(w.Dir, sightingFile), w.began, w.began))
}

func (w *watcher) noPlace(err error) error {
	return stage.Wrap(stage.Detect, err, "what was found has no place", fmt.Sprintf("let builder write to %s", w.Dir))
}

// failed is the sighting of what stands in the way.
func (w *watcher) failed(known Status, err error) sighting {
	w.failure = err
	return sighting{Status: known.failed(err)}
}

// see is what there is to be seen now.
func (w *watcher) see(ctx context.Context) sighting {
	boot := w.boot()
	u, err := staged.Find(w.host)
	switch {
	case errors.Is(err, staged.ErrNone) && w.last.Update != "" && w.last.Boot == boot:
		return w.last // the next boot may bring it all the same
	case errors.Is(err, staged.ErrNone):
		return sighting{Status: Status{State: None, Boot: boot, Says: "no update is staged: the next boot brings what runs"}}
	case err != nil:
		return w.failed(Status{Boot: boot}, err)
	case u.ID == w.last.Update && (w.last.Capture != "" || w.last.State == Ready || time.Since(w.captured) < again):
		return w.last // else it failed, or one that was stopped has left it half done
	}
	w.captured = time.Now()
	return w.capture(ctx, u, Status{Boot: boot, Update: u.ID, Slot: u.Slot})
}

// capture records the host as the update makes it.
func (w *watcher) capture(ctx context.Context, u staged.Update, known Status) sighting {
	// Until it is there, whoever asks is told that it is not.
	known.State, known.Says = Working, "an update is staged: what it brings is looked at"
	if err := w.note(sighting{Status: known}); err != nil {
		return w.failed(known, w.noPlace(err))
	}
	name := strings.Map(plain, u.ID) + captureSuffix
	var system staged.System
	err := w.write(name, func(out io.Writer) (err error) {
		system, err = u.Capture(ctx, w.host, w.Mount, job.Looks, out)
		return err
	})
	switch {
	case errors.Is(err, staged.ErrSame):
		known.State, known.Says = Ready, "the staged system is the one that runs"
		return sighting{Status: known}
	case err != nil:
		return w.failed(known, err)
	}
	known.Release, known.Version = system.Release, system.Version
	known.Says = fmt.Sprintf("the next boot brings kernel %s", system.Release)
	return sighting{known, name}
}

// plain has of an update's ID what a file's name may have.
func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
		return r
	}
	return '_'
}

// write has a file of the folder be written, which appears when it is whole, and with the
// time of the look that is going on.
func (w *watcher) write(name string, write func(io.Writer) error) (err error) {
	path := filepath.Join(w.Dir, name)
	part := path + ".part"
	_ = beneath.Remove(part) // of one that was killed
	f, err := beneath.CreateNew(part, 0o644)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err == nil {
		err = os.Chtimes(part, w.began, w.began)
	}
	if err == nil {
		err = beneath.Rename(part, path)
	}
	if err != nil {
		_ = beneath.Remove(part)
	}
	return err
}

// note writes a sighting down, and removes the captures of others.
func (w *watcher) note(s sighting) error {
	if err := w.write(sightingFile, func(out io.Writer) error { return json.NewEncoder(out).Encode(s) }); err != nil {
		return err
	}
	if s.State == Working && s.Capture == "" {
		return nil // who builds may be at the last one
	}
	captures, err := beneath.Glob(w.Dir, "*"+captureSuffix+"*") // whole or not
	for _, path := range captures {
		if filepath.Base(path) != s.Capture {
			err = errors.Join(err, beneath.Remove(path))
		}
	}
	return err
}

// readSighting is what a watcher saw, and when it looked for the last time.
func readSighting(dir string) (s sighting, looked time.Time, err error) {
	f, err := beneath.Open(filepath.Join(dir, sightingFile))
	if err != nil {
		return s, looked, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, looked, err
	}
	return s, info.ModTime(), json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&s)
}
