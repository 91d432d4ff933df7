package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/share"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/stage"
)

// What the stages write to the share, as measured with five modules, and a
// margin.
const (
	prepareBytes = 80e6
	buildBytes   = 600e6
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
	scratch string // this run's, on the share, gone at its end

	target   kernel.Target
	signer   *signature.Signer // nil: the modules are not signed
	compiler prepare.Compiler
	// compilerVersion is the first line of what the compiler says of itself.
	compilerVersion string
	pkg             cuda.Package
	preference      cuda.Preference
	inputs          string

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
	if err := o.validate(); err != nil {
		return Result{}, err
	}
	if err := s.Writable(); err != nil {
		return Result{}, err
	}
	defer giveToOwner(ctx, s)
	b := &build{Options: o, share: s}
	err = run(ctx, stage.Detect, func(ctx context.Context) error { return b.detect(ctx, s.Exports()) })
	if err != nil {
		return Result{}, err
	}
	lock, err := s.Lock(ctx, share.LockOptions{NoWait: o.NoWait})
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("this run's scratch is left behind; the next run removes it")
		}
	}()
	if b.scratch, err = lock.Scratch(); err != nil {
		return Result{}, stage.Wrap(stage.Share, err, "this run's scratch folder cannot be made", "check that the share is writable")
	}
	return b.run(ctx)
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
	err := run(ctx, stage.Driver, func(ctx context.Context) (err error) {
		if err := b.chooseDriver(ctx); err != nil {
			return err
		}
		if result, err = b.published(ctx); err != nil || result.Reused {
			return err
		}
		return b.unpackDriver(ctx)
	})
	if err != nil || result.Reused {
		return result, err
	}
	for _, s := range []struct {
		name stage.Name
		work func(context.Context) error
	}{
		{stage.Source, b.checkOut},
		{stage.Prepare, b.completing(prepareTool, b.prepare)},
		{stage.Build, b.completing(installerTool, b.compile)},
		{stage.Check, b.check},
	} {
		if err := run(ctx, s.name, s.work); err != nil {
			return Result{}, err
		}
	}
	err = run(ctx, stage.Publish, func(ctx context.Context) (err error) {
		result, err = b.publish(ctx)
		return err
	})
	return result, err
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

// chooseDriver picks the driver package and, with it, knows all that a rerun
// compares.
func (b *build) chooseDriver(ctx context.Context) error {
	var err error
	if b.pkg, err = cuda.Find(ctx, b.share.CUDA(), b.target.Arch, b.DriverVersion); err != nil {
		return err
	}
	if b.preference, err = cuda.Prefer(b.ModuleType, b.pkg.Version, b.target.GPUs); err != nil {
		return err
	}
	digest, err := packageDigest(ctx, b.share, b.pkg)
	if err != nil {
		return err
	}
	b.inputs, err = b.digestInputs(digest)
	return err
}

// published is the result of an earlier run, where it is whole and was made
// from the same inputs; the zero value where there is none. Its error is of
// the check stage, where that result would not do on this run's terms.
func (b *build) published(ctx context.Context) (Result, error) {
	log := zerolog.Ctx(ctx)
	m, path, err := modules.Published(b.share, b.target.Release.Full, b.pkg.Version)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, nil
	case err != nil:
		log.Warn().Err(err).Msg("an earlier result is damaged, building again")
		return Result{}, nil
	case m.Inputs != b.inputs:
		log.Info().Str("manifest", path).Msg("an earlier result was made from other inputs, building again")
		return Result{}, nil
	}
	// The same inputs would give the same findings. Only drift is not the
	// check stage's to stop at: prepare does, before any compile.
	drifted := func(c modules.Check) bool { return c.Name == prepare.DriftCheck && c.Verdict == modules.Failed }
	if !b.allowsDrift() && slices.ContainsFunc(m.Checks, drifted) {
		log.Info().Str("manifest", path).Msg("an earlier result was accepted on other terms, building again")
		return Result{}, nil
	}
	if err := modules.Judge(m.Checks, b.policy()); err != nil {
		return Result{}, err
	}
	log.Info().Str("manifest", path).Int("modules", len(m.Modules)).
		Msg("nothing has changed and every digest is right: the modules are already there, nothing to build")
	return resultOf(path, m, true), nil
}

func (b *build) unpackDriver(ctx context.Context) error {
	// What would only fail at the end is tried before the work.
	if err := modules.Ready(b.share, b.scratch, b.target.Release.Full, b.pkg.Version); err != nil {
		return err
	}
	if err := b.share.Need(stage.Driver, prepareBytes+buildBytes, "preparing a kernel tree and building a driver"); err != nil {
		return err
	}
	var err error
	if b.driver, err = cuda.Unpack(ctx, b.pkg, filepath.Join(b.scratch, "driver")); err != nil {
		return b.share.Explain(stage.Driver, err)
	}
	if b.moduleType, err = b.preference.Resolve(b.driver); err != nil {
		return err
	}
	why := b.preference.Why
	if b.moduleType != b.preference.Type {
		why = "the package has no others"
	}
	zerolog.Ctx(ctx).Info().Str("type", b.moduleType).Str("why", why).Msg("form of the modules")
	return nil
}

func (b *build) checkOut(ctx context.Context) error {
	return b.takeSource(ctx, source.Checkout)
}

// takeSource leaves the kernel source in the share by one of package source's
// two ways to do so.
func (b *build) takeSource(ctx context.Context, take func(context.Context, kernel.Target, source.Options) (source.Tree, error)) error {
	o := b.Source
	o.Dir, o.Scratch, o.Runner = b.share.Linux(), b.scratch, b.Runner
	o.Progress = &lineWriter{line: progress(zerolog.Ctx(ctx))}
	o.Room = func(bytes uint64) error {
		return b.share.Need(stage.Source, bytes+bytes/10+prepareBytes+buildBytes, "fetching the kernel source and building with it")
	}
	var err error
	if b.source, err = take(ctx, b.target, o); err != nil {
		return b.share.Explain(stage.Source, err)
	}
	zerolog.Ctx(ctx).Info().Str("ref", b.source.Ref).Str("commit", b.source.Commit).Bool("reused", b.source.Reused).
		Str("rung", b.source.Rung).Msg("kernel source")
	if b.source.Dir != o.Dir || b.source.Reused {
		return nil // not the share's, or as it was
	}
	return b.share.Chown(ctx, b.source.Dir)
}

// completing runs a stage, and where it fails for want of a file that was not
// checked out, completes the source, prepares it again and gives the stage
// another go. It happens once: a whole source lacks nothing.
func (b *build) completing(tool string, work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := work(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		missing := b.missing(ctx, tool)
		if missing == "" {
			return err
		}
		zerolog.Ctx(ctx).Warn().Str("path", missing).Err(err).Msg("the kernel source lacks a file that this build needs: completing it")
		if err := b.takeSource(ctx, source.Complete); err != nil {
			return err
		}
		if err := b.prepare(ctx); err != nil || tool == prepareTool {
			return err
		}
		// The installer compiles in the driver's folder, and would take what it
		// made there for good.
		if err := os.RemoveAll(b.driver.Dir); err != nil {
			return stage.Wrap(stage.Build, err, "the driver cannot be unpacked anew", "check the share")
		}
		if b.driver, err = cuda.Unpack(ctx, b.pkg, b.driver.Dir); err != nil {
			return b.share.Explain(stage.Build, err)
		}
		return work(ctx)
	}
}

// missing is the file of the kernel source that a tool's log complains of and
// that was not checked out, or "".
func (b *build) missing(ctx context.Context, tool string) string {
	log, err := os.Open(b.logFile(tool))
	if err != nil {
		return "" // it failed before it had one
	}
	defer log.Close()
	missing, err := source.Missing(b.source, log)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot tell whether the kernel source lacks a file")
	}
	return missing
}

func (b *build) prepare(ctx context.Context) error {
	if b.compiler.Warning != "" {
		zerolog.Ctx(ctx).Warn().Msg(b.compiler.Warning)
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
	log := zerolog.Ctx(ctx)
	var err error
	b.built, err = cuda.Build(ctx, b.driver, cuda.BuildOptions{
		Runner: b.Runner, Scratch: b.scratch, LogFile: b.logFile(installerTool),
		Release: b.target.Release.Full, SourceDir: b.prepared.Source, OutputDir: b.prepared.Output,
		Compiler: b.prepared.Compiler, ModuleType: b.moduleType, Exclude: b.Exclude,
		// Where only the exports of loaded modules are known, drm's may not
		// be among them.
		AllowUndefined: !b.target.Exports.Complete, Debug: b.Debug,
		Jobs: b.Jobs, Timeout: b.BuildTimeout, Progress: progress(log),
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

// sign signs what was built, if the user gave a key.
func (b *build) sign(ctx context.Context) error {
	if b.signer == nil {
		return nil
	}
	for _, path := range b.built.Files {
		if err := b.signer.SignFile(path); err != nil {
			return b.share.Explain(stage.Build, stage.Wrap(stage.Build, err, "the modules cannot be signed", "look at the cause, and run again"))
		}
	}
	zerolog.Ctx(ctx).Info().Int("modules", len(b.built.Files)).Str("key", b.signer.KeyID()).Str("hash", b.signer.Hash()).
		Str("kernel", b.trust()).Msg("modules signed")
	return nil
}

// trust says what the kernel's keyrings tell of the signer's key; "" where
// nothing is signed.
func (b *build) trust() string {
	s := b.target.Signing
	switch {
	case b.signer == nil:
		return ""
	case s.KeysFrom == "":
		return "its keys are not to be seen"
	case slices.Contains(s.Keys, b.signer.KeyID()):
		return "holds this key"
	}
	return "does not hold this key"
}

// certificateDigest is sha256:HEX of the signer's certificate; empty where
// there is none.
func (b *build) certificateDigest() string {
	if b.signer == nil {
		return ""
	}
	sum := sha256.Sum256(b.signer.Certificate().Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// signedBy is the key and the hash that the modules are signed with; empty
// where they are not.
func (b *build) signedBy() string {
	if b.signer == nil {
		return ""
	}
	return b.signer.Hash() + ":" + b.signer.KeyID()
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
	b.checks = append(driftCheck(b.prepared.Drift), modules.Gate(b.mods, b.target, modules.Expect{
		Modules: b.driver.Modules(b.moduleType), Excluded: b.Exclude, Firmware: b.driver.Firmware(), Debug: b.Debug,
	})...)
	return modules.Judge(b.checks, b.policy())
}

// driftCheck is the finding of the prepare stage, for the manifest. That stage
// stops at drift, so what there is of it was let pass.
func driftCheck(let []drift.Change) []modules.Check {
	c := modules.Check{Name: prepare.DriftCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	var changes []string
	for _, change := range let {
		changes = append(changes, change.String())
	}
	if len(changes) > 0 {
		c.Verdict, c.Detail = modules.Failed, "kbuild changed the host's config: "+strings.Join(changes, "; ")
	}
	return []modules.Check{c}
}

func (b *build) publish(ctx context.Context) (Result, error) {
	manifest, err := b.describe()
	if err != nil {
		return Result{}, err
	}
	manifest.Indexes, err = modules.Index(ctx, modules.IndexOptions{
		Runner: b.Runner, Scratch: b.scratch, Dir: b.built.Dir, Release: b.target.Release.Full, Modules: manifest.Modules,
	})
	if err != nil {
		return Result{}, err
	}
	path, err := modules.Publish(ctx, modules.PublishOptions{
		Share: b.share, Scratch: b.scratch, Dir: b.built.Dir, Manifest: manifest,
	})
	if err != nil {
		return Result{}, err
	}
	for _, m := range manifest.Modules {
		zerolog.Ctx(ctx).Info().Str("name", m.Name).Int64("bytes", m.Size).Str("vermagic", m.Vermagic).Msg("module")
	}
	return resultOf(path, manifest, false), nil
}

// describe is the manifest of what was built.
func (b *build) describe() (modules.Manifest, error) {
	entries, err := modules.Entries(b.mods, b.target)
	if err != nil {
		return modules.Manifest{}, stage.Wrap(stage.Check, err, "the modules have no load order", "report this as a bug, with the installer's log")
	}
	return modules.Manifest{
		Inputs: b.inputs,
		Target: modules.DescribeTarget(b.target),
		Source: modules.SourceInfo{Rung: b.source.Rung, Repository: b.source.Repository, Ref: b.source.Ref, Commit: b.source.Commit},
		Driver: modules.DriverInfo{Version: b.driver.Version, ModuleType: b.moduleType, Digest: b.driver.Digest},
		Build: modules.BuildInfo{
			Builder: b.Builder, Compiler: b.prepared.CompilerVersion, InstallerFlags: b.built.InstallerFlags, SignedBy: b.signedBy(),
		},
		Modules: entries, Checks: b.checks, Overridden: modules.Overridden(b.checks, b.policy()),
	}, nil
}

func (b *build) allowsDrift() bool { return slices.Contains(b.Allow, prepare.DriftCheck) }

func (b *build) policy() modules.Policy { return modules.Policy{Strict: b.Strict, Allow: b.Allow} }

// logFile is where a stage's tools keep their log, one a release and driver,
// so that the last of each can be read after the fact.
func (b *build) logFile(tool string) string {
	return filepath.Join(b.share.Logs(), strings.Join([]string{tool, b.target.Release.Full, b.pkg.Version}, "-")+".log")
}

// progress passes on a tool's progress, no more often than a reader of a log
// wants.
func progress(log *zerolog.Logger) func(string) {
	var last time.Time
	return func(line string) {
		if now := time.Now(); now.Sub(last) >= 5*time.Second {
			last = now
			log.Info().Msg(line)
		}
	}
}
