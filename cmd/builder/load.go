package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/node/metrics"
	"github.com/k8sp/cuda/pkg/stage"
)

const loadHelp = `Load a driver that was built before into the running kernel, and have it ready
for CUDA programs: its modules in order, each verified against the manifest and
held against this kernel first; the kernel's own modules that they need; where
the kernel finds the GPU's firmware; and its device files.

    docker run --rm --privileged -v /home/core/share:/opt/share -v /lib/modules:/host/lib/modules:ro \
        -v /etc/modprobe.d:/host/etc/modprobe.d:ro -v /opt/nvidia:/host/opt/nvidia:ro \
        -v /dev:/dev -v /etc/cdi:/etc/cdi -v /run/cuda:/run/cuda cuda load --host-share /home/core/share

Where that driver is loaded already there is nothing to do but what is missing.
A driver that is not the share's is left alone where the share has none for
this kernel, or where the host brought it (Flatcar's extension or service);
another version than the share's is refused, and replaced with --replace.
Where not all modules can be loaded, what was changed is changed back. Where
something fails after that, as a device file that cannot be made, the driver stays
loaded, and the next load goes on. builder unload changes back all of it.

Then each GPU is accounted for: one that the driver does not have, or that does not come
up as its device file is opened, or of which it says in the kernel's log that it is lost,
is named with what helps, and the load fails; the driver stays loaded. With --stay,
NVIDIA's fabric manager runs for as long as builder does where the host has NVSwitches.

With --trust, only what is signed with the key of one of these certificates is loaded:
the signature of the manifest is verified before anything it names is used, and what
reaches the kernel are the bytes that it has the digests of. Firmware, which the kernel
reads later by itself, is then copied to where only root writes.

What would be refused in this container or by this kernel is looked for before
anything is tried, and all of it is told at once, with the option that helps.

On stdout: the version of the driver that is loaded, or with --output json the
result, also that of a failure.

Exit code 17 when the driver is not loaded, or not ready for programs; the log's
"kind" says why, as JSON's does, and is no-device where this host has no NVIDIA GPU.`

const unloadHelp = `Undo what builder load has done on this host since it was started: take out the
modules that it put in, in reverse order, and what it put in of the kernel's
own, have the kernel look for firmware where it did before, and remove the
device files that were made in the host's /dev and the CDI specification. What
somebody else loaded is left alone, and a driver that is in use is left whole.
What cannot be undone, for lack of a mount, say, is told, and is for the next
unload.

What load did it reads from its record in the host's /run/cuda, and obeys that
only as far as load can have done it. Without one (-v /run/cuda:/run/cuda was
missing) it goes by what the kernel tells: the driver's modules where they are the
share's, and what has builder's own names. The kernel's own modules stay then.

On stdout: the version of the driver that was unloaded, nothing where none was,
or with --output json the result, also that of a failure.`

func newLoadCommand(io streams, d defaults) *cobra.Command {
	options, format := d.load, outputs[0]
	var metricsAt string
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load a driver that was built into the running kernel",
		Long:  loadHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTrust(cmd, options.Trust); err != nil {
				return err
			}
			// A build takes "always" as well, and one variable serves both.
			if !slices.Contains([]string{job.FabricAuto, job.FabricAlways, job.FabricNever}, options.FabricManager) {
				return usageError(cmd, fmt.Errorf("--fabric-manager %s is neither auto nor never", options.FabricManager))
			}
			if !options.Check { // which has the environment of who stays, for whose state it is
				d.events.begin(cmd.Context(), d.environ)
			}
			if d.events.to != nil {
				options.Tell = d.events.changed
			}
			if err := showMetrics(cmd, metricsAt, &options); err != nil {
				return printFailure(io, err, format)
			}
			result, err := node.Load(cmd.Context(), options)
			var failure *stage.Error
			if options.Stay && errors.As(err, &failure) && failure.Kind == node.GPUFails.Name {
				// The other GPUs are there, and need what runs beside the driver; a check
				// fails for as long.
				err = printFailure(io, err, format, result.GPUs...)
				d.events.failed(*zerolog.Ctx(cmd.Context()), err)
				zerolog.Ctx(cmd.Context()).Error().Str("kind", failure.Kind).Str("next", failure.Hint).Msg(failure.Sentence())
				return errors.Join(err, node.Stay(cmd.Context(), options, result))
			}
			if err != nil {
				return printFailure(io, err, format, result.GPUs...)
			}
			if format == "json" {
				err = printJSON(io, result)
			} else {
				_, err = fmt.Fprintln(io.out, result.Driver)
			}
			if err != nil || !options.Stay {
				return err
			}
			return printFailure(io, node.Stay(cmd.Context(), options, result), format)
		},
	}
	flags := cmd.Flags()
	loadFlags(flags, &options)
	flags.StringVar(&options.DriverVersion, "driver-version", "", "`version` of the driver to load, or a line as 580, latest, production or lts: the newest of it that the share has for this kernel (default: the newest of all)")
	flags.StringSliceVar(&options.Modules, "modules", nil, "`modules` to load, with those that they need (default: all, nvidia-peermem only where InfiniBand's modules are loaded, without those that CUDA can do without where they cannot be loaded)")
	flags.StringSliceVar(&options.Parameters, "parameters", nil, "`parameters` of the modules: nvidia.NVreg_EnableGpuFirmware=0,nvidia-drm.modeset=1")
	flags.BoolVar(&options.Replace, "replace", false, "unload another driver first, if nobody uses it")
	flags.StringVar(&options.HostShare, "host-share", "", "`folder` that the share is on the host, for the kernel to find firmware in (default: found among the mounts)")
	flags.StringVar(&options.Dev, "dev", "", "`folder` for the device files (default: the host's /dev where it is mounted writable below the host root, else /dev)")
	flags.StringVar(&options.CDIDir, "cdi-dir", "", "`folder` for the CDI specification (default: /etc/cdi where it is mounted, else SHARE/cdi)")
	trustFlag(flags, &options.Trust)
	flags.StringVar(&options.CopyTo, "copy-to", "", "`folder` of the host's, mounted at the same path, where only root writes: with --trust firmware and libraries are copied there (default: /run/cuda where it is mounted, for the firmware only)")
	flags.BoolVar(&options.TryWithoutDevice, "try-without-device", false, "hand the modules to the kernel although this host has no NVIDIA GPU")
	flags.IntVar(&options.AllowFailedGPUs, "allow-failed-gpus", 0, "`number` of GPUs that may fail to come up")
	flags.BoolVar(&options.Check, "check", false, "change nothing; fail unless the driver is loaded, is the share's, has its device files, and the GPUs work")
	flags.BoolVar(&options.Stay, "stay", false, "stay after loading until stopped, as the container of a DaemonSet does, and run what has to run beside the driver: NVIDIA's fabric manager where the host has NVSwitches")
	flags.StringVar(&options.FabricManager, "fabric-manager", "auto", "with --stay, `when` to run NVIDIA's fabric manager: auto (the host has NVSwitches, and nobody is seen to run it), or never")
	flags.BoolVar(&options.Persistence, "persistence", false, "with --stay, run nvidia-persistenced as well, which keeps the GPUs up while nobody uses them")
	flags.StringVar(&metricsAt, "metrics", "", "with --stay, `address` and port, such as 127.0.0.1:19500, or :19500 for all addresses, at which Prometheus is shown what is known of the driver, without TLS, to whoever asks (default: none)")
	d.events.flag(flags)
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

// showMetrics has what is known of the driver be shown at an address for as long as builder
// stays.
func showMetrics(cmd *cobra.Command, at string, o *node.LoadOptions) error {
	switch {
	case at == "", !o.Stay && fromEnviron(cmd.Flags().Lookup("metrics")):
		return nil
	case !o.Stay:
		return usageError(cmd, errors.New("--metrics shows what is known of the driver for as long as builder stays, and without --stay it does not"))
	}
	server, err := metrics.Listen(at, version())
	if err != nil {
		return err
	}
	tell := o.Tell
	o.Tell = func(ctx context.Context, s node.Status) {
		server.Tell(s)
		if tell != nil { // which may wait for the cluster
			tell(ctx, s)
		}
	}
	go server.Serve(cmd.Context())
	return nil
}

func newUnloadCommand(io streams, options node.LoadOptions) *cobra.Command {
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "Undo what load did on this host",
		Long:  unloadHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := node.Unload(cmd.Context(), options)
			if err != nil {
				return printFailure(io, err, format)
			}
			if format == "json" {
				return printJSON(io, result)
			}
			if result.Driver != "" {
				_, err = fmt.Fprintln(io.out, result.Driver)
			}
			return err
		},
	}
	loadFlags(cmd.Flags(), &options)
	cmd.Flags().StringVar(&options.CDIDir, "cdi-dir", "", "`folder` to remove a CDI specification from, too, that is not called cdi, if load wrote one there")
	cmd.Flags().Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

func trustFlag(flags *pflag.FlagSet, value *[]string) {
	flags.StringSliceVar(value, "trust", nil, "`files` of certificates or public keys, or folders of them: what none of these has signed (build --sign-manifest) is refused")
}

// checkTrust refuses an option that was given and names nobody, as where a shell's
// variable was empty: it would trust everybody.
func checkTrust(cmd *cobra.Command, trust []string) error {
	if cmd.Flags().Changed("trust") && len(trust) == 0 {
		return usageError(cmd, errors.New("--trust names no certificate"))
	}
	return nil
}

// loadFlags are those of both commands.
func loadFlags(flags *pflag.FlagSet, o *node.LoadOptions) {
	flags.SortFlags = false
	flags.StringVar(&o.Share, "share", defaultShare, "`folder` with the published modules")
	flags.StringVar(&o.HostRoot, "host-root", "", "`folder` that is this host's root (default: /host where it is mounted, else /)")
}
