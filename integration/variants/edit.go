package variants

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// edit is a change of an object.
type edit func(*object) error

// all makes one change after the other.
func all(edits ...edit) edit {
	return func(o *object) error {
		for _, e := range edits {
			if err := e(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// header changes the file's header.
func header(change func(*elf.Header64)) edit {
	return func(o *object) error { change(&o.header); return nil }
}

// inSection changes the first section of a name.
func inSection(name string, change func(*section)) edit {
	return func(o *object) error {
		s, err := o.section(name)
		if err == nil {
			change(s)
		}
		return err
	}
}

// dropSection takes the first section of a name away.
func dropSection(name string) edit {
	return func(o *object) error {
		s, err := o.section(name)
		if err == nil {
			o.drop(s)
		}
		return err
	}
}

// copySection adds the same section once more, without its relocations.
func copySection(name string) edit {
	return func(o *object) error {
		s, err := o.section(name)
		if err == nil {
			o.add(section{Section64: s.Section64, name: s.name, data: bytes.Clone(s.data)})
		}
		return err
	}
}

const modinfo = ".modinfo"

// tags changes the list of .modinfo's entries, KEY=VALUE.
func tags(change func([]string) []string) edit {
	return inSection(modinfo, func(s *section) {
		list := slices.DeleteFunc(strings.Split(string(s.data), "\x00"), func(tag string) bool { return tag == "" })
		s.data = []byte(strings.Join(change(list), "\x00") + "\x00")
	})
}

// addTag adds an entry after the others.
func addTag(key, value string) edit {
	return tags(func(list []string) []string { return append(list, key+"="+value) })
}

// dropTag takes every entry of a key away.
func dropTag(key string) edit {
	return tags(func(list []string) []string {
		return slices.DeleteFunc(list, func(tag string) bool { return strings.HasPrefix(tag, key+"=") })
	})
}

// setTag gives a key one entry.
func setTag(key, value string) edit { return all(dropTag(key), addTag(key, value)) }

// changeTag changes the value of a key's first entry, which must be there.
func changeTag(key string, change func(string) string) edit {
	return func(o *object) error {
		found := false
		err := tags(func(list []string) []string {
			for i, tag := range list {
				if value, ok := strings.CutPrefix(tag, key+"="); ok && !found {
					found, list[i] = true, key+"="+change(value)
				}
			}
			return list
		})(o)
		if err == nil && !found {
			err = fmt.Errorf("it has no %s= in %s", key, modinfo)
		}
		return err
	}
}

// addSymbol adds a symbol after the others, which keep their numbers.
func addSymbol(name string, symbol elf.Sym64) edit {
	return func(o *object) error {
		list, table, names, err := o.symbols()
		if err != nil {
			return err
		}
		symbol.Name = names.addText(name)
		return table.set(append(list, symbol))
	}
}

// undefined adds a symbol that the module wants from elsewhere. No code of its
// uses it: the kernel looks it up all the same.
func undefined(name string) edit {
	return addSymbol(name, elf.Sym64{Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE)})
}

// weak adds one that the module can do without.
func weak(name string) edit {
	return addSymbol(name, elf.Sym64{Info: elf.ST_INFO(elf.STB_WEAK, elf.STT_NOTYPE)})
}

// undefinedFirst adds an undefined symbol in the place of the first one there
// is, which goes to the end, as does what refers to it.
func undefinedFirst(name string) edit {
	return func(o *object) error {
		list, table, names, err := o.symbols()
		if err != nil {
			return err
		}
		first := 1 + slices.IndexFunc(list[1:], func(s elf.Sym64) bool { return elf.SectionIndex(s.Shndx) == elf.SHN_UNDEF })
		if first == 0 {
			return fmt.Errorf("it has no undefined symbol")
		}
		last := len(list)
		list = append(list, list[first])
		list[first] = elf.Sym64{Name: names.addText(name), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE)}
		if err := table.set(list); err != nil {
			return err
		}
		return relocations(func(r *elf.Rela64) {
			if elf.R_SYM64(r.Info) == uint32(first) {
				r.Info = elf.R_INFO(uint32(last), elf.R_TYPE64(r.Info))
			}
		})(o)
	}
}

// relocations changes every relocation of what is loaded.
func relocations(change func(*elf.Rela64)) edit {
	return func(o *object) error { return o.relocate(o.relocatesLoaded, change) }
}

// relocate changes the relocations of the tables that are meant.
func (o *object) relocate(meant func(*section) bool, change func(*elf.Rela64)) error {
	for _, s := range o.sections {
		if !meant(s) {
			continue
		}
		list := make([]elf.Rela64, len(s.data)/24)
		if _, err := binary.Decode(s.data, binary.LittleEndian, list); err != nil {
			return err
		}
		for i := range list {
			change(&list[i])
		}
		if _, err := binary.Encode(s.data, binary.LittleEndian, list); err != nil {
			return err
		}
	}
	return nil
}

func (o *object) relocatesLoaded(s *section) bool {
	return elf.SectionType(s.Type) == elf.SHT_RELA && int(s.Info) < len(o.sections) &&
		elf.SectionFlag(o.sections[s.Info].Flags)&elf.SHF_ALLOC != 0
}

// firstRelocation changes the first relocation of a section that is loaded.
func firstRelocation(of string, change func(*elf.Rela64)) edit {
	return func(o *object) error {
		first := true
		err := o.relocate(func(s *section) bool { return s.name == ".rela"+of }, func(r *elf.Rela64) {
			if first {
				change(r)
			}
			first = false
		})
		if err == nil && first {
			err = fmt.Errorf("it has no relocation of %s", of)
		}
		return err
	}
}

// versions is the section of symbol versions, and version one of its entries:
// struct modversion_info.
const versions = "__versions"

type version struct {
	CRC  uint64
	Name [56]byte
}

// setVersion gives a symbol a version, also in a module that has none.
func setVersion(symbol string, crc uint32) edit {
	return func(o *object) error {
		if _, err := o.section(versions); err != nil {
			o.add(section{name: versions, Section64: elf.Section64{
				Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC), Addralign: 32,
			}})
		}
		return changeVersions(func(list []version) []version {
			v := version{CRC: uint64(crc)}
			copy(v.Name[:], symbol)
			for i := range list {
				if list[i].Name == v.Name {
					list[i] = v
					return list
				}
			}
			return append(list, v)
		})(o)
	}
}

// dropVersion takes a symbol's version away, which must be there.
func dropVersion(symbol string) edit {
	return func(o *object) error {
		found := false
		err := changeVersions(func(list []version) []version {
			return slices.DeleteFunc(list, func(v version) bool {
				is := text(v.Name[:], 0) == symbol
				found = found || is
				return is
			})
		})(o)
		if err == nil && !found {
			err = fmt.Errorf("it has no version of %s", symbol)
		}
		return err
	}
}

func changeVersions(change func([]version) []version) edit {
	return func(o *object) error {
		s, err := o.section(versions)
		if err != nil {
			return err
		}
		list := make([]version, len(s.data)/binary.Size(version{}))
		if _, err := binary.Decode(s.data, binary.LittleEndian, list); err != nil {
			return err
		}
		s.data, err = binary.Append([]byte{}, binary.LittleEndian, change(list))
		return err
	}
}

// exportLabels begin the names of the symbols that describe an export.
var exportLabels = []string{"__ksymtab_", "__kstrtab_", "__kstrtabns_", "__crc_", "__flags_"}

// flagTable has a byte for each export, since 7.1.
const flagTable = "__kflagstab"

// forGPL makes every export of a module one for GPL-compatible modules only: by
// the flags of those that have flags, or in the table for such exports.
func forGPL(o *object) error {
	if flags, err := o.section(flagTable); err == nil {
		for i := range flags.data {
			flags.data[i] |= 1
		}
		return nil
	}
	if err := renameSection("__ksymtab", "__ksymtab_gpl")(o); err != nil {
		return err
	}
	if _, err := o.section("__kcrctab"); err != nil {
		return nil // of a kernel without MODVERSIONS
	}
	return renameSection("__kcrctab", "__kcrctab_gpl")(o)
}

// renameSection gives the first section of a name another one.
func renameSection(name, to string) edit {
	return inSection(name, func(s *section) { s.name = to })
}

// renameExport gives an export another name, no longer than its own: in the
// strings of the export table and in the symbols that describe it.
func renameExport(name, to string) edit {
	inStrings := func(o *object) error {
		s, err := o.section("__ksymtab_strings")
		if err != nil {
			return err
		}
		at := bytes.Index(s.data, []byte(name+"\x00"))
		if at < 0 || len(to) > len(name) {
			return fmt.Errorf("it has no export %s that could be called %s", name, to)
		}
		clear(s.data[at : at+len(name)])
		copy(s.data[at:], to)
		return nil
	}
	return all(inStrings, renameSymbols(func(symbol string) string {
		for _, label := range exportLabels {
			if symbol == label+name {
				return label + to
			}
		}
		return symbol
	}))
}

// renameSymbols gives symbols other names.
func renameSymbols(to func(string) string) edit {
	return func(o *object) error {
		list, table, names, err := o.symbols()
		if err != nil {
			return err
		}
		for i := range list {
			old := text(names.data, list[i].Name)
			if name := to(old); name != old {
				list[i].Name = names.addText(name)
			}
		}
		return table.set(list)
	}
}

// nonzeroTarget writes something where the first relocation of a section goes.
func nonzeroTarget(name string) edit {
	return func(o *object) error {
		var at uint64
		if err := firstRelocation(name, func(r *elf.Rela64) { at = r.Off })(o); err != nil {
			return err
		}
		return inSection(name, func(s *section) { s.data[at] = 1 })(o)
	}
}

const debug = ".debug_info"

// addDebug adds debugging information, which is not loaded.
func addDebug(o *object) error {
	o.add(section{name: debug, data: make([]byte, 16), Section64: elf.Section64{Type: uint32(elf.SHT_PROGBITS), Addralign: 1}})
	return nil
}

// stripped takes the names of what describes the module's exports away, as
// `strip --strip-unneeded` takes the symbols themselves: the export table's own
// strings are all that a kernel reads.
func stripped(o *object) error {
	return renameSymbols(func(name string) string {
		for _, label := range exportLabels {
			if strings.HasPrefix(name, label) {
				return ""
			}
		}
		return name
	})(o)
}

// relocateDebug adds a relocation of it, of a type that no loader knows.
func relocateDebug(unknown uint32) edit {
	return func(o *object) error {
		table := slices.IndexFunc(o.sections, func(s *section) bool { return elf.SectionType(s.Type) == elf.SHT_SYMTAB })
		of := slices.IndexFunc(o.sections, func(s *section) bool { return s.name == debug })
		data, err := binary.Append(nil, binary.LittleEndian, elf.Rela64{Info: elf.R_INFO(0, unknown)})
		o.add(section{name: ".rela" + debug, data: data, Section64: elf.Section64{
			Type: uint32(elf.SHT_RELA), Link: uint32(table), Info: uint32(of), Entsize: 24, Addralign: 8,
		}})
		return err
	}
}

// elf32 writes the file's header as a 32-bit one of the same machine, as of an
// object for x32.
func elf32(file []byte) ([]byte, error) {
	var h elf.Header64
	if _, err := binary.Decode(file, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	clear(file[elf.EI_NIDENT:headerSize])
	small := elf.Header32{
		Ident: h.Ident, Type: h.Type, Machine: h.Machine, Version: h.Version, Shoff: uint32(h.Shoff),
		Ehsize: 52, Shentsize: 40, Shnum: h.Shnum, Shstrndx: h.Shstrndx,
	}
	small.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	_, err := binary.Encode(file, binary.LittleEndian, small)
	return file, err
}

// intoNamespace moves an export into a namespace: the last of the three fields
// of its entry in the export table then points at that name.
func intoNamespace(export, namespace string) edit {
	return func(o *object) error {
		texts, err := o.section("__ksymtab_strings")
		if err != nil {
			return err
		}
		to := texts.addText(namespace)
		list, _, _, err := o.symbols()
		if err != nil {
			return err
		}
		const entry, name, ns = 12, 4, 8
		at := func(r *elf.Rela64) uint32 { return uint32(list[elf.R_SYM64(r.Info)].Value) + uint32(r.Addend) }
		in := uint64(1)
		tables := func(change func(*elf.Rela64)) error {
			return o.relocate(func(s *section) bool { return s.name == ".rela__ksymtab" }, change)
		}
		if err := tables(func(r *elf.Rela64) {
			if r.Off%entry == name && text(texts.data, at(r)) == export {
				in = r.Off - name
			}
		}); err != nil {
			return err
		}
		if in == 1 {
			return fmt.Errorf("it has no export %s", export)
		}
		return tables(func(r *elf.Rela64) {
			if r.Off == in+ns {
				r.Addend += int64(to) - int64(at(r))
			}
		})
	}
}
