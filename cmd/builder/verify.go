package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/modules"
)

const verifyHelp = `Hold a folder of published modules, or what a build prints, which is the manifest in it,
against that manifest and against a host: every file's digest, then every check that a build makes. The host may be
another than the one the modules were built for: a node's capture, or tomorrow's
kernel by its image alone:

    builder verify --kernel-image vmlinuz-NEXT /opt/share/modules/RELEASE/VERSION

A folder with a driver's user-space side, SHARE/driver/VERSION, is held against
its manifest only: it fits every kernel.

With --trust, who signed the manifest is the first check.

Each check is passed, failed, or not-checkable, with the mount that would help.

It goes on as the owner of the folder, or as nobody, where --host-root or
--kernel-image names a copy that they can read.

Exit code 15 when a check fails.`

func newVerifyCommand(io streams, d defaults) *cobra.Command {
	var host job.Host
	var certificate string
	var trust []string
	var strict bool
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Check published modules against a host",
		Long:  verifyHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, fmt.Errorf("verify takes one folder, such as %s/modules/RELEASE/VERSION, or the manifest in it", defaultShare))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTrust(cmd, trust); err != nil {
				return err
			}
			if reads := copies(host); len(reads) > 0 && len(trust) == 0 && certificate == "" { // those are root's, perhaps
				d.leave(cmd.Context(), args[0], slices.Concat(reads, args)...)
			}
			checks, err := job.Verify(cmd.Context(), args[0], host, certificate, trust)
			if err != nil {
				return err
			}
			if err := printChecks(io, checks, format); err != nil {
				return err
			}
			return modules.Judge(checks, modules.Policy{Strict: strict, Published: true})
		},
	}
	cmd.Flags().SortFlags = false
	hostFlags(cmd.Flags(), &host)
	offlineFlag(cmd.Flags(), &host.Offline)
	cmd.Flags().StringVar(&certificate, "signing-cert", "", "`file` with the certificate of the key that signed the modules")
	trustFlag(cmd.Flags(), &trust)
	cmd.Flags().BoolVar(&strict, "strict", false, "make a failure of each check that cannot be made here")
	cmd.Flags().Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

// copies are the files that say of a host what there is to say; none where that is the
// host that runs, of which root sees more than others.
func copies(h job.Host) (files []string) {
	if h.Root != "" && filepath.Clean(h.Root) != "/" {
		files = append(files, h.Root)
	}
	if h.Image != "" && !download.IsURL(h.Image) {
		files = append(files, h.Image)
	}
	return files
}

func printChecks(io streams, checks []modules.Check, format output) error {
	if format == "json" {
		return printJSON(io, checks)
	}
	table := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.Verdict, c.Name, cmp.Or(c.File, c.Module), c.Detail)
	}
	return table.Flush()
}
