package modules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel/types"
)

// The names of the checks that hold what modules were compiled with against the
// kernel's own type information.
const (
	LayoutCheck     = "layout"
	PrototypesCheck = "prototypes"
)

// SourceCRCsCheck is the name of the check that the source gives the symbols that are
// imported the checksums which they have in the kernel.
const SourceCRCsCheck = "source-crcs"

// SourceCRCsNotAsked is the detail of that check where nobody asked for it.
const SourceCRCsNotAsked = "which checksums the source gives was not computed, and the check crcs compares those that the kernel itself gave: build with --source-crcs"

// OfTypes says whether a check is one of these.
func OfTypes(name string) bool { return name == LayoutCheck || name == PrototypesCheck }

// differencesSaid is how many differences a finding says; of the rest, how many.
const differencesSaid = 3

// noTypes is said of a kernel that has type information, which is not to be seen.
const noTypes = "the kernel's type information is not to be seen: mount the host's /sys at /host/sys, or name a kernel image"

// readTypes are the kernel's types, and those of its modules that export what the
// modules before the gate import; nil, with the reason, where one side is not known.
func (g gate) readTypes() (*types.Info, string) {
	switch {
	case g.expect.Types == nil:
		return nil, cmp.Or(g.expect.TypesUnknown, "what the modules were compiled with is not on record")
	case len(g.target.Types.BTF) == 0 && g.configKnown() && !g.option("DEBUG_INFO_BTF"):
		return nil, "the kernel was built without type information (DEBUG_INFO_BTF is not set), so nothing tells its types from those of the source"
	case len(g.target.Types.BTF) == 0:
		return nil, noTypes
	}
	info, err := g.target.Types.Parse(g.exporters())
	if err != nil {
		return nil, "the kernel's type information cannot be read: " + err.Error()
	}
	return info, ""
}

// imported are the symbols of the kernel and its own modules that the modules use,
// sorted by name.
func (g gate) imported() []string {
	var symbols []string
	for _, m := range g.mods {
		for _, s := range m.ELF.Imports {
			if len(g.offered[s.Name]) == 0 {
				symbols = append(symbols, s.Name)
			}
		}
	}
	return sortedSet(symbols)
}

// exporters are the kernel's own modules that export what the modules use.
func (g gate) exporters() []string {
	var names []string
	for _, symbol := range g.imported() {
		if s, ok := g.exports[symbol]; ok && s.Module != vmlinux {
			names = append(names, canonical(s.Module))
		}
	}
	return sortedSet(names)
}

// Imported are the symbols that modules import of a kernel and its own modules: what
// none of them exports itself. They are sorted by name.
func Imported(mods []Module) []string {
	g := gate{mods: mods, offered: offers(mods)}
	return g.imported()
}

func checkLayout(g gate) []Check {
	if g.kernelTypes == nil {
		return []Check{{Verdict: NotCheckable, Detail: g.typesUnknown}}
	}
	c := g.expect.Types.Layouts(g.kernelTypes)
	return []Check{g.compared(c, "types", func(n int) string {
		return fmt.Sprintf("%d types that the headers have are not in the kernel's type information", n)
	})}
}

func checkPrototypes(g gate) []Check {
	if g.kernelTypes == nil {
		return []Check{{Verdict: NotCheckable, Detail: g.typesUnknown}}
	}
	c := g.expect.Types.Prototypes(g.kernelTypes, g.imported())
	return []Check{g.compared(c, "imported symbols", func(n int) string {
		return fmt.Sprintf("of %d more the kernel's type information has no prototype (it lacks assembly, most variables, and what was optimised away)", n)
	})}
}

// compared is the finding of a comparison. One of nothing has shown nothing.
func (g gate) compared(c types.Comparison, what string, rest func(int) string) Check {
	said := fmt.Sprintf("%d %s compared", c.Compared, what)
	if n := len(c.Unknown); n > 0 {
		said += "; " + rest(n)
	}
	if n := len(c.Undeclared); n > 0 {
		said += fmt.Sprintf("; %d more no header declares", n)
	}
	check := Check{Verdict: Passed, Compared: c.Compared, Detail: said}
	switch {
	case len(c.Differences) > 0:
		var list []string
		for _, d := range c.Differences[:min(differencesSaid, len(c.Differences))] {
			list = append(list, d.String())
		}
		if n := len(c.Differences) - len(list); n > 0 {
			list = append(list, fmt.Sprintf("and %d more", n))
		}
		check.Verdict = Failed
		check.Detail = fmt.Sprintf("%s: the kernel was not built from this source with this config (%s)", strings.Join(list, "; "), cmp.Or(g.expect.Source, "which is not on record"))
	case c.Compared == 0:
		check.Verdict = NotCheckable
		check.Detail = "the kernel's type information has none of what the modules were compiled with"
	}
	return check
}

// sameCRCs says whether the kernel gives what the modules import the checksums that they
// were built with.
func (g gate) sameCRCs() bool {
	return !slices.ContainsFunc(checkCRCs(g), func(c Check) bool { return c.Verdict != Passed })
}

// checkSourceCRCs is of kernels with symbol versions. Where their type information was to
// be compared nothing is lost without it, and nothing is said of it unless it was asked
// for.
func checkSourceCRCs(g gate) []Check {
	if !g.configKnown() || !g.option("MODVERSIONS") {
		return nil
	}
	unknown := g.expect.SourceCRCsUnknown
	switch {
	case g.expect.SourceCRCsFound != nil && g.sameCRCs():
		return []Check{*g.expect.SourceCRCsFound}
	case g.expect.SourceCRCs == nil && unknown == "" && g.kernelTypes != nil:
		return nil
	case g.expect.SourceCRCs == nil && unknown == "":
		unknown = SourceCRCsNotAsked
	}
	if g.expect.SourceCRCs == nil {
		return []Check{{Verdict: NotCheckable, Detail: unknown}}
	}
	var wrong []string
	compared := 0
	for _, symbol := range g.imported() {
		s, exported := g.exports[symbol]
		sums := g.expect.SourceCRCs[symbol]
		if !exported || !s.CRCKnown || s.CRC == 0 || len(sums) == 0 {
			continue
		}
		compared++
		if !slices.Contains(sums, s.CRC) {
			wrong = append(wrong, fmt.Sprintf("%s (%#08x, and the kernel has %#08x)", symbol, sums[0], s.CRC))
		}
	}
	switch {
	case len(wrong) > 0:
		return []Check{{Verdict: Failed, Compared: compared, Detail: fmt.Sprintf("the source gives other checksums to %s: the kernel was not built from this source with this config (%s)",
			some(wrong), cmp.Or(g.expect.Source, "which is not on record"))}}
	case compared == 0:
		return []Check{{Verdict: NotCheckable, Detail: "the source has none of the files that export what the modules import"}}
	}
	return []Check{{Verdict: Passed, Compared: compared, Detail: fmt.Sprintf("%d imported symbols compared, of %d", compared, len(g.imported()))}}
}
