package main

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/nextkernel"
	"github.com/k8sp/cuda/pkg/share"
)

const nextHelp = `See to it that the kernel which the next boot of this Flatcar host brings has a driver
before that boot: where an update is staged, the host is captured as it will be, from the
other /usr partition and the kernel's image in /boot, and a build for that capture finds
in the share or a registry, has a Job build, or builds what fits, by the same options as
builder build. Where none is staged there is nothing to do. The driver that is loaded is
not touched.

    docker run --rm --cap-add SYS_ADMIN --device-cgroup-rule 'b *:* r' -v /home/core/share:/opt/share \
        -v /run:/host/run:ro -v /dev:/host/dev:ro -v /boot:/host/boot:ro cuda next

With --stay it does so for each update that is staged, until it is stopped, tries again
what failed, and tells how far it is: in the file of --status, and at --listen. An answer
there (GET /next) is by a look at the host that began after the question.

The partition can be mounted by who is privileged alone. So there may be two: builder next
watch, which mounts it and leaves a capture in a folder, and builder next --stay --watched
FOLDER, which builds and has no right on the host.

On stdout: the path of the manifest, nothing where no update is staged or where it brings
what runs, or with --output json the status, also of a failure.`

const nextWatchHelp = `Look for staged updates until stopped, and leave a capture of the host as each will make it
in a folder, for builder next --stay --watched. It needs the host's /run, /dev and /boot
below /host, may mount block devices, and neither builds nor reaches any network.`

func newNextCommand(io streams, d defaults) *cobra.Command {
	options := nextkernel.Options{Build: d.build, Watch: nextkernel.WatchOptions{Mount: d.mount}}
	options.Build.Builder = version()
	format := outputs[0]
	var stay bool
	var listen string
	cmd := &cobra.Command{
		Use:   "next",
		Short: "Have a driver be there for the kernel that a staged update brings",
		Long:  nextHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stay && (listen != "" || options.Watch.Dir != "") {
				return usageError(cmd, errors.New("--listen and --watched are for who stays: add --stay"))
			}
			if err := checkTrust(cmd, options.Build.Trust); err != nil {
				return err
			}
			io.out = share.Shown(io.out, options.Build.Share)
			var err error
			if options.Build.Share, err = d.plainShare(options.Build.Share); err != nil {
				return err
			}
			if stay {
				return nextkernel.Stay(cmd.Context(), options, listen)
			}
			status, err := nextkernel.Once(cmd.Context(), options)
			switch {
			case format == "json":
				return errors.Join(err, printJSON(io, status))
			case err == nil && status.Manifest != "":
				_, err = fmt.Fprintln(io.out, status.Manifest)
			case err == nil:
				zerolog.Ctx(cmd.Context()).Info().Msg("nothing to do: " + status.Says)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	shareFlag(flags, &options.Build)
	nextRootFlag(flags, &options.Watch)
	whatFlags(flags, &options.Build)
	flags.BoolVar(&stay, "stay", false, "stay until stopped, and do so for every update")
	flags.StringVar(&options.Watch.Dir, "watched", "", "`folder` in which builder next watch leaves captures, in place of a look at the host")
	flags.StringVar(&listen, "listen", "", "`address` to answer at how far it is, as :9711")
	flags.StringVar(&options.StatusFile, "status", "", "`file` to write down how far it is, as JSON")
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	cmd.AddCommand(newNextWatchCommand(d))
	return cmd
}

func newNextWatchCommand(d defaults) *cobra.Command {
	options := nextkernel.WatchOptions{Mount: d.mount}
	cmd := &cobra.Command{
		Use:   "watch FOLDER",
		Short: "Leave captures of the host as staged updates will make it in a folder",
		Long:  nextWatchHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, errors.New("name one folder for the captures"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.Dir = args[0]
			return nextkernel.Watch(cmd.Context(), options)
		},
	}
	nextRootFlag(cmd.Flags(), &options)
	return cmd
}

func nextRootFlag(flags *pflag.FlagSet, o *nextkernel.WatchOptions) {
	flags.StringVar(&o.HostRoot, "host-root", "", "`folder` that has the host's /run, /dev and /boot (default: /host where something of a host is mounted there, else /)")
}
