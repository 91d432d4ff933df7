package types

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/btf"
)

// ImportsStruct is the struct of a record by which it has the declarations of
// imported symbols: each of its members has a symbol's name, and is a pointer to
// the symbol.
const ImportsStruct = "builder_imports"

// Record is what modules were compiled with: the kernel's types, and the
// declarations of the symbols that the modules import, as its headers had them.
type Record struct {
	raw []byte
	// types are the structs, unions and enums with a name, and the typedefs of
	// those without, in the order in which they were declared.
	types []subject
	// constants are those of enums without a name, and their values.
	constants []btf.EnumValue
	imports   map[string]btf.Type
	seen      map[string]int // how often a name was, while it is made
}

const (
	// maxRecord bounds a record's BTF, in bytes: ten times what drivers have.
	maxRecord = 8 << 20
	// namesakes is how many types of one name are kept: functions in headers may have
	// some of their own.
	namesakes = 4
)

// first says whether a name is one of the first of its kind.
func (r *Record) first(name string) bool {
	r.seen[name]++
	return r.seen[name] <= namesakes
}

// subject is a type that has a name to find it by.
type subject struct {
	name string // "struct pci_dev", "typedef atomic_t"
	btf.Type
}

// NewRecord makes a record of a compiler's type information, as BTF of its own
// kind: not split, and with [ImportsStruct].
func NewRecord(raw []byte) (*Record, error) {
	if len(raw) > maxRecord {
		return nil, fmt.Errorf("type information of %d bytes, of %d allowed", len(raw), maxRecord)
	}
	spec, err := parse(raw)
	if err != nil {
		return nil, err
	}
	r := &Record{raw: raw, seen: map[string]int{}}
	for t, err := range spec.All() {
		if err != nil {
			return nil, err
		}
		if err := r.add(t); err != nil {
			return nil, err
		}
	}
	if r.imports == nil {
		return nil, fmt.Errorf("no struct %s in the type information", ImportsStruct)
	}
	return r, nil
}

func (r *Record) add(t btf.Type) error {
	if s, ok := t.(*btf.Struct); ok && s.Name == ImportsStruct {
		r.imports = make(map[string]btf.Type, len(s.Members))
		for _, m := range s.Members {
			p, ok := m.Type.(*btf.Pointer)
			if !ok {
				return fmt.Errorf("member %s of struct %s is no pointer", m.Name, s.Name)
			}
			r.imports[m.Name] = p.Target
		}
		return nil
	}
	if enum, ok := t.(*btf.Enum); ok && enum.Name == "" {
		for _, v := range enum.Values {
			if r.first(v.Name) {
				r.constants = append(r.constants, v)
			}
		}
		return nil
	}
	if s, ok := subjectOf(t); ok && r.first(s.name) {
		r.types = append(r.types, s)
	}
	return nil
}

// subjectOf is a type by the name that a kernel has it by as well; false for types
// that have none, that have no layout of their own, or of which only the name was
// declared.
func subjectOf(t btf.Type) (subject, bool) {
	name, named := tagOf(t)
	if d, ok := t.(*btf.Typedef); ok {
		t = bare(d)
		if _, tagged := tagOf(t); tagged {
			return subject{}, false // it is found by its own name
		}
		name, named = "typedef "+d.Name, true
	}
	switch t := t.(type) {
	case *btf.Struct, *btf.Union:
		return subject{name, t}, named
	case *btf.Enum:
		return subject{name, t}, named && len(t.Values) > 0
	}
	return subject{}, false
}

// Declares says whether the record has the declaration of an imported symbol.
func (r *Record) Declares(symbol string) bool {
	_, ok := r.imports[symbol]
	return ok
}

// Write writes the record as a file: its BTF, which other programs read as well,
// compressed by gzip. The same record gives the same bytes.
func (r *Record) Write(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = z.Write(r.raw)
	return errors.Join(err, z.Close())
}

// ReadRecord reads what [Record.Write] wrote.
func ReadRecord(file io.Reader) (*Record, error) {
	z, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	// One byte more than is parsed is as good as all of them.
	if _, err := io.Copy(&raw, io.LimitReader(z, maxRecord+1)); err != nil {
		return nil, err
	}
	return NewRecord(raw.Bytes())
}
