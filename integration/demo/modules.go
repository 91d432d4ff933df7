package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/k8sp/cuda/pkg/modules"
)

// printModules prints the manifest's modules, which are in load order.
func printModules(out io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	manifest, err := modules.ParseManifest(file)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\nLOAD\tMODULE\tSIZE\tVERMAGIC")
	for i, m := range manifest.Modules {
		fmt.Fprintf(table, "%d\t%s\t%.2f MB\t%s\n", i+1, m.Name, float64(m.Size)/1e6, strings.TrimSpace(m.Vermagic))
	}
	return table.Flush()
}
