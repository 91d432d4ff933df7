package variants

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// object is a relocatable ELF file of 64 bits, taken apart so that its parts
// can be changed and put together again.
type object struct {
	header   elf.Header64
	sections []*section
}

// section is one of an object. Its name, size and place in the file are as the
// fields of its header that have them only when the object is put together.
type section struct {
	elf.Section64
	name string
	data []byte // none where it takes no space in the file
}

const (
	headerSize  = 64
	sectionSize = 64
	symbolSize  = 24
)

// parse takes a file apart. What follows the last section is lost: a
// signature is of another file.
func parse(file []byte) (*object, error) {
	var o object
	if err := decode(file, 0, &o.header); err != nil {
		return nil, err
	}
	headers := make([]elf.Section64, o.header.Shnum)
	if err := decode(file, o.header.Shoff, headers); err != nil {
		return nil, err
	}
	for _, h := range headers {
		s := &section{Section64: h}
		if t := elf.SectionType(h.Type); t != elf.SHT_NULL && t != elf.SHT_NOBITS {
			if h.Off+h.Size > uint64(len(file)) {
				return nil, errors.New("a section is beyond the file's end")
			}
			s.data = bytes.Clone(file[h.Off : h.Off+h.Size])
		}
		o.sections = append(o.sections, s)
	}
	names := o.sections[o.header.Shstrndx].data
	for _, s := range o.sections {
		s.name = text(names, s.Name)
	}
	return &o, nil
}

func decode(file []byte, at uint64, into any) error {
	if at > uint64(len(file)) {
		return errors.New("its headers are beyond its end")
	}
	return binary.Read(bytes.NewReader(file[at:]), binary.LittleEndian, into)
}

// text is the string at an offset of a string table.
func text(table []byte, at uint32) string {
	if int(at) >= len(table) {
		return ""
	}
	s, _, _ := bytes.Cut(table[at:], []byte{0})
	return string(s)
}

// bytes puts the file together.
func (o *object) bytes() []byte {
	names := []byte{0}
	for _, s := range o.sections {
		s.Name = 0
		if s.name != "" {
			s.Name = uint32(len(names))
			names = append(append(names, s.name...), 0)
		}
	}
	o.sections[o.header.Shstrndx].data = names
	out := make([]byte, headerSize)
	for _, s := range o.sections {
		if s.data == nil {
			continue
		}
		out = padTo(out, max(s.Addralign, 8))
		s.Off, s.Size = uint64(len(out)), uint64(len(s.data))
		out = append(out, s.data...)
	}
	out = padTo(out, 8)
	o.header.Shoff, o.header.Shnum = uint64(len(out)), uint16(len(o.sections))
	for _, s := range o.sections {
		out, _ = binary.Append(out, binary.LittleEndian, s.Section64) // of a fixed size
	}
	_, _ = binary.Encode(out, binary.LittleEndian, o.header)
	return out
}

func padTo(out []byte, align uint64) []byte {
	if rest := uint64(len(out)) % align; rest > 0 {
		out = append(out, make([]byte, align-rest)...)
	}
	return out
}

// section is the first of a name.
func (o *object) section(name string) (*section, error) {
	for _, s := range o.sections {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("it has no section %s", name)
}

// ofType is the first section of a type.
func (o *object) ofType(t elf.SectionType) (*section, error) {
	for _, s := range o.sections {
		if elf.SectionType(s.Type) == t {
			return s, nil
		}
	}
	return nil, fmt.Errorf("it has no section of type %v", t)
}

// add adds a section at the end, where it moves none of the others.
func (o *object) add(s section) { o.sections = append(o.sections, &s) }

// drop takes a section away and leaves its place empty, so that the others
// keep their numbers.
func (o *object) drop(s *section) { *s = section{} }

// symbols are those of the symbol table, with the table itself and the section
// of their names.
func (o *object) symbols() (list []elf.Sym64, table, names *section, err error) {
	if table, err = o.ofType(elf.SHT_SYMTAB); err != nil {
		return nil, nil, nil, err
	}
	list = make([]elf.Sym64, len(table.data)/symbolSize)
	if _, err := binary.Decode(table.data, binary.LittleEndian, list); err != nil {
		return nil, nil, nil, err
	}
	return list, table, o.sections[table.Link], nil
}

// set replaces the symbols of a table.
func (s *section) set(list []elf.Sym64) error {
	var err error
	s.data, err = binary.Append(nil, binary.LittleEndian, list)
	return err
}

// addText adds a string to a string table and says where.
func (s *section) addText(text string) uint32 {
	at := uint32(len(s.data))
	s.data = append(append(s.data, text...), 0)
	return at
}
