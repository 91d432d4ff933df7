package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/prune"
)

const pruneHelp = `Show what of the share can be made again or is of no use any more, with the disk
that it takes, and with --yes remove it: the kernel's source, prepared trees,
caches, results that others replaced, what runs that died left behind, and what
earlier builders recorded of loads in the share, which nothing obeys any more.

With --release or --driver-version the published modules of that kernel or driver
go as well, and the libraries of a driver that no modules are left of; not those
that the running kernel has loaded. Look whose else they are before: several hosts
may use one share.

All other published results stay, and so do the driver packages in SHARE/cuda, logs,
and what compilers answered to drivers' tests of a kernel that there are modules for.
So does a linux/ that builder did not make, or in which there are changes or commits
of yours, and in .builder/ and loaded/ whatever is not builder's. Why that stays is
listed, too.`

func newPruneCommand(io streams) *cobra.Command {
	var options prune.Options
	format := outputs[0]
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Show, and with --yes remove, what can be made again",
		Long:  pruneHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"release", "driver-version"} {
				if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
					return usageError(cmd, fmt.Errorf("--%s names none, which would be all of them", name))
				}
			}
			own, err := kernel.OpenRoot("/")
			if err != nil {
				return err
			}
			options.Loaded = func() (modules.Driver, bool) {
				d := modules.Driver{Release: live.Running{}.Release(), Version: live.Version(own)}
				if d.Version == live.Unknown {
					return modules.Driver{Release: d.Release}, true
				}
				return d, d.Version != ""
			}
			result, err := prune.Run(cmd.Context(), options)
			if err != nil && !result.Removed {
				return err
			}
			if printErr := printPruned(io, result, format); err == nil {
				err = printErr
			}
			return err
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&options.Share, "share", defaultShare, "`folder` that builds were made in")
	cmd.Flags().BoolVar(&options.Remove, "yes", false, "remove it, instead of showing what would be removed")
	cmd.Flags().StringVar(&options.Selected.Release, "release", "", "`release` of a kernel, as uname -r has it, whose published modules go, too")
	cmd.Flags().StringVar(&options.Selected.Version, "driver-version", "", "`version` of a driver whose published modules and libraries go, too")
	waitFlags(cmd.Flags(), &options.NoWait, &options.Wait)
	cmd.Flags().Var(&format, "output", "`format` of the result on stdout: text or json")
	return cmd
}

func printPruned(io streams, result prune.Result, format output) error {
	if format == "json" {
		return printJSON(io, result)
	}
	table := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, item := range result.Items {
		fmt.Fprintf(table, "%s\t%s\t%s\n", progress.Size(item.Bytes), oneLine(item.Path), item.What)
	}
	for _, kept := range result.Kept {
		fmt.Fprintf(table, "kept\t%s\t%s\n", oneLine(kept.Path), oneLine(kept.Why))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	total := "%s would be freed; --yes removes it\n"
	switch {
	case result.Removed:
		total = "%s freed\n"
	case len(result.Items) == 0:
		total = "%s: there is nothing to remove\n"
	}
	_, err := fmt.Fprintf(io.out, total, progress.Size(result.Bytes))
	return err
}
