package modules

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
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
// said so.
const (
	Passed       Verdict = "passed"
	Failed       Verdict = "failed"
	NotCheckable Verdict = "not-checkable"
)

// Check is one finding of the gate.
type Check struct {
	// Name is the check's, as --allow takes it.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Module is the module it is about; empty where it is about all.
	Module  string  `json:"module,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Detail says what was found and what the kernel wants; empty where the
	// check passed.
	Detail string `json:"detail,omitempty"`
}

// Expect is what a set of modules should be.
type Expect struct {
	// Modules are those that the driver package names.
	Modules []string
	// Excluded are those of them that the user does without.
	Excluded []string
}

// Rule is a check that the gate makes.
type Rule struct {
	Name string
	Kind Kind
	// Doc says what it looks at and, for a kernel check, what in the kernel
	// enforces it and since when.
	Doc string
	run func(gate) []Check
}

// gate is what a rule has to go on.
type gate struct {
	mods   []Module
	target kernel.Target
	expect Expect
}

// Rules lists the checks in the order in which [Gate] makes them.
func Rules() []Rule {
	return []Rule{
		{"built", PolicyCheck, "every module that the driver package names was built, or the user excluded it", checkBuilt},
		{"elf", KernelCheck, "the file is a relocatable ELF for the kernel's machine (kernel/module: elf_validity_check and elf_check_arch, in every version)", checkELF},
		{"vermagic", KernelCheck, "the version magic begins with the kernel's release and a space (kernel/module: check_modinfo, same_magic; with MODVERSIONS the kernel skips the release and compares CRCs instead)", checkVermagic},
	}
}

// Gate holds the modules against the kernel that must load them. It returns
// every finding, in the order of [Rules], then of the modules' names.
func Gate(mods []Module, target kernel.Target, expect Expect) []Check {
	var checks []Check
	mods = byName(mods)
	expect.Modules = slices.SortedFunc(slices.Values(expect.Modules), compareNames)
	for _, rule := range Rules() {
		for _, c := range rule.run(gate{mods, target, expect}) {
			c.Name, c.Kind = rule.Name, rule.Kind
			checks = append(checks, c)
		}
	}
	return checks
}

// compareNames orders names as the kernel spells them.
func compareNames(a, b string) int { return strings.Compare(canonical(a), canonical(b)) }

func checkBuilt(g gate) []Check {
	if len(g.mods) == 0 {
		return []Check{{Verdict: Failed, Detail: "no module was built at all"}}
	}
	if len(g.expect.Modules) == 0 {
		return []Check{{Verdict: NotCheckable, Detail: "the driver package does not name its modules"}}
	}
	has := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return canonical(s) == name })
	}
	var built []string
	for _, m := range g.mods {
		built = append(built, m.Name)
	}
	var checks []Check
	for _, want := range g.expect.Modules {
		name := canonical(want)
		switch {
		case has(built, name):
			checks = append(checks, Check{Module: name, Verdict: Passed})
		case has(g.expect.Excluded, name):
			checks = append(checks, Check{Module: name, Verdict: Passed, Detail: "left out as the user asked"})
		default:
			checks = append(checks, Check{Module: name, Verdict: Failed, Detail: "the driver package names it and it was not built"})
		}
	}
	return checks
}

func checkELF(g gate) []Check {
	return each(g.mods, func(m Module) (Verdict, string) {
		switch {
		case m.Defect != "":
			return Failed, m.File + " " + m.Defect
		case m.Type != elf.ET_REL:
			return Failed, fmt.Sprintf("%s is an ELF of type %v and a kernel loads only ET_REL, relocatable files", m.File, m.Type)
		case g.target.Arch == "":
			return NotCheckable, "the kernel's architecture is not known"
		case m.Arch() != g.target.Arch:
			return Failed, fmt.Sprintf("%s is for %s and the kernel is for %s", m.File, m.Arch(), g.target.Arch)
		}
		return Passed, ""
	})
}

func checkVermagic(g gate) []Check {
	release := g.target.Release.Full
	return each(g.mods, func(m Module) (Verdict, string) {
		switch {
		case m.Defect != "":
			return NotCheckable, "the file could not be read as a module"
		case release == "":
			return NotCheckable, "the kernel's release is not known"
		case m.Vermagic == "":
			return Failed, fmt.Sprintf("%s has no version magic and the kernel wants %q", m.File, release+" …")
		case !strings.HasPrefix(m.Vermagic, release+" "):
			return Failed, fmt.Sprintf("%s has version magic %q and the kernel wants %q", m.File, m.Vermagic, release+" …")
		}
		return Passed, ""
	})
}

// each makes one check of every module.
func each(mods []Module, check func(Module) (Verdict, string)) []Check {
	checks := make([]Check, 0, len(mods))
	for _, m := range mods {
		verdict, detail := check(m)
		checks = append(checks, Check{Module: m.Name, Verdict: verdict, Detail: detail})
	}
	return checks
}

// Policy says which findings stop the job; with the zero value, every failure.
type Policy struct {
	// Strict makes a failure of what could not be checked.
	Strict bool
	// Allow names the checks whose failure is recorded and does not stop.
	Allow []string
}

func (p Policy) stops(c Check) bool {
	return (c.Verdict == Failed || p.Strict && c.Verdict == NotCheckable) && !slices.Contains(p.Allow, c.Name)
}

// Judge returns an error of the check stage that lists every finding that
// stops the job, or nil.
func Judge(checks []Check, p Policy) error {
	var lines, rules []string
	for _, c := range checks {
		if p.stops(c) {
			lines = append(lines, c.String())
			rules = append(rules, c.Name)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	findings := "1 finding"
	if len(lines) > 1 {
		findings = fmt.Sprintf("%d findings", len(lines))
	}
	return stage.New(stage.Check,
		fmt.Sprintf("the modules would not do for this kernel, %s: %s", findings, strings.Join(lines, "; ")),
		fmt.Sprintf("look at the build's log for the cause, or accept a check's failure, on record, with --allow (here: %s)", strings.Join(sortedSet(rules), ", ")))
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
