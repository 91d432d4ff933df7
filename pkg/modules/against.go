package modules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/types"
)

// gate is what the rules have to go on.
type gate struct {
	mods   []Module // by name
	target kernel.Target
	expect Expect
	// exports are the kernel's, by name, without those of modules that are
	// loaded there now and that mods would take the place of.
	exports map[string]kernel.Symbol
	// offered are the modules' own.
	offered map[string][]kernel.Symbol
	// uses are what each module may use of them, by its name.
	uses map[string]*gplUse
	// options are those asked for so far.
	options map[string]bool
	// kernelTypes are the kernel's, where what the modules were compiled with can be
	// held against them, and typesUnknown says why it cannot.
	kernelTypes  *types.Info
	typesUnknown string
}

func newGate(mods []Module, target kernel.Target, expect Expect) gate {
	g := gate{
		mods: mods, target: target, expect: expect,
		exports: make(map[string]kernel.Symbol, len(target.Exports.Symbols)),
		offered: offers(mods),
		options: map[string]bool{},
	}
	ours := map[string]bool{}
	for _, m := range mods {
		ours[m.Name] = true
	}
	for _, s := range target.Exports.Symbols {
		if other, twice := g.exports[s.Name]; ours[canonical(s.Module)] || twice && other.Module == vmlinux {
			continue
		}
		g.exports[s.Name] = s
	}
	g.uses = g.gplUses()
	g.kernelTypes, g.typesUnknown = g.readTypes()
	return g
}

// offers are what modules export, by name.
func offers(mods []Module) map[string][]kernel.Symbol {
	all := map[string][]kernel.Symbol{}
	for _, m := range mods {
		for _, e := range m.ELF.Exports {
			all[e.Name] = append(all[e.Name], offer(m, e))
		}
	}
	return all
}

// vmlinux is the exporter of what is built into the kernel.
const vmlinux = "vmlinux"

// provider is who offers a symbol.
type provider struct {
	kernel.Symbol
	// sibling says that it is one of the modules before the gate.
	sibling bool
}

// find looks a symbol up as the kernel would: in itself and its own modules,
// then in the siblings of the module that wants it.
func (g gate) find(symbol string, importer Module) (provider, bool) {
	if s, ok := g.exports[symbol]; ok {
		return provider{s, false}, true
	}
	for _, s := range g.offered[symbol] {
		if s.Module != importer.Name {
			return provider{s, true}, true
		}
	}
	return provider{}, false
}

// offer is a module's export as the kernel would list it.
func offer(m Module, e ko.Export) kernel.Symbol {
	s := kernel.Symbol{Name: e.Name, Module: m.Name, License: kernel.LicenseAny, Namespace: e.Namespace, NamespaceKnown: true, CRC: e.CRC, CRCKnown: e.HasCRC}
	if e.GPL {
		s.License = kernel.LicenseGPL
	}
	return s
}

// inLoadOrder is the modules in load order, or by name where there is none:
// then another check says so.
func (g gate) inLoadOrder() []Module {
	if order, err := LoadOrder(g.mods); err == nil {
		return order
	}
	return g.mods
}

// option says whether the kernel's config has an option, named without its
// CONFIG_, built in. Ask configKnown first.
func (g gate) option(name string) bool {
	on, asked := g.options[name]
	if !asked {
		on = g.target.Config.Bool(name)
		g.options[name] = on
	}
	return on
}

func (g gate) configKnown() bool { return len(g.target.Config.Text) > 0 }

// since says whether the kernel is of the line major.minor or a later one; ask
// releaseKnown first.
func (g gate) since(major, minor int) bool { return g.target.Release.AtLeast(major, minor) }

// before says whether the kernel is known to be of an older line.
func (g gate) before(major, minor int) bool { return g.releaseKnown() && !g.since(major, minor) }

func (g gate) releaseKnown() bool { return g.target.Release.Full != "" }

// What is said of a target that was not to be seen.
const (
	unreadable      = "the file could not be read as a module"
	noRelease       = "the kernel's release is not known: mount the host's /proc, or name a kernel image"
	noConfig        = "the kernel's config is not known: mount the host's /boot at /host/boot, or name a kernel image"
	noExports       = "the symbols that the kernel exports are not known: mount the host's /boot at /host/boot, or name a kernel image"
	mountImage      = "mount the host's /boot at /host/boot, so that its kernel image can be read, or name a kernel image"
	mountModules    = "mount the host's /lib/modules at /host/lib/modules"
	tooManyToSayAll = 8
)

// each makes one check of every module that could be read.
func (g gate) each(check func(Module) (Verdict, string)) []Check {
	checks := make([]Check, 0, len(g.mods))
	for _, m := range g.mods {
		verdict, detail := NotCheckable, unreadable
		if m.Defect == "" {
			verdict, detail = check(m)
		}
		checks = append(checks, Check{Module: m.Name, Verdict: verdict, Detail: detail})
	}
	return checks
}

// someNames is a list of symbols, of which one may have no name.
func someNames(symbols []string) string {
	list := slices.Clone(symbols)
	if i := slices.Index(list, ""); i >= 0 {
		list[i] = "one without a name"
	}
	return some(list)
}

// some is a list for people: its first few, and how many more there are.
func some(list []string) string {
	if n := len(list) - tooManyToSayAll; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:tooManyToSayAll], ", "), n)
	}
	return strings.Join(list, ", ")
}
