package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// elfFile is a 64-bit little-endian ELF file in memory. debug/elf copies each
// section that it is asked for and trusts the file with memory for their
// names; here both are slices of what is there already.
type elfFile struct {
	arch     string
	sections []elfSection
	placed   []*elfSection // those with data at an address, in its order
}

type elfSection struct {
	name string
	addr uint64
	data []byte // of the file; nil where it has none there
}

func isELF(data []byte) bool { return bytes.HasPrefix(data, []byte(elf.ELFMAG)) }

var arches = map[elf.Machine]string{elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64"}

func parseELF(data []byte) (*elfFile, error) {
	var h elf.Header64
	if _, err := binary.Decode(data, le, &h); err != nil {
		return nil, fmt.Errorf("%w: ELF cut short in its header", ErrFormat)
	}
	if elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("%w: not a 64-bit little-endian kernel", ErrFormat)
	}
	f := &elfFile{arch: arches[elf.Machine(h.Machine)]}
	if t := elf.Type(h.Type); f.arch == "" || t != elf.ET_EXEC && t != elf.ET_DYN {
		return nil, fmt.Errorf("%w: ELF of type %v for %v, not a kernel for x86-64 or aarch64", ErrFormat, t, elf.Machine(h.Machine))
	}
	headers, err := sectionHeaders(data, h)
	if err != nil {
		return nil, err
	}
	names := content(data, headers[h.Shstrndx])
	for _, s := range headers {
		f.sections = append(f.sections, elfSection{sectionName(names, s.Name), s.Addr, content(data, s)})
	}
	for i := range f.sections {
		if s := &f.sections[i]; s.addr != 0 && len(s.data) > 0 {
			f.placed = append(f.placed, s)
		}
	}
	slices.SortStableFunc(f.placed, func(a, b *elfSection) int { return cmp.Compare(a.addr, b.addr) })
	return f, nil
}

func sectionHeaders(data []byte, h elf.Header64) ([]elf.Section64, error) {
	headers := make([]elf.Section64, h.Shnum)
	size := binary.Size(elf.Section64{})
	table := within(data, h.Shoff, uint64(h.Shnum)*uint64(size))
	if table == nil || h.Shstrndx >= h.Shnum || int(h.Shentsize) != size {
		return nil, fmt.Errorf("%w: ELF without the sections of a kernel", ErrFormat)
	}
	if _, err := binary.Decode(table, le, headers); err != nil {
		return nil, fmt.Errorf("%w: ELF sections: %w", ErrFormat, err)
	}
	return headers, nil
}

func content(data []byte, s elf.Section64) []byte {
	if elf.SectionType(s.Type) == elf.SHT_NOBITS || elf.SectionFlag(s.Flags)&elf.SHF_COMPRESSED != 0 {
		return nil
	}
	return within(data, s.Off, s.Size)
}

// sectionName is the name at an offset of the table, up to 64 bytes: the
// names asked for are shorter, and the table may be one endless name.
func sectionName(names []byte, at uint32) string {
	if uint64(at) >= uint64(len(names)) {
		return ""
	}
	name, _, ok := bytes.Cut(names[at:min(len(names), int(at)+64)], []byte{0})
	if !ok {
		return ""
	}
	return string(name)
}

// find is the section of that name, nil where there is none.
func (f *elfFile) find(name string) *elfSection {
	for i := range f.sections {
		if f.sections[i].name == name {
			return &f.sections[i]
		}
	}
	return nil
}

// section is the content of the section of that name, nil where there is none.
func (f *elfFile) section(name string) []byte {
	if s := f.find(name); s != nil {
		return s.data
	}
	return nil
}

// holds says whether a section has data at the address.
func (s *elfSection) holds(addr uint64) bool {
	return addr >= s.addr && addr-s.addr < uint64(len(s.data))
}

// word is the aligned 32-bit word at an address. A kernel's sections do not
// overlap: no other than the last that begins before it can have it.
func (f *elfFile) word(addr uint64) (uint32, bool) {
	after := sort.Search(len(f.placed), func(i int) bool { return f.placed[i].addr > addr })
	if after == 0 || addr%4 != 0 {
		return 0, false
	}
	s := f.placed[after-1]
	if !s.holds(addr) || !s.holds(addr+3) {
		return 0, false
	}
	return le.Uint32(s.data[addr-s.addr:]), true
}
