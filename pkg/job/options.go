package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options are what a user can say about a build. The zero value of every
// field is the default of its flag, but for Share and Builder.
type Options struct {
	// Share is the folder that holds the driver package and receives the
	// modules: /opt/share in the image.
	Share string
	// Host is what to build for.
	Host Host
	// Source says where kernel source comes from. The folders in it are
	// filled in by the job.
	Source source.Options
	// SourcePatches is a folder of patches for the kernel's source; empty is none.
	SourcePatches string
	// Registry is where what was built elsewhere is looked for; a Repository of "" is
	// nowhere.
	Registry registry.Options
	// From is an archive that [Export] made, in place of the registry, for [Pull].
	From string
	// Cluster has a Kubernetes cluster build what the registry has not; a Template of "" has
	// this host build it.
	Cluster cluster.Options
	// Push leaves there what was built, or was there already, and did not come from there.
	Push bool
	// Trust names files of certificates, or folders of them: what is pulled has to be
	// signed by one of these. None takes what anybody has pushed, once it is proven.
	Trust []string
	// Offline refuses to ask the network for anything.
	Offline bool
	// Pause is how long to wait before the second try of what the network
	// failed at for the moment; zero means a second.
	Pause time.Duration
	// DriverVersion is the driver to build: its version, or a [cuda.Wish]; empty is the
	// newest in the share. One that is not there is downloaded.
	DriverVersion string
	// DriverReleases is the URL of a list of drivers as NVIDIA's, for a wish; empty is
	// NVIDIA's own, or where DriverBaseURL is a server's that of this server.
	DriverReleases string
	// ReleasesWait is how long that list is waited for, all tries together, before
	// what is at hand has to do; zero means ten seconds.
	ReleasesWait time.Duration
	// DriverSHA256 is what its package's digest must be, in hexadecimal: a .run
	// file's SHA-256, an unpacked folder's as the manifest has it. Empty holds
	// a download against what cuda.KnownDigest knows, and others against nothing.
	DriverSHA256 string
	// DriverBaseURL is that of the server to download from, or the absolute path of a
	// folder that has packages as it has them; empty is NVIDIA's.
	DriverBaseURL string
	// DriverPatches is a folder of patches for the driver's sources; empty is none.
	DriverPatches string
	// ModuleType is "proprietary", "open" or "auto"; empty is "auto", which
	// is what cuda.Prefer says.
	ModuleType string
	// Modules names the modules to build, to which those that they need are
	// added; empty is all of the package's.
	Modules []string
	// Exclude names modules that the user does without, where Modules does not
	// say it.
	Exclude []string
	// Signing names the key to sign the modules with; its zero value signs
	// nothing.
	Signing signature.Options
	// SignManifest names the key to sign the manifests with, that of the modules and
	// that of the user-space side; its zero value leaves them unsigned.
	SignManifest signature.Options
	// UserSpace is the part of the driver's user-space side to lay out beside
	// the modules: userspace.Compute, All or None; empty is Compute.
	UserSpace string
	// FabricManager says whether NVIDIA's fabric manager is laid out beside the driver's
	// libraries: FabricAuto, FabricAlways or FabricNever; empty is FabricAuto.
	FabricManager string
	// RedistBaseURL is that of NVIDIA's redistributables; empty is NVIDIA's server.
	RedistBaseURL string
	// Debug keeps debugging information in the modules.
	Debug bool
	// Jobs is how many compilers run at once; 0 is one a CPU of the container's quota, and
	// fewer where its memory would not do for these.
	Jobs int
	// BuildTimeout is how long the installer may run; 0 is an hour.
	BuildTimeout time.Duration
	// NoWait refuses, instead of waiting, while another build holds the
	// share.
	NoWait bool
	// Wait is for how long to wait for it; zero means [share.DefaultWait].
	Wait time.Duration
	// SourceCRCs computes, for a kernel with symbol versions, those of what the modules
	// import from its source, of which the whole is fetched.
	SourceCRCs bool
	// Strict makes a failure of every check that could not be made here.
	Strict bool
	// Rebuild builds although what was published before would serve.
	Rebuild bool
	// NoCompile has nothing be built here: what the registry has serves, or what an earlier
	// run has published, of the driver DriverVersion, or it is a failure.
	NoCompile bool
	// Allow names checks whose failure is recorded but does not stop the job.
	Allow []string
	// Builder is this program's version, for the manifest.
	Builder string
	// Runner runs kbuild and the installer; nil runs them confined, as the
	// share's owner.
	Runner command.Runner
	// LookPath finds programs; nil is exec.LookPath.
	LookPath func(string) (string, error)
	// StateDir is where the installer looks for the record of an installed
	// driver; empty means /var/lib/nvidia, where NVIDIA's looks.
	StateDir string
	// Runtime is a folder with what runs in what is pushed, as [registry.Recipe] has it;
	// empty means /usr/lib/cuda-builder/runtime, which the image has. Where it is not
	// there, what is pushed is for builder alone.
	Runtime string
}

// withDefaults fills in what parts of the options share.
func (o Options) withDefaults() Options {
	o.Source.Offline, o.Source.Pause = o.Offline, o.Pause
	o.Host.Offline, o.Host.Pause = o.Offline, o.Pause
	o.Registry.Pause = o.Pause
	o.Host.captures = o.Registry
	return o
}

// Check refuses what no build could make sense of, before any work. Its errors are of
// the stage usage, or of one that a file is for which the options name.
func (o Options) Check() error {
	var rules []string
	for _, c := range Checks() {
		rules = append(rules, c.Name)
	}
	for _, check := range []struct {
		what  string
		given []string
		known []string
	}{
		{"a module type", []string{o.ModuleType}, []string{"", "auto", cuda.Proprietary, cuda.Open}},
		{"a check", o.Allow, rules},
	} {
		for _, given := range check.given {
			if !slices.Contains(check.known, given) {
				return stage.New(stage.Usage, fmt.Sprintf("%q is not %s", given, check.what),
					"name one of "+strings.TrimPrefix(strings.Join(check.known, ", "), ", "))
			}
		}
	}
	if _, wish := cuda.ParseWish(o.DriverVersion); o.DriverVersion != "" && !wish && !cuda.IsVersion(o.DriverVersion) {
		return stage.New(stage.Usage, fmt.Sprintf("%q is no version of a driver", o.DriverVersion),
			"give one as 580.126.09, a line of them as 580, or latest, production or lts with --driver-version")
	}
	if o.Registry.Repository != "" {
		if err := o.Registry.Check(); err != nil {
			return err
		}
	}
	if o.Push && o.Registry.Repository == "" {
		return stage.New(stage.Usage, "what is built is to be pushed, and no registry is named", "name its repository with --registry")
	}
	for _, needs := range []struct{ given, flag string }{{o.Cluster.Template, "--build-job"}, {o.Host.Capture, "--host-capture"}} {
		if needs.given != "" && o.Registry.Repository == "" {
			return stage.New(stage.Usage, needs.flag+" is about what a registry has, and none is named", "name its repository with --registry")
		}
	}
	if o.NoCompile && !cuda.IsVersion(o.DriverVersion) {
		reason := "what is not to be built here is known by the driver's version, which --driver-version does not name"
		if o.DriverVersion != "" {
			reason = fmt.Sprintf("what is not to be built here is known by the driver's version, and %q is a line of drivers", o.DriverVersion)
		}
		return stage.New(stage.Usage, reason, "name a whole version with --driver-version, or leave out --no-compile")
	}
	if err := o.Host.check(); err != nil {
		return err
	}
	if o.Host.Capture != "" && o.Host.Root != "" {
		return stage.New(stage.Usage, "a host is described by a folder or by a capture in a registry, and both are named", "leave out --host-root or --host-capture")
	}
	if o.DriverReleases != "" && !download.IsURL(o.DriverReleases) {
		return stage.New(stage.Usage, "the list of drivers has to be https://HOST/PATH", "correct --driver-releases")
	}
	if _, err := cuda.Leave(o.Modules, o.Exclude); err != nil {
		return err
	}
	if err := o.checkFabric(); err != nil {
		return err
	}
	if err := userspace.CheckPart(o.UserSpace); err != nil {
		return err
	}
	if o.DriverSHA256 != "" && !download.IsSHA256(o.DriverSHA256) {
		return stage.New(stage.Usage, fmt.Sprintf("%q is not a SHA-256: it has to be 64 hexadecimal digits", o.DriverSHA256), "correct --driver-sha256")
	}
	if o.Jobs < 0 || o.BuildTimeout < 0 {
		return stage.New(stage.Usage, "the number of jobs and the build's time limit cannot be negative", "see `builder build --help`")
	}
	return nil
}
