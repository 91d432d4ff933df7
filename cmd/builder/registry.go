package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/registry"
)

const pushHelp = `Leave what was built in a registry, so that other hosts with the same kernel need
not build it: one artefact for each kernel, driver and form of its modules, with
the driver's user-space side, in layers that other artefacts share.

    builder push registry.example.com/cuda

What the registry has already is not sent again, and the same result is the same
digest. Credentials are those of Docker's config.

With --sign-manifest each artefact is signed, and a SLSA provenance of it, as cosign
does with a key and without a transparency log: cosign verify --key takes it.

The result is a line for each artefact, of its reference and digest.`

func newPushCommand(io streams, d defaults) *cobra.Command {
	var what job.Selection
	var to registry.Options
	base := d.build
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "push REGISTRY/REPOSITORY",
		Short: "Leave what was built in a registry",
		Long:  pushHelp,
		Args:  oneRepository("push"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to.Repository = args[0]
			pushed, err := job.Push(cmd.Context(), what, to, base)
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(io, pushed)
			}
			for _, p := range pushed {
				if _, err := fmt.Fprintf(io.out, "%s@%s\n", p.Reference, p.Digest); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	selectionFlags(flags, &what)
	reachFlags(flags, &to)
	signManifestFlags(flags, &base.SignManifest)
	waitFlags(flags, &base.NoWait, &base.Wait)
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

func selectionFlags(flags *pflag.FlagSet, what *job.Selection) {
	flags.StringVar(&what.Share, "share", defaultShare, "`folder` with what was built")
	flags.StringVar(&what.Release, "release", "", "`release` of the kernel, as uname -r has it; all of them otherwise")
	flags.StringVar(&what.Version, "driver-version", "", "`version` of the driver; all of them otherwise")
}

const exportHelp = `Write what was built to a file, in a form that others take.`

func newExportCommand(io streams, d defaults) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what was built to a file, for others",
		Long:  exportHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, errors.New("say what to export it as: tar or sysext"))
		},
	}
	cmd.AddCommand(newExportTarCommand(io, d), newExportSysextCommand(io, d))
	return cmd
}

const exportTarHelp = `Write what was built to a tar, to be carried where there is no network:

    builder export tar > cuda.tar
    builder pull --from cuda.tar --driver-version 580.126.09

It has what builder push leaves in a registry, as an OCI image layout, which other
tools read, too (crane, skopeo, oras). What several kernels share is in it once, and
the same results are the same bytes.`

func newExportTarCommand(io streams, d defaults) *cobra.Command {
	var what job.Selection
	var file string
	base := d.build
	cmd := &cobra.Command{
		Use:   "tar",
		Short: "Write what was built to a tar, for pull --from",
		Long:  exportTarHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				if isTerminal(io.out) {
					return usageError(cmd, errors.New("a tar on the terminal helps nobody"))
				}
				return job.Export(cmd.Context(), what, base, io.out)
			}
			if err := job.ExportFile(cmd.Context(), what, base, file); err != nil {
				return err
			}
			_, err := fmt.Fprintln(io.out, file)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	selectionFlags(flags, &what)
	flags.StringVarP(&file, "file", "f", "", "`file` to write instead of stdout")
	waitFlags(flags, &base.NoWait, &base.Wait)
	return cmd
}

const exportSysextHelp = `Write a system extension for Flatcar, which brings a driver to hosts that have no
container runtime for it yet, or none at all:

    builder export sysext --driver-version 580.126.09 -f cuda-driver.raw
    # on the host: in /etc/extensions, then systemd-sysext refresh; systemctl daemon-reload;
    # systemctl start cuda-sysext

It has the driver for all kernels that the share has it for (or one, with --release), so
it serves before an update and after it; its libraries and programs, where a host looks
for them; and builder, which the unit cuda-sysext.service loads it with. It hides nothing
of the host's /usr, as its modules are in a folder of their own.

The extension's name is the file's. The same results are the same bytes.`

func newExportSysextCommand(io streams, d defaults) *cobra.Command {
	var what job.Selection
	var file string
	base := d.build
	cmd := &cobra.Command{
		Use:   "sysext",
		Short: "Write a system extension for Flatcar",
		Long:  exportSysextHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := job.ExportSysextFile(cmd.Context(), what, base, file); err != nil {
				return err
			}
			_, err := fmt.Fprintln(io.out, file)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	selectionFlags(flags, &what)
	flags.StringVarP(&file, "file", "f", "cuda-driver.raw", "`file` to write: NAME.raw, of which NAME is the extension's name")
	waitFlags(flags, &base.NoWait, &base.Wait)
	return cmd
}

const pullHelp = `Bring what was built elsewhere for this host's kernel from a registry to the
share, where builder push left it, or from an archive of builder export, and
build nothing:

    builder pull registry.example.com/cuda --driver-version 580.126.09
    builder pull --from cuda.tar --driver-version 580.126.09

Every file is compared with its digest as it comes, and every check that a build
makes is made against this kernel, before anything is published in the share.

With --trust, nothing is used that nobody trusted has signed.

The result is the path of the manifest, as a build's is.`

func newPullCommand(io streams, options job.Options) *cobra.Command {
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "pull [REGISTRY/REPOSITORY]",
		Short: "Bring what was built elsewhere from a registry or an archive",
		Long:  pullHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case options.From == "":
				return oneRepository("pull")(cmd, args)
			case len(args) > 0:
				return usageError(cmd, errors.New("pull takes a repository, or an archive with --from, and not both"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTrust(cmd, options.Trust); err != nil {
				return err
			}
			if options.From == "" {
				options.Registry.Repository = args[0]
			}
			result, err := job.Pull(cmd.Context(), options)
			if err != nil {
				return err
			}
			return printResult(io, result, format)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&options.Share, "share", defaultShare, "`folder` that receives it")
	hostFlags(flags, &options.Host)
	flags.StringVar(&options.DriverVersion, "driver-version", "", "`version` of the driver")
	flags.StringVar(&options.ModuleType, "module-type", "auto", "form of its modules: `type` proprietary, open or auto, which is what this host's GPUs need")
	flags.StringVar(&options.UserSpace, "user-space", options.UserSpace, "`part` of the driver's libraries and programs to bring: as it was pushed, or none")
	flags.StringVar(&options.From, "from", "", "`file` that builder export tar wrote, in place of a registry")
	mirrorFlag(flags, &options.Registry)
	reachFlags(flags, &options.Registry)
	trustFlag(flags, &options.Trust)
	flags.BoolVar(&options.Strict, "strict", false, "make a failure of each check that cannot be made here")
	flags.StringSliceVar(&options.Allow, "allow", nil, "`checks` whose failure is recorded and does not stop the pull")
	waitFlags(flags, &options.NoWait, &options.Wait)
	resultFlag(flags, &format)
	return cmd
}

// reachFlags say how a registry is reached.
func reachFlags(flags *pflag.FlagSet, o *registry.Options) {
	flags.StringVar(&o.CA, "registry-ca", "", "`file` with certificates that are trusted to vouch for the registry, too")
	flags.BoolVar(&o.PlainHTTP, "registry-plain-http", false, "speak HTTP without TLS with the registry; on loopback that is done anyway")
}

// mirrorFlag is for what pulls.
func mirrorFlag(flags *pflag.FlagSet, o *registry.Options) {
	flags.StringSliceVar(&o.Mirrors, "registry-mirror", nil, "`repositories` that may have the same, as HOST/PATH, and are asked first")
}

func oneRepository(command string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(cmd, fmt.Errorf("%s takes one repository of a registry, such as registry.example.com/cuda", command))
		}
		return nil
	}
}
