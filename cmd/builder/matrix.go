package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/matrix"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

const matrixHelp = `Build many drivers for many kernels, one after the other on one share, and say in a
table what came of each. FILE names them, in YAML or JSON:

  kernels: [4593.2.5, 4757.1.0, {host-root: node-17.tar, name: the old nodes}]
  drivers: [535.309.01, 580.126.09, {driver-version: 580.126.09, module-type: open}]

A kernel is a release of Flatcar, or what host-root, kernel-image and their like name;
all options here are for every pair. A pair that fails stops none of the others. Those
that are known not to compile are in the table as known-break, and no failure.

On stdout: the table, as text or with --output json. The exit code is that of the first
pair that failed.`

// ofThePair are the options of a build that the file has for each pair.
var ofThePair = []string{"host-root", "kernel-image", "kernel-image-sha256", "kernel-image-sha512", "flatcar", "host-capture", "driver-version", "driver-sha256"}

func newMatrixCommand(io streams, d defaults) *cobra.Command {
	options := d.build
	options.Builder = version()
	format := outputs[0]
	var page, data string
	cmd := &cobra.Command{
		Use:   "matrix FILE",
		Short: "Build many drivers for many kernels, and make a table of it",
		Long:  matrixHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, errors.New("matrix takes one file, which names kernels and drivers"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			io.out = share.Shown(io.out, options.Share)
			file, err := matrix.Read(args[0])
			if err == nil {
				options.Share, err = d.plainShare(options.Share)
			}
			if err != nil {
				return printFailure(io, err, format)
			}
			table, err := matrix.Run(cmd.Context(), file, options, job.Build)
			if len(table.Cells) == 0 {
				return printFailure(io, err, format)
			}
			table.Builder, table.Time = version(), time.Now().UTC().Format(time.RFC3339)
			return errors.Join(err, writeTable(table, page, table.WriteHTML), writeTable(table, data, toJSON(table)), printTable(io, table, format))
		},
	}
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	buildFlags(all, &options)
	cmd.Flags().SortFlags = false
	all.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(ofThePair, f.Name) {
			cmd.Flags().AddFlag(f)
		}
	})
	cmd.Flags().StringVar(&page, "html", "", "`file` for the table as a page that needs nothing beside it")
	cmd.Flags().StringVar(&data, "json", "", "`file` for the table as JSON")
	cmd.Flags().Var(&format, "output", "`format` of the table on stdout: text or json")
	return cmd
}

// printTable leaves the table on stdout.
func printTable(io streams, t matrix.Table, format output) error {
	if format == "json" {
		return printJSON(io, t)
	}
	return t.WriteText(io.out)
}

// toJSON writes the table as --output json has it.
func toJSON(t matrix.Table) func(io.Writer) error {
	return func(w io.Writer) error { return printJSON(streams{out: w}, t) }
}

// writeTable leaves one form of the table in a file; an empty path is none.
func writeTable(t matrix.Table, path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	var b bytes.Buffer
	err := write(&b)
	if err == nil {
		err = atomicfile.WriteFile(path, b.Bytes(), 0o644)
	}
	return stage.Wrap(stage.Publish, err, fmt.Sprintf("the table of %d builds cannot be written", len(t.Cells)), "name a file in a folder that is writable")
}
