package ko

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

// The recorded modules are those of pkg/modules; this one is of them all.
const recorded = "../../pkg/modules/testdata/ko/nvidia.ko"

func content(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpen(t *testing.T) {
	m, err := Open(recorded)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Info) != 13 || m.Value("license") != "NVIDIA" || m.Value("none") != "" {
		t.Errorf("modinfo %q", m.Info)
	}
	if diff := cmp.Diff([]string{"nvidia/535.261.03/gsp_ga10x.bin", "nvidia/535.261.03/gsp_tu10x.bin"}, m.Values("firmware")); diff != "" {
		t.Error(diff)
	}
	m.Info = nil
	want := File{
		Type: elf.ET_REL, Machine: elf.EM_X86_64, InfoSections: 1,
		ThisModule: ThisModule{Sections: 1, Size: 848, Loaded: true}, SymbolTables: 1,
		Imports:     []Import{{Name: "_printk"}, {Name: "pci_enable_device"}},
		Exports:     []Export{{Name: "nvUvmInterfaceRegisterGpu"}, {Name: "nvidia_get_rm_ops"}},
		Relocations: []Relocation{{uint32(elf.R_X86_64_64), "___ksymtab+nvUvmInterfaceRegisterGpu"}, {uint32(elf.R_X86_64_PLT32), ".text"}},
		Compilers:   []string{"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0"},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

// rich.ko has what a kernel with MODVERSIONS and its module.lds leave.
func TestRich(t *testing.T) {
	m, err := Open("testdata/rich.ko")
	if err != nil {
		t.Fatal(err)
	}
	m.Info = nil
	want := File{
		Type: elf.ET_REL, Machine: elf.EM_X86_64, InfoSections: 1,
		ThisModule: ThisModule{Sections: 1, Size: 64, Loaded: true}, SymbolTables: 1,
		Imports: []Import{{Name: "_printk"}, {Name: "optional", Weak: true}},
		Exports: []Export{
			{Name: "absolute", CRC: 0xdeadbeef, HasCRC: true},
			{Name: "flagged", GPL: true},
			{Name: "free", CRC: 0x11111111, HasCRC: true},
			{Name: "gpl_named", CRC: 0x33333333, HasCRC: true},
			{Name: "only", GPL: true, Namespace: "RICH", CRC: 0x22222222, HasCRC: true},
		},
		Common:      []string{"counter"},
		HasVersions: true, HasExtendedVersions: true,
		Versions:         []Version{{"module_layout", 0xaaaaaaaa}, {"_printk", 0xbbbbbbbb}},
		ExtendedVersions: []Version{{"module_layout", 0xaaaaaaaa}, {"_printk", 0xcccccccc}},
		Relocations:      m.Relocations,
		Debug:            []string{".debug_info", ".debug_line"},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if len(m.Relocations) != 1 || m.Relocations[0].Type != uint32(elf.R_X86_64_PLT32) {
		t.Errorf("relocations %v: those of what is not loaded do not count", m.Relocations)
	}
}

// Kernels since 6.14 refuse extended versions of which a half is missing.
func TestHalfOfExtendedVersions(t *testing.T) {
	for _, name := range []string{"__version_ext_crcs", "__version_ext_names"} {
		data, err := os.ReadFile("testdata/rich.ko")
		if err != nil {
			t.Fatal(err)
		}
		data[bytes.Index(data, []byte(name))] = 'x' // the section has another name
		if _, err := Parse(bytes.NewReader(data), int64(len(data))); err == nil || err.Error() != "has one of the two sections of extended symbol versions" {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// stripped.ko has no labels that say what it exports.
func TestStripped(t *testing.T) {
	m, err := Open("testdata/stripped.ko")
	if err != nil {
		t.Fatal(err)
	}
	want := []Export{
		{Name: "free", CRC: 0x11111111, HasCRC: true},
		{Name: "only", GPL: true, Namespace: "STRIPPED", CRC: 0x33333333, HasCRC: true},
		{Name: "other", CRC: 0x22222222, HasCRC: true},
	}
	if diff := cmp.Diff(want, m.Exports); diff != "" {
		t.Error(diff)
	}
}

// flags.ko is of a kernel that has the classes of exports in flags.
func TestFlags(t *testing.T) {
	m, err := Open("testdata/flags.ko")
	if err != nil {
		t.Fatal(err)
	}
	want := []Export{
		{Name: "free"},
		{Name: "only", GPL: true, Namespace: "module:flags-*"},
		{Name: "other"},
	}
	if diff := cmp.Diff(want, m.Exports); diff != "" || !m.HasFlags {
		t.Errorf("flags %v, %s", m.HasFlags, diff)
	}
	for _, name := range []string{"rich.ko", "stripped.ko"} {
		if m, err := Open(filepath.Join("testdata", name)); err != nil || m.HasFlags {
			t.Errorf("%s: flags %v, %v", name, m.HasFlags, err)
		}
	}
}

// exporter.ko is kbuild's own work, of Linux 7.3.4.
func TestOfLinux73(t *testing.T) {
	m, err := Open("testdata/exporter.ko")
	if err != nil {
		t.Fatal(err)
	}
	const crc = 0xd272d446 // of void (void), by gendwarfksyms
	versions := []Version{{"__fentry__", 4}, {"__x86_return_thunk", 3}, {"_printk", 0x12345678}, {"module_layout", 1}}
	want := File{
		HasFlags: true, HasVersions: true, HasExtendedVersions: true, Versions: versions, ExtendedVersions: versions,
		Exports: []Export{
			{Name: "exporter_gpl", GPL: true, CRC: crc, HasCRC: true},
			{Name: "exporter_plain", CRC: crc, HasCRC: true},
			{Name: "exporter_some", GPL: true, Namespace: "module:kvm,exporter-*", CRC: crc, HasCRC: true},
		},
	}
	got := File{
		HasFlags: m.HasFlags, HasVersions: m.HasVersions, HasExtendedVersions: m.HasExtendedVersions,
		Versions: m.Versions, ExtendedVersions: m.ExtendedVersions, Exports: m.Exports,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsTooFew(t *testing.T) {
	data, err := os.ReadFile("testdata/flags.ko")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(f.Sections, func(s *elf.Section) bool { return s.Name == flagTable })
	le := binary.LittleEndian
	size := data[le.Uint64(data[40:])+headerSize*uint64(at)+32:]
	le.PutUint64(size, 2)
	if _, err := Parse(bytes.NewReader(data), int64(len(data))); err == nil || err.Error() != "has 3 exports and flags for 2" {
		t.Errorf("error %v", err)
	}
}

func TestOpenCompressed(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nvidia.ko.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	plain, err := Open(recorded)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, got); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(path, b.Bytes()[:b.Len()/2], 0o644); err != nil {
		t.Fatal(err)
	}
	var format *FormatError
	if _, err := Open(path); !errors.As(err, &format) || !strings.HasPrefix(err.Error(), "is damaged gzip") {
		t.Errorf("half of it: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.As(err, &format) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.ko")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// What the kernel's elf_validity_check refuses, beside what pkg/modules tests.
func TestParseRefuses(t *testing.T) {
	const shoff, shstrndx = 40, 62 // of Elf64_Ehdr
	le := binary.LittleEndian
	header := func(b []byte, index uint16) []byte { return b[le.Uint64(b[shoff:])+64*uint64(index):] }
	for name, c := range map[string]struct {
		damage func([]byte)
		reason string
	}{
		"a first section":    {func(b []byte) { le.PutUint64(header(b, 0)[32:], 1) }, "has a first ELF section that is not empty"},
		"names without end":  {func(b []byte) { h := header(b, le.Uint16(b[shstrndx:])); le.PutUint64(h[32:], le.Uint64(h[32:])-1) }, "has section names that no zero ends"},
		"a section far away": {func(b []byte) { le.PutUint64(header(b, 1)[24:], 1<<40) }, "is cut short: a section is beyond its end"},
	} {
		t.Run(name, func(t *testing.T) {
			data := content(t)
			c.damage(data)
			_, err := Parse(bytes.NewReader(data), int64(len(data)))
			var format *FormatError
			if !errors.As(err, &format) || format.Reason != c.reason {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

// No kernel looks at the bytes for class and byte order.
func TestParseIdentification(t *testing.T) {
	plain, err := Open(recorded)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{elf.EI_CLASS, elf.EI_DATA, elf.EI_VERSION} {
		data := content(t)
		data[at] = 0
		got, err := Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if diff := cmp.Diff(plain, got); diff != "" {
			t.Errorf("byte %d: %s", at, diff)
		}
	}
}

// What a section's header or a relocation can say that loaders refuse.
func TestParseOddities(t *testing.T) {
	const entrySize = 24
	le := binary.LittleEndian
	// header is a section's, by its name, and entry what is in the section.
	find := func(b []byte, name string) (header []byte, at uint64) {
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.Sections, func(s *elf.Section) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("no section %s", name)
		}
		return b[le.Uint64(b[40:])+64*uint64(i):], f.Sections[i].Offset
	}
	// symbol is the first one that is defined in a section, by its number.
	symbol := func(b []byte) (n uint32, entry []byte) {
		_, at := find(b, ".symtab")
		for n = 1; ; n++ {
			entry = b[at+entrySize*uint64(n):]
			if i := le.Uint16(entry[6:]); i != 0 && i < 0xff00 {
				return n, entry
			}
		}
	}
	kind := func(t elf.R_X86_64) func([]byte) {
		return func(b []byte) {
			n, _ := symbol(b)
			_, at := find(b, ".rela.text")
			le.PutUint64(b[at+8:], elf.R_INFO(n, uint32(t)))
		}
	}
	for name, c := range map[string]struct {
		change func([]byte)
		want   File
	}{
		"nothing": {func([]byte) {}, File{}},
		"code that is written": {
			func(b []byte) { h, _ := find(b, ".text"); h[8] |= byte(elf.SHF_WRITE) },
			File{WritableCode: []string{".text"}},
		},
		"a symbol in no section": {
			func(b []byte) { _, s := symbol(b); clear(s[:4]); le.PutUint16(s[6:], 0x7f00) },
			File{Misplaced: []string{""}},
		},
		"a symbol of a live patch": {func(b []byte) { _, s := symbol(b); le.PutUint16(s[6:], 0xff20) }, File{}},
		"an absolute symbol":       {func(b []byte) { _, s := symbol(b); le.PutUint16(s[6:], uint16(elf.SHN_ABS)) }, File{}},
		"no addends": {
			func(b []byte) { h, _ := find(b, ".rela.text"); le.PutUint32(h[4:], uint32(elf.SHT_REL)) },
			File{WithoutAddends: []string{".text"}},
		},
		"a value where a relocation goes": {
			func(b []byte) {
				_, table := find(b, ".rela.text")
				_, text := find(b, ".text")
				b[text+le.Uint64(b[table:])+3] = 1
			},
			File{Occupied: []string{".text"}},
		},
		"a value beside a relocation of none": {
			func(b []byte) {
				kind(elf.R_X86_64_NONE)(b)
				_, table := find(b, ".rela.text")
				_, text := find(b, ".text")
				b[text+le.Uint64(b[table:])] = 1
			},
			File{},
		},
		"an address of 32 bits":       {kind(elf.R_X86_64_32), File{Low: []string{".text"}}},
		"a signed address of 32 bits": {kind(elf.R_X86_64_32S), File{}},
		"an address of another's":     {func(b []byte) { kind(elf.R_X86_64_32)(b); _, s := symbol(b); le.PutUint16(s[6:], 0) }, File{}},
		"an absolute one of 32 bits":  {func(b []byte) { kind(elf.R_X86_64_32)(b); _, s := symbol(b); le.PutUint16(s[6:], 0xfff1) }, File{}},
		"a value on another machine":  {func(b []byte) { kind(elf.R_X86_64_32)(b); le.PutUint16(b[18:], uint16(elf.EM_AARCH64)) }, File{}},
		"32 bits of arm64's": {func(b []byte) {
			kind(elf.R_X86_64(elf.R_AARCH64_ABS32))(b)
			le.PutUint16(b[18:], uint16(elf.EM_AARCH64))
		}, File{Low: []string{".text"}}},
		"32 bits of arm64's, relative": {func(b []byte) {
			kind(elf.R_X86_64(elf.R_AARCH64_PREL32))(b)
			le.PutUint16(b[18:], uint16(elf.EM_AARCH64))
		}, File{}},
		"32 bits of neither machine's": {func(b []byte) { kind(elf.R_X86_64_32)(b); le.PutUint16(b[18:], uint16(elf.EM_RISCV)) }, File{}},
		"an address of 32 bits, below": {func(b []byte) { kind(elf.R_X86_64_32)(b); _, at := find(b, ".rela.text"); le.PutUint64(b[at:], 1<<63) }, File{Low: []string{".text"}}},
	} {
		t.Run(name, func(t *testing.T) {
			data := content(t)
			c.change(data)
			m, err := Parse(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			got := File{WritableCode: m.WritableCode, Misplaced: m.Misplaced, WithoutAddends: m.WithoutAddends, Occupied: m.Occupied, Low: m.Low}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The kernel looks up an undefined symbol without a name, too.
func TestParseNameless(t *testing.T) {
	data := content(t)
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	const entrySize = 24
	table := f.SectionByType(elf.SHT_SYMTAB)
	for at := table.Offset + entrySize; at < table.Offset+table.Size; at += entrySize {
		if binary.LittleEndian.Uint16(data[at+6:]) == uint16(elf.SHN_UNDEF) {
			clear(data[at : at+4])
			break
		}
	}
	m, err := Parse(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(m.Imports, Import{}) {
		t.Errorf("imports %v", m.Imports)
	}
}

func TestLongNameIsRefused(t *testing.T) {
	for n, want := range map[int]bool{maxName: false, maxName + 1: true} {
		table := append([]byte("\x00.text\x00"), append(bytes.Repeat([]byte("x"), n), 0)...)
		if got := longName(table); got != want {
			t.Errorf("a name of %d: %v, want %v", n, got, want)
		}
	}
}

// Section headers cost a file 64 bytes each, and may claim to be of relocations.
func TestManySectionsTakeLittleMemory(t *testing.T) {
	const shoff, shnum, shType, shInfo = 40, 60, 4, 44
	le := binary.LittleEndian
	data := content(t)
	table, n := le.Uint64(data[shoff:]), le.Uint16(data[shnum:])
	headers := bytes.Clone(data[table:][:headerSize*uint64(n)])
	empty := make([]byte, headerSize)
	le.PutUint32(empty[shType:], uint32(elf.SHT_RELA))
	le.PutUint32(empty[shInfo:], uint32(loaded(t, headers)))
	const more = 2000
	le.PutUint64(data[shoff:], uint64(len(data)))
	le.PutUint16(data[shnum:], n+more)
	data = append(append(data, headers...), bytes.Repeat(empty, more)...)
	var err error
	taken := testkit.Allocated(func() { _, err = Parse(bytes.NewReader(data), int64(len(data))) })
	if err != nil || taken > 32*uint64(len(data)) {
		t.Errorf("%d bytes taken for %d, %v", taken, len(data), err)
	}
}

// Sections may be the same part of the file. A packed file of zeros is small.
func TestOverlappingSectionsTakeLittleMemory(t *testing.T) {
	const n, size = 16, 8 << 20
	for name, want := range map[string]struct {
		exports int
		err     string
	}{
		"___ksymtab+x": {exports: n},
		".comment":     {err: "has sections that overlap"},
	} {
		data := overlapping(name, n, size)
		var m File
		var err error
		taken := testkit.Allocated(func() { m, err = Parse(bytes.NewReader(data), int64(len(data))) })
		if taken > 3*size {
			t.Errorf("%s: %d bytes taken for %d", name, taken, len(data))
		}
		if len(m.Exports) != want.exports || err == nil && want.err != "" || err != nil && err.Error() != want.err {
			t.Errorf("%s: %d exports, %v", name, len(m.Exports), err)
		}
	}
}

// What labels point at is read at the end of a section, too, and not beyond.
func TestLabelsAtTheEnd(t *testing.T) {
	data := overlapping("___ksymtab+x", 1, 4)
	copy(data[headerSize:], "NS\x00\x01")
	m, err := Parse(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Export{{Name: "0", Namespace: "NS", CRC: 0x0100534e, HasCRC: true}}
	if diff := cmp.Diff(want, m.Exports); diff != "" {
		t.Error(diff)
	}
	data = overlapping("___ksymtab+x", 1, 3)
	if m, err = Parse(bytes.NewReader(data), int64(len(data))); err != nil || !cmp.Equal(m.Exports, []Export{{Name: "0"}}) {
		t.Errorf("a CRC of three bytes: %+v, %v", m.Exports, err)
	}
}

// overlapping is a module of n sections of a name, all of which are the same
// zeros. Each is where the labels of one export are.
func overlapping(name string, n, size int) []byte {
	const start = headerSize // the file's own header has that size, too
	names := []byte("\x00" + name + "\x00")
	symbols := make([]elf.Sym64, 1)
	headers := make([]elf.Section64, 1, n+3)
	for i := range n {
		headers = append(headers, elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC), Off: start, Size: uint64(size)})
		for _, label := range []string{"__ksymtab_", "__kstrtabns_", "__crc_"} {
			symbols = append(symbols, elf.Sym64{Name: uint32(len(names)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE), Shndx: uint16(i + 1)})
			names = fmt.Appendf(names, "%s%d\x00", label, i)
		}
	}
	data := append(make([]byte, start+size), names...)
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: headerSize,
		Shentsize: headerSize, Shnum: uint16(n + 3), Shstrndx: uint16(n + 1)}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	headers = append(headers,
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: uint64(start + size), Size: uint64(len(names))},
		elf.Section64{Type: uint32(elf.SHT_SYMTAB), Off: uint64(len(data)), Size: uint64(24 * len(symbols)), Link: uint32(n + 1), Entsize: 24})
	le := binary.LittleEndian
	data, _ = binary.Append(data, le, symbols) // of fixed size, as the headers
	h.Shoff = uint64(len(data))
	data, _ = binary.Append(data, le, headers)
	head, _ := binary.Append(nil, le, h)
	copy(data, head)
	return data
}

// loaded is the first section that takes up memory.
func loaded(t *testing.T, headers []byte) int {
	t.Helper()
	for i := range len(headers) / headerSize {
		if flags := binary.LittleEndian.Uint64(headers[i*headerSize+8:]); elf.SectionFlag(flags)&elf.SHF_ALLOC != 0 {
			return i
		}
	}
	t.Fatal("no section that is loaded")
	return 0
}

// Every prefix of a module is refused without harm.
func TestParseCutAnywhere(t *testing.T) {
	data := content(t)
	for n := range data {
		if _, err := Parse(bytes.NewReader(data[:n]), int64(n)); err == nil {
			t.Errorf("%d of %d bytes pass for a module", n, len(data))
		}
	}
}
