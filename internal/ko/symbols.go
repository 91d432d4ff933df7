package ko

import (
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// symbols fills m's imports and exports from the symbol table.
func (p *parser) symbols(m *File) error {
	symbols, err := p.symbolTable()
	if err != nil {
		return err
	}
	p.table = symbols
	labels := map[string]elf.Symbol{} // those that describe exports
	imported := map[string]bool{}
	for _, s := range symbols {
		switch {
		case s.Section == elf.SHN_COMMON:
			if !strings.HasPrefix(s.Name, "__gnu_lto") {
				m.Common = append(m.Common, text([]byte(s.Name)))
			}
		case s.Section == elf.SHN_UNDEF:
			if !imported[s.Name] { // without a name, too: the kernel looks up ""
				imported[s.Name] = true
				m.Imports = append(m.Imports, Import{s.Name, elf.ST_BIND(s.Info) == elf.STB_WEAK})
			}
		case int(s.Section) >= len(p.f.Sections) && s.Section != elf.SHN_ABS && s.Section != livepatch:
			m.Misplaced = append(m.Misplaced, text([]byte(s.Name)))
		case strings.HasPrefix(s.Name, "__ksymtab_"), strings.HasPrefix(s.Name, "__kstrtabns_"), strings.HasPrefix(s.Name, "__crc_"), strings.HasPrefix(s.Name, "__flags_"):
			labels[s.Name] = s
		}
	}
	m.HasFlags = p.numbered(flagTable) >= 0
	m.Exports, err = p.exports(labels)
	return err
}

// livepatch is where symbols are that a live patch wants (SHN_LIVEPATCH).
const livepatch = elf.SectionIndex(0xff20)

// symbolTable is the first one, as for the kernel.
func (p *parser) symbolTable() ([]elf.Symbol, error) {
	table := p.f.SectionByType(elf.SHT_SYMTAB)
	if table == nil {
		return nil, nil
	}
	if table.Flags&elf.SHF_COMPRESSED != 0 || table.Size > maxSymbols || int(table.Link) >= len(p.f.Sections) {
		return nil, errors.New("has a symbol table that no kernel could read")
	}
	names, err := p.content(int(table.Link), maxTable)
	if err != nil {
		return nil, err
	}
	if longName(names) {
		return nil, errors.New("has a symbol name longer than any kernel's")
	}
	symbols, err := p.f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("has a damaged symbol table: %w", err)
	}
	return symbols, nil
}

// at is what a symbol is the address of, up to n bytes and until the next call;
// empty where that is nothing in the file. It reads no more: a file may have as
// many symbols as it likes in sections that all are the same large part of it.
func (p *parser) at(s elf.Symbol, n uint64) []byte {
	if int(s.Section) >= len(p.f.Sections) {
		return nil
	}
	section := p.f.Sections[s.Section]
	if section.Flags&elf.SHF_COMPRESSED != 0 || section.Type == elf.SHT_NOBITS || s.Value >= section.Size {
		return nil
	}
	data := p.window[:min(n, section.Size-s.Value, maxName)]
	if _, err := section.ReadAt(data, int64(s.Value)); err != nil {
		return nil
	}
	return data
}
