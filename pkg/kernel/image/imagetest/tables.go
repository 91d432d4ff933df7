package imagetest

import (
	"encoding/binary"

	"github.com/k8sp/cuda/pkg/kernel/image"
)

var le = binary.LittleEndian

// class is one of a kernel's two kinds of export table.
type class struct {
	suffix string
	list   []image.Symbol
}

func (k Kernel) classes() []class {
	var plain, gpl []image.Symbol
	for _, s := range k.Exports {
		if s.GPL && !k.Flagstab {
			gpl = append(gpl, s)
		} else {
			plain = append(plain, s)
		}
	}
	return []class{{"", plain}, {"_gpl", gpl}}
}

// exportStrings is __ksymtab_strings, and where in it each string is.
func (k Kernel) exportStrings() (text []byte, at map[string]uint64) {
	text, at = []byte{0}, map[string]uint64{"": 0}
	for _, s := range k.Exports {
		for _, name := range []string{s.Name, s.Namespace} {
			if _, ok := at[name]; !ok {
				at[name] = uint64(len(text))
				text = append(text, name+"\x00"...)
			}
		}
	}
	return text, at
}

// tables lays the export tables out one after the other from addr on, as
// kernels do.
func (k Kernel) tables(addr uint64) []Section {
	if k.Layout == (Layout{}) {
		k.Layout = Layouts[0]
	}
	n := uint64(len(k.Exports))
	apart := addr + n*(k.Layout.size()+k.CRCs.size())
	strings := apart
	if k.CRCs == CRCsApart {
		strings += 4 * n
	}
	text, at := k.exportStrings()

	var sections []Section
	next := addr
	add := func(name string, data []byte) {
		sections = append(sections, Section{name, next, data})
		next += uint64(len(data))
	}
	for _, c := range k.classes() {
		var table []byte
		for _, s := range c.list {
			table = k.Layout.entry(table, next, s, strings+at[s.Name], strings+at[s.Namespace])
		}
		add("__ksymtab"+c.suffix, table)
	}
	var away []byte
	for _, c := range k.classes() {
		var table []byte
		for _, s := range c.list {
			switch k.CRCs {
			case CRCsApart:
				table = le.AppendUint32(table, uint32(apart+uint64(len(away))-next-uint64(len(table))))
				away = le.AppendUint32(away, s.CRC)
			case CRCLongs:
				table = le.AppendUint64(table, uint64(s.CRC))
			case CRCWords:
				table = le.AppendUint32(table, s.CRC)
			}
		}
		add("__kcrctab"+c.suffix, table)
	}
	add(".rodata.crcs", away)
	add("__ksymtab_strings", text)
	if k.Flagstab {
		add("__kflagstab", k.flags())
	}
	return sections
}

// entry appends the symbol's to a table that begins at an address: its value,
// its name and its namespace.
func (l Layout) entry(table []byte, start uint64, s image.Symbol, name, namespace uint64) []byte {
	for i, to := range []uint64{0xffffffff81000000, name, namespace}[:l.Fields] {
		from := start + uint64(len(table))
		switch {
		case l.Word == 8:
			table = le.AppendUint64(table, to)
		case i == 2 && s.Namespace == "" && s.CRC%2 == 0: // a null pointer is as good as ""
			table = le.AppendUint32(table, 0)
		default:
			table = le.AppendUint32(table, uint32(to-from))
		}
	}
	return table
}

func (k Kernel) flags() []byte {
	var flags []byte
	for _, s := range k.Exports {
		flag := byte(0)
		if s.GPL {
			flag = 1
		}
		flags = append(flags, flag)
	}
	return flags
}
