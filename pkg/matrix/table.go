package matrix

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// Verdict is what came of a cell.
type Verdict string

// The verdicts, the best first.
const (
	// Proven is a driver that was built and of which every check was made, and passed.
	Proven Verdict = "proven"
	// Built is one of which some check could not be made, or was allowed to fail.
	Built Verdict = "built"
	// KnownBreak is a driver that is known not to compile against the kernel.
	KnownBreak Verdict = "known-break"
	// Failed is any other.
	Failed Verdict = "failed"
	// NotRun is one that the run did not come to.
	NotRun Verdict = "not-run"
)

// Table is what came of a matrix.
type Table struct {
	// Builder is the version of this program, and Time when the table was made, as
	// RFC 3339 has it.
	Builder string `json:"builder"`
	Time    string `json:"time"`
	// Kernels and Drivers are the rows and the columns, by their names.
	Kernels []string `json:"kernels"`
	Drivers []string `json:"drivers"`
	// Cells are row by row.
	Cells []Cell `json:"cells"`
}

// Cell is what came of one driver for one kernel.
type Cell struct {
	Kernel  string  `json:"kernel"`
	Driver  string  `json:"driver"`
	Verdict Verdict `json:"verdict"`
	// Release is the kernel's, and Version and ModuleType are the driver's, where it
	// was built.
	Release    string `json:"release,omitempty"`
	Version    string `json:"version,omitempty"`
	ModuleType string `json:"module_type,omitempty"`
	// Reused says that it was built before, here or by who pushed it.
	Reused bool `json:"reused,omitempty"`
	// Manifest is the path of the manifest, and Artefact what a registry has of it,
	// REPOSITORY@sha256:HEX; empty where it was not pushed, nor came from there.
	Manifest string `json:"manifest,omitempty"`
	Artefact string `json:"artefact,omitempty"`
	// Unchecked are the checks that could not be made, by what would let them be made,
	// and Allowed those that failed and were allowed to.
	Unchecked []modules.Group `json:"unchecked,omitempty"`
	Allowed   []string        `json:"allowed,omitempty"`
	// Stage, Kind, Says and Do are a failure's, as the log has them; Says has the
	// compiler's first error where there is one.
	Stage stage.Name `json:"stage,omitempty"`
	Kind  string     `json:"kind,omitempty"`
	Says  string     `json:"says,omitempty"`
	Do    string     `json:"do,omitempty"`
	// Seconds are what it took.
	Seconds float64 `json:"seconds"`
}

// table is the file's, with nothing built.
func (f File) table() Table {
	t := Table{}
	for _, d := range f.Drivers {
		t.Drivers = append(t.Drivers, d.Name)
	}
	for _, k := range f.Kernels {
		t.Kernels = append(t.Kernels, k.Name)
		for _, d := range f.Drivers {
			t.Cells = append(t.Cells, Cell{Kernel: k.Name, Driver: d.Name, Verdict: NotRun})
		}
	}
	return t
}

// Row is a kernel with its cells.
type Row struct {
	Kernel string
	Cells  []Cell
}

// Rows are the cells, a kernel a row.
func (t Table) Rows() []Row {
	var rows []Row
	for i, k := range t.Kernels {
		rows = append(rows, Row{k, t.Cells[i*len(t.Drivers):][:len(t.Drivers)]})
	}
	return rows
}

// Count is how many cells have a verdict.
func (t Table) Count(v Verdict) int {
	n := 0
	for _, c := range t.Cells {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// WriteText writes the table for a terminal: verdicts, and below them a line for each
// that is not proven.
func (t Table) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\t"+strings.Join(t.Drivers, "\t"))
	for _, row := range t.Rows() {
		fmt.Fprint(table, row.Kernel)
		for _, c := range row.Cells {
			fmt.Fprintf(table, "\t%s", c.Verdict)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range t.Cells {
		if why := c.Why(); why != "" {
			if _, err := fmt.Fprintf(w, "\n%s, driver %s: %s\n", c.Kernel, c.Driver, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// Why says why a cell is not proven; empty where it is, or was not come to.
func (c Cell) Why() string {
	var parts []string
	if c.Says != "" {
		parts = append(parts, string(c.Stage)+": "+c.Says)
	}
	if len(c.Allowed) > 0 {
		parts = append(parts, "failed and allowed: "+strings.Join(c.Allowed, ", "))
	}
	for _, g := range c.Unchecked {
		text := "not checkable: " + strings.Join(g.Checks, ", ")
		if g.Do != "" {
			text += " (" + g.Do + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
