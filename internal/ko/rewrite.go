package ko

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// ReadWriter is a file that can be read and written anywhere, such as an os.File.
type ReadWriter interface {
	io.ReaderAt
	io.WriterAt
}

// ReplaceRelocations gives the relocations of one type, in what is loaded of the
// uncompressed module in f, size bytes of it, another type, in place, and returns how many
// there were. Both types must mean the same where they stand, as R_X86_64_PLT32 and
// R_X86_64_PC32 do in a kernel, which has no procedure linkage table.
func ReplaceRelocations(f ReadWriter, size int64, from, to uint32) (int, error) {
	file, err := elf.NewFile(io.NewSectionReader(f, 0, size))
	if err != nil {
		return 0, bad("is damaged ELF: %v", err)
	}
	p := &parser{f: file, size: size, left: size}
	replaced := 0
	for i, s := range file.Sections {
		if s.Type != elf.SHT_RELA || int64(s.Info) >= int64(len(file.Sections)) || file.Sections[s.Info].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		table, err := p.content(i, uint64(size))
		if err != nil {
			return replaced, bad("%v", err)
		}
		before := replaced
		for entry := range slices.Chunk(table, relaSize) {
			// The lower half of r_info, ELF64_R_TYPE.
			if len(entry) == relaSize && file.ByteOrder == binary.LittleEndian && binary.LittleEndian.Uint32(entry[8:]) == from {
				binary.LittleEndian.PutUint32(entry[8:], to)
				replaced++
			}
		}
		if replaced == before {
			continue
		}
		if _, err := f.WriteAt(table, int64(s.Offset)); err != nil {
			return replaced, fmt.Errorf("write %s: %w", s.Name, err)
		}
	}
	return replaced, nil
}
