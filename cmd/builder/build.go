package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel/flatcar"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/share"
)

const defaultShare = "/opt/share"

const buildHelp = `Build the kernel modules of an NVIDIA driver for one kernel, check them, and
publish them with a manifest in modules/RELEASE/VERSION of the share, and the
driver's libraries and programs for containers in driver/VERSION.

What is already there and serves this kernel is reused: a second run with the same
kernel and driver ends in about a second. Two runs on one share take turns.

On stdout: the path of manifest.json, or with --output json the result, also that
of a failure, or with --output env lines NAME=VALUE for CI: manifest, release, driver,
module_type, reused (nothing was built), and artefact, which the registry has of it.

`

// checksHelp lists the checks, whose names --allow takes.
func checksHelp() string {
	var b strings.Builder
	b.WriteString("The checks, by the names that --allow takes; those marked kernel are what the\nkernel itself enforces when it loads a module:\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range job.Checks() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", c.Name, c.Kind, c.Doc)
	}
	_ = table.Flush() // a strings.Builder takes everything
	return strings.TrimRight(b.String(), "\n")
}

func newBuildCommand(io streams, d defaults) *cobra.Command {
	options := d.build
	options.Builder = version()
	format := outputs[0]
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build, check and publish the modules (what builder does by default)",
		Long:  buildHelp + checksHelp(),
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			io.out = share.Shown(io.out, options.Share)
			d.events.begin(cmd.Context(), d.environ)
			var err error
			if options.Share, err = d.plainShare(options.Share); err != nil {
				return printFailure(io, err, format)
			}
			if dryRun {
				plan, err := job.Plan(cmd.Context(), options)
				if err != nil {
					return printFailure(io, err, format)
				}
				return printPlan(io, plan, format)
			}
			result, err := job.Build(cmd.Context(), options)
			if err != nil {
				return printFailure(io, err, format)
			}
			tellResult(zerolog.Ctx(cmd.Context()), result)
			return printResult(io, result, format)
		},
	}
	buildFlags(cmd.Flags(), &options)
	d.events.flag(cmd.Flags())
	resultFlag(cmd.Flags(), &format)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what each stage would do, and from where, and do nothing")
	return cmd
}

// loadCommand is what loads the result on the host that it is for, where SHARE is the
// share's folder on it.
const loadCommand = "docker run --rm --privileged -v SHARE:/opt/share -v /lib/modules:/host/lib/modules:ro -v /etc/modprobe.d:/host/etc/modprobe.d:ro -v /opt/nvidia:/host/opt/nvidia:ro " +
	"-v /dev:/dev -v /etc/cdi:/etc/cdi -v /run/cuda:/run/cuda cuda load --host-share SHARE"

// tellResult says what a build has come to: what the gate found, by what would show
// what could not be checked, what was written, and what comes next.
func tellResult(log *zerolog.Logger, r job.Result) {
	for _, g := range modules.Summarize(r.Checks) {
		level := zerolog.InfoLevel
		if g.Verdict == modules.Failed {
			level = zerolog.WarnLevel // the user allowed it
		}
		log.WithLevel(level).Msg(g.String())
	}
	var bytes int64
	for _, m := range r.Modules {
		bytes += m.Size
	}
	made := "written"
	if r.Reused {
		made = "there already"
	}
	log.Info().Str("for", r.Release).Str("driver", r.Driver).Str("type", r.ModuleType).Int("modules", len(r.Modules)).Int64("bytes", bytes).
		Str("in", filepath.Dir(r.Manifest)).Msg(made)
	log.Info().Str(nextField, "on a host that runs this kernel, with the share's folder there for SHARE: "+loadCommand).Msg("ready to be loaded")
}

func buildFlags(flags *pflag.FlagSet, o *job.Options) {
	flags.SortFlags = false
	shareFlag(flags, o)
	hostFlags(flags, &o.Host)
	flags.StringVar(&o.Host.Capture, "host-capture", "", "`tag` of a capture in the registry that describes the host, as a node has pushed it for such a Job")
	whatFlags(flags, o)
}

func shareFlag(flags *pflag.FlagSet, o *job.Options) {
	flags.StringVar(&o.Share, "share", defaultShare, "`folder` with the driver package, that receives the modules")
}

// whatFlags say what is built, from what and how, whatever host it is for.
func whatFlags(flags *pflag.FlagSet, o *job.Options) {
	flags.StringVar(&o.DriverVersion, "driver-version", "", "`version` of the driver to build, as 580.126.09, or a line as 580, latest, production or lts: the newest of it that will do; downloaded where SHARE/cuda does not have it (default: the newest in SHARE/cuda)")
	flags.StringVar(&o.DriverReleases, "driver-releases", "", "`URL` of a list of drivers to choose from (default: "+cuda.ReleasesURL+", or releases.json of --driver-base-url)")
	flags.StringVar(&o.DriverSHA256, "driver-sha256", "", "SHA-256 `digest` that the driver package must have")
	flags.StringVar(&o.DriverBaseURL, "driver-base-url", "", "`URL or folder` with driver packages, or with the folders of NVIDIA's server (default: "+cuda.Server+")")
	flags.StringVar(&o.DriverPatches, "driver-patches", "", "`folder` with patches for the driver's sources, *.patch and *.diff, applied in the order of their names")
	flags.StringVar(&o.ModuleType, "module-type", "auto", "`type` of the modules: proprietary, open, or auto: what the host's GPUs run with, else what NVIDIA's own installer prefers")
	flags.StringSliceVar(&o.Modules, "modules", nil, "`modules` to build, with those that they need, such as nvidia,nvidia-uvm for a node that only computes (default: all)")
	flags.StringSliceVar(&o.Exclude, "exclude-modules", nil, "`modules` to do without, such as nvidia-drm,nvidia-peermem")
	sourceFlags(flags, o)
	registryFlags(flags, o)
	flags.StringVar(&o.Signing.Key, "signing-key", "", "`file` with the private key to sign the modules with, RSA or ECDSA in PEM")
	flags.StringVar(&o.Signing.Certificate, "signing-cert", "", "`file` with the key's certificate")
	signManifestFlags(flags, &o.SignManifest)
	flags.StringVar(&o.UserSpace, "user-space", userspace.Compute, "`part` of the driver's libraries and programs to leave in SHARE/driver/VERSION: compute, all (with the display's), or none")
	flags.StringVar(&o.FabricManager, "fabric-manager", job.FabricAuto, "lay out NVIDIA's fabric manager beside the driver's libraries: `when` is auto (the host has NVSwitches, or its archive is in SHARE/cuda), always, or never")
	flags.StringVar(&o.RedistBaseURL, "redist-base-url", fabric.Server, "`URL` of NVIDIA's redistributables, where the fabric manager comes from that SHARE/cuda does not have: a mirror of it")
	flags.BoolVar(&o.Debug, "debug-info", false, "keep debugging information: modules seventeen times the size")
	flags.IntVar(&o.Jobs, "jobs", 0, "`number` of compilers that run at once (default: one a CPU that the container may use, and fewer where its memory would not do for them)")
	flags.DurationVar(&o.BuildTimeout, "build-timeout", cuda.DefaultTimeout, "`time` after which a hanging installer is stopped")
	waitFlags(flags, &o.NoWait, &o.Wait)
	flags.BoolVar(&o.Rebuild, "rebuild", false, "build although what is published already would serve")
	flags.BoolVar(&o.SourceCRCs, "source-crcs", false, "compute the symbol versions of what the modules import from the whole kernel source, for a kernel without type information; takes minutes")
	flags.BoolVar(&o.Strict, "strict", false, "make a failure of each check that cannot be made here")
	flags.StringSliceVar(&o.Allow, "allow", nil, "`names` of checks that may fail; recorded in the manifest")
}

func sourceFlags(flags *pflag.FlagSet, o *job.Options) {
	flags.StringVar(&o.Source.Repository, "github-repository", "", "`owner/name` of the kernel's repository (default: coreos/linux for CoreOS, gregkh/linux for all others)")
	flags.StringVar(&o.Source.APIURL, "github-api-url", "", "`URL` of the GitHub API, for GitHub Enterprise or a mirror (default: GitHub's)")
	flags.StringVar(&o.Source.Token, "github-token", "", "`token` for the GitHub API; better given as BUILDER_GITHUB_TOKEN, never logged")
	flags.StringVar(&o.Source.CloneURL, "clone-url", "", "`URL` to clone the kernel from (default: the repository on GitHub)")
	flags.StringVar(&o.Source.From, "source", "", "`path or URL` of the kernel source, instead of a repository on GitHub: a tree, a git repository, bare or not, or a tarball")
	flags.StringVar(&o.Source.SHA256, "source-sha256", "", "SHA-256 `digest` that a tarball must have")
	flags.StringVar(&o.Source.Ref, "source-ref", "", "tag or branch `name` of the kernel source, instead of the one that the release names")
	flags.StringVar(&o.Source.Commit, "source-commit", "", "`commit` that the kernel source must be")
	flags.StringVar(&o.SourcePatches, "source-patches", "", "`folder` with patches for the kernel's source, *.patch and *.diff, applied in the order of their names: those that the kernel's distribution has on the tag")
	flags.BoolVar(&o.Source.Full, "full-source", false, "check out the whole kernel source, not only what a build needs")
	offlineFlag(flags, &o.Offline)
	flags.DurationVar(&o.Pause, "retry-pause", time.Second, "`time` before the second try of what the network failed at for the moment; it doubles with each")
}

// registryFlags are about what was built elsewhere, or is to be.
func registryFlags(flags *pflag.FlagSet, o *job.Options) {
	flags.StringVar(&o.Registry.Repository, "registry", "", "`repository` of a registry, HOST/PATH, where what was built elsewhere is looked for before it is built")
	flags.BoolVar(&o.Push, "push", false, "leave what is built in that registry")
	flags.StringVar(&o.Cluster.Template, "build-job", "", "`file` with the manifest of a Kubernetes Job that is to build what the registry has not, in place of this host")
	flags.DurationVar(&o.Cluster.Wait, "build-job-wait", time.Hour, "`time` to wait for that Job")
	flags.BoolVar(&o.NoCompile, "no-compile", false, "build nothing here: end with exit code 16 where neither the registry nor the share has what serves")
	mirrorFlag(flags, &o.Registry)
	reachFlags(flags, &o.Registry)
	trustFlag(flags, &o.Trust)
}

func waitFlags(flags *pflag.FlagSet, not *bool, limit *time.Duration) {
	flags.BoolVar(not, "no-wait", false, "end with exit code 75 instead of waiting while another run holds the share")
	flags.DurationVar(limit, "wait", share.DefaultWait, "`time` to wait while another run holds the share, before it ends with exit code 75")
}

func hostFlags(flags *pflag.FlagSet, h *job.Host) {
	hostRootFlag(flags, &h.Root)
	flags.StringVar(&h.Image, "kernel-image", "", "`file` or URL of a kernel image (vmlinuz) whose kernel is the target, whatever the host runs")
	flags.StringVar(&h.ImageSHA256, "kernel-image-sha256", "", "SHA-256 `digest` that the kernel image must have")
	flags.StringVar(&h.ImageSHA512, "kernel-image-sha512", "", "SHA-512 `digest` that it must have, as Flatcar publishes it")
	flags.StringVar(&h.Flatcar, "flatcar", "", "`release` of Flatcar whose kernel is the target, as 4593.2.5, or a channel for its newest: alpha, beta, stable or lts")
	flags.StringVar(&h.FlatcarServer, "flatcar-server", "", "`URL` where Flatcar's releases are published, {channel} standing for the channel (default: "+flatcar.Server+")")
}

func offlineFlag(flags *pflag.FlagSet, value *bool) {
	flags.BoolVar(value, "offline", false, "ask the network for nothing: what is needed of it has to be there")
}

func hostRootFlag(flags *pflag.FlagSet, value *string) {
	flags.StringVar(value, "host-root", "", "`folder` or captured tar that describes the host (default: /host where it is mounted, else /)")
}

func printPlan(io streams, plan []job.Step, format output) error {
	if format == "json" {
		return printJSON(io, plan)
	}
	out := io.out
	if format == "env" {
		out = io.err // a plan is no result
	}
	for _, step := range plan {
		if _, err := fmt.Fprintf(out, "%-8s %s\n", step.Stage, step.Does); err != nil {
			return err
		}
	}
	return nil
}

func signManifestFlags(flags *pflag.FlagSet, o *signature.Options) {
	flags.StringVar(&o.Key, "sign-manifest", "", "`file` with the private key to sign the manifests, and what is pushed, with: RSA or ECDSA in PEM, also cosign's (COSIGN_PASSWORD), for --trust")
	flags.StringVar(&o.Certificate, "sign-manifest-cert", "", "`file` with that key's certificate (default: in the key's file; without one, who trusts names the public key)")
}
