package ko

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exported are what testdata/exports.c exports, with the versions that genksyms gave them:
// the same in all of the three kernels.
var exported = []Export{
	{Name: "exports_first", CRC: 0xa2fbf43c, HasCRC: true},
	{Name: "exports_gpl", GPL: true, CRC: 0xc4ff1f9f, HasCRC: true},
	{Name: "exports_second", CRC: 0x87bcb607, HasCRC: true},
	{Name: "exports_third", CRC: 0x7c8bed19, HasCRC: true},
}

// named is what it exports to a namespace, from 5.4 on.
var named = Export{Name: "exports_named", Namespace: "EXPORTS", CRC: 0xec0a46a2, HasCRC: true}

// TestLayouts reads the export tables of each layout: with the labels that a module has
// for its entries, and by the tables alone, where these are stripped.
func TestLayouts(t *testing.T) {
	for name, want := range map[string][]Export{
		"exports-4.9.ko":  exported, // two addresses, and versions of eight bytes
		"exports-4.19.ko": exported, // two distances: three entries are as long as two of three
		"exports-5.4.ko":  {exported[0], exported[1], named, exported[2], exported[3]},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for how, text := range map[string]string{"whole": string(data), "without labels": strings.ReplaceAll(string(data), "__ksymtab_exports", "__lost____exports")} {
			m, err := Parse(strings.NewReader(text), int64(len(text)))
			if diff := cmp.Diff(want, m.Exports); diff != "" || err != nil {
				t.Errorf("%s %s (-want +got): %v\n%s", name, how, err, diff)
			}
		}
	}
}

// A table that is none of the layouts is not read as one of them.
func TestLayoutOfNoKernel(t *testing.T) {
	data, err := os.ReadFile("testdata/exports-4.19.ko")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	table := f.Section(".rela__ksymtab")
	data[table.Offset] = 2 // an entry that begins in the middle of a word
	if _, err := Parse(strings.NewReader(string(data)), int64(len(data))); err == nil || !strings.Contains(err.Error(), "has a table of exports, __ksymtab, that is laid out in no way known") {
		t.Errorf("%v", err)
	}
}

// file is a file in memory.
type file []byte

func (f file) ReadAt(p []byte, at int64) (int, error) {
	return strings.NewReader(string(f)).ReadAt(p, at)
}
func (f file) WriteAt(p []byte, at int64) (int, error) { return copy(f[at:], p), nil }

func TestReplaceRelocations(t *testing.T) {
	data, err := os.ReadFile("testdata/exporter.ko")
	if err != nil {
		t.Fatal(err)
	}
	types := func(data []byte) map[uint32]bool {
		m, err := Parse(strings.NewReader(string(data)), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint32]bool{}
		for _, r := range m.Relocations {
			seen[r.Type] = true
		}
		return seen
	}
	const plt32, pc32 = uint32(elf.R_X86_64_PLT32), uint32(elf.R_X86_64_PC32)
	before := types(data)
	if !before[plt32] {
		t.Fatalf("the module has relocations of the types %v, and none to replace", before)
	}
	f := file(data)
	n, err := ReplaceRelocations(f, int64(len(f)), plt32, pc32)
	if err != nil || n == 0 {
		t.Fatalf("%d replaced, %v", n, err)
	}
	delete(before, plt32)
	before[pc32] = true
	if diff := cmp.Diff(before, types(f)); diff != "" {
		t.Error(diff)
	}
	if again, err := ReplaceRelocations(f, int64(len(f)), plt32, pc32); again != 0 || err != nil {
		t.Errorf("%d replaced a second time, %v", again, err)
	}
	if _, err := ReplaceRelocations(file("no module"), 9, plt32, pc32); err == nil {
		t.Error("what is no module was written to")
	}
}
