package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/pkg/job"
)

const sourceHelp = `Check out the source of the host's kernel into SHARE/linux, as much of it as a
build needs, and stop: to look at it, to make a share ready for a build that has
no network (--offline), or to fetch the next kernel's before the host is updated
to it (--kernel-image). No driver package is needed.

What is there already is reused. The result is the path of the tree, which is
the host's own where that serves.`

func newSourceCommand(io streams, options job.Options) *cobra.Command {
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "source",
		Short: "Check out the kernel's source and stop",
		Long:  sourceHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := job.Source(cmd.Context(), options)
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(io, result)
			}
			_, err = fmt.Fprintln(io.out, result.Dir)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&options.Share, "share", defaultShare, "`folder` that receives the source")
	hostFlags(flags, &options.Host)
	sourceFlags(flags, &options)
	waitFlags(flags, &options.NoWait, &options.Wait)
	flags.Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}
