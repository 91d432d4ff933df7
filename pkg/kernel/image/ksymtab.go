package image

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxName is above the kernel's own limit for symbols (KSYM_NAME_LEN, 512).
const maxName = 1024

// What an export table may have. A kernel has some 20,000 exports with 500 kB of
// names; in a file made to exhaust the reader very many share one long name.
const (
	maxExports = 1 << 17
	maxNames   = 16 << 20 // bytes
)

// exportClasses are the suffixes of __ksymtab and __kcrctab, and what each
// means. Since 5.12 there are the first two; since __kflagstab (2026) the
// first alone. EXPORT_SYMBOL_GPL_FUTURE still let every module in.
var exportClasses = []struct {
	suffix string
	gpl    bool
}{
	{"", false}, {"_gpl", true}, {"_unused", false}, {"_unused_gpl", true}, {"_gpl_future", false},
}

// layout is how struct kernel_symbol is stored (include/linux/export.h): the
// symbol's value, its name and, since 5.4, its namespace; each a 64-bit
// address or, with HAVE_ARCH_PREL32_RELOCATIONS (4.19, x86 and arm64), a
// 32-bit distance from itself.
type layout struct{ word, fields int }

var layouts = []layout{{4, 3}, {8, 3}, {4, 2}, {8, 2}}

func (l layout) size() int { return l.word * l.fields }

// pointer is where a field at an address points to; 0 is a null pointer.
func (l layout) pointer(field []byte, at uint64) uint64 {
	if l.word == 8 {
		return le.Uint64(field)
	}
	if distance := int32(le.Uint32(field)); distance != 0 {
		return at + uint64(int64(distance))
	}
	return 0
}

// setSymbols reads the export tables. Where something in them does not fit,
// nothing of them is believed.
func (img *Image) setSymbols(f *elfFile) error {
	strings := f.find("__ksymtab_strings")
	plain := f.find("__ksymtab")
	if strings == nil || plain == nil {
		return nil
	}
	l, ok := detectLayout(plain, strings)
	if !ok {
		return fmt.Errorf("__ksymtab of %d bytes is laid out in no way known", len(plain.data))
	}
	var symbols []Symbol
	crcsKnown := true
	for _, class := range exportClasses {
		table := f.find("__ksymtab" + class.suffix)
		if table == nil || len(table.data) == 0 {
			continue
		}
		list, err := l.read(table, strings)
		if err != nil {
			return fmt.Errorf("__ksymtab%s %w", class.suffix, err)
		}
		for i := range list {
			list[i].GPL = class.gpl
		}
		if !setCRCs(list, f, f.find("__kcrctab"+class.suffix)) {
			crcsKnown = false
		}
		if class.suffix == "" && !setFlags(list, f.section("__kflagstab")) {
			return fmt.Errorf("__kflagstab does not go with __ksymtab")
		}
		symbols = append(symbols, list...)
	}
	img.setExports(symbols, crcsKnown)
	return nil
}

func (img *Image) setExports(symbols []Symbol, crcsKnown bool) {
	slices.SortFunc(symbols, func(a, b Symbol) int { return cmp.Compare(a.Name, b.Name) })
	img.Symbols, img.SymbolsKnown, img.NamespacesKnown, img.CRCsKnown = symbols, true, true, crcsKnown
}

// detectLayout is the first layout in which every entry of the table makes
// sense; a wrong one fails on the first few.
func detectLayout(table, strings *elfSection) (layout, bool) {
	for _, l := range layouts {
		if l.fits(table, strings) {
			return l, true
		}
	}
	return layout{}, false
}

// fits says whether every entry of a table makes sense, of a table that is too
// long every one up to there.
func (l layout) fits(table, strings *elfSection) bool {
	if len(table.data) == 0 || len(table.data)%l.size() != 0 {
		return false
	}
	for at := 0; at < min(len(table.data), maxExports*l.size()); at += l.size() {
		if _, _, ok := l.entry(table, uint64(at), strings); !ok {
			return false
		}
	}
	return true
}

// read returns a table's symbols.
func (l layout) read(table, strings *elfSection) ([]Symbol, error) {
	n := len(table.data) / l.size()
	if n > maxExports {
		return nil, fmt.Errorf("has %d exports, more than any kernel", n)
	}
	misfit := errors.New("is not laid out as __ksymtab is")
	if len(table.data)%l.size() != 0 {
		return nil, misfit
	}
	symbols := make([]Symbol, 0, n)
	left := maxNames
	for at := 0; at < len(table.data); at += l.size() {
		name, namespace, ok := l.entry(table, uint64(at), strings)
		if !ok {
			return nil, misfit
		}
		if left -= len(name) + len(namespace); left < 0 {
			return nil, fmt.Errorf("has more than %d MiB of names", maxNames>>20)
		}
		symbols = append(symbols, Symbol{Name: string(name), Namespace: string(namespace)})
	}
	return symbols, nil
}

// entry is the name and the namespace of the entry at an offset of a table, or
// false where the name is no C identifier or the namespace no string of the
// export tables.
func (l layout) entry(table *elfSection, at uint64, strings *elfSection) (name, namespace []byte, ok bool) {
	field := func(i int) uint64 {
		offset := at + uint64(i*l.word)
		return l.pointer(table.data[offset:], table.addr+offset)
	}
	if name, ok = strings.text(field(1)); !ok || field(1) == 0 || !isIdentifier(name) {
		return nil, nil, false
	}
	if l.fields > 2 && field(2) != 0 {
		if namespace, ok = strings.text(field(2)); !ok || !printable(namespace) {
			return nil, nil, false
		}
	}
	return name, namespace, true
}

// text is the string at an address in the section.
func (s *elfSection) text(addr uint64) ([]byte, bool) {
	if !s.holds(addr) {
		return nil, false
	}
	rest := s.data[addr-s.addr:]
	text, _, ok := bytes.Cut(rest[:min(len(rest), maxName)], []byte{0})
	return text, ok
}

func isIdentifier(name []byte) bool {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		// The names of Rust's exports have dots and dollars.
		if !letter && (i == 0 || c != '.' && c != '$' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(name) > 0
}

// setFlags marks the GPL-only symbols as __kflagstab has them, one byte each:
// KSYM_FLAG_GPL_ONLY is its lowest bit (include/linux/module_symbol.h).
func setFlags(list []Symbol, flags []byte) bool {
	if len(flags) == 0 {
		return true
	}
	if len(flags) != len(list) {
		return false
	}
	for i, flag := range flags {
		list[i].GPL = flag&1 != 0
	}
	return true
}

// setCRCs adds the CRCs of a table, which are in its order. A kernel without
// modversions has none, and says so by having no table of them.
func setCRCs(list []Symbol, f *elfFile, table *elfSection) bool {
	if table == nil || len(table.data) == 0 {
		return true
	}
	switch len(table.data) {
	case 8 * len(list): // unsigned long, before 4.10
		for i := range list {
			list[i].CRC = le.Uint32(table.data[8*i:])
		}
		return true
	case 4 * len(list):
		at := crcPlace(f, table)
		for i := range list {
			list[i].CRC = at(i)
		}
		return true
	}
	return false
}

// crcPlace returns how to read the i-th CRC of a table of 32-bit words. With
// MODULE_REL_CRCS (4.10 to 5.18, some machines) a word is the distance from
// itself to the CRC. CRCs are as good as random, so words that all lead to
// aligned data of the image are distances.
func crcPlace(f *elfFile, table *elfSection) func(i int) uint32 {
	word := func(i int) uint32 { return le.Uint32(table.data[4*i:]) }
	relative := func(i int) uint64 {
		return table.addr + uint64(4*i) + uint64(int64(int32(word(i))))
	}
	for i := range len(table.data) / 4 {
		if _, ok := f.word(relative(i)); !ok {
			return word
		}
	}
	return func(i int) uint32 {
		crc, _ := f.word(relative(i))
		return crc
	}
}
