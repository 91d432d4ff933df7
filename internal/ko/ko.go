package ko

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/k8sp/cuda/internal/decompress"
	"github.com/k8sp/cuda/internal/spill"
)

// What a module may have. A debug build of the largest driver is near a tenth
// of these; a file made to exhaust the reader stops here.
const (
	maxFile     = 2 << 30
	maxUnpacked = 512 << 20
	maxInfo     = 1 << 20
	maxTable    = 64 << 20 // strings, versions, comments
	maxSymbols  = 16 << 20 // bytes of the table, 24 a symbol
	maxExports  = 64 << 10 // of each kind; nvidia has a hundred
	// maxName is above the kernel's own limit for symbols (KSYM_NAME_LEN,
	// 512). It bounds what a string table of one endless name can cost.
	maxName = 1024
)

// File is what a module's file says. Its strings are the file's own; its lists
// are in the file's order unless they say otherwise.
type File struct {
	// Type and Machine are the ELF header's; a module is an ET_REL.
	Type    elf.Type
	Machine elf.Machine
	// Info is .modinfo, the first of InfoSections of that name; a file that is
	// no module has none.
	Info         []Tag
	InfoSections int
	// Sections are the ones that the loader looks for by name.
	ThisModule ThisModule
	// SymbolTables is how many the file has; the loader uses the first.
	SymbolTables int

	// Imports are its undefined symbols, Exports those it offers to other
	// modules, sorted by name.
	Imports []Import
	Exports []Export
	// HasFlags says that the section __kflagstab, which kernels since 7.1 read
	// the class of an export from, is there.
	HasFlags bool
	// Common are symbols that -fno-common would have placed; the loader
	// refuses them.
	Common []string
	// Misplaced are symbols that are said to be in sections which the file
	// does not have.
	Misplaced []string
	// WritableCode are the sections that are to be both written and executed.
	WritableCode []string

	// Versions are the CRCs of what it imports: __versions, and since 6.14
	// the extended form, which holds names of any length.
	Versions, ExtendedVersions []Version
	// HasVersions and HasExtendedVersions say that the sections are there.
	HasVersions, HasExtendedVersions bool

	// Relocations are the types of relocation in what is loaded, sorted.
	Relocations []Relocation
	// WithoutAddends are the loaded sections whose relocations have no
	// addends beside them (SHT_REL), Occupied those that have something other
	// than zero where a relocation goes, and Low those whose code or data
	// wants addresses of the module's own in the lower 4 GiB (R_X86_64_32, as
	// without -mcmodel=kernel; R_AARCH64_ABS32). Occupied are of x86-64 alone.
	WithoutAddends, Occupied, Low []string
	// Compilers are the banners in .comment, each once.
	Compilers []string
	// Debug are the names of its sections of debugging information.
	Debug []string
}

// Tag is an entry of .modinfo: KEY=VALUE.
type Tag struct{ Key, Value string }

// ThisModule is the section .gnu.linkonce.this_module, the module's own copy
// of struct module.
type ThisModule struct {
	// Sections is how many there are, Size the first one's in bytes.
	Sections int
	Size     int64
	// Loaded says that it has contents and takes up memory (SHF_ALLOC).
	Loaded bool
}

// Import is a symbol that a module needs.
type Import struct {
	Name string
	// Weak says that it can do without.
	Weak bool
}

// Export is a symbol that a module offers.
type Export struct {
	Name string
	// GPL says that only GPL-compatible modules may use it.
	GPL       bool
	Namespace string
	// CRC is its modversions checksum; HasCRC is false where it has none.
	CRC    uint32
	HasCRC bool
}

// Version is the checksum of a symbol as the module was built against it.
type Version struct {
	Name string
	CRC  uint32
}

// Relocation is a type of relocation, R_X86_64_PC32 or its like, and the first
// section in which it is.
type Relocation struct {
	Type    uint32
	Section string
}

// FormatError is a file that is no kernel module.
type FormatError struct {
	// Reason goes after the file's name: "is not ELF".
	Reason string
}

// Error is the reason.
func (e *FormatError) Error() string { return e.Reason }

func bad(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// Open reads the module at path, which may be a link, compressed or not. An error that is not of
// the file system is a [*FormatError].
func Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	return Read(f)
}

// Read is [Open] of a file that is open.
func Read(f *os.File) (File, error) {
	size, err := sizeOf(f)
	if err != nil {
		return File{}, err
	}
	return read(f, size)
}

// sizeOf is a file's size in bytes, where it is one that may be a module.
func sizeOf(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return 0, bad("is not a file of up to %d MiB", maxFile>>20)
	}
	return info.Size(), nil
}

// Section is the content of a section of the module at path, compressed or not; nil
// where it has none of that name.
func Section(path, name string) (content []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return nil, err
	}
	err = inside(f, size, func(r io.ReaderAt, size int64) error {
		file, err := elf.NewFile(io.NewSectionReader(r, 0, size))
		if err != nil {
			return bad("is no ELF file: %v", err)
		}
		if s := file.Section(name); s != nil {
			if s.Size > maxTable {
				return bad("has a section %s of more than %d MiB", name, maxTable>>20)
			}
			content, err = s.Data()
		}
		return err
	})
	return content, err
}

// read reads the module in r, size bytes of it, compressed or not.
func read(r io.ReaderAt, size int64) (f File, err error) {
	err = inside(r, size, func(r io.ReaderAt, size int64) error {
		f, err = Parse(r, size)
		return err
	})
	return f, err
}

// inside hands on what is in r, size bytes of it, compressed or not.
func inside(r io.ReaderAt, size int64, use func(io.ReaderAt, int64) error) error {
	inside, compression, err := decompress.Reader(bufio.NewReader(io.NewSectionReader(r, 0, size)))
	if err != nil {
		return bad("is damaged: %v", err)
	}
	defer inside.Close()
	if compression == "" {
		return use(r, size)
	}
	data, err := spill.Read(inside, maxUnpacked+1)
	defer data.Free()
	if err != nil {
		return bad("is damaged %s: %v", compression, err)
	}
	if len(data.Bytes) > maxUnpacked {
		return bad("unpacks to more than %d MiB", maxUnpacked>>20)
	}
	return use(bytes.NewReader(data.Bytes), int64(len(data.Bytes)))
}

// Parse reads the uncompressed module in r, size bytes of it. Of a file that is
// no module it returns what it could read, and a [*FormatError].
func Parse(r io.ReaderAt, size int64) (File, error) {
	var m File
	if reason := sound(r, size); reason != "" {
		return m, bad("%s", reason)
	}
	f, err := elf.NewFile(io.NewSectionReader(identified{r}, 0, size))
	if err != nil {
		return m, bad("is damaged ELF: %v", err)
	}
	m.Type, m.Machine = f.Type, f.Machine
	p := &parser{f: f, size: size, left: size}
	for _, read := range []func(*File) error{p.sections, p.info, p.symbols, p.versions, p.relocations} {
		if err := read(&m); err != nil {
			return m, bad("%v", err)
		}
	}
	return m, nil
}

// Value is the first value of a key in .modinfo, the one that the kernel
// takes; empty where there is none.
func (m File) Value(key string) string {
	for _, tag := range m.Info {
		if tag.Key == key {
			return tag.Value
		}
	}
	return ""
}

// Values are all values of a key in .modinfo.
func (m File) Values(key string) []string {
	var list []string
	for _, tag := range m.Info {
		if tag.Key == key {
			list = append(list, tag.Value)
		}
	}
	return list
}

// text is bytes of a file as a string that JSON and terminals can take.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "�") }
