package ko

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parser reads one file.
type parser struct {
	f      *elf.File
	size   int64
	left   int64         // bytes that content may still read
	table  []elf.Symbol  // the symbols, once they were read
	window [maxName]byte // what at read last
}

// content is a section's, up to limit bytes. All that is read are together no
// larger than the file, as sections that do not overlap are.
func (p *parser) content(index int, limit uint64) ([]byte, error) {
	s := p.f.Sections[index]
	switch {
	case s.Flags&elf.SHF_COMPRESSED != 0 || s.Type == elf.SHT_NOBITS:
		return nil, fmt.Errorf("has a %s section that no kernel could read", s.Name)
	case s.Size > limit:
		return nil, fmt.Errorf("has a %s section of %d bytes, more than any module needs", s.Name, s.Size)
	case s.Offset > uint64(p.size) || s.Size > uint64(p.size)-s.Offset:
		// Asked for it all the same, debug/elf would make room for 10 MiB.
		return nil, fmt.Errorf("is cut short in its %s section", s.Name)
	}
	if p.left -= int64(s.Size); p.left < 0 {
		return nil, errors.New("has sections that overlap")
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("is cut short in its %s section", s.Name)
	}
	return data, nil
}

// named is the content of the first section of a name, and whether there is
// one. As for the kernel (find_sec), only what is loaded counts.
func (p *parser) named(name string, limit uint64) ([]byte, bool, error) {
	for i, s := range p.f.Sections {
		if s.Name == name && s.Flags&elf.SHF_ALLOC != 0 {
			data, err := p.content(i, limit)
			return data, true, err
		}
	}
	return nil, false, nil
}

// sections looks at what the headers alone tell, and at .comment.
func (p *parser) sections(m *File) error {
	const code = elf.SHF_WRITE | elf.SHF_EXECINSTR
	for i, s := range p.f.Sections {
		if s.Flags&code == code {
			m.WritableCode = append(m.WritableCode, s.Name)
		}
		switch {
		case s.Type == elf.SHT_SYMTAB:
			m.SymbolTables++
		case s.Name == infoSection:
			m.InfoSections++
		case s.Name == ".gnu.linkonce.this_module":
			if m.ThisModule.Sections++; m.ThisModule.Sections == 1 {
				m.ThisModule.Size = int64(s.Size)
				m.ThisModule.Loaded = s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS
			}
		case strings.HasPrefix(s.Name, ".debug_"), strings.HasPrefix(s.Name, ".zdebug_"):
			m.Debug = append(m.Debug, s.Name)
		case s.Name == ".comment" && s.Type != elf.SHT_NOBITS:
			data, err := p.content(i, maxTable)
			if err != nil {
				return err
			}
			m.Compilers = compilers(data)
		}
	}
	return nil
}

// compilers are the strings of .comment, of which linking many objects made
// as many copies.
func compilers(data []byte) []string {
	seen := map[string]bool{}
	var list []string
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if len(entry) > 0 && len(entry) <= maxName && !seen[string(entry)] {
			seen[string(entry)] = true
			list = append(list, text(entry))
		}
	}
	return list
}

const infoSection = ".modinfo"

// info reads .modinfo: strings KEY=VALUE, each ended by a zero.
// include/linux/module.h (MODULE_INFO) and modpost write it.
func (p *parser) info(m *File) error {
	index := slices.IndexFunc(p.f.Sections, func(s *elf.Section) bool { return s.Name == infoSection })
	if index < 0 {
		return nil // then it has no version magic, which a kernel may do without
	}
	data, err := p.content(index, maxInfo)
	if err != nil {
		return err
	}
	m.Info = tags(data)
	return nil
}

func tags(data []byte) []Tag {
	var list []Tag
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if key, value, ok := bytes.Cut(entry, []byte{'='}); ok { // else padding
			list = append(list, Tag{text(key), text(value)})
		}
	}
	return list
}

// versions reads __versions, an array of struct modversion_info, which is an
// unsigned long and a name of 56 bytes; and since 6.14 (EXTENDED_MODVERSIONS)
// an array of CRCs and one of names that end in zeros.
func (p *parser) versions(m *File) error {
	data, found, err := p.named("__versions", maxTable)
	if err != nil {
		return err
	}
	m.HasVersions = found
	const entry, name = 64, 8
	for ; len(data) >= entry; data = data[entry:] {
		m.Versions = append(m.Versions, Version{cString(data[name:entry]), uint32(p.f.ByteOrder.Uint64(data))})
	}
	crcs, found, err := p.named("__version_ext_crcs", maxTable)
	if err != nil {
		return err
	}
	names, named, err := p.named("__version_ext_names", maxTable)
	if err != nil || !found && !named {
		return err
	}
	if found != named {
		return errors.New("has one of the two sections of extended symbol versions")
	}
	m.HasExtendedVersions = true
	for ; len(crcs) >= 4; crcs = crcs[4:] {
		i := bytes.IndexByte(names, 0)
		if i < 0 {
			return errors.New("has more extended symbol versions than names for them")
		}
		m.ExtendedVersions = append(m.ExtendedVersions, Version{text(names[:i]), p.f.ByteOrder.Uint32(crcs)})
		names = names[i+1:]
	}
	return nil
}

// cString is the text up to the first zero.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return text(b)
}
