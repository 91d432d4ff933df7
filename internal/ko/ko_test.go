package ko

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/memtest"
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
		Type: elf.ET_REL, Machine: elf.EM_X86_64,
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
		Type: elf.ET_REL, Machine: elf.EM_X86_64,
		ThisModule: ThisModule{Sections: 1, Size: 64, Loaded: true}, SymbolTables: 1,
		Imports: []Import{{Name: "_printk"}, {Name: "optional", Weak: true}},
		Exports: []Export{
			{Name: "absolute", CRC: 0xdeadbeef, HasCRC: true},
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
		Signed:           true,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if len(m.Relocations) != 1 || m.Relocations[0].Type != uint32(elf.R_X86_64_PLT32) {
		t.Errorf("relocations %v: those of what is not loaded do not count", m.Relocations)
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
	taken := memtest.Allocated(func() { _, err = Parse(bytes.NewReader(data), int64(len(data))) })
	if err != nil || taken > 32*uint64(len(data)) {
		t.Errorf("%d bytes taken for %d, %v", taken, len(data), err)
	}
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
