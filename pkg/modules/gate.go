package modules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/kernel/types"
	"github.com/k8sp/cuda/pkg/stage"
)

// Kind says whose demand a check is.
type Kind string

// A kernel check is what the kernel itself enforces at load; only these are
// ever compared with a kernel's verdict. A policy check is our own.
const (
	KernelCheck Kind = "kernel"
	PolicyCheck Kind = "policy"
)

// Verdict is the outcome of a check.
type Verdict string

// The outcomes. What could not be checked here is neither good nor bad, and is
// said so. What a kernel of this line does not ask of a module ([Rule.Since]) is
// neither of these: nothing would show more of it.
const (
	Passed       Verdict = "passed"
	Failed       Verdict = "failed"
	NotCheckable Verdict = "not-checkable"
	NotAsked     Verdict = "not-asked"
)

// Check is one finding of the gate.
type Check struct {
	// Name is the check's, as --allow takes it.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Module is the module it is about; empty where it is about all.
	Module string `json:"module,omitempty"`
	// File is the one beside the manifest that a finding of [Verify] is about; empty
	// where it is about all, and of a build's findings.
	File    string  `json:"file,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Compared is how many things a check of many compared: types, symbols.
	Compared int `json:"compared,omitempty"`
	// Detail says what was found and what the kernel wants, or since when it asks;
	// empty where the check passed.
	Detail string `json:"detail,omitempty"`
}

// Expect is what a set of modules should be.
type Expect struct {
	// Modules are those that the driver package names.
	Modules []string
	// Excluded are those of them that the user does without.
	Excluded []string
	// Firmware are the files of the driver package that the kernel may be
	// asked for, as MODULE_FIRMWARE names them; nil where they are not known.
	Firmware []string
	// Debug says that sections of debugging information were asked for.
	Debug bool
	// Loader is what the loader of a kernel before 5.4 takes, by its source; nil where that
	// is not at hand, and of later kernels, which are all alike.
	Loader *loader.Loader
	// InTree are the modules of the kernel's own that are known to come before
	// a module, beside those that its depends: names, by that module's name.
	InTree map[string][]string
	// Types is what they were compiled with; nil where that is not known, and
	// TypesUnknown, a clause, says why.
	Types        *types.Record
	TypesUnknown string
	// SourceCRCs are the checksums that the source gives the symbols it exports, by
	// symbol, of each those of all files that export it; nil where they were not
	// computed, and SourceCRCsUnknown, a clause, says why where they were asked for.
	SourceCRCs        map[string][]uint32
	SourceCRCsUnknown string
	// SourceCRCsFound is what came of that when the modules were built: it is so for
	// every kernel whose own checksums are those that they were built with.
	SourceCRCsFound *Check
	// Source says which source and config they were compiled with, for people.
	Source string
}

// Gate holds the modules against the kernel that must load them. It returns
// every finding, in the order of [Rules], then of the modules' names.
func Gate(mods []Module, target kernel.Target, expect Expect) []Check {
	expect.Modules = slices.SortedFunc(slices.Values(expect.Modules), compareNames)
	g := newGate(byName(mods), target, expect)
	var checks []Check
	for _, rule := range Rules() {
		for _, c := range rule.run(g) {
			c.Name, c.Kind = rule.Name, rule.Kind
			if target.Captured {
				c.Detail = mounting.ReplaceAllString(c.Detail, "capture the host again with -v $1:$2:ro")
			}
			checks = append(checks, c)
		}
	}
	return checks
}

// mounting is what would help, as the rules say it of a host that is here.
var mounting = regexp.MustCompile(`mount the host's (/[\w/]+) at (/[\w/]+)`)

// compareNames orders names as the kernel spells them.
func compareNames(a, b string) int { return strings.Compare(canonical(a), canonical(b)) }

// Policy says which findings stop the job; with the zero value, every failure.
type Policy struct {
	// Strict makes a failure of what could not be checked.
	Strict bool
	// Allow names the checks whose failure is recorded and does not stop.
	Allow []string
	// Published says that the modules were published before, so that there
	// is nothing to accept.
	Published bool
}

func (p Policy) stops(c Check) bool {
	return (c.Verdict == Failed || p.Strict && c.Verdict == NotCheckable) && !slices.Contains(p.Allow, c.Name)
}

// Judge returns an error of the check stage that lists every finding that
// stops the job, or nil. Its hint is the policy's.
func Judge(checks []Check, p Policy) error {
	var lines, rules []string
	var found []stage.Finding
	for _, c := range checks {
		if p.stops(c) {
			lines = append(lines, c.String())
			rules = append(rules, c.Name)
			found = append(found, stage.Finding{Name: c.Name, Says: c.String()})
		}
	}
	if len(lines) == 0 {
		return nil
	}
	findings := "1 finding"
	if len(lines) > 1 {
		findings = fmt.Sprintf("%d findings", len(lines))
	}
	e := stage.New(stage.Check,
		fmt.Sprintf("the modules would not do for this kernel, %s: %s", findings, strings.Join(lines, "; ")),
		p.hint(sortedSet(rules)))
	e.Findings = found
	if p.Published && slices.Contains(rules, TrustedCheck) {
		e.Kind, e.Hint = UntrustedKind, "take what somebody has signed whom --trust names, or name who has signed this"
	}
	return e
}

func (p Policy) hint(rules []string) string {
	if p.Published {
		return "build for this kernel, and use what that publishes"
	}
	return fmt.Sprintf("look at the build's log for the cause, or accept a check's failure, on record, with --allow (here: %s)", strings.Join(rules, ", "))
}

// Overridden lists the checks that failed and that the policy let pass, for
// the manifest.
func Overridden(checks []Check, p Policy) []string {
	list := []string{}
	for _, c := range checks {
		if slices.Contains(p.Allow, c.Name) && (Policy{Strict: p.Strict}).stops(c) {
			list = append(list, c.Name)
		}
	}
	return sortedSet(list)
}

// String is the finding as one clause.
func (c Check) String() string {
	about := c.Name
	if c.Module != "" {
		about += " " + c.Module
	}
	if c.Detail == "" {
		return fmt.Sprintf("%s %s", about, c.Verdict)
	}
	return fmt.Sprintf("%s %s (%s)", about, c.Verdict, c.Detail)
}
