package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/daemons"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// LoadOptions are what a user can say about a load.
type LoadOptions struct {
	// Share is the folder with the published modules.
	Share string
	// HostRoot is the running host's root; empty takes /host where it is
	// mounted, else /.
	HostRoot string
	// DriverVersion is the driver to load, or a [cuda.Wish]; empty is the newest that the share
	// has for the running kernel.
	DriverVersion string
	// Modules are those to load, and those that they need; empty is all that
	// CUDA can use, as far as they can be loaded.
	Modules []string
	// Parameters are the modules', "nvidia.NVreg_EnableGpuFirmware=0".
	Parameters []string
	// Replace unloads another driver that nobody uses.
	Replace bool
	// HostShare is where the share lies on the host; empty finds out.
	HostShare string
	// Dev is where device files are made; empty is the host's /dev where it is
	// mounted writable below the host root, else /dev.
	Dev string
	// CDIDir receives the CDI specification; empty is /etc/cdi where that is
	// mounted, else the share's folder cdi. An unload removes none from a folder that
	// is neither this nor called cdi.
	CDIDir string
	// TryWithoutDevice hands modules to the kernel although there is no GPU.
	TryWithoutDevice bool
	// Trust names files of certificates, or folders of them: what none of these has
	// signed is not loaded. Empty loads anybody's.
	Trust []string
	// CopyTo is a folder of the host's, where only root writes, to which firmware and
	// the user-space side are copied that Trust has verified; empty copies the
	// firmware to /run/cuda.
	CopyTo string
	// Stay says that [Stay] follows: what it cannot run is found out now.
	Stay bool
	// FabricManager is "never" where Stay is to leave NVIDIA's fabric manager to somebody
	// else; empty, and "auto", have it run where there are NVSwitches.
	FabricManager string
	// Persistence has Stay run nvidia-persistenced as well, which keeps the GPUs up
	// while nobody uses them.
	Persistence bool
	// Tell is told how the driver is once a load has come to an end, and by [Stay] whenever
	// there is more to tell; nil where nobody is to be told. It does not keep who tells it.
	Tell func(context.Context, Status)
	// Check changes nothing, and fails where a load would have anything to do.
	Check bool
	// AllowFailedGPUs is how many of the host's GPUs may fail to come up.
	AllowFailedGPUs int
	// Kernel takes the modules; nil is the running one.
	Kernel live.Kernel
	// OwnRoot is the root whose proc tells about this process; empty is /.
	OwnRoot string

	// files makes device files; nil is the system. It is for tests, since only
	// root can.
	files deviceFiles
	// daemons are how those are kept. It is for tests.
	daemons daemons.Options
	// poll is how often Stay looks at how GPUs are parted, and for signs that the driver
	// has changed. It is for tests.
	poll time.Duration
	// turn is how long to wait for a turn; zero is turnWait. It is for tests.
	turn time.Duration
}

// How a load ended.
const (
	Loaded        = "loaded"         // modules were loaded
	AlreadyLoaded = "already-loaded" // there was nothing to load
	LeftAlone     = "left-alone"     // a driver that is not the share's is there, and stays
)

// LoadResult is what a load found and did.
type LoadResult struct {
	State string `json:"state"`
	// Driver is the version that the kernel has now, Release the kernel's.
	Driver  string `json:"driver"`
	Release string `json:"release"`
	// Manifest is the path of the manifest of what is loaded; empty where it
	// is not the share's.
	Manifest string `json:"manifest,omitempty"`
	// By is who else brought the driver, as far as that is known.
	By string `json:"by,omitempty"`
	// Modules and InTree were loaded now, of the driver and of the kernel's
	// own, in this order. LeftOut are those that could not be and that CUDA
	// can do without.
	Modules []string `json:"modules"`
	InTree  []string `json:"in_tree"`
	LeftOut []string `json:"left_out,omitempty"`
	// Firmware is the kernel's search path for it where it is the share's.
	Firmware string `json:"firmware,omitempty"`
	// Dev is the folder that has the device files Files.
	Dev   string   `json:"dev"`
	Files []string `json:"nodes"`
	// GPUs are those on the host's bus, by address.
	GPUs []GPU `json:"gpus,omitempty"`
	// Fabric is what the host has between its GPUs, "4 NVSwitches (10de:22a3)"; empty
	// where that is nothing.
	Fabric string `json:"fabric,omitempty"`
	// runs are the names of the daemons that Stay is to run.
	runs []string
	// status is what the outside is told of it; it is that of a failure, too.
	status Status
	// instances are the parts of GPUs that the CDI specification has.
	instances []devices.Instance
	// UserSpace is the root of the driver's user-space side: a folder of the
	// share, or the host's root; empty where there is none to be seen.
	UserSpace string `json:"user_space,omitempty"`
	// Link is the path, on every host the same, that leads to it; empty where there is no
	// place for one.
	Link string `json:"link,omitempty"`
	// CDI is the file of the CDI specification; empty where none was written.
	CDI string `json:"cdi,omitempty"`
}

// loader is one run of Load or Unload.
type loader struct {
	LoadOptions
	share     *share.Share
	host, own *kernel.Root
	release   string
	boot      string // identifies the host until it is started again; empty where nothing does
	access    access
	state     live.State
	journal   *journal
	gpus      []kernel.PCIDevice
	// labels is held while the node's are changed.
	labels sync.Mutex
	// news has a sign, for who stays, that the driver may have changed.
	news chan struct{}

	// trust is that in Trust; nil where there is none.
	trust publish.Trust

	// What is to be loaded.
	version string
	found   modules.Found
	wanted  []modules.Entry
	// userSpace is the share's for these modules, where it was looked at
	// before they were loaded.
	userSpace userspace.Root
	result    LoadResult
}

// Load loads a published driver into the running kernel, makes its device
// files and has the kernel find its firmware. Where that driver is loaded it
// does what is left to do; where another one is that is not the share's, it
// leaves it alone. Errors are of the load stage. One before all modules are in has
// what was changed on the way to it be changed back; after that, as where device
// files cannot be made, the driver stays loaded, and the next load goes on.
func Load(ctx context.Context, o LoadOptions) (LoadResult, error) {
	var result LoadResult
	began := time.Now()
	err := stage.Run(ctx, stage.Load, func(ctx context.Context) error {
		l, done, err := newLoader(ctx, o)
		if err != nil {
			return err
		}
		defer done()
		err = l.bring(ctx)
		l.result.status = l.status(ofLoad(err))
		l.result.status.Load = time.Since(began)
		if !l.Check {
			l.tell(ctx, l.result.status)
		}
		result = l.result
		return err
	})
	return result, ofLoad(err)
}

// ofLoad makes the failure of another stage one of load's: whoever asked for a
// driver to be loaded has one exit code to look at, but where it had no turn.
func ofLoad(err error) error {
	var failure *stage.Error
	if !errors.As(err, &failure) || failure.Stage == stage.Usage || failure.Stage == stage.Load || failure.Kind == turnKind {
		return err
	}
	e := *failure
	e.Stage, e.Kind = stage.Load, stage.KindOf(failure)
	return &e
}

// newLoader opens the share and the host, and waits for its turn on this host.
func newLoader(ctx context.Context, o LoadOptions) (*loader, func(), error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return nil, nil, err
	}
	if o.Kernel == nil {
		o.Kernel = live.Running{}
	}
	if o.files == nil {
		o.files = hostFiles{}
	}
	// What is recorded is for a run that may be started in another folder.
	for _, dir := range []*string{&o.CDIDir, &o.Dev, &o.CopyTo} {
		if *dir == "" {
			continue
		}
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, nil, err
		}
	}
	l := &loader{LoadOptions: o, share: s, release: o.Kernel.Release(), journal: &journal{}, news: make(chan struct{}, 1)}
	if l.host, err = kernel.FindRoot(o.HostRoot, kernel.HostMount); err != nil {
		return nil, nil, stage.Wrap(stage.Load, err, "the host root cannot be opened", "name the folder that it is with --host-root, or leave that out")
	}
	if l.own, err = kernel.OpenRoot(cmp.Or(o.OwnRoot, "/")); err != nil {
		return nil, nil, stage.Wrap(stage.Load, err, "this container's own root cannot be opened", "look at the cause, and run the container again")
	}
	if is, err := l.host.ReadFile("proc/sys/kernel/osrelease"); err == nil && strings.TrimSpace(string(is)) != l.release {
		return nil, nil, refuse([]Finding{OtherHost.Of(strings.TrimSpace(string(is)), l.release)}, nil)
	}
	l.access = access{host: l.host, own: l.own, kernel: o.Kernel}
	done, err := l.openJournal(ctx)
	if err != nil {
		return nil, nil, err
	}
	l.state = live.Read(l.host)
	l.gpus = cuda.GPUs(kernel.PCIDevices(l.host))
	l.Dev = l.devFolder()
	if info, err := os.Stat(l.Dev); err != nil || !info.IsDir() {
		done()
		return nil, nil, stage.New(stage.Usage, fmt.Sprintf("%s, for the device files, is no folder", l.Dev), "mount the host's with -v /dev:/dev, or name a folder with --dev")
	}
	l.result = LoadResult{Release: l.release, Dev: l.Dev, Modules: []string{}, InTree: []string{}, Files: []string{}}
	if l.journal.place.file == "" {
		l.journal.entries = l.assume()
	}
	return l, done, nil
}

// openJournal waits for this run's turn among the loaders of this host, which
// lasts until done is called, and reads what they have changed.
func (l *loader) openJournal(ctx context.Context) (done func(), err error) {
	log := zerolog.Ctx(ctx)
	if l.boot, err = kernel.BootID(l.host); err != nil {
		log.Warn().Err(err).Msg("what is changed on this host cannot be recorded, so unload will not undo it")
		return func() {}, nil
	}
	l.tellOfOldRecords(ctx)
	l.journal.place = l.placeOf(ctx)
	if l.journal.place.file == "" {
		if l.Check {
			return func() {}, nil
		}
		log.Info().Str("next", "add -v "+runDir+":"+runDir+" to docker run").
			Msg("what is changed on this host is not recorded, as this container has no folder that only the host's root writes to: unload goes by what the kernel and builder's own names tell, and leaves modules of the kernel's own")
		return func() {}, nil
	}
	if done, err = takeTurn(ctx, l.journal.place.lock(), cmp.Or(l.turn, turnWait)); err != nil {
		return nil, err
	}
	l.sweep(ctx, func() error { return atomicfile.Sweep(l.journal.place.file) })
	entries, err := l.journal.place.read()
	if err != nil {
		log.Warn().Err(err).Msg("not all that builder changed on this host can be read, and unload will not undo what cannot be")
	}
	l.journal.entries = l.believe(ctx, entries)
	if !l.Check {
		l.journal.place.setAside(ctx)
	}
	return done, nil
}

// tellOfOldRecords tells of records that builders before this one kept in the share.
func (l *loader) tellOfOldRecords(ctx context.Context) {
	old := l.share.OldRecords(l.boot)
	if len(old) == 0 {
		return
	}
	zerolog.Ctx(ctx).Warn().Strs("files", old).Str("next", "have builder prune --yes remove it").
		Msg("an earlier builder recorded in the share what it changed on this host; whoever owns the share can have written that, so it is not obeyed")
}

// devFolder is where device files are made.
func (l *loader) devFolder() string {
	if l.Dev != "" {
		return l.Dev
	}
	if l.host.Mounted() && l.host.Dir() != l.own.Dir() {
		if dir, err := l.host.Path("dev"); err == nil && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return filepath.Join(l.own.Dir(), "dev")
}

// bring has the driver be there.
func (l *loader) bring(ctx context.Context) error {
	if err := l.readTrust(); err != nil {
		return err
	}
	found, err := l.choose(ctx)
	if err != nil {
		return err
	}
	if l.result.State == LeftAlone {
		return l.keepOthers(ctx)
	}
	if len(found) > 0 {
		// What else would be refused is said at the same time.
		found = append(found, l.access.modules(required)...)
		return refuse(append(found, l.lookAtGPUs()...), nil)
	}
	l.warnOfWriters(ctx)
	if l.wanted, err = l.chosen(); err != nil {
		return err
	}
	missing := l.missing(ctx)
	replace, err := l.compare(ctx, len(missing) > 0)
	if err != nil {
		return err
	}
	if l.result.State == LeftAlone {
		return l.keepOthers(ctx)
	}
	if len(missing) == 0 && !replace {
		l.result.State = AlreadyLoaded
		zerolog.Ctx(ctx).Info().Str("driver", l.version).Msg("this driver is loaded already")
		l.warnOfParameters(ctx)
		if !l.Check {
			l.remindOfFirmware(ctx)
		}
		return l.finish(ctx)
	}
	if l.Check {
		return refuse([]Finding{NotLoaded.Of("the kernel lacks " + strings.Join(names(missing), ", "))}, nil)
	}
	if replace {
		missing, l.result.LeftOut = l.wanted, nil
	}
	if err := l.insert(ctx, missing, replace); err != nil {
		return err
	}
	l.result.State = Loaded
	return l.finish(ctx)
}

// keepOthers does what is left to do for a driver that is not the share's.
func (l *loader) keepOthers(ctx context.Context) error {
	if l.Check {
		return refuse([]Finding{NotLoaded.Of("driver " + l.result.Driver + ", which is loaded, is not the share's")}, nil)
	}
	l.warnOfParameters(ctx)
	return l.finish(ctx)
}

// warnOfParameters says that what was asked for comes too late.
func (l *loader) warnOfParameters(ctx context.Context) {
	if len(l.Parameters) > 0 {
		zerolog.Ctx(ctx).Warn().Strs("parameters", l.Parameters).
			Msg("not set: modules take parameters as they are loaded, and these were before; unload first to have them set")
	}
}
