package main

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

// enoughRuns is how many turns the figures of the project want.
const enoughRuns = 5

// report is the content of BENCHMARKS.md.
type report struct {
	machine machine
	runs    int
	parts   parts
	table   []row
}

// parts are what was measured on.
type parts struct{ kernel, other, driver, compiler string }

//go:embed report.md.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

func (r report) markdown() string {
	var table strings.Builder
	var missed []string
	for _, row := range r.table {
		verdict := "met"
		if !row.met {
			verdict = "**missed**"
			missed = append(missed, row.figure+": "+row.why+".")
		}
		against := row.against
		if row.base != "" {
			against += ": " + row.base
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s |\n", row.figure, row.measured, against, row.ratio, row.most, verdict)
	}
	m := r.machine
	var out strings.Builder
	err := reportTemplate.Execute(&out, map[string]any{
		"Table": table.String(), "Missed": missed, "Rows": len(r.table), "Runs": r.runs, "Enough": r.runs >= enoughRuns,
		"CPU": m.cpu, "CPUs": m.cpus, "Memory": fmt.Sprintf("%.0f GiB", m.memory/(1<<30)), "Kernel": m.kernel,
		"Docker": m.docker, "Storage": m.storage, "Go": m.golang, "Git": strings.TrimPrefix(m.git, "git version "),
		"Load": m.loadBefore, "Date": m.date.UTC().Format("2 January 2006"),
		"Tag": r.parts.kernel, "Other": r.parts.other, "Driver": r.parts.driver, "Compiler": r.parts.compiler,
	})
	if err != nil {
		panic(err) // the template and its values are both ours
	}
	return out.String()
}
