package variants

import (
	"debug/elf"
	"slices"
	"strings"
)

// NewStub makes a stub of nvidia's file: what is left when its code and data,
// its init and exit are taken out. It has the same name, licence, exports and
// versions, needs nothing, and stays in a kernel without a GPU. Nobody may call
// what it exports.
func NewStub(nvidia []byte) ([]byte, error) {
	o, err := parse(nvidia)
	if err != nil {
		return nil, err
	}
	for i, s := range o.sections {
		if i != int(o.header.Shstrndx) && !inStub(s) {
			o.drop(s)
		}
	}
	if err := o.dropSymbols(); err != nil {
		return nil, err
	}
	return o.bytes(), nil
}

// inStub says whether a stub keeps a section. Those of modules older than 6.4,
// too, have one of each name, since module.lds merges them.
func inStub(s *section) bool {
	if t := elf.SectionType(s.Type); t == elf.SHT_SYMTAB || t == elf.SHT_STRTAB {
		return true
	}
	switch strings.TrimSuffix(strings.TrimPrefix(s.name, ".rela"), "_gpl") {
	case "__ksymtab", "__kcrctab", flagTable:
		return true
	}
	return slices.Contains([]string{modinfo, thisModule, versions, "__ksymtab_strings"}, s.name)
}

// dropSymbols takes away the symbols that no relocation refers to and that
// describe no export.
func (o *object) dropSymbols() error {
	list, table, names, err := o.symbols()
	if err != nil {
		return err
	}
	keep := make([]bool, len(list))
	keep[0] = true
	for i, s := range list {
		name := text(names.data, s.Name)
		keep[i] = keep[i] || slices.ContainsFunc(exportLabels, func(label string) bool { return strings.HasPrefix(name, label) })
	}
	if err := relocations(func(r *elf.Rela64) { keep[elf.R_SYM64(r.Info)] = true })(o); err != nil {
		return err
	}
	old := names.data
	names.data = []byte{0}
	moved := make([]uint32, len(list))
	var kept []elf.Sym64
	locals := uint32(0)
	for i, s := range list {
		if !keep[i] {
			continue
		}
		moved[i] = uint32(len(kept))
		if s.Name != 0 {
			s.Name = names.addText(text(old, s.Name))
		}
		if elf.ST_BIND(s.Info) == elf.STB_LOCAL {
			locals++
		}
		kept = append(kept, s)
	}
	table.Info = locals
	if err := table.set(kept); err != nil {
		return err
	}
	return relocations(func(r *elf.Rela64) {
		r.Info = elf.R_INFO(moved[elf.R_SYM64(r.Info)], elf.R_TYPE64(r.Info))
	})(o)
}

// withoutInit has the kernel find no init and no exit in the module: the
// relocations that would fill them in are of no effect.
func withoutInit(o *object) error {
	return o.relocate(func(s *section) bool { return s.name == ".rela"+thisModule }, func(r *elf.Rela64) {
		r.Info = elf.R_INFO(0, uint32(elf.R_X86_64_NONE))
	})
}
