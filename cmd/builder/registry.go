package main

import (
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

The result is a line for each artefact, of its reference and digest.`

func newPushCommand(io streams, d defaults) *cobra.Command {
	var o job.PushOptions
	base := d.build
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "push REGISTRY/REPOSITORY",
		Short: "Leave what was built in a registry",
		Long:  pushHelp,
		Args:  oneRepository("push"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.To.Repository = args[0]
			pushed, err := job.Push(cmd.Context(), o, base)
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
	flags.StringVar(&o.Share, "share", defaultShare, "`folder` with what was built")
	flags.StringVar(&o.Release, "release", "", "`release` of the kernel, as uname -r has it; all of them otherwise")
	flags.StringVar(&o.Version, "driver-version", "", "`version` of the driver; all of them otherwise")
	reachFlags(flags, &o.To)
	waitFlags(flags, &base.NoWait, &base.Wait)
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

const pullHelp = `Bring what was built elsewhere for this host's kernel from a registry to the
share, where builder push left it, and build nothing:

    builder pull registry.example.com/cuda --driver-version 580.126.09

Every file is compared with its digest as it comes, and every check that a build
makes is made against this kernel, before anything is published in the share.

With --trust, nothing is used that nobody trusted has signed.

The result is the path of the manifest, as a build's is.`

func newPullCommand(io streams, options job.Options) *cobra.Command {
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "pull REGISTRY/REPOSITORY",
		Short: "Bring what was built elsewhere from a registry",
		Long:  pullHelp,
		Args:  oneRepository("pull"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTrust(cmd, options.Trust); err != nil {
				return err
			}
			options.Registry.Repository = args[0]
			result, err := job.Pull(cmd.Context(), options)
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(io, result)
			}
			_, err = fmt.Fprintln(io.out, result.Manifest)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&options.Share, "share", defaultShare, "`folder` that receives it")
	hostFlags(flags, &options.Host)
	flags.StringVar(&options.DriverVersion, "driver-version", "", "`version` of the driver")
	flags.StringVar(&options.ModuleType, "module-type", "auto", "form of its modules: `type` proprietary, open or auto, which is what this host's GPUs need")
	flags.StringVar(&options.UserSpace, "user-space", options.UserSpace, "`part` of the driver's libraries and programs to bring: as it was pushed, or none")
	reachFlags(flags, &options.Registry)
	trustFlag(flags, &options.Trust)
	flags.BoolVar(&options.Strict, "strict", false, "make a failure of each check that cannot be made here")
	flags.StringSliceVar(&options.Allow, "allow", nil, "`checks` whose failure is recorded and does not stop the pull")
	waitFlags(flags, &options.NoWait, &options.Wait)
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

// reachFlags say how a registry is reached.
func reachFlags(flags *pflag.FlagSet, o *registry.Options) {
	flags.StringVar(&o.CA, "registry-ca", "", "`file` with certificates that are trusted to vouch for the registry, too")
	flags.BoolVar(&o.PlainHTTP, "registry-plain-http", false, "speak HTTP without TLS with the registry; on loopback that is done anyway")
}

func oneRepository(command string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(cmd, fmt.Errorf("%s takes one repository of a registry, such as registry.example.com/cuda", command))
		}
		return nil
	}
}
