package ko

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
)

// headerSize is the size of a 64-bit section header.
const headerSize = 64

// identified is a file as a kernel reads it: of 64 bits and little-endian,
// whatever the bytes for that say, at which no kernel looks.
type identified struct{ io.ReaderAt }

var identity = [...]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}

// ReadAt is the file's, but for the three bytes.
func (i identified) ReadAt(p []byte, off int64) (int, error) {
	n, err := i.ReaderAt.ReadAt(p, off)
	for j, b := range identity {
		if at := elf.EI_CLASS + int64(j) - off; at >= 0 && at < int64(n) {
			p[at] = b
		}
	}
	return n, err
}

// sound makes the checks that a kernel makes of a module's ELF headers
// (elf_validity_check in kernel/module/main.c), before debug/elf trusts them
// with memory. It returns what is wrong, or nothing.
func sound(r io.ReaderAt, size int64) string {
	ident := make([]byte, elf.EI_NIDENT)
	if _, err := r.ReadAt(ident, 0); err != nil || !bytes.HasPrefix(ident, []byte(elf.ELFMAG)) {
		return "is not ELF"
	}
	reason := soundHeaders(r, size)
	switch {
	case reason == "":
		return ""
	case elf.Class(ident[elf.EI_CLASS]) != elf.ELFCLASS64:
		return "is not 64-bit ELF"
	case elf.Data(ident[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return "is not little-endian ELF"
	}
	return reason
}

func soundHeaders(r io.ReaderAt, size int64) string {
	order := binary.LittleEndian
	var h elf.Header64
	if err := binary.Read(io.NewSectionReader(r, 0, size), order, &h); err != nil {
		return "is cut short in its ELF header"
	}
	// The kernel's loader, too, knows no more sections than this field counts.
	if h.Shnum == 0 || h.Shstrndx == 0 || h.Shstrndx >= h.Shnum || h.Shentsize != headerSize {
		return "has no ELF sections that a kernel could read"
	}
	if h.Shoff >= uint64(size) || uint64(h.Shnum)*headerSize > uint64(size)-h.Shoff {
		return "is cut short: its section headers are beyond its end"
	}
	headers := make([]elf.Section64, h.Shnum)
	if err := binary.Read(io.NewSectionReader(r, int64(h.Shoff), int64(h.Shnum)*headerSize), order, headers); err != nil {
		return "is cut short in its section headers"
	}
	if reason := soundNames(r, size, headers[h.Shstrndx]); reason != "" {
		return reason
	}
	return soundSections(size, headers)
}

// soundNames looks at the section names' table.
func soundNames(r io.ReaderAt, size int64, names elf.Section64) string {
	if beyond(size, names) || names.Size > maxTable {
		return "is cut short: its section names are beyond its end"
	}
	table := make([]byte, names.Size)
	if _, err := r.ReadAt(table, int64(names.Off)); err != nil {
		return "is cut short in its section names"
	}
	if len(table) == 0 || table[len(table)-1] != 0 {
		return "has section names that no zero ends"
	}
	if longName(table) {
		return "has a section name longer than any kernel's"
	}
	return ""
}

// soundSections looks at where the sections are.
func soundSections(size int64, headers []elf.Section64) string {
	if first := headers[0]; elf.SectionType(first.Type) != elf.SHT_NULL || first.Size != 0 || first.Addr != 0 {
		return "has a first ELF section that is not empty"
	}
	for _, s := range headers[1:] {
		switch elf.SectionType(s.Type) {
		case elf.SHT_NULL, elf.SHT_NOBITS:
			continue
		}
		if beyond(size, s) {
			return "is cut short: a section is beyond its end"
		}
	}
	return ""
}

func beyond(size int64, s elf.Section64) bool {
	return s.Off > uint64(size) || s.Size > uint64(size)-s.Off
}

// longName says whether a string table holds a name beyond maxName. Every
// entry that points into such a table costs a copy of the rest of the name.
func longName(table []byte) bool {
	for len(table) > maxName {
		i := bytes.LastIndexByte(table[:maxName+1], 0)
		if i < 0 {
			return true
		}
		table = table[i+1:]
	}
	return false
}
