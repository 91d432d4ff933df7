package ko

import (
	"cmp"
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// exports are what the module offers, sorted by name: what its export tables
// say, and what the labels of their entries do where those have no tables yet.
func (p *parser) exports(labels map[string]elf.Symbol) ([]Export, error) {
	byName := map[string]Export{}
	for label, s := range labels {
		if name, ok := strings.CutPrefix(label, "__ksymtab_"); ok {
			if e, ok := p.export(name, s, labels); ok {
				byName[name] = e
			}
		}
	}
	suffixes := []string{"", "_gpl"}
	if p.numbered(flagTable) >= 0 {
		suffixes = suffixes[:1] // as for the kernels that read flags
	}
	for _, suffix := range suffixes {
		entries, err := p.tableExports(suffix)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			byName[e.Name] = e
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b Export) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// export describes the export that the label __ksymtab_NAME is the entry of.
// Its class is its section's name: __ksymtab or __ksymtab_gpl, and before
// module.lds merges them ___ksymtab+NAME or ___ksymtab_gpl+NAME.
func (p *parser) export(name string, entry elf.Symbol, labels map[string]elf.Symbol) (Export, bool) {
	if int(entry.Section) >= len(p.f.Sections) {
		return Export{}, false
	}
	table, _, _ := strings.Cut(p.f.Sections[entry.Section].Name, "+")
	table = strings.TrimLeft(table, "_")
	if !strings.HasPrefix(table, "ksymtab") {
		return Export{}, false
	}
	if p.numbered(flagTable) >= 0 && table != "ksymtab" {
		return Export{}, false
	}
	e := Export{Name: name, GPL: table == "ksymtab_gpl"}
	if flags, ok := labels["__flags_"+name]; ok {
		e.GPL = gplOnly(p.at(flags, 1))
	}
	if ns, ok := labels["__kstrtabns_"+name]; ok {
		e.Namespace = cString(p.at(ns, maxName))
	}
	if crc, ok := labels["__crc_"+name]; ok {
		e.CRC, e.HasCRC = p.crc(crc)
	}
	return e, true
}

// crc is the value of a label __crc_NAME: until 5.18 the absolute value of the
// symbol, or with MODULE_REL_CRCS and since 5.19 what it is the address of.
func (p *parser) crc(label elf.Symbol) (uint32, bool) {
	if label.Section == elf.SHN_ABS {
		return uint32(label.Value), true
	}
	data := p.at(label, 4)
	if len(data) < 4 {
		return 0, false
	}
	return p.f.ByteOrder.Uint32(data), true
}

// layout is how struct kernel_symbol is stored (include/linux/export.h): the symbol's
// value, its name and, since 5.4, its namespace; each an address of eight bytes or, with
// HAVE_ARCH_PREL32_RELOCATIONS (4.19, x86 and arm64), a distance of four.
type layout struct{ word, fields uint64 }

// The fields of an entry that are read.
const (
	nameField      = 1
	namespaceField = 2
)

var layouts = []layout{{4, 3}, {4, 2}, {8, 2}, {8, 3}}

func (l layout) size() uint64 { return l.word * l.fields }

// exportStrings has the names and namespaces of exports, and nothing else.
const exportStrings = "__ksymtab_strings"

// tableLayout is the first layout in which every relocation of a table makes sense: a
// value is nothing of the section of names, which all other fields are in. False where
// there is none.
func (p *parser) tableLayout(table int) (layout, bool, error) {
	fit := slices.DeleteFunc(slices.Clone(layouts), func(l layout) bool { return p.f.Sections[table].Size%l.size() != 0 })
	err := p.relocationsOf(table, func(r relocation) {
		word := uint64(4)
		if elf.R_X86_64(r.kind) == elf.R_X86_64_64 && p.f.Machine == elf.EM_X86_64 || elf.R_AARCH64(r.kind) == elf.R_AARCH64_ABS64 && p.f.Machine == elf.EM_AARCH64 {
			word = 8
		}
		s, ok := p.symbol(r.symbol)
		text := ok && int(s.Section) < len(p.f.Sections) && p.f.Sections[s.Section].Name == exportStrings
		fit = slices.DeleteFunc(fit, func(l layout) bool {
			value := r.at/l.word%l.fields == 0
			return l.word != word || r.at%l.word != 0 || value == text
		})
	})
	if err != nil || len(fit) == 0 {
		return layout{}, false, err
	}
	return fit[0], true, nil
}

// tableExports are those of the table __ksymtab or __ksymtab_gpl, which
// module.lds merges: there they are for a module that was stripped, too.
func (p *parser) tableExports(suffix string) ([]Export, error) {
	table := p.numbered("__ksymtab" + suffix)
	if table < 0 || p.f.Sections[table].Size == 0 {
		return nil, nil
	}
	l, known, err := p.tableLayout(table)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("has a table of exports, __ksymtab%s, that is laid out in no way known", suffix)
	}
	n := p.f.Sections[table].Size / l.size()
	if n > maxExports {
		return nil, fmt.Errorf("has %d exports, more than any module", n)
	}
	names, namespaces := make([]string, n), make([]string, n)
	err = p.relocationsOf(table, func(r relocation) {
		at, field := r.at/l.size(), r.at%l.size()/l.word
		switch {
		case at >= n:
		case field == nameField:
			names[at] = cString(p.pointed(r, maxName))
		case field == namespaceField:
			namespaces[at] = cString(p.pointed(r, maxName))
		}
	})
	if err != nil {
		return nil, err
	}
	crcs, err := p.crcTable("__kcrctab"+suffix, n)
	if err != nil {
		return nil, err
	}
	flags, err := p.flags(suffix, n)
	if err != nil {
		return nil, err
	}
	var list []Export
	for i, name := range names {
		if name == "" {
			continue
		}
		e := Export{Name: name, GPL: suffix != "", Namespace: namespaces[i]}
		if flags != nil {
			e.GPL = gplOnly(flags[i:])
		}
		if crcs != nil {
			e.CRC, e.HasCRC = crcs[i], true
		}
		list = append(list, e)
	}
	return list, nil
}

// flagTable has a byte for each entry of __ksymtab. Since 7.1 it takes the place
// of __ksymtab_gpl, which kernels with it do not read (find_module_sections in
// kernel/module/main.c).
const flagTable = "__kflagstab"

// gplOnly is the first byte's lowest bit, KSYM_FLAG_GPL_ONLY of
// include/linux/module_symbol.h.
func gplOnly(flags []byte) bool { return len(flags) > 0 && flags[0]&1 != 0 }

// flags are those of the n exports of __ksymtab; nil where there are none.
func (p *parser) flags(suffix string, n uint64) ([]byte, error) {
	table := p.numbered(flagTable)
	if table < 0 || suffix != "" {
		return nil, nil
	}
	flags, err := p.content(table, maxTable)
	if err == nil && uint64(len(flags)) < n {
		err = fmt.Errorf("has %d exports and flags for %d", n, len(flags))
	}
	return flags, err
}

// crcTable is the CRCs of n exports, nil where there is no such table. Until
// 5.18 each is filled in by a relocation, with the value of a symbol, and before 4.10
// each is an unsigned long.
func (p *parser) crcTable(name string, n uint64) ([]uint32, error) {
	table := p.numbered(name)
	if table < 0 {
		return nil, nil
	}
	data, err := p.content(table, maxTable)
	if err != nil {
		return nil, err
	}
	size := uint64(4)
	if uint64(len(data)) == 8*n {
		size = 8
	}
	crcs := make([]uint32, n)
	for i := range crcs {
		if at := size * uint64(i); at+4 <= uint64(len(data)) {
			crcs[i] = p.f.ByteOrder.Uint32(data[at:])
		}
	}
	return crcs, p.relocationsOf(table, func(r relocation) {
		if s, ok := p.symbol(r.symbol); ok && r.at/size < n && s.Section == elf.SHN_ABS {
			crcs[r.at/size] = uint32(s.Value) + uint32(r.addend)
		}
	})
}

// numbered is the number of the first loaded section of a name, -1 where there
// is none.
func (p *parser) numbered(name string) int {
	return slices.IndexFunc(p.f.Sections, func(s *elf.Section) bool {
		return s.Name == name && s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS
	})
}

// relocationsOf calls found with each relocation of the numbered section.
func (p *parser) relocationsOf(number int, found func(relocation)) error {
	for _, s := range p.f.Sections {
		if s.Type == elf.SHT_RELA && int(s.Info) == number {
			return p.eachRelocation(s, relaSize, found)
		}
	}
	return nil
}

// pointed is what a relocation points at, up to n bytes; empty where that is
// nothing in the file.
func (p *parser) pointed(r relocation, n uint64) []byte {
	s, ok := p.symbol(r.symbol)
	if !ok {
		return nil
	}
	s.Value += uint64(r.addend)
	return p.at(s, n)
}

// symbol is one by its number.
func (p *parser) symbol(number uint32) (elf.Symbol, bool) {
	if number == 0 || uint64(number) > uint64(len(p.table)) {
		return elf.Symbol{}, false
	}
	return p.table[number-1], true // debug/elf leaves the first one out
}
