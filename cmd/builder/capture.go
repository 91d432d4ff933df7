package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/pkg/job"
)

const captureHelp = `Write what a build needs to know of a host into one tar: its kernel's release,
config and exported symbols, its os-release, and what later checks read. The
tar describes the host to --host-root on any other machine:

    docker run --rm --cap-add SYSLOG -v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro \
        -v /etc/os-release:/host/etc/os-release:ro -v /proc/keys:/host/proc/keys:ro cuda capture > node.tar
    docker run -v "$PWD":/opt/share cuda --host-root /opt/share/node.tar

It holds no private keys, no user data and no host name: of the kernel's command
line the words about modules alone, and no address by which the running kernel
could be found in memory. CAP_SYSLOG lets the kernel show which symbols are for GPL-compatible
modules only. The same host gives the same bytes.`

func newCaptureCommand(io streams, d defaults) *cobra.Command {
	var hostRoot, file string
	cmd := &cobra.Command{
		Use:   "capture",
		Short: "Record a host in a tar, to build for it elsewhere",
		Long:  captureHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				if isTerminal(io.out) {
					return usageError(cmd, fmt.Errorf("a tar on the terminal helps nobody"))
				}
				if hostRoot != "" && filepath.Clean(hostRoot) != "/" { // a copy, and not what runs
					d.leave(cmd.Context(), hostRoot, hostRoot)
				}
				return job.Capture(cmd.Context(), hostRoot, io.out)
			}
			if err := job.CaptureFile(cmd.Context(), hostRoot, file); err != nil {
				return err
			}
			_, err := fmt.Fprintln(io.out, file)
			return err
		},
	}
	hostRootFlag(cmd.Flags(), &hostRoot)
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to write instead of stdout; gzip'ed where it ends in .gz")
	return cmd
}
