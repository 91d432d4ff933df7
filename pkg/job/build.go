package job

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/confine"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/patch"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// The tools that a build runs, by the names of their logs.
const (
	prepareTool   = "prepare"
	installerTool = "nvidia-installer"
	kbuildTool    = "kbuild" // in the installer's place
)

// Result is what a build left behind.
type Result struct {
	// Manifest is the path of the manifest; the modules are beside it.
	Manifest string `json:"manifest"`
	// Release, Driver and ModuleType say what was built for what.
	Release    string `json:"release"`
	Driver     string `json:"driver"`
	ModuleType string `json:"module_type"`
	// Reused says that what an earlier run had published serves.
	Reused bool `json:"reused"`
	// Modules are in load order.
	Modules []Module `json:"modules"`
	// Checks are all findings of the gate, as the manifest has them.
	Checks []modules.Check `json:"checks"`
	// UserSpace is the path of the manifest of the driver's user-space side,
	// which is in a folder of its own; empty where none was asked for.
	UserSpace string `json:"user_space"`
	// Artefact is the repository and the digest, REPOSITORY@sha256:HEX, of what a registry has of
	// it: of where it was pulled from, or pushed to. Empty where it is neither.
	Artefact string `json:"artefact,omitempty"`

	// unsigned is what serves once it is signed; nil where nothing is to be.
	unsigned *modules.Found
}

// Module is a module of a result; the manifest has more of it.
type Module struct {
	Name     string `json:"name"` // as lsmod has it
	File     string `json:"file"` // beside the manifest
	Size     int64  `json:"size"` // bytes
	SHA256   string `json:"sha256"`
	Vermagic string `json:"vermagic"`
}

func resultOf(manifest string, m modules.Manifest, reused bool) Result {
	r := Result{
		Manifest: manifest, Release: m.Target.Release, Driver: m.Driver.Version,
		ModuleType: m.Driver.ModuleType, Reused: reused, Checks: m.Checks,
	}
	for _, e := range m.Modules {
		r.Modules = append(r.Modules, Module{e.Name, e.File, e.Size, e.SHA256, e.Vermagic})
	}
	return r
}

// Build runs the job. Where what an earlier run has published serves, it says so
// and builds nothing. Errors are a *stage.Error of the stage that failed, or the
// context's; either way nothing that was published before is touched.
func Build(ctx context.Context, o Options) (Result, error) {
	_, result, err := walk(ctx, o, false)
	return result, err
}

// Plan says what [Build] would do, and from where. It writes nothing, waits for
// nobody, and asks the network only for the names of refs and for a kernel image
// that the share does not have. It is the same walk as a build's, so what it finds
// in the way is what a build would find before its work.
func Plan(ctx context.Context, o Options) ([]Step, error) {
	said, _, err := walk(ctx, o, true)
	return said, err
}

// site is where a run works. Its parts are there from the beginning to the end.
type site struct {
	Options
	share *share.Share
	// confined is the Runner, where it is not a test's.
	confined *confine.Runner
	dry      bool // nothing is written
	// lock tells whether the share is still this run's.
	lock interface{ Check() error }
	// scratch is this run's folder on the share, gone at its end.
	scratch string
	// notary signs manifests; nil where they are not to be signed.
	notary *signature.Signer
	// patches are the user's for the driver.
	patches patch.Set
}

// newSite refuses options that no build could make sense of.
func newSite(o Options, dry bool) (site, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return site{}, err
	}
	if err := o.Check(); err != nil {
		return site{}, err
	}
	o = o.withDefaults()
	var confined *confine.Runner
	if o.Runner == nil {
		confined = confine.New(s.Owner())
		o.Runner = confined
	}
	o.Host.images = imageCache{share: s, keep: !dry}
	made := site{Options: o, share: s, confined: confined, dry: dry}
	if o.SignManifest != (signature.Options{}) {
		if made.notary, err = signature.LoadDetached(o.SignManifest); err != nil {
			return site{}, err
		}
	}
	if o.DriverPatches != "" {
		if made.patches, err = patch.Read(o.DriverPatches, patch.Driver); err != nil {
			return site{}, err
		}
	}
	if o.SourcePatches != "" {
		if made.Source.Patches, err = patch.Read(o.SourcePatches, patch.Kernel); err != nil {
			return site{}, err
		}
	}
	if dry {
		return made, s.MayBeWritten()
	}
	return made, s.Writable()
}

// walk is the way of a build, and of a dry run as far as that goes.
func walk(ctx context.Context, o Options, dry bool) (said []Step, result Result, err error) {
	s, err := newSite(o, dry)
	if err == nil {
		err = s.share.Buildable()
	}
	if err != nil {
		return nil, Result{}, err
	}
	s.warnOfWriters(ctx)
	b := &brackets{dry: dry}
	what, err := s.detect(b.enter(ctx, stage.Detect))
	if err != nil {
		return nil, Result{}, err
	}
	if err := s.rightCapture(what.target); err != nil {
		return nil, Result{}, err
	}
	if err := s.sayConfined(ctx); err != nil {
		return nil, Result{}, err
	}
	if what, err = s.chooseFirst(ctx, b, what); err != nil {
		return nil, Result{}, err
	}
	b.leave() // to wait for another run is no part of it
	elsewhere, err := what.named(s).fromCluster(ctx, b, what.target)
	if err != nil {
		return nil, Result{}, err
	}
	err = s.locked(ctx, func(s site) error {
		var missed error
		if said, result, missed = what.named(s).fromRegistry(ctx, b, what.target); missed == nil {
			return nil
		}
		if elsewhere {
			if errors.Is(missed, registry.ErrNone) {
				missed = stage.Wrap(stage.Publish, missed, "what the cluster has built for this host is gone from the registry", "run again")
			}
			return missed
		}
		var more []Step
		if s.NoCompile {
			more, result, err = s.published(ctx, b, what.target, missed)
			said = append(said, more...)
			return err
		}
		if err := s.mayPush(ctx); err != nil {
			return err
		}
		more, result, err = s.build(ctx, b, what)
		said = append(said, more...)
		if err != nil || !s.Push {
			return err
		}
		more, result.Artefact, err = s.pushing(ctx, b, result)
		said = append(said, more...)
		return err
	})
	return append([]Step{what.says()}, said...), result, err
}

// build is the walk from the driver stage on. A driver that uses modules of the
// kernel's own which nobody thought of is walked for once more, with all that the
// kernel's modules export: modpost has to know their versions.
func (s site) build(ctx context.Context, b *brackets, what setting) ([]Step, Result, error) {
	said, result, err := s.buildFor(ctx, b, what)
	all, found, failed := s.Host.detectAll(ctx, s.exportsCache(), err)
	if failed != nil {
		return nil, Result{}, failed
	}
	if !found {
		return said, result, err
	}
	what.target = all
	if !s.dry {
		if err := s.lock.Check(); err != nil {
			return nil, Result{}, err // the scratch is another run's by now
		}
		if err := s.emptyScratch(stage.Detect); err != nil {
			return nil, Result{}, err
		}
	}
	return s.buildFor(ctx, b, what)
}

// emptyScratch removes what a walk has left: another begins where it did, with as much
// room, and under the same paths, which compilers write into what they make. Errors are of
// the stage.
func (s site) emptyScratch(name stage.Name) error {
	entries, err := beneath.ReadDir(s.scratch)
	for _, e := range entries {
		err = errors.Join(err, beneath.RemoveAll(filepath.Join(s.scratch, e.Name())))
	}
	if err == nil {
		return nil
	}
	return stage.Wrap(name, s.share.Explain(name, err), "this run's scratch folder cannot be emptied", "let the share's owner, as whom builder works there, write to it")
}

func (s site) buildFor(ctx context.Context, b *brackets, what setting) ([]Step, Result, error) {
	driver := b.enter(ctx, stage.Driver)
	pkg, err := s.chooseDriver(driver, what)
	if err != nil {
		return nil, Result{}, err
	}
	if pkg.digest == "" && !s.dry {
		// Nothing can be compared with what has not been read.
		if pkg, err = s.fetch(driver, pkg); err != nil {
			return nil, Result{}, err
		}
	}
	if pkg.vouched, err = s.vouch(driver, pkg); err != nil {
		return nil, Result{}, err
	}
	pkg.vouched = append(pkg.vouched, pkg.allowed...)
	p, err := s.project(what, pkg)
	if err != nil {
		return nil, Result{}, err
	}
	served, err := p.findEarlier(driver)
	if err != nil {
		return nil, Result{}, err
	}
	if pkg.refusal != nil && !served.Reused {
		return nil, Result{}, pkg.refusal
	}
	if p.fabric, err = p.findFabric(driver); err != nil {
		return nil, Result{}, err
	}
	p.libraries = p.findLibraries(driver)
	said, result, err := p.make(ctx, b, served)
	if err != nil {
		return nil, Result{}, err
	}
	b.leave()
	needed := !served.Reused || !p.libraries.done
	return append([]Step{pkg.says(s, needed)}, said...), result, nil
}

// make does what is left to do beside what serves.
func (p project) make(ctx context.Context, b *brackets, served Result) ([]Step, Result, error) {
	if served.Reused {
		return p.reuse(ctx, b, served)
	}
	unpacked := then(begin(p.fetching()), p.unpacking())
	prepared := then(then(unpacked, p.checkingOut()), p.preparing())
	described := then(then(then(prepared, p.compiling()), p.checking()), p.describing())
	// What can fail comes before anything is published, and the modules come last:
	// who finds their manifest finds all.
	return run(ctx, b, p.site, then(then(described, p.layingOutBeside()), p.publishing()), nothing{})
}

// reuse does what is left to do where modules serve that are there.
func (p project) reuse(ctx context.Context, b *brackets, served Result) (said []Step, result Result, err error) {
	libraries, does := p.libraries, "nothing: "
	if served.unsigned != nil || !libraries.done {
		does = "no modules: "
	}
	said = []Step{{stage.Publish, does + served.Manifest + " serves already"}}
	if !libraries.done {
		var more []Step
		more, libraries, err = run(ctx, b, p.site, then(then(begin(p.fetching()), p.inspecting()), p.layingOut()), nothing{})
		said = append(said, more...)
	}
	served.UserSpace = libraries.manifest()
	if err == nil && served.unsigned != nil {
		var more []Step
		more, _, err = run(ctx, b, p.site, begin(p.signingEarlier(*served.unsigned)), nothing{})
		said = append(said, more...)
	}
	return said, served, err
}

// run plans the steps of a build and, unless the run is dry, does them.
func run[In, Out any](ctx context.Context, b *brackets, s site, list steps[In, Out], in In) (said []Step, out Out, err error) {
	if said, err = list.plan(ctx); err != nil || s.dry {
		return said, out, err
	}
	out, err = list.do(ctx, b, in)
	return said, out, err
}

// nothing is what the first step is handed.
type nothing struct{}

// locked works while no other run does on the share, with a scratch folder. A dry
// run waits for nobody.
func (s site) locked(ctx context.Context, work func(site) error) error {
	if s.dry {
		return work(s)
	}
	lock, err := s.share.Lock(ctx, share.LockOptions{NoWait: s.NoWait, Wait: s.Wait})
	if err != nil {
		return err
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("this run's scratch is left behind; the next run removes it")
		}
	}()
	s.lock = lock
	if s.scratch, err = lock.Scratch(); err != nil {
		return stage.Wrap(stage.Share, s.share.Explain(stage.Share, err), "this run's scratch folder cannot be made", "let the share's owner, as whom builder works there, write to it")
	}
	return work(s)
}

// project is what a run is to make: all that is known of it before any work.
type project struct {
	site
	setting
	choice
	// exclude are the modules to do without, sorted.
	exclude []string
	// inputs are what it is made from, beside the kernel, by name.
	inputs map[string]string
	// libraries are the driver's user-space side.
	libraries libraries
	// fabric is the fabric manager that is to be beside them.
	fabric fabricManager
}

func (s site) project(what setting, pkg choice) (project, error) {
	p := project{site: s, setting: what, choice: pkg}
	var err error
	if p.exclude, err = cuda.Leave(s.Modules, s.Exclude); err != nil {
		return project{}, err
	}
	p.inputs, err = p.listInputs()
	return p, err
}

// logFile is where a stage's tools keep their log, one a release and driver,
// so that the last of each can be read after the fact.
func (p project) logFile(tool string) string {
	return p.share.Log(tool, p.target.Release.Full, p.pkg.Version)
}

func (s site) policy() modules.Policy { return modules.Policy{Strict: s.Strict, Allow: s.Allow} }
