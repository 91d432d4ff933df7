package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/daemons"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// The names of the daemons, as their status and the log have them.
const (
	fabricManager = "fabric manager"
	persistence   = "persistence daemon"
)

// Where NVIDIA's daemons have sockets and numbers of processes, in the root of the
// container that runs them.
const (
	fabricRun      = "run/nvidia-fabricmanager"
	persistenceRun = "run/nvidia-persistenced"
)

// fabricOf is what this host has between its GPUs.
func (l *loader) fabricOf() fabric.Fabric {
	return fabric.Of(l.host, kernel.PCIDevices(l.host))
}

// tellFabric says what is between this host's GPUs and what that needs. It is a failure
// only where somebody is to stay and run that, and cannot.
func (l *loader) tellFabric(ctx context.Context) error {
	log := zerolog.Ctx(ctx)
	f := l.fabricOf()
	l.result.Fabric = f.String()
	if len(f.Rack) > 0 {
		log.Info().Str("fabric", f.String()).Msg("the switches between these GPUs are in trays of their own, where NVIDIA's fabric manager runs; programs on several nodes of a rack need NVIDIA's IMEX (nvidia-imex) on each")
	}
	var found []Finding
	if f.Managed() {
		found = l.lookAtFabric(ctx, f)
	}
	if l.Persistence {
		if why := l.cannotRun("usr/bin/nvidia-persistenced"); why != "" {
			found = append(found, Persistenced.Of(why))
		} else {
			l.result.runs = append(l.result.runs, persistence)
		}
	}
	// Who runs NVLSM is always somebody else, and who was told to leave the other alone
	// does so.
	forOthers := func(f Finding) bool {
		return f.Name == NVLSM.Name || f.Name == FabricManager.Name && l.FabricManager == fabricNever
	}
	if l.Stay {
		if err := refuse(slices.DeleteFunc(slices.Clone(found), forOthers), nil); err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(f Finding) bool { return !forOthers(f) })
	}
	for _, finding := range found {
		log.Warn().Str("next", finding.Do).Msg(finding.Says)
	}
	return nil
}

// lookAtFabric says what keeps the fabric manager from running, or that nobody runs it.
func (l *loader) lookAtFabric(ctx context.Context, f fabric.Fabric) []Finding {
	for _, root := range []*kernel.Root{l.host, l.own} {
		if proc, err := root.Path("proc"); err == nil && daemons.Running(proc, filepath.Base(fabric.Program)) {
			zerolog.Ctx(ctx).Info().Str("fabric", f.String()).Msg("a fabric manager runs on this host")
			return nil
		}
	}
	if len(f.Bridges) > 0 {
		return []Finding{NVLSM.Of(f.String(), l.result.Driver)}
	}
	why := l.cannotRun(fabric.Program)
	switch {
	case l.FabricManager == fabricNever:
		why = "it is left to somebody else (--fabric-manager never), and is not to be seen here"
	case why == "" && !l.Stay:
		why = "nobody runs it here, and the share has it"
	case why == "":
		l.result.runs = append(l.result.runs, fabricManager)
		zerolog.Ctx(ctx).Info().Str("fabric", f.String()).Msg("this host needs NVIDIA's fabric manager, which is run as long as builder stays")
		return nil
	}
	return []Finding{FabricManager.Of(f.String(), l.result.Driver, why)}
}

// fabricNever is that the fabric manager is left to somebody else.
const fabricNever = "never"

// cannotRun says why a program of the driver's user-space side cannot be run; "" where it
// can. What is run again later than it was verified is run from a copy.
func (l *loader) cannotRun(program string) string {
	switch {
	case l.result.UserSpace == "":
		return "the share has no user-space side of this driver"
	case len(l.Trust) > 0 && l.CopyTo == "":
		return "with --trust it is run from a copy that root alone can change, and --copy-to names no place for one"
	}
	root, err := publish.Led(l.result.UserSpace)
	if err == nil {
		var info fs.FileInfo
		if info, err = beneath.Lstat(filepath.Join(root, program)); err == nil && info.Mode().IsRegular() {
			return ""
		}
	}
	return fmt.Sprintf("%s has no %s", l.result.UserSpace, program)
}

// Stay runs what has to run beside the driver that a load with the same options has
// loaded, until the context ends: NVIDIA's fabric manager where there are NVSwitches, and
// with Persistence nvidia-persistenced. It returns once these have ended, the fabric
// manager last. Its error is of the load stage: that they cannot be run at all.
func Stay(ctx context.Context, o LoadOptions, loaded LoadResult) error {
	err := stage.Run(ctx, stage.Load, func(ctx context.Context) error {
		l, done, err := newLoader(ctx, o)
		if err != nil {
			return err
		}
		done() // others may have their turn
		l.result = loaded
		go l.watchInstances(ctx, o)
		go l.renewFeatures(ctx)
		go l.newFollower(o, loaded.status).follow(ctx)
		// What was published at this moment: a build may put another in its place.
		if root, err := publish.Led(loaded.UserSpace); err == nil {
			l.result.UserSpace = root
		}
		return l.stay(ctx)
	})
	return ofLoad(err)
}

// stay runs the daemons.
func (l *loader) stay(ctx context.Context) error {
	w := newWatch(l.stayFile(), l.hint)
	defer w.close()
	if w.file == "" && len(l.result.runs) > 0 {
		zerolog.Ctx(ctx).Warn().Str("next", "add -v "+runDir+":"+runDir+" to docker run").
			Msgf("no load --check can know how the %s is, as there is no folder of the host's for it to be written down in", strings.Join(l.result.runs, ", "))
	}
	var later []daemons.Daemon
	if slices.Contains(l.result.runs, persistence) {
		later = append(later, l.persistenced())
	}
	if !slices.Contains(l.result.runs, fabricManager) {
		l.wait(ctx, later, w)
		return nil
	}
	f := l.fabricOf()
	d, remove, err := l.fabricDaemon()
	if err != nil {
		return refuse([]Finding{FabricManager.Of(f.String(), l.result.Driver, err.Error())}, nil)
	}
	defer remove()
	// It ends when what else there is has ended.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var group sync.WaitGroup
	group.Go(func() { daemons.Keep(life, []daemons.Daemon{d}, w.tell(ctx), l.daemons) })
	l.wait(ctx, later, w)
	end()
	group.Wait()
	return nil
}

// wait keeps daemons until the context ends.
func (l *loader) wait(ctx context.Context, all []daemons.Daemon, w *watch) {
	zerolog.Ctx(ctx).Info().Msg("the driver is there; staying until stopped")
	daemons.Keep(ctx, all, w.tell(ctx), l.daemons)
	<-ctx.Done()
}

// instancesPoll is how often it is looked whether GPUs are parted in another way.
const instancesPoll = 5 * time.Second

// watchInstances has a load make device files and a CDI specification anew once GPUs
// are parted in another way (MIG), and whoever does that has come to an end.
func (l *loader) watchInstances(ctx context.Context, o LoadOptions) {
	same := func(a, b []devices.Instance) bool {
		return slices.EqualFunc(a, b, func(a, b devices.Instance) bool { return a.GPU == b.GPU && a.GI == b.GI && a.CI == b.CI })
	}
	done := l.result.instances
	last := done
	tick := time.NewTicker(cmp.Or(l.poll, instancesPoll))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := devices.Instances(l.host)
		settled := same(now, last)
		// A driver that is gone, or is another, is not for this one to bring back.
		if last = now; !settled || same(now, done) || live.Read(l.host).Version() != l.result.Driver {
			continue
		}
		zerolog.Ctx(ctx).Info().Int("before", len(done)).Int("now", len(now)).Msg("the GPUs are parted in another way: device files and the CDI specification are made anew")
		o.DriverVersion, o.Replace, o.Stay, o.Persistence, o.Tell = l.result.Driver, false, false, false, nil
		_, err := Load(ctx, o)
		l.hint()
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Error().Err(err).Msg("they could not be made anew, which is tried again")
			continue
		}
		done = now
	}
}

// ready is what the fabric manager prints once CUDA can do something:
// "Successfully configured all the available NVSwitches to route GPU NVLink traffic."
var ready = regexp.MustCompile(`Successfully configured all the available`)

// fabricWithin is how long that may take before it is told of: a unit of systemd's that
// people have published gives up after as long.
const fabricWithin = 4 * time.Minute

// mode is FABRIC_MODE of the manager's configuration: 1 and 2 have it wait for a
// hypervisor, and it says nothing of the kind.
var mode = regexp.MustCompile(`(?m)^\s*FABRIC_MODE=([12])\s*$`)

// fabricDaemon is the manager, with a configuration of NVIDIA's that has it stay in the
// foreground, log to us and read what lies in the driver's root; remove removes that.
func (l *loader) fabricDaemon() (d daemons.Daemon, remove func(), err error) {
	root := l.result.UserSpace
	text, err := beneath.ReadFile(filepath.Join(root, fabric.Config))
	if err != nil {
		return d, nil, err
	}
	run := filepath.Join(l.own.Dir(), fabricRun)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return d, nil, fmt.Errorf("it has no place for its sockets (%w): add -v /%s:/%s to docker run", err, fabricRun, fabricRun)
	}
	dir, err := os.MkdirTemp("", "builder-fabricmanager-")
	if err != nil {
		return d, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // a container's own
	file := filepath.Join(dir, filepath.Base(fabric.Config))
	topologies := filepath.Join(root, fabric.Topologies)
	text = configured(text, [][2]string{
		{"DAEMONIZE", "0"}, {"LOG_FILE_NAME", ""}, {"LOG_USE_SYSLOG", "0"},
		{"TOPOLOGY_FILE_PATH", topologies}, {"DATABASE_PATH", topologies}, {"STATE_FILE_NAME", filepath.Join(run, "fabricmanager.state")},
	})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		remove()
		return d, nil, err
	}
	d = daemons.Daemon{
		Name: fabricManager, Args: []string{filepath.Join(root, fabric.Program), "-c", file}, Env: l.environ(),
		Ready: ready, Within: fabricWithin,
	}
	if mode.Match(text) {
		d.Ready, d.Within = nil, 0
	}
	return d, remove, nil
}

// configured is a configuration of NAME=VALUE lines with other values for some.
func configured(text []byte, values [][2]string) []byte {
	var kept []string
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !slices.ContainsFunc(values, func(v [2]string) bool { return v[0] == name }) {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	for _, v := range values {
		kept = append(kept, v[0]+"="+v[1])
	}
	return []byte(strings.Join(kept, "\n") + "\n")
}

// persistenced is nvidia-persistenced, which goes into the background.
func (l *loader) persistenced() daemons.Daemon {
	root := l.result.UserSpace
	return daemons.Daemon{
		Name: persistence, Args: []string{filepath.Join(root, "usr/bin/nvidia-persistenced"), "--persistence-mode", "--nvidia-cfg-path=" + filepath.Join(root, "usr/lib64")},
		Env: l.environ(), PIDFile: filepath.Join(l.own.Dir(), persistenceRun, "nvidia-persistenced.pid"),
	}
}

// environ is what the daemons see of the environment: none of ours.
func (l *loader) environ() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "LD_LIBRARY_PATH=" + filepath.Join(l.result.UserSpace, "usr/lib64")}
}

// stayFile is where it is written down how the daemons are, for checks in other
// processes; "" where there is no such place.
func (l *loader) stayFile() string {
	if l.journal.place.file == "" {
		return ""
	}
	return strings.TrimSuffix(l.journal.place.file, ".json") + ".stay"
}

// watch writes down how daemons are, for as long as it is open: a lock on the file says
// that somebody stays.
type watch struct {
	mu   sync.Mutex
	file string
	lock *os.File
	all  map[string]daemons.Status
	// hint is called where that may make a difference to whether the driver is ready.
	hint func()
}

func newWatch(file string, hint func()) *watch {
	w := &watch{file: file, all: map[string]daemons.Status{}, hint: hint}
	if file == "" {
		return w
	}
	lock, err := os.OpenFile(file+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		w.file = ""
		return w
	}
	w.lock = lock
	_ = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) // another that stays has it
	w.write()
	return w
}

func (w *watch) close() {
	if w.lock != nil {
		_ = w.lock.Close()
	}
}

// tell is what is told of each change.
func (w *watch) tell(ctx context.Context) daemons.Watcher {
	return func(s daemons.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all[s.Name] = s
		if err := w.write(); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("how the daemons are cannot be written down, for checks")
		}
		if s.State != daemons.Starting || s.Says != "" {
			w.hint()
		}
	}
}

// write writes all of it down.
func (w *watch) write() error {
	if w.file == "" {
		return nil
	}
	var list []daemons.Status
	for _, s := range w.all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b daemons.Status) int { return cmp.Compare(a.Name, b.Name) })
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(w.file, text, 0o600)
}

// stays are how the daemons of who stays are, and whether anybody does.
func (l *loader) stays() (list []daemons.Status, somebody bool) {
	file := l.stayFile()
	if file == "" {
		return nil, false
	}
	lock, err := os.OpenFile(file+".lock", os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	return list, err == nil || errors.Is(err, fs.ErrNotExist)
}

// checkStay is the failure of a daemon that this host needs and that somebody runs.
func (l *loader) checkStay(ctx context.Context) error {
	f := l.fabricOf()
	l.result.Fabric = f.String()
	list, somebody := l.stays()
	if !somebody {
		return nil
	}
	var found []Finding
	for _, s := range list {
		if s.State == daemons.Ready {
			continue
		}
		why := "it is " + s.State
		if s.Says != "" {
			why += ": " + s.Says
		}
		switch s.Name {
		case fabricManager:
			found = append(found, FabricManager.Of(f.String(), l.result.Driver, why))
		case persistence:
			found = append(found, Persistenced.Of(why))
		}
	}
	zerolog.Ctx(ctx).Debug().Int("daemons", len(list)).Msg("somebody stays")
	return refuse(found, nil)
}
