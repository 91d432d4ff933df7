package job

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// inImage is the share's place in an artefact, which is where builder looks for one: an
// artefact is a container image that builder load runs in.
const inImage = "opt/share/"

// modulesIn is how published modules are in an artefact, and beside them how the Kernel
// Module Management operator has them: see [forKMM].
func modulesIn(release, version string) registry.Kind {
	return registry.Kind{
		Name: "modules", Index: modules.ManifestFile, MaxIndex: modules.MaxManifest, Contents: modules.Contents,
		At: inImage + "modules/" + release + "/" + version, Beside: forKMM,
	}
}

// userSpaceIn is how a driver's user-space side is, which is the same for all kernels.
func userSpaceIn(version string) registry.Kind {
	return registry.Kind{
		Name: "user-space", Index: userspace.ManifestFile, MaxIndex: userspace.MaxManifest, Contents: userspace.Contents,
		At: inImage + "driver/" + version, Beside: forGPUOperator(version),
	}
}

// forGPUOperator is what NVIDIA's GPU Operator looks for in a driver's image: nvidia-smi on
// the PATH. That it runs nvidia-driver is the runtime's.
func forGPUOperator(version string) func([]byte) ([]registry.Extra, error) {
	const program = "usr/bin/nvidia-smi"
	return func(index []byte) ([]registry.Extra, error) {
		files, err := userspace.Contents(index)
		if err != nil || !slices.ContainsFunc(files, func(f publish.File) bool { return f.Name == program }) {
			return nil, err
		}
		return []registry.Extra{{At: program, Target: "../../" + inImage + "driver/" + version + "/" + program}}, nil
	}
}

// forKMM is what the Kernel Module Management operator (2.6) looks for in an image: its
// worker copies /opt/lib/modules/REL and what is in /firmware, and runs modprobe -d
// on the copy, where the link host leads to the modules that came with the kernel
// (its docs, kmod_image.md). The files are those that are published, by hard links.
func forKMM(index []byte) ([]registry.Extra, error) {
	m, err := modules.ParseManifest(bytes.NewReader(index))
	if err != nil {
		return nil, err
	}
	const host = "host"
	at := "opt/lib/modules/" + m.Target.Release + "/"
	list := []registry.Extra{{At: at + host, Target: "/host/lib/modules/" + m.Target.Release}}
	for _, e := range m.Modules {
		list = append(list, registry.Extra{At: at + e.File, Of: e.File})
	}
	for _, f := range m.Firmware {
		list = append(list, registry.Extra{At: f.Name, Of: f.Name})
	}
	text, binary := m.ModulesDep(host)
	return append(list, registry.Extra{At: at + "modules.dep", Text: text}, registry.Extra{At: at + "modules.dep.bin", Text: binary}), nil
}

// Selection is what of a share is meant.
type Selection struct {
	// Share has what was built.
	Share string
	// Release and Version are of the kernel and the driver; empty is all that there are.
	Release, Version string
}

// Push leaves what a share has for kernels in a registry, each with its driver's user-space
// side where the share has that. What is not whole is an error of the publish stage, and
// so is that there is nothing. Of the options it takes NoWait and Wait.
func Push(ctx context.Context, what Selection, to registry.Options, o Options) (pushed []registry.Pushed, err error) {
	if err := to.Check(); err != nil {
		return nil, err
	}
	err = withSelected(ctx, what, o, func(ctx context.Context, s site) error {
		pushed, err = s.push(ctx, what, to)
		return err
	})
	return pushed, err
}

// Export writes the same to w, as an OCI image layout in a tar, from which [Pull] takes it
// where there is no network.
func Export(ctx context.Context, what Selection, o Options, w io.Writer) error {
	return withSelected(ctx, what, o, func(ctx context.Context, s site) error {
		archive, err := registry.NewArchive(w)
		if err == nil {
			err = s.eachBuilt(ctx, what, func(_ modules.Found, r registry.Recipe) error { return archive.Add(ctx, r, s.scratch) })
		}
		if err == nil {
			err = archive.Close()
		}
		return publish.Explain(ctx, s.share, err, "what was built cannot be exported", "look at the cause, and export again")
	})
}

// ExportFile is [Export] into a file, which appears when it is whole.
func ExportFile(ctx context.Context, what Selection, o Options, path string) error {
	return writeWhole(stage.Publish, "the archive", path, func(w io.Writer) error { return Export(ctx, what, o, w) })
}

// withSelected works on a share with what is selected in it.
func withSelected(ctx context.Context, what Selection, o Options, work func(context.Context, site) error) error {
	o.Share = what.Share
	s, err := newSite(o, false)
	if err != nil {
		return err
	}
	ctx, end := stage.Begin(ctx, stage.Publish)
	err = s.locked(ctx, func(s site) error { return work(ctx, s) })
	if err == nil {
		end()
	}
	return err
}

func (s site) push(ctx context.Context, what Selection, to registry.Options) (pushed []registry.Pushed, err error) {
	return pushed, s.eachBuilt(ctx, what, func(f modules.Found, r registry.Recipe) (err error) {
		if r.Beside, err = s.beside(f); err != nil {
			return err
		}
		one, err := registry.Push(ctx, to, r, s.scratch)
		if err == nil {
			pushed = append(pushed, one)
		}
		return err
	})
}

// eachBuilt does something for each result that is selected, by what makes an artefact of
// it, with scratch empty.
func (s site) eachBuilt(ctx context.Context, what Selection, do func(modules.Found, registry.Recipe) error) error {
	found, err := s.built(what)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := s.emptyScratch(stage.Publish); err != nil {
			return err
		}
		recipe, err := s.recipe(ctx, f)
		if err != nil {
			return err
		}
		if err := do(f, recipe); err != nil {
			return err
		}
	}
	return nil
}

// recipe is what makes an artefact of a result.
func (s site) recipe(ctx context.Context, f modules.Found) (registry.Recipe, error) {
	m := f.Manifest
	r := registry.Recipe{Provenance: provenanceOf(m), Key: keyOf(m), Contents: []registry.Content{{Kind: modulesIn(m.Target.Release, m.Driver.Version), Dir: f.Dir}}}
	if s.notary != nil {
		r.Sign = s.notary.SignRaw
		if _, err := publish.ReadIndex(f.Dir, modules.ManifestFile, modules.MaxManifest, s.ownTrust()); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("manifest", f.Path()).Msg("the artefact is signed, and its manifest is not by this key: for pull --trust and load --trust, build with the same --sign-manifest, which signs what is there")
		}
	}
	root, _, err := userspace.Published(s.share, m.Driver.Version, nil)
	dir := ""
	if err == nil {
		dir, err = publish.Led(root.Dir)
	}
	switch {
	case err == nil:
		r.Contents = append(r.Contents, registry.Content{Kind: userSpaceIn(root.Version), Dir: dir})
	case !errors.Is(err, fs.ErrNotExist):
		return registry.Recipe{}, stage.Wrap(stage.Publish, err, "the driver's user-space side is not whole, so it is not passed on", "build again, which lays it out anew")
	}
	runtimeDir := cmp.Or(s.Runtime, defaultRuntime)
	if _, err := os.Stat(runtimeDir); err != nil || kernel.ArchOf(runtime.GOARCH) != m.Target.Arch {
		zerolog.Ctx(ctx).Info().Str("folder", runtimeDir).Msg("what is passed on is for builder alone: what others run in an image, builder's own image has, for its own architecture")
		return r, nil
	}
	r.Runtime = runtimeDir
	r.Entrypoint = []string{"/" + builderProgram}
	id, number, known := strings.Cut(m.Target.Distribution, " ")
	if !known {
		id = ""
		zerolog.Ctx(ctx).Info().Str("release", m.Target.Release).Msg("NVIDIA's GPU Operator will not find it: its tag has the distribution's version, which was not to be seen; a capture of a host tells it")
	}
	r.Aliases = r.Key.Aliases(id + number)
	r.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"BUILDER_DRIVER_VERSION=" + m.Driver.Version,
		// For nvidia-smi. NVIDIA's runtime is to leave such a container alone.
		"LD_LIBRARY_PATH=/" + userSpaceIn(m.Driver.Version).At + "/usr/lib64",
		"NVIDIA_VISIBLE_DEVICES=void",
	}
	return r, nil
}

// defaultRuntime is where the image has what runs in an artefact.
const defaultRuntime = "/usr/lib/cuda-builder/runtime"

// The media types of what belongs to an artefact.
const (
	manifestType = "application/vnd.k8sp.cuda.manifest.v1+json"
	recordType   = "application/vnd.k8sp.cuda.types.v1"
	logType      = "text/plain"
)

// beside is what belongs to a result, to be looked at without the modules: its manifest,
// the record of types that they were compiled with, and the logs of its build, where
// they are there.
func (s site) beside(f modules.Found) (list []registry.Attachment, err error) {
	m := f.Manifest
	files := []struct{ path, name, kind string }{{filepath.Join(f.Dir, modules.ManifestFile), modules.ManifestFile, manifestType}}
	if m.Types != nil {
		files = append(files, struct{ path, name, kind string }{filepath.Join(f.Dir, m.Types.Name), m.Types.Name, recordType})
	}
	compiled := installerTool
	if m.Build.WithoutInstaller != "" {
		compiled = kbuildTool
	}
	for _, tool := range []string{prepareTool, compiled} {
		files = append(files, struct{ path, name, kind string }{s.share.Log(tool, m.Target.Release, m.Driver.Version), tool + ".log", logType})
	}
	for _, file := range files {
		text, err := beneath.ReadFile(file.path)
		switch {
		case err == nil:
			list = append(list, registry.Attachment{Name: file.name, Type: file.kind, Text: text})
		case file.kind != logType || !errors.Is(err, fs.ErrNotExist):
			return nil, stage.Wrap(stage.Publish, err, fmt.Sprintf("%s cannot be read, so it is not pushed", file.path), "look at the cause, and push again")
		}
	}
	return list, nil
}

// mayPush is an error where it is certain that a push at the end of this build would fail. A
// registry that is not there for the moment may be by then.
func (s site) mayPush(ctx context.Context) error {
	if !s.Push || s.dry {
		return nil
	}
	err := registry.MayPush(ctx, s.Registry)
	if name := (*net.DNSError)(nil); registry.Unavailable(err) && !(errors.As(err, &name) && name.IsNotFound) {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the registry cannot be asked for now whether this run may push")
		return nil
	}
	return err
}

// pushing is the push at the end of a build.
func (s site) pushing(ctx context.Context, b *brackets, r Result) (said []Step, artefact string, err error) {
	if s.dry {
		return []Step{{stage.Publish, "a push to " + s.Registry.Repository}}, "", nil
	}
	ctx = b.enter(ctx, stage.Publish)
	defer b.leave()
	pushed, err := s.push(ctx, Selection{Release: r.Release, Version: r.Driver}, s.Registry)
	if err == nil {
		artefact = pushed[0].Artefact() // there is one of a release and a version
	}
	return nil, artefact, err
}

// built is what a share has of what was asked for.
func (s site) built(o Selection) (list []modules.Found, err error) {
	all, err := modules.Drivers(s.share)
	if err != nil {
		return nil, stage.Wrap(stage.Publish, err, "the share's modules cannot be listed", "look at the cause, and run again")
	}
	wanted := modules.Driver{Release: o.Release, Version: o.Version}
	var others []string
	for _, d := range all {
		if !wanted.Selects(d) {
			others = append(others, d.Version+" for "+d.Release)
			continue
		}
		f, err := modules.Find(s.share, d.Release, d.Version, nil)
		if err != nil {
			return nil, stage.Wrap(stage.Publish, err, fmt.Sprintf("the modules of %s for %s are not whole, so they are not passed on", d.Version, d.Release), "build them again (--rebuild)")
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		has := cmp.Or(strings.Join(others, ", "), "none at all")
		return nil, stage.New(stage.Publish, fmt.Sprintf("%s has no such modules, so there is nothing to pass on; it has %s", s.share.Modules(), has), "build first, or name others with --release and --driver-version")
	}
	return list, nil
}

// keyOf is the key of published modules.
func keyOf(m modules.Manifest) registry.Key {
	return registry.Key{
		Release: m.Target.Release, Identity: cmp.Or(m.Target.BuildID, m.Target.Symbols.Digest), Arch: m.Target.Arch,
		Driver: m.Driver.Version, Form: m.Driver.ModuleType,
	}
}

// keyFor is the key of modules for a kernel.
func keyFor(t kernel.Target, version, form string) registry.Key {
	return registry.Key{Release: t.Release.Full, Identity: cmp.Or(t.BuildID.Hex, t.Exports.Digest), Arch: t.Arch, Driver: version, Form: form}
}

// wantedKey is the key of the modules that a host with the kernel asks for.
func (s site) wantedKey(t kernel.Target) (registry.Key, error) {
	form, err := cuda.Prefer(s.ModuleType, cuda.Package{Version: s.DriverVersion}, cuda.GPUs(t.PCI))
	return keyFor(t, s.DriverVersion, form.Type), err
}

// notPushedKind is the kind of failure that a registry has no such artefact.
const notPushedKind = "not-pushed"

// Pull brings what was built elsewhere for the host's kernel from [Options.Registry], or the
// archive [Options.From], to the share. Of the options it takes these, Trust, Share, Host, DriverVersion, ModuleType,
// UserSpace, Strict, Allow, NoWait and Wait. What it brings is held against this kernel
// before it is published. Errors are of the stage that failed; that there is
// nothing is [registry.ErrNone], of the publish stage.
func Pull(ctx context.Context, o Options) (result Result, err error) {
	if !cuda.IsVersion(o.DriverVersion) {
		reason := "a pull has to know the driver's version"
		if o.DriverVersion != "" {
			reason = fmt.Sprintf("a pull has to know the driver's version, and %q is a line of drivers", o.DriverVersion)
		}
		return Result{}, stage.New(stage.Usage, reason, "name it whole with --driver-version, such as 580.126.09")
	}
	s, err := newSite(o, false)
	if err != nil {
		return Result{}, err
	}
	if o.From == "" {
		if err := o.Registry.Check(); err != nil {
			return Result{}, err
		}
	}
	b := &brackets{}
	t, err := s.Host.detect(b.enter(ctx, stage.Detect), s.exportsCache(), cuda.MayUse)
	if err != nil {
		return Result{}, err
	}
	b.leave()
	err = s.locked(ctx, func(s site) error {
		result, err = s.pull(b.enter(ctx, stage.Publish), t)
		return err
	})
	if errors.Is(err, registry.ErrNone) {
		hint := "build it (builder build), and push it; or name the form that was pushed with --module-type"
		if o.From != "" {
			hint = "name what the archive has with --driver-version and --module-type, or the kernel that it has it for with --host-root or --kernel-image; or build it (builder build), and export that"
		}
		err = stage.OfKind(notPushedKind, stage.Wrap(stage.Publish, err, fmt.Sprintf("driver %s for %s cannot be pulled", o.DriverVersion, t.Release.Full), hint))
	}
	if err == nil {
		b.leave()
	}
	return result, err
}

// pull brings one artefact, of the first mirror from which it can be brought, or else of the
// registry or the archive.
func (s site) pull(ctx context.Context, t kernel.Target) (Result, error) {
	for _, mirror := range s.Registry.Mirrors {
		if s.From != "" {
			break
		}
		from := s
		from.Registry.Repository = mirror
		result, err := from.pullFrom(ctx, t)
		if err == nil || ctx.Err() != nil {
			return result, err
		}
		zerolog.Ctx(ctx).Info().Err(err).Str("mirror", mirror).Msg("this mirror is passed over")
		if err := s.emptyScratch(stage.Publish); err != nil {
			return Result{}, err
		}
	}
	return s.pullFrom(ctx, t)
}

func (s site) pullFrom(ctx context.Context, t kernel.Target) (Result, error) {
	began := time.Now()
	version := s.DriverVersion
	key, err := s.wantedKey(t)
	if err != nil {
		return Result{}, err
	}
	s.Registry.Space = func(bytes int64) error {
		return s.needSpace(ctx, stage.Publish, share.Space{Bytes: uint64(bytes), Files: 3}, share.Space{})
	}
	a, done, err := s.findArtefact(ctx, key)
	if err != nil {
		return Result{}, err
	}
	defer done()
	trust, err := s.pullTrust()
	if err != nil {
		return Result{}, err
	}
	if err := s.trusted(ctx, a, trust); err != nil {
		return Result{}, err
	}
	verify := verifier(trust)
	there, dir, err := s.pullModules(ctx, a, t, verify)
	if err != nil {
		return Result{}, err
	}
	libraries := ""
	if s.UserSpace != userspace.None && a.Index(userSpaceIn(version)) != "" {
		if libraries, err = s.pullUserSpace(ctx, a, t, verify); err != nil {
			return Result{}, err
		}
	}
	// The modules come last: who finds their manifest finds all.
	m := there.Manifest
	if dir != "" {
		if err := s.lock.Check(); err != nil {
			return Result{}, err
		}
		if m, err = modules.Adopt(ctx, s.share, s.scratch, dir, t.Release.Full, version, verify); err != nil {
			return Result{}, err
		}
		s.notePull(ctx, t, time.Since(began))
	}
	result := resultOf(filepath.Join(s.share.Result(t.Release.Full, version), modules.ManifestFile), m, true)
	result.UserSpace = libraries
	if s.From == "" {
		result.Artefact = a.Reference
	}
	zerolog.Ctx(ctx).Info().Str("manifest", result.Manifest).Str("from", a.Reference).Msg("what was built elsewhere serves")
	return result, nil
}

// notePull writes down for who watches how long a pull took; without that it is as good.
func (s site) notePull(ctx context.Context, t kernel.Target, took time.Duration) {
	err := s.share.NotePull(share.Pull{Driver: s.DriverVersion, Release: t.Release.Full, Seconds: took.Seconds(), At: time.Now().UTC()})
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("how long the pull took is not written down, so no metric will tell it")
	}
}

// findArtefact finds it in the archive or, where there is none, in the registry. It is used
// before done is called.
func (s site) findArtefact(ctx context.Context, k registry.Key) (a registry.Artefact, done func(), err error) {
	if s.From == "" {
		a, err = registry.Find(ctx, s.Registry, k)
		return a, func() {}, err
	}
	file, err := os.Open(s.From)
	if err != nil {
		return registry.Artefact{}, nil, stage.Wrap(stage.Usage, err, "the archive cannot be read", "name a tar that builder export made with --from")
	}
	info, err := file.Stat()
	if err == nil {
		a, err = registry.FindArchived(file, info.Size(), k)
	}
	if err != nil {
		_ = file.Close()
		return registry.Artefact{}, nil, err
	}
	return a, func() { _ = file.Close() }, nil
}

// pullTrust is who is trusted to have signed what is pulled; nil is anybody. A build that
// signs what it makes takes in its place only what the same key has signed.
func (s site) pullTrust() (*signature.Trust, error) {
	if s.notary != nil {
		return signature.TrustIn(s.notary.Certificate()), nil
	}
	if len(s.Trust) == 0 {
		return nil, nil
	}
	t, err := signature.ReadTrust(s.Trust, s.share.Dir())
	if errors.As(err, new(*publish.UntrustedError)) {
		return nil, stage.OfKind(modules.UntrustedKind, stage.Wrap(stage.Publish, err, "nobody is trusted", "name valid certificates, or public keys, with --trust"))
	}
	return t, err
}

// verifier is how those who are trusted verify a manifest; nil is not at all.
func verifier(trust *signature.Trust) publish.Trust {
	if trust == nil {
		return nil
	}
	return trust.Verify
}

// trusted says whether an artefact of a registry is signed by who is trusted, before anything
// of it is pulled. That nobody signed it is no error: its manifests have to be.
func (s site) trusted(ctx context.Context, a registry.Artefact, trust *signature.Trust) error {
	if trust == nil || s.From != "" {
		return nil
	}
	err := registry.Verified(ctx, a, trust.VerifyRaw)
	var failure *stage.Error
	switch {
	case err == nil:
		zerolog.Ctx(ctx).Info().Str("from", a.Reference).Msg("its signature and its provenance are by who is trusted")
		return nil
	case errors.Is(err, registry.ErrUnsigned) && s.notary != nil:
		// What this run answers for is the artefact: it goes on under its digest, and who runs
		// it gets more than what its manifests list.
		return stage.OfKind(modules.UntrustedKind, stage.Wrap(stage.Check, err, a.Reference+" is not signed as a whole by the key that signs here", "let it be built, which signs it"))
	case errors.Is(err, registry.ErrUnsigned):
		zerolog.Ctx(ctx).Info().Str("from", a.Reference).Msg("nobody has signed it as a whole: the signatures of its manifests decide")
		return nil
	case errors.As(err, &failure), ctx.Err() != nil:
		return err
	}
	return stage.OfKind(modules.UntrustedKind, stage.Wrap(stage.Check, err, a.Reference+" is not signed by who is trusted", "push it again with --sign-manifest and a key that --trust names, and find out who writes to the registry"))
}

// pullModules has the modules in the folder dir of scratch; "" where those that are
// published already are the same. Either are held against the kernel.
func (s site) pullModules(ctx context.Context, a registry.Artefact, t kernel.Target, trust publish.Trust) (there modules.Found, dir string, err error) {
	kind := modulesIn(t.Release.Full, s.DriverVersion)
	if there, err = modules.Find(s.share, t.Release.Full, s.DriverVersion, trust); err == nil && same(a, kind, there.Dir) {
		zerolog.Ctx(ctx).Info().Str("manifest", there.Path()).Msg("these modules are there already")
		return there, "", s.proven(ctx, there.Dir, t, trust)
	}
	if dir, err = s.pullTo(ctx, a, kind); err != nil {
		return modules.Found{}, "", err
	}
	return modules.Found{}, dir, s.proven(ctx, dir, t, trust)
}

// same says whether a folder is what an artefact has.
func same(a registry.Artefact, kind registry.Kind, dir string) bool {
	sum, _, err := publish.DigestFile(filepath.Join(dir, kind.Index))
	return err == nil && sum == a.Index(kind)
}

// pullTo pulls a folder to scratch.
func (s site) pullTo(ctx context.Context, a registry.Artefact, kind registry.Kind) (dir string, err error) {
	dir = filepath.Join(s.scratch, "pulled-"+kind.Name)
	if err := beneath.Mkdir(dir, 0o755); err != nil {
		return "", stage.Wrap(stage.Publish, s.share.Explain(stage.Publish, err), "what is pulled has no place", "let the share's owner write to it")
	}
	keep := s.share.Downloads()
	if err := s.share.MkdirAll(keep); err != nil {
		return "", stage.Wrap(stage.Publish, s.share.Explain(stage.Publish, err), "what is pulled has no place", "let the share's owner write to it")
	}
	return dir, a.Pull(ctx, kind, dir, keep)
}

// proven holds modules against the kernel that they are to be loaded into.
func (s site) proven(ctx context.Context, dir string, t kernel.Target, trust publish.Trust) error {
	checks, err := modules.Verify(dir, t, nil, trust)
	if all, found, failed := s.Host.detectAll(ctx, s.exportsCache(), err); failed != nil {
		return failed
	} else if found {
		checks, err = modules.Verify(dir, all, nil, trust)
	}
	if err != nil {
		return err
	}
	for _, c := range checks {
		if c.Name == modules.TrustedCheck && c.Verdict == modules.Failed {
			return stage.OfKind(modules.UntrustedKind, stage.New(stage.Check, "what was pulled is not signed by who is trusted: "+c.Detail, "have it signed with a key that --trust names (build --sign-manifest), and find out who made this"))
		}
	}
	policy := s.policy()
	policy.Published = true
	if err := modules.Judge(checks, policy); err != nil {
		return err
	}
	passed := 0
	for _, c := range checks {
		if c.Verdict == modules.Passed {
			passed++
		}
	}
	told := zerolog.Ctx(ctx).Info().Int("passed", passed)
	if trust != nil {
		told = told.Bool("signed", true)
	}
	told.Msg("these modules are proven for this kernel")
	return nil
}

// pullUserSpace has the driver's user-space side in the share, and returns its manifest.
func (s site) pullUserSpace(ctx context.Context, a registry.Artefact, t kernel.Target, trust publish.Trust) (string, error) {
	version := s.DriverVersion
	kind := userSpaceIn(version)
	path := filepath.Join(s.share.Driver(version), kind.Index)
	if root, m, err := userspace.Published(s.share, version, trust); err == nil {
		if dir, err := publish.Led(root.Dir); err == nil && same(a, kind, dir) {
			return path, s.fabricServes(ctx, a, t, m)
		}
	}
	dir, err := s.pullTo(ctx, a, kind)
	if err != nil {
		return "", err
	}
	text, err := beneath.ReadFile(filepath.Join(dir, kind.Index))
	if err != nil {
		return "", stage.Wrap(stage.Publish, s.share.Explain(stage.Publish, err), "what was pulled cannot be read", "let the share's owner read it")
	}
	m, err := userspace.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return "", stage.Wrap(stage.Publish, err, a.Reference+" has a damaged manifest of the driver's libraries", "push it again")
	}
	if err := s.fabricServes(ctx, a, t, m); err != nil {
		return "", err
	}
	// Each file was compared with the manifest as it came.
	return path, userspace.Adopt(ctx, s.share, s.scratch, dir, version, trust)
}

// fromRegistry is what a registry has of what a build would make, published in the share.
// An error is why the build has to make it, and is in the log. Of what is asked for beside
// the driver an artefact's key says nothing, so then it is not looked for.
func (s site) fromRegistry(ctx context.Context, b *brackets, t kernel.Target) (said []Step, result Result, err error) {
	if s.Registry.Repository == "" {
		return nil, Result{}, registry.ErrNone
	}
	ctx = b.enter(ctx, stage.Publish)
	defer b.leave()
	log := zerolog.Ctx(ctx)
	switch why := s.ownWishes(); {
	case why != "":
		log.Info().Str("registry", s.Registry.Repository).Msg("the registry is not asked: " + why)
		return nil, Result{}, registry.ErrNone
	case s.dry:
		return []Step{{stage.Publish, fmt.Sprintf("driver %s for %s, where %s has it and it proves to serve; else:", s.DriverVersion, t.Release.Full, s.Registry.Repository)}}, Result{}, registry.ErrNone
	}
	result, err = s.pull(ctx, t)
	switch {
	case err == nil:
		return nil, result, nil
	case errors.Is(err, registry.ErrNone):
		log.Info().Str("registry", s.Registry.Repository).Msg("the registry has no such modules")
	case failedAt(err):
		log.Warn().Err(err).Str("registry", s.Registry.Repository).Msg("the registry does not give what it has")
	default:
		log.Warn().Err(err).Str("registry", s.Registry.Repository).Msg("what the registry has does not serve")
	}
	if err := s.emptyScratch(stage.Publish); err != nil {
		log.Warn().Err(err).Msg("what was pulled is left until this run ends")
	}
	return nil, Result{}, err
}

// failedAt says whether an error is the registry's own, which could not be asked.
func failedAt(err error) bool {
	var failure *stage.Error
	return errors.As(err, &failure) && failure.Kind == registry.FailedKind
}

// published is what an earlier run has published of the driver for this very kernel, where
// nothing is to be built and the registry has nothing that serves, for the reason missed.
func (s site) published(ctx context.Context, b *brackets, t kernel.Target, missed error) ([]Step, Result, error) {
	ctx = b.enter(ctx, stage.Publish)
	defer b.leave()
	if s.dry {
		return []Step{{stage.Publish, "what is published already and serves, and nothing else, as --no-compile says"}}, Result{}, nil
	}
	trust, err := s.pullTrust()
	if err != nil {
		return nil, Result{}, err
	}
	verify := verifier(trust)
	found, err := modules.Find(s.share, t.Release.Full, s.DriverVersion, verify)
	if form := found.Manifest.Driver.ModuleType; err == nil && !slices.Contains([]string{"", "auto", form}, s.ModuleType) {
		err = fmt.Errorf("its modules are the %s ones, and %s ones are asked for", form, s.ModuleType)
	}
	if err == nil {
		err = s.proven(ctx, found.Dir, t, verify)
	}
	if err != nil {
		zerolog.Ctx(ctx).Info().Err(err).Msg("the share has nothing that serves either")
		if !errors.Is(missed, registry.ErrNone) {
			return nil, Result{}, missed
		}
		hint := "build it elsewhere and push it (builder build --push), and run again"
		if why := s.ownWishes(); why != "" && s.Registry.Repository != "" {
			hint = "have the registry asked: " + why + "; or " + hint
		}
		return nil, Result{}, stage.OfKind(notPushedKind, stage.Wrap(stage.Publish, missed,
			fmt.Sprintf("driver %s for %s is not to be built here (--no-compile), and nothing that serves is published", s.DriverVersion, t.Release.Full), hint))
	}
	result := resultOf(found.Path(), found.Manifest, true)
	if _, _, err := userspace.Published(s.share, s.DriverVersion, verify); err == nil {
		result.UserSpace = filepath.Join(s.share.Driver(s.DriverVersion), userspace.ManifestFile)
	}
	zerolog.Ctx(ctx).Info().Str("manifest", result.Manifest).Msg("what is published serves, and nothing is built here")
	return nil, result, nil
}

// ownWishes says why no artefact is what was asked for; "" where one may be.
func (s site) ownWishes() string {
	switch {
	case s.Offline:
		return "--offline asks the network for nothing"
	case s.Rebuild:
		return "--rebuild asks for another build"
	case !cuda.IsVersion(s.DriverVersion):
		return "it knows drivers by their version, and --driver-version names none"
	case s.DriverPatches != "" || s.SourcePatches != "" || len(s.Modules) > 0 || len(s.Exclude) > 0 || s.Debug:
		return "these modules are to be other ones than a plain build's"
	case s.Signing != (signature.Options{}):
		return "they are to be signed with a key of this host's"
	}
	return ""
}
