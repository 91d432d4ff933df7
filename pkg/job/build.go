package job

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// The tools that a build runs, by the names of their logs.
const (
	prepareTool   = "prepare"
	installerTool = "nvidia-installer"
)

// Result is what a build left behind.
type Result struct {
	// Manifest is the path of the manifest; the modules are beside it.
	Manifest string `json:"manifest"`
	// Release, Driver and ModuleType say what was built for what.
	Release    string `json:"release"`
	Driver     string `json:"driver"`
	ModuleType string `json:"module_type"`
	// Reused says that an earlier run had published exactly this.
	Reused bool `json:"reused"`
	// Modules are in load order.
	Modules []modules.Entry `json:"modules"`
	// UserSpace is the path of the manifest of the driver's user-space side,
	// which is in a folder of its own; empty where none was asked for.
	UserSpace string `json:"user_space"`
}

func resultOf(manifest string, m modules.Manifest, reused bool) Result {
	return Result{
		Manifest: manifest, Release: m.Target.Release, Driver: m.Driver.Version,
		ModuleType: m.Driver.ModuleType, Reused: reused, Modules: m.Modules,
	}
}

// build is one run of the job: what each stage left for the next.
type build struct {
	Options
	share   *share.Share
	dry     bool        // nothing is written
	lock    *share.Lock // while it works
	scratch string      // this run's, on the share, gone at its end

	target   kernel.Target
	exclude  []string          // the modules to do without, sorted
	signer   *signature.Signer // nil: the modules are not signed
	compiler prepare.Compiler
	// compilerVersion is the first line of what the compiler says of itself.
	compilerVersion string
	pkg             cuda.Package
	pkgDigest       string          // the package's, sha256:HEX
	absent          error           // why the package is not there, and to be downloaded; nil where it is
	vouched         []modules.Check // what is known of that digest
	preference      cuda.Preference
	inputs          string
	user            userSpace

	driver     cuda.Driver
	moduleType string
	source     source.Tree
	prepared   prepare.Tree
	built      cuda.Built
	mods       []modules.Module
	checks     []modules.Check
}

// Build runs the job. Where an earlier run has published exactly what this one
// would, it says so and builds nothing. Errors are a *stage.Error of the stage
// that failed, or the context's; either way nothing that was published before
// is touched.
func Build(ctx context.Context, o Options) (Result, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return Result{}, err
	}
	b, err := newBuild(o, s, false)
	if err != nil {
		return Result{}, err
	}
	if err := s.Writable(); err != nil {
		return Result{}, err
	}
	defer giveToOwner(ctx, s)
	err = stage.Run(ctx, stage.Detect, func(ctx context.Context) error { return b.detect(ctx, s.Exports()) })
	if err != nil {
		return Result{}, err
	}
	var result Result
	err = b.locked(ctx, func() (err error) {
		result, err = b.run(ctx)
		return err
	})
	return result, err
}

// locked works while no other run does on the share, with a scratch folder.
func (b *build) locked(ctx context.Context, work func() error) error {
	lock, err := b.share.Lock(ctx, share.LockOptions{NoWait: b.NoWait})
	if err != nil {
		return err
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("this run's scratch is left behind; the next run removes it")
		}
	}()
	b.lock = lock
	if b.scratch, err = lock.Scratch(); err != nil {
		return stage.Wrap(stage.Share, err, "this run's scratch folder cannot be made", "check that the share is writable")
	}
	return work()
}

// newBuild is a run of the job that has done nothing yet; a dry one will write
// nothing. It refuses options that no build could make sense of.
func newBuild(o Options, s *share.Share, dry bool) (*build, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Source.Offline, o.Source.Pause = o.Offline, o.Pause
	o.Host.Offline, o.Host.Pause = o.Offline, o.Pause
	o.Host.images = imageCache{dir: s.Downloads(), keep: !dry}
	exclude, err := cuda.Leave(o.Modules, o.Exclude)
	return &build{Options: o, share: s, dry: dry, exclude: exclude}, err
}

// giveToOwner is done at the end, after a failure too: root's files in a
// user's folder are a nuisance. Whatever it cannot do fails no finished build.
func giveToOwner(ctx context.Context, s *share.Share) {
	if err := s.Chown(context.WithoutCancel(ctx), s.Private()); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("some files in the share are not its owner's")
	}
}

func (b *build) run(ctx context.Context) (Result, error) {
	var result Result
	err := stage.Run(ctx, stage.Driver, func(ctx context.Context) (err error) {
		if err := b.chooseDriver(ctx); err != nil {
			return err
		}
		if result, err = b.published(ctx); err != nil {
			return err
		}
		b.findUserSpace(ctx)
		if result.Reused && b.user.done {
			return nil
		}
		if err := b.needDriver(ctx); err != nil {
			return err
		}
		if result.Reused {
			return b.inspectDriver(ctx)
		}
		return b.unpackDriver(ctx)
	})
	if err != nil {
		return Result{}, err
	}
	if !result.Reused {
		if err := b.make(ctx); err != nil {
			return Result{}, err
		}
	}
	if !result.Reused || !b.user.done {
		err = stage.Run(ctx, stage.Publish, func(ctx context.Context) (err error) {
			if err := b.lock.Check(); err != nil {
				return err
			}
			if !result.Reused {
				// What is laid out now shall not need room of its own.
				if err := b.driver.RemoveSources(); err != nil {
					return stage.Wrap(stage.Publish, err, "the sources of the modules, which are built, cannot be removed", "check the share")
				}
			}
			// The modules come last: who finds their manifest finds all.
			if err := b.layOut(ctx); err != nil || result.Reused {
				return err
			}
			result, err = b.publish(ctx)
			return err
		})
	}
	result.UserSpace = b.user.manifest()
	return result, err
}

// make runs the stages between the driver's and publish.
func (b *build) make(ctx context.Context) error {
	for _, s := range []struct {
		name stage.Name
		work func(context.Context) error
	}{
		{stage.Source, b.checkOut},
		{stage.Prepare, b.completing(prepareTool, b.prepare)},
		{stage.Build, b.completing(installerTool, b.compile)},
		{stage.Check, b.check},
	} {
		if err := stage.Run(ctx, s.name, s.work); err != nil {
			return err
		}
	}
	return nil
}

// detect finds out what to build for, and whether this image can.
func (b *build) detect(ctx context.Context, cache string) error {
	var err error
	if b.target, err = b.Host.detect(ctx, cache); err != nil {
		return err
	}
	if err := kernel.CheckArch(b.target, runtime.GOARCH); err != nil {
		return err
	}
	if b.Signing != (signature.Options{}) {
		if b.signer, err = signature.Load(ctx, b.Signing, b.target); err != nil {
			return err
		}
	}
	if b.compiler, err = prepare.ChooseCompiler(b.target, exec.LookPath); err != nil {
		return err
	}
	b.compilerVersion, err = prepare.CompilerVersion(ctx, b.Runner, b.compiler.Command)
	return err
}

func (b *build) prepare(ctx context.Context) error {
	if b.compiler.Warning != "" {
		zerolog.Ctx(ctx).Warn().Msg(b.compiler.Warning)
	}
	if err := b.room(ctx, stage.Prepare, share.Space{}); err != nil {
		return err
	}
	var err error
	b.prepared, err = prepare.Prepare(ctx, b.target, b.source, prepare.Options{
		Runner: b.Runner, Dir: b.share.Prepared(), Compiler: b.compiler.Command, Jobs: b.Jobs,
		LogFile: b.logFile(prepareTool), AllowDrift: b.allowsDrift(),
	})
	if err != nil {
		return b.share.Explain(stage.Prepare, err)
	}
	zerolog.Ctx(ctx).Info().Str("compiler", b.prepared.CompilerVersion).Bool("reused", b.prepared.Reused).Msg("kernel tree prepared")
	return nil
}

func (b *build) compile(ctx context.Context) error {
	if err := b.room(ctx, stage.Build, share.Space{}); err != nil {
		return err
	}
	log := zerolog.Ctx(ctx)
	var err error
	b.built, err = cuda.Build(ctx, b.driver, cuda.BuildOptions{
		Runner: b.Runner, Scratch: b.scratch, LogFile: b.logFile(installerTool),
		Release: b.target.Release.Full, SourceDir: b.prepared.Source, OutputDir: b.prepared.Output,
		Compiler: b.prepared.Compiler, ModuleType: b.moduleType, Exclude: b.exclude,
		// Where only the exports of loaded modules are known, drm's may not
		// be among them.
		AllowUndefined: !b.target.Exports.Complete, Debug: b.Debug,
		Jobs: b.Jobs, Timeout: b.BuildTimeout, StateDir: b.StateDir,
	})
	if err != nil {
		return b.share.Explain(stage.Build, err)
	}
	if len(b.built.Undefined) > 0 {
		log.Warn().Int("symbols", len(b.built.Undefined)).Strs("first", b.built.Undefined[:min(5, len(b.built.Undefined))]).
			Msg("symbols that no loaded module exports; taken to be those of in-tree modules that are not loaded yet, such as drm")
	}
	if !b.Debug {
		if err := b.strip(ctx); err != nil {
			return err
		}
	}
	return b.sign(ctx)
}

func (b *build) check(context.Context) error {
	var err error
	if b.mods, err = modules.ReadAll(b.built.Files); err != nil {
		return stage.Wrap(stage.Check, err, "the built modules cannot be read", "check the share")
	}
	if b.signer != nil {
		if b.mods, err = modules.Authenticate(b.mods, b.signer.Certificate()); err != nil {
			return stage.Wrap(stage.Check, err, "the signatures cannot be verified", "check the share")
		}
	}
	b.checks = slices.Concat(b.vouched, driftCheck(b.prepared.Drift), modules.Gate(b.mods, b.target, modules.Expect{
		Modules: b.driver.Modules(b.moduleType), Excluded: b.exclude, Firmware: b.driver.Firmware(), Debug: b.Debug,
	}))
	return modules.Judge(b.checks, b.policy())
}

func (b *build) allowsDrift() bool { return slices.Contains(b.Allow, prepare.DriftCheck) }

func (b *build) policy() modules.Policy { return modules.Policy{Strict: b.Strict, Allow: b.Allow} }

// logFile is where a stage's tools keep their log, one a release and driver,
// so that the last of each can be read after the fact.
func (b *build) logFile(tool string) string {
	return filepath.Join(b.share.Logs(), strings.Join([]string{tool, b.target.Release.Full, b.pkg.Version}, "-")+".log")
}
