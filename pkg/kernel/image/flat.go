package image

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// findBTF finds the type information in a kernel without sections: a header
// (struct btf_header, include/uapi/linux/btf.h) whose magic, version and
// arithmetic all fit. It returns nil where there is none.
func findBTF(kernel []byte) []byte {
	const headerSize = 24
	magic := []byte{0x9f, 0xeb, 1, 0, headerSize, 0, 0, 0} // magic, version, flags, hdr_len
	for rest := kernel; ; {
		i := bytes.Index(rest, magic)
		if i < 0 || len(rest)-i < headerSize {
			return nil
		}
		h := rest[i:]
		typeOff, typeLen := uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[12:]))
		strOff, strLen := uint64(le.Uint32(h[16:])), uint64(le.Uint32(h[20:]))
		// The kernel's own has the types first and the strings after them.
		if typeOff == 0 && typeLen > 0 && strOff == typeLen {
			if blob := within(h, 0, headerSize+strOff+strLen); blob != nil {
				return blob
			}
		}
		rest = rest[i+len(magic):]
	}
}

// minExports is fewer than any kernel exports in either class, and more
// entries than could line up by chance.
const minExports = 256

// setFlatSymbols reads the export tables of a kernel without sections. Nothing
// names them, but no other data could be taken for them: hundreds of entries
// of 12 bytes whose names are identifiers in ascending order (the linker sorts
// them), twice, __ksymtab and right behind it __ksymtab_gpl; and then, up to
// the first of their strings, exactly as many CRCs as there are symbols, or
// nothing. Anything else is left unknown.
func (img *Image) setFlatSymbols(kernel []byte) error {
	all := &elfSection{data: kernel}
	plain := findTable(all)
	if plain == nil {
		return errors.New("the export tables are not to be found")
	}
	gpl := tableAt(all, plain.end)
	if gpl.n < minExports {
		return errors.New("the table of GPL-only exports is not where it should be")
	}
	symbols, err := plain.read(all)
	if err != nil {
		return err
	}
	list, err := gpl.read(all)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].GPL = true
	}
	symbols = append(symbols, list...)
	strings := min(plain.strings, gpl.strings)
	if strings < gpl.end {
		return errors.New("the export tables are not followed by their strings")
	}
	const align = 8
	switch gap := strings - gpl.end; {
	case gap < align:
	case gap-gap%4 >= 4*uint64(len(symbols)) && gap < 4*uint64(len(symbols))+align:
		table := &elfSection{addr: gpl.end, data: kernel[gpl.end:][:4*len(symbols)]}
		setCRCs(symbols, &elfFile{}, table)
	default:
		return errors.New("what follows the export tables is not their CRCs")
	}
	img.setExports(symbols, true)
	return nil
}

// flatTable is a run of n export entries: where it is, and the lowest address
// of its strings.
type flatTable struct {
	n                   int
	start, end, strings uint64
}

func (t flatTable) read(all *elfSection) ([]Symbol, error) {
	symbols, err := layouts[0].read(&elfSection{addr: t.start, data: all.data[t.start:t.end]}, all)
	if err != nil {
		return nil, fmt.Errorf("an export table %w", err)
	}
	return symbols, nil
}

// findTable is the first table of minExports and more, nil where there is none.
// Entries are 12 bytes, aligned to 4: three passes, each over every byte once.
func findTable(all *elfSection) *flatTable {
	size := uint64(layouts[0].size())
	var first *flatTable
	for phase := uint64(0); phase < size; phase += 4 {
		for at := phase; at < uint64(len(all.data)); {
			t := tableAt(all, at)
			if t.n >= minExports && (first == nil || t.end < first.end) {
				first = &t
				break
			}
			at = max(t.end, at+size)
		}
	}
	return first
}

// tableAt is the entries at an offset for as long as they are entries and their
// names ascend. It copies no name: very many may be no table, or too long a one.
func tableAt(all *elfSection, at uint64) flatTable {
	l := layouts[0]
	t := flatTable{start: at, end: at, strings: math.MaxUint64}
	var last []byte
	for t.end+uint64(l.size()) <= uint64(len(all.data)) {
		name, _, ok := l.entry(all, t.end, all)
		if !ok || bytes.Compare(name, last) <= 0 { // no name is empty
			break
		}
		for _, field := range []uint64{4, 8} {
			if p := l.pointer(all.data[t.end+field:], t.end+field); p != 0 {
				t.strings = min(t.strings, p)
			}
		}
		last = name
		t.n++
		t.end += uint64(l.size())
	}
	return t
}
