package ko

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
)

// relocation is an entry of a table of them, Elf64_Rela or Elf64_Rel.
type relocation struct {
	at     uint64 // in the section
	kind   uint32
	symbol uint32 // its number
	addend int64  // 0 in an Elf64_Rel
}

const (
	relaSize = 24
	relSize  = 16
)

// relocations looks at those of the sections that are loaded; the kernel does
// not look at the others.
func (p *parser) relocations(m *File) error {
	first := map[uint32]string{}
	left := p.size
	for _, s := range p.f.Sections {
		entry := uint64(relaSize)
		if s.Type == elf.SHT_REL {
			entry = relSize
		} else if s.Type != elf.SHT_RELA {
			continue
		}
		if uint64(s.Info) >= uint64(len(p.f.Sections)) || p.f.Sections[s.Info].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		target := p.f.Sections[s.Info]
		if s.Type == elf.SHT_REL {
			m.WithoutAddends = append(m.WithoutAddends, target.Name)
		}
		place, err := p.place(m.Machine, target)
		if err != nil {
			return err
		}
		if left -= int64(s.FileSize) + int64(place.content.size); left < 0 {
			return errors.New("has relocations that overlap")
		}
		if err := p.eachRelocation(s, entry, func(r relocation) {
			if _, seen := first[r.kind]; !seen {
				first[r.kind] = target.Name
			}
			place.add(r)
		}); err != nil {
			return err
		}
		if place.content.err != nil {
			return fmt.Errorf("is cut short in its %s section", target.Name)
		}
		if place.occupied {
			m.Occupied = append(m.Occupied, target.Name)
		}
		if place.low {
			m.Low = append(m.Low, target.Name)
		}
	}
	for t, name := range first {
		m.Relocations = append(m.Relocations, Relocation{t, name})
	}
	slices.SortFunc(m.Relocations, func(a, b Relocation) int { return int(a.Type) - int(b.Type) })
	return nil
}

// eachRelocation calls found with each relocation of a table.
func (p *parser) eachRelocation(s *elf.Section, entry uint64, found func(relocation)) error {
	// No larger than the section, of which a file may have very many.
	buffer := make([]byte, min(4096*entry, s.FileSize))
	if len(buffer) == 0 {
		return nil
	}
	r := s.Open()
	for {
		n, err := io.ReadFull(r, buffer)
		for at := uint64(0); at+entry <= uint64(n); at += entry {
			info := p.f.ByteOrder.Uint64(buffer[at+8:])
			r := relocation{at: p.f.ByteOrder.Uint64(buffer[at:]), kind: uint32(info), symbol: uint32(info >> 32)}
			if entry == relaSize {
				r.addend = int64(p.f.ByteOrder.Uint64(buffer[at+16:]))
			}
			found(r)
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return fmt.Errorf("is cut short in its %s section", s.Name)
		}
	}
}

// place is a section that relocations are written into, on x86-64 and arm64.
type place struct {
	content       window // of x86-64; nothing where it is all zeros
	own           func(symbol uint32) bool
	short         []uint32 // the types that hold less than an address
	occupied, low bool
}

// The types for addresses of less than 64 bits, which their loaders hold to be unsigned.
var (
	shortX86 = []uint32{uint32(elf.R_X86_64_32)}
	shortARM = []uint32{uint32(elf.R_AARCH64_ABS32), uint32(elf.R_AARCH64_ABS16)}
)

func (p *parser) place(machine elf.Machine, s *elf.Section) (place, error) {
	switch machine {
	case elf.EM_AARCH64: // whose loader writes over what is there
		return place{own: p.own, short: shortARM}, nil
	case elf.EM_X86_64:
	default:
		return place{}, nil
	}
	to := place{own: p.own, short: shortX86}
	if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
		return to, nil
	}
	if s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > maxUnpacked {
		return to, fmt.Errorf("has a %s section that no kernel could load", s.Name)
	}
	to.content = window{from: s, size: s.Size}
	if s.Size > 0 {
		to.content.at(s.Size-1, 1) // whether it is all there
	}
	return to, nil
}

// window is the part of a section that was read last. A driver's code has 40 MB, and
// its relocations are in the order of their places.
type window struct {
	from  io.ReaderAt
	size  uint64
	start uint64 // of what was read last
	last  []byte
	sum   uint64 // of what was read
	err   error
}

const windowSize = 64 << 10

// at are n bytes of the section from a place on; none where they cannot be read. Where
// places are in no order, all of it is read at once in the end.
func (w *window) at(at, n uint64) []byte {
	if at < w.start || at+n > w.start+uint64(len(w.last)) {
		length := min(max(n, windowSize), w.size-at)
		w.start = at
		if w.sum > 2*w.size+windowSize {
			w.start, length = 0, w.size
		}
		if uint64(cap(w.last)) < length {
			w.last = make([]byte, length)
		}
		w.last = w.last[:length]
		w.sum += length
		if got, err := w.from.ReadAt(w.last, int64(w.start)); uint64(got) < length {
			w.err = errors.Join(w.err, err)
			w.last = w.last[:0]
			return nil
		}
	}
	return w.last[at-w.start : at-w.start+n]
}

// width is how many bytes a relocation fills.
func width(kind elf.R_X86_64) uint64 {
	switch kind {
	case elf.R_X86_64_64, elf.R_X86_64_PC64:
		return 8
	case elf.R_X86_64_32, elf.R_X86_64_32S, elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		return 4
	}
	return 0
}

func (to *place) add(r relocation) {
	if to.own == nil {
		return
	}
	kind := elf.R_X86_64(r.kind)
	to.low = to.low || slices.Contains(to.short, r.kind) && to.own(r.symbol)
	if size := to.content.size; !to.occupied && to.content.err == nil && width(kind) > 0 && r.at <= size && width(kind) <= size-r.at {
		to.occupied = slices.ContainsFunc(to.content.at(r.at, width(kind)), func(b byte) bool { return b != 0 })
	}
}

// perCPU is the section whose symbols have small values, as offsets.
const perCPU = ".data..percpu"

// own says whether a symbol, by its number, has an address in the module.
func (p *parser) own(number uint32) bool {
	s, ok := p.symbol(number)
	return ok && s.Section != elf.SHN_UNDEF && int(s.Section) < len(p.f.Sections) && p.f.Sections[s.Section].Name != perCPU
}
