package modules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
)

func checkSymbols(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		if len(g.target.Exports.Symbols) == 0 {
			return NotCheckable, noExports
		}
		missing := g.missing(m)
		switch {
		case len(missing) == 0 && g.before(5, 10) && slices.ContainsFunc(m.ELF.Imports, func(s ko.Import) bool { return s.Name == offsetTable && !s.Weak }):
			return NotCheckable, "it has the symbol " + offsetTable + ", which a kernel before 5.10 passes over only where a stable release brought that"
		case len(missing) == 0:
			return Passed, ""
		case g.target.Exports.Complete:
			return Failed, fmt.Sprintf("%s needs symbols that neither the kernel nor a module exports: %s", m.File, someNames(missing))
		}
		return NotCheckable, sayAssumed(g.assumed(m)) + ": " + mountModules
	})
}

const offsetTable = "_GLOBAL_OFFSET_TABLE_"

// missing are the symbols that a module needs and nobody exports.
func (g gate) missing(m Module) []string {
	var list []string
	for _, s := range m.ELF.Imports {
		// It comes of some assemblers, unreferenced: ignore_undef_symbol, since 5.11 and
		// backported.
		if s.Weak || s.Name == offsetTable && g.target.Arch == kernel.X86_64 {
			continue
		}
		if _, ok := g.find(s.Name, m); !ok {
			list = append(list, s.Name)
		}
	}
	return list
}

// family is what begins the names that a module exports.
type family struct{ prefix, module string }

// families are the in-tree modules that drivers were seen to need, by the
// beginnings of the names that they export; the first that fits counts.
var families = []family{
	{"drm_atomic_helper_", "drm_kms_helper"}, {"__drm_atomic_helper_", "drm_kms_helper"},
	{"drm_helper_", "drm_kms_helper"}, {"drm_kms_helper_", "drm_kms_helper"}, {"drm_fb_helper_", "drm_kms_helper"},
	{"drm_crtc_helper_", "drm_kms_helper"}, {"drm_plane_helper_", "drm_kms_helper"},
	{"drm_gem_fb_", "drm_kms_helper"}, {"drm_fbdev_ttm_", "drm_ttm_helper"}, {"drm_client_setup", "drm_client_lib"},
	{"drm_", "drm"}, {"__drm_", "drm"},
	{"acpi_video_", "video"}, {"__acpi_video_", "video"}, {"i2c_", "i2c_core"},
	{"ipmi_", "ipmi_msghandler"}, {"ib_", "ib_core"}, {"backlight_", "backlight"},
}

// assumed are the symbols that a module of the kernel's own, which is not to be
// seen, is taken to export; none where all of the kernel's modules are known.
func (g gate) assumed(m Module) []Assumption {
	if g.target.Exports.Complete || len(g.target.Exports.Symbols) == 0 {
		return nil
	}
	var list []Assumption
	for _, s := range g.missing(m) {
		i := slices.IndexFunc(families, func(f family) bool { return strings.HasPrefix(s, f.prefix) })
		a := Assumption{Symbol: s}
		if i >= 0 {
			a.Module = families[i].module
		}
		list = append(list, a)
	}
	return list
}

// sayAssumed is a clause a module, for people.
func sayAssumed(list []Assumption) string {
	byModule := map[string][]string{}
	var clauses []string
	for _, a := range list {
		byModule[a.Module] = append(byModule[a.Module], a.Symbol)
	}
	for _, module := range sortedKeys(byModule) {
		if module == "" {
			clauses = append(clauses, "no exporter is to be seen of "+some(byModule[module]))
		} else {
			clauses = append(clauses, fmt.Sprintf("the kernel's own module %s is assumed to export %s", module, some(byModule[module])))
		}
	}
	return strings.Join(clauses, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func checkCRCs(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		switch {
		case !g.configKnown():
			return NotCheckable, noConfig
		case !g.option("MODVERSIONS"):
			return Passed, "the kernel has no symbol versions (MODVERSIONS is not set)"
		case !m.ELF.HasVersions && !g.extended(m) || exportsWithoutCRC(m):
			if g.option("MODULE_FORCE_LOAD") {
				return Passed, "it lacks symbol versions, and the kernel, with MODULE_FORCE_LOAD, takes it and is tainted"
			}
			return Failed, m.File + " lacks symbol versions and the kernel has MODVERSIONS"
		}
		return g.crcs(m)
	})
}

func exportsWithoutCRC(m Module) bool {
	for _, e := range m.ELF.Exports {
		if !e.HasCRC {
			return true
		}
	}
	return false
}

// extended says whether the kernel goes by a module's extended versions. Since
// 6.14 it does where a module has them, EXTENDED_MODVERSIONS or not.
func (g gate) extended(m Module) bool { return m.ELF.HasExtendedVersions && g.since(6, 14) }

// crcs compares the versions that a module was built against with those of the
// exporters.
func (g gate) crcs(m Module) (Verdict, string) {
	versions := m.ELF.Versions
	if g.extended(m) {
		versions = m.ELF.ExtendedVersions
	}
	built := map[string]uint32{}
	for _, v := range versions {
		if _, twice := built[v.Name]; !twice {
			built[v.Name] = v.CRC
		}
	}
	var wrong, none, unknown []string
	for _, symbol := range append([]string{"module_layout"}, importNames(m)...) {
		p, ok := g.find(symbol, m)
		crc, listed := built[symbol]
		switch {
		case g.uses[m.Name].hidden[symbol]:
		case !ok && symbol == "module_layout" && len(g.target.Exports.Symbols) > 0, ok && !p.sibling && !p.CRCKnown:
			unknown = append(unknown, symbol)
		case !ok: // the check of symbols says so
		case p.sibling && !p.CRCKnown: // the sibling's own finding
		case !listed:
			none = append(none, symbol)
		case crc != p.CRC:
			wrong = append(wrong, fmt.Sprintf("%s (%#08x, and %s has %#08x)", symbol, crc, p.Module, p.CRC))
		}
	}
	switch {
	case len(wrong) > 0:
		return Failed, fmt.Sprintf("%s was built against other versions of %s", m.File, some(wrong))
	case len(none) > 0 && g.demandsEveryVersion() && !g.extended(m):
		return Failed, fmt.Sprintf("%s has no version of %s, and Debian's kernels want one", m.File, some(none))
	case len(g.target.Exports.Symbols) == 0:
		return NotCheckable, noExports
	case len(unknown) > 0:
		return NotCheckable, fmt.Sprintf("the versions of %s are not known: %s", some(unknown), mountImage)
	case len(none) > 0:
		return Passed, fmt.Sprintf("it has no version of %s, of which the kernel warns", some(none))
	}
	return Passed, ""
}

func importNames(m Module) []string {
	var list []string
	for _, s := range m.ELF.Imports {
		list = append(list, s.Name)
	}
	return list
}

// demandsEveryVersion says whether a symbol without an entry among a module's
// versions is refused, as by Debian's patch module-disable-matching-missing-crc;
// everybody else's kernel warns once and lets it go. Of the extended versions
// Debian's does, too.
func (g gate) demandsEveryVersion() bool {
	if by := g.target.Builder; by != "" {
		return by == "debian-kernel@lists.debian.org" // also on another's host
	}
	return g.target.Distribution.ID == "debian"
}

// gplCompatible is license_is_gpl_compatible of include/linux/license.h. A
// module without a licence is proprietary.
func gplCompatible(license string) bool {
	switch license {
	case "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL":
		return true
	}
	return false
}

func checkGPL(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		if g.since(7, 1) && len(m.ELF.Exports) > 0 && !m.ELF.HasFlags {
			return Failed, fmt.Sprintf("%s does not say which of its exports are GPL-only (__kflagstab), and a kernel since 7.1 wants that", m.File)
		}
		return g.uses[m.Name].verdict(g, m)
	})
}

// gplUses follows resolve_symbol through the modules in load order and each
// one's symbols in the file's, because a proprietary sibling's symbol changes
// what the module may use after it.
func (g gate) gplUses() map[string]*gplUse {
	uses := map[string]*gplUse{}
	for _, m := range g.inLoadOrder() {
		u := &gplUse{proprietary: !gplCompatible(m.License), hidden: map[string]bool{}}
		for _, s := range m.ELF.Imports {
			if p, ok := g.find(s.Name, m); ok {
				sibling := uses[p.Module]
				u.add(s.Weak, p, g.since(5, 9) && p.sibling && sibling != nil && sibling.proprietary)
			}
		}
		uses[m.Name] = u
	}
	return uses
}

// gplUse is a module on its way through its symbols.
type gplUse struct {
	proprietary, usesGPL bool
	inherited            string   // the sibling that made it proprietary
	refused              []string // GPL-only symbols of a proprietary module
	mixed                []string // proprietary siblings' symbols beside GPL-only ones
	unknown              []string // symbols of unknown class that matter
	unclear              []string // symbols of unknown class so far
	// hidden are those that the kernel does not let the module see, so that
	// it does not look at their versions and namespaces.
	hidden map[string]bool
}

func (u *gplUse) add(weak bool, p provider, tainted bool) {
	switch {
	case p.License == kernel.LicenseGPL && u.proprietary:
		u.hidden[p.Name] = true
		if !weak {
			u.refused = append(u.refused, p.Name)
		}
		return
	case p.License == kernel.LicenseGPL:
		u.usesGPL = true
	case p.License == kernel.LicenseUnknown && u.proprietary:
		u.unknown = append(u.unknown, p.Name)
	case p.License == kernel.LicenseUnknown:
		u.unclear = append(u.unclear, p.Name)
	}
	switch {
	case tainted && u.usesGPL:
		u.hidden[p.Name] = true
		if !weak {
			u.mixed = append(u.mixed, fmt.Sprintf("%s of %s", p.Name, p.Module))
		}
	case tainted:
		u.unknown = append(u.unknown, u.unclear...)
		u.unclear = nil
		if !u.proprietary {
			u.inherited = p.Module
		}
		u.proprietary = true
	}
}

func (u *gplUse) verdict(g gate, m Module) (Verdict, string) {
	why := fmt.Sprintf("its licence is %q", m.License)
	if u.inherited != "" {
		why = "it uses symbols of the proprietary " + u.inherited
	}
	switch {
	case len(u.refused) > 0:
		return Failed, fmt.Sprintf("%s uses GPL-only symbols, and to the kernel it is proprietary (%s): %s", m.File, why, some(u.refused))
	case len(u.mixed) > 0:
		return Failed, fmt.Sprintf("%s uses GPL-only symbols beside those of a proprietary module: %s", m.File, some(u.mixed))
	case len(g.target.Exports.Symbols) == 0:
		return NotCheckable, noExports
	case len(u.unknown) > 0:
		return NotCheckable, fmt.Sprintf("whether these are GPL-only is not known: %s: %s", some(u.unknown), mountImage)
	}
	return Passed, ""
}

func checkNamespaces(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		switch {
		case g.before(5, 4):
			return NotAsked, "a kernel before 5.4 has no namespaces"
		case !g.configKnown():
			return NotCheckable, noConfig
		}
		imported := m.ELF.Values("import_ns")
		for _, ns := range imported {
			if g.since(6, 16) && strings.HasPrefix(ns, forModules) {
				return Failed, fmt.Sprintf("%s imports the namespace %s, which no module may by name", m.File, ns)
			}
		}
		if g.option("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") {
			return Passed, "the kernel lets it pass (MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS)"
		}
		var missing, unknown []string
		for _, s := range m.ELF.Imports {
			p, ok := g.find(s.Name, m)
			switch {
			case !ok, g.uses[m.Name].hidden[s.Name]:
			case !p.NamespaceKnown:
				unknown = append(unknown, s.Name)
			case p.Namespace != "" && !slices.Contains(imported, p.Namespace) && !(g.since(6, 16) && moduleNamespace(p.Namespace, m.Name)):
				missing = append(missing, fmt.Sprintf("%s of %s", s.Name, p.Namespace))
			}
		}
		switch {
		case len(missing) > 0:
			return Failed, fmt.Sprintf("%s uses symbols of namespaces that it does not import: %s", m.File, some(missing))
		case len(g.target.Exports.Symbols) == 0:
			return NotCheckable, noExports
		case len(unknown) > 0:
			return NotCheckable, fmt.Sprintf("the namespaces of %s are not known: %s", some(unknown), mountImage)
		}
		return Passed, ""
	})
}

// forModules begins the namespace of a symbol that is exported to some modules
// alone, by EXPORT_SYMBOL_FOR_MODULES.
const forModules = "module:"

// moduleNamespace is verify_module_namespace of kernel/module/main.c: since
// 6.16 a namespace "module:a,b-*" is open to the modules it names. A "*" at a
// name's end stands for any end; "-" and "_" are the same.
func moduleNamespace(namespace, module string) bool {
	list, ok := strings.CutPrefix(namespace, forModules)
	if !ok {
		return false
	}
	for name := range strings.SplitSeq(list, ",") {
		start, glob := strings.CutSuffix(strings.ReplaceAll(name, "-", "_"), "*")
		if start == module || glob && strings.HasPrefix(module, start) {
			return true
		}
	}
	return false
}

func checkDuplicates(g gate) []Check {
	first := map[string]string{} // the sibling that is loaded first, by symbol
	for _, m := range g.inLoadOrder() {
		for _, e := range m.ELF.Exports {
			if _, taken := first[e.Name]; !taken {
				first[e.Name] = m.Name
			}
		}
	}
	return g.each(func(m Module) (Verdict, string) {
		var twice, maybe []string
		for _, e := range m.ELF.Exports {
			s, ok := g.exports[e.Name]
			switch {
			case ok && s.Module == vmlinux:
				twice = append(twice, e.Name+" of the kernel")
			case ok:
				maybe = append(maybe, fmt.Sprintf("%s of %s", e.Name, s.Module))
			case first[e.Name] != m.Name:
				twice = append(twice, fmt.Sprintf("%s of %s", e.Name, first[e.Name]))
			}
		}
		switch {
		case len(twice) > 0:
			return Failed, fmt.Sprintf("%s exports what is exported already: %s", m.File, some(twice))
		case len(g.target.Exports.Symbols) == 0 && len(m.ELF.Exports) > 0:
			return NotCheckable, noExports
		case len(maybe) > 0:
			return NotCheckable, fmt.Sprintf("%s could not be loaded beside modules of the kernel's own that export the same: %s", m.File, some(maybe))
		}
		return Passed, ""
	})
}
