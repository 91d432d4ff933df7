package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what the gate and the kernels said.
type Report []Section

// Section is one booted kernel's part of it.
type Section struct {
	// Kernel names it and how it was booted.
	Kernel string
	Rows   []Row
}

// count is how many rows agree and how many do not, of those that count.
func (r Report) count() (agree, disagree int) {
	for _, s := range r {
		for _, row := range s.Rows {
			switch {
			case row.Policy:
			case row.Agree():
				agree++
			default:
				disagree++
			}
		}
	}
	return agree, disagree
}

// verdicts are how many of the variants the kernel refused and accepted, of
// those that count.
func (s Section) verdicts() (refused, accepted int) {
	for _, row := range s.Rows {
		switch {
		case row.Policy || row.Kernel.Crashed:
		case row.Kernel.Accepted:
			accepted++
		default:
			refused++
		}
	}
	return refused, accepted
}

// failed are the names of the kernel checks by which the gate refused a
// variant that the kernel refused as well.
func (r Report) failed() []string {
	var names []string
	for _, s := range r {
		for _, row := range s.Rows {
			if row.Agree() {
				names = append(names, row.Gate.Failed...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// write prints the tables and the count.
func (r Report) write(w io.Writer) error {
	for _, s := range r {
		if err := s.write(w, "", false); err != nil {
			return err
		}
	}
	for _, s := range r {
		if err := s.write(w, ", of which only our own policy takes note", true); err != nil {
			return err
		}
	}
	agree, disagree := r.count()
	_, err := fmt.Fprintf(w, "agree: %d, disagree: %d\n", agree, disagree)
	return err
}

// write prints the rows of the section that are of policy alone, or the others.
func (s Section) write(w io.Writer, about string, policy bool) error {
	rows := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return r.Policy != policy })
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(w, "%s%s\n\n", s.Kernel, about)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\twhat was done to the module\tthe gate\tthe kernel")
	for _, r := range rows {
		verdict, gate := "agree", r.Gate.String()
		switch {
		case policy:
			verdict, gate = "", gate+", policy: "+strings.Join(r.Gate.Policy, ", ")
		case !r.Agree():
			verdict = "DISAGREE"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", verdict, r.Variant, gate, r.Kernel)
	}
	fmt.Fprintln(table)
	return table.Flush()
}
