package modules

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What a module may have. A debug build of the largest driver is near a tenth
// of these; a file made to exhaust the reader stops here.
const (
	maxModule  = 2 << 30
	maxModinfo = 1 << 20
	maxStrings = 64 << 20
	maxSymbols = 16 << 20 // bytes of the table, 24 a symbol
	// maxName is above the kernel's own limit for symbols (KSYM_NAME_LEN,
	// 512). It bounds what a string table of one endless name can cost.
	maxName = 1024
)

// FormatError is a file that is not a kernel module.
type FormatError struct {
	// File is its name, Reason what is wrong with it: "is not ELF".
	File, Reason string
}

// Error is "FILE REASON".
func (e *FormatError) Error() string { return e.File + " " + e.Reason }

// ReadAll reads modules in the order of their paths. A file that is no module
// does not stop it: its Defect says why, for [Gate] to find.
func ReadAll(paths []string) ([]Module, error) {
	mods := make([]Module, 0, len(paths))
	for _, path := range paths {
		m, err := Read(path)
		var format *FormatError
		if errors.As(err, &format) {
			m.Defect = format.Reason
		} else if err != nil {
			return nil, err
		}
		mods = append(mods, m)
	}
	return mods, nil
}

// Read reads the module at path, uncompressed. Of a file that is no module it
// returns the name, size and digest, and a *FormatError.
func Read(path string) (Module, error) {
	f, err := os.Open(path)
	if err != nil {
		return Module{}, err
	}
	defer f.Close()
	m := Module{Path: path, File: filepath.Base(path), Name: canonical(filepath.Base(path))}
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxModule {
		return m, &FormatError{m.File, fmt.Sprintf("is not a file of up to %d MiB", maxModule>>20)}
	}
	if m.SHA256, m.Size, err = digest(f); err != nil {
		return m, fmt.Errorf("read %s: %w", path, err)
	}
	if err := m.parse(f, m.Size); err != nil {
		return m, err
	}
	return m, nil
}

// digest is the SHA-256 and the length of what is left in r.
func digest(r io.Reader) (hexDigest string, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// parse fills m from the ELF file in r, size bytes of it.
func (m *Module) parse(r io.ReaderAt, size int64) error {
	bad := func(format string, args ...any) error {
		return &FormatError{m.File, fmt.Sprintf(format, args...)}
	}
	if reason := sound(r, size); reason != "" {
		return bad("%s", reason)
	}
	f, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return bad("is damaged ELF: %v", err)
	}
	m.Type, m.Machine = f.Type, f.Machine
	info, err := section(f, ".modinfo", maxModinfo)
	if err != nil {
		return bad("%v", err)
	}
	m.setInfo(info)
	if err := m.setSymbols(f); err != nil {
		return bad("%v", err)
	}
	return nil
}

// sound looks at the header and the section names' table, before debug/elf
// trusts them with memory. It returns what is wrong, or nothing.
func sound(r io.ReaderAt, size int64) string {
	ident := make([]byte, elf.EI_NIDENT)
	if _, err := r.ReadAt(ident, 0); err != nil || !bytes.HasPrefix(ident, []byte(elf.ELFMAG)) {
		return "is not ELF"
	}
	if elf.Class(ident[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return "is not 64-bit ELF"
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var h elf.Header64
	if err := binary.Read(io.NewSectionReader(r, 0, size), order, &h); err != nil {
		return "is cut short in its ELF header"
	}
	// The kernel's loader, too, knows no more sections than this field counts.
	if h.Shnum == 0 || h.Shstrndx >= h.Shnum || int(h.Shentsize) != binary.Size(elf.Section64{}) {
		return "has no ELF sections that a kernel could read"
	}
	const entry = 64
	if h.Shoff > uint64(size) || uint64(h.Shnum)*entry > uint64(size)-h.Shoff {
		return "is cut short: its section headers are beyond its end"
	}
	var names elf.Section64
	at := io.NewSectionReader(r, int64(h.Shoff)+int64(h.Shstrndx)*entry, entry)
	if err := binary.Read(at, order, &names); err != nil {
		return "is cut short in its section headers"
	}
	if names.Off > uint64(size) || names.Size > uint64(size)-names.Off || names.Size > maxStrings {
		return "is cut short: its section names are beyond its end"
	}
	table := make([]byte, names.Size)
	if _, err := r.ReadAt(table, int64(names.Off)); err != nil {
		return "is cut short in its section names"
	}
	if longName(table) {
		return "has a section name longer than any kernel's"
	}
	return ""
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

// section is the content of a section that must be there, up to limit bytes.
func section(f *elf.File, name string, limit uint64) ([]byte, error) {
	s := f.Section(name)
	switch {
	case s == nil:
		return nil, fmt.Errorf("is not a kernel module: it has no %s section", name)
	case s.Flags&elf.SHF_COMPRESSED != 0 || s.Type == elf.SHT_NOBITS:
		return nil, fmt.Errorf("has a %s section that no kernel could read", name)
	case s.Size > limit:
		return nil, fmt.Errorf("has a %s section of %d bytes, more than any module needs", name, s.Size)
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("is cut short in its %s section", name)
	}
	return data, nil
}

// setInfo fills m from .modinfo: strings KEY=VALUE, each ended by a zero.
// include/linux/module.h (MODULE_INFO) and modpost write it.
func (m *Module) setInfo(data []byte) {
	parameters := map[string]Parameter{}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		key, value, ok := strings.Cut(strings.ToValidUTF8(string(entry), "�"), "=")
		if !ok {
			continue // padding
		}
		switch key {
		case "name":
			m.Name = canonical(value)
		case "vermagic":
			m.Vermagic = value
		case "license":
			m.License = value
		case "version":
			m.Version = value
		case "srcversion":
			m.SrcVersion = value
		case "firmware":
			m.Firmware = append(m.Firmware, value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.Depends = append(m.Depends, canonical(name))
				}
			}
		case "parm", "parmtype":
			name, text, _ := strings.Cut(value, ":")
			p := parameters[name]
			p.Name = name
			if key == "parm" {
				p.Description = text
			} else {
				p.Type = text
			}
			parameters[name] = p
		}
	}
	for _, p := range parameters {
		m.Parameters = append(m.Parameters, p)
	}
	slices.SortFunc(m.Parameters, func(a, b Parameter) int { return cmp.Compare(a.Name, b.Name) })
}

// setSymbols fills m's imports and exports from the symbol table. An export is
// a label __ksymtab_NAME in the kernel's table of them.
func (m *Module) setSymbols(f *elf.File) error {
	table := f.SectionByType(elf.SHT_SYMTAB)
	if table == nil {
		return nil
	}
	if table.Flags&elf.SHF_COMPRESSED != 0 || table.Size > maxSymbols || int(table.Link) >= len(f.Sections) {
		return errors.New("has a symbol table that no kernel could read")
	}
	names := f.Sections[table.Link]
	if names.Flags&elf.SHF_COMPRESSED != 0 || names.Size > maxStrings {
		return errors.New("has symbol names that no kernel could read")
	}
	strtab, err := names.Data()
	if err != nil {
		return errors.New("is cut short in its symbol names")
	}
	if longName(strtab) {
		return errors.New("has a symbol name longer than any kernel's")
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("has a damaged symbol table: %v", err)
	}
	for _, s := range symbols {
		if name, ok := strings.CutPrefix(s.Name, "__ksymtab_"); ok && s.Section != elf.SHN_UNDEF {
			m.Exports = append(m.Exports, name)
		} else if s.Section == elf.SHN_UNDEF && s.Name != "" {
			m.Imports = append(m.Imports, s.Name)
		}
	}
	m.Exports, m.Imports = sortedSet(m.Exports), sortedSet(m.Imports)
	return nil
}

func sortedSet(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
