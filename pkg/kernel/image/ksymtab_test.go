package image_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// Every way in which kernels have stored their exports.
func TestExportLayouts(t *testing.T) {
	t.Parallel()
	exports := imagetest.Flatcar().Exports
	withoutNamespaces := slices.Clone(exports)
	for i := range withoutNamespaces {
		withoutNamespaces[i].Namespace = ""
	}
	tests := []struct {
		since    string
		layout   imagetest.Layout
		crcs     imagetest.CRCs
		flagstab bool
	}{
		{since: "3.x", layout: imagetest.Layout{Word: 8, Fields: 2}, crcs: imagetest.CRCLongs},
		{since: "4.10", layout: imagetest.Layout{Word: 8, Fields: 2}},
		{since: "4.10 with MODULE_REL_CRCS", layout: imagetest.Layout{Word: 8, Fields: 2}, crcs: imagetest.CRCsApart},
		{since: "4.19", layout: imagetest.Layout{Word: 4, Fields: 2}},
		{since: "5.4"},
		{since: "5.4 without PREL32", layout: imagetest.Layout{Word: 8, Fields: 3}},
		{since: "5.4 without modversions", crcs: imagetest.NoCRCs},
		{since: "5.4 with MODULE_REL_CRCS", crcs: imagetest.CRCsApart},
		{since: "__kflagstab", flagstab: true},
	}
	for _, tt := range tests {
		t.Run(tt.since, func(t *testing.T) {
			k := imagetest.Flatcar()
			k.Layout, k.CRCs, k.Flagstab = tt.layout, tt.crcs, tt.flagstab
			want := exports
			if tt.layout.Fields == 2 {
				want = withoutNamespaces
			}
			if tt.crcs == imagetest.NoCRCs {
				want = withoutCRCs(want)
			}
			got, err := read(t, k.Vmlinux(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Symbols); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !got.SymbolsKnown || !got.NamespacesKnown || !got.CRCsKnown {
				t.Errorf("known: symbols %v, namespaces %v, CRCs %v", got.SymbolsKnown, got.NamespacesKnown, got.CRCsKnown)
			}
		})
	}
}

// A table that does not go with the others makes all of them unknown.
func TestExportsThatDoNotFit(t *testing.T) {
	t.Parallel()
	changed := func(name string, edit func(*imagetest.Section)) image.Image {
		t.Helper()
		sections := imagetest.Flatcar().Sections(t)
		i := slices.IndexFunc(sections, func(s imagetest.Section) bool { return s.Name == name })
		edit(&sections[i])
		img, err := read(t, imagetest.ELF(elf.ET_EXEC, elf.EM_X86_64, sections))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	for name, img := range map[string]image.Image{
		"a table of half an entry": changed("__ksymtab", func(s *imagetest.Section) { s.Data = s.Data[:len(s.Data)-6] }),
		"GPL's at another place":   changed("__ksymtab_gpl", func(s *imagetest.Section) { s.Addr += 1 << 20 }),
		"flags for too few":        changed(".rodata.crcs", func(s *imagetest.Section) { s.Name, s.Data = "__kflagstab", []byte{0} }),
	} {
		if img.SymbolsKnown || img.Symbols != nil {
			t.Errorf("%s: %d symbols", name, len(img.Symbols))
		}
	}
	img := changed("__kcrctab", func(s *imagetest.Section) { s.Data = s.Data[:5] })
	if !img.SymbolsKnown || img.CRCsKnown {
		t.Errorf("CRCs for too few: symbols known %v, CRCs known %v", img.SymbolsKnown, img.CRCsKnown)
	}
}

func TestFlatExports(t *testing.T) {
	t.Parallel()
	for name, crcs := range map[string]imagetest.CRCs{"modversions": imagetest.CRCWords, "none": imagetest.NoCRCs} {
		t.Run(name, func(t *testing.T) {
			k := imagetest.Flatcar()
			k.Exports, k.CRCs = imagetest.ManyExports(), crcs
			want := k.Exports
			if crcs == imagetest.NoCRCs {
				want = withoutCRCs(want)
			}
			got, err := read(t, k.Flat(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Symbols); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Tables of a flat image that leave any doubt are no tables.
func TestFlatExportsInDoubt(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*imagetest.Kernel){
		"too few":              func(k *imagetest.Kernel) { k.Exports = imagetest.Flatcar().Exports },
		"one table":            func(k *imagetest.Kernel) { k.Flagstab = true },
		"CRCs of eight bytes":  func(k *imagetest.Kernel) { k.CRCs = imagetest.CRCLongs },
		"names of another age": func(k *imagetest.Kernel) { k.Layout = imagetest.Layout{Word: 4, Fields: 2} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			k := imagetest.Flatcar()
			k.Exports = imagetest.ManyExports()
			change(&k)
			got, err := read(t, k.Flat(t))
			if err != nil || got.SymbolsKnown || got.Symbols != nil {
				t.Errorf("%d symbols, known: %v, %v", len(got.Symbols), got.SymbolsKnown, err)
			}
		})
	}
}

// refused is what a log says of the exports of an image, which are unknown.
func refused(t *testing.T, data []byte) string {
	t.Helper()
	var log bytes.Buffer
	ctx := zerolog.New(&log).WithContext(t.Context())
	var img image.Image
	var err error
	taken := testkit.Allocated(func() { img, err = image.Read(ctx, bytes.NewReader(data), int64(len(data))) })
	if err != nil || img.SymbolsKnown {
		t.Errorf("%d symbols, known: %v, %v", len(img.Symbols), img.SymbolsKnown, err)
	}
	if taken > mostMemory {
		t.Errorf("%d bytes taken for %d", taken, len(data))
	}
	return log.String()
}

// sharing are the sections of a kernel whose n exports have one name.
func sharing(n int, name string) []imagetest.Section {
	const table, text = 0xffffffff82000000, 0xffffffff83000000
	var entries []byte
	for at := uint64(table); len(entries) < 12*n; at += 12 {
		for _, field := range []uint64{0, text - at - 4, 0} {
			entries = binary.LittleEndian.AppendUint32(entries, uint32(field))
		}
	}
	return []imagetest.Section{{}, {Name: "__ksymtab", Addr: table, Data: entries},
		{Name: "__ksymtab_strings", Addr: text, Data: []byte(name + "\x00")}}
}

// A table of more than any kernel's exports is refused, whatever is in it.
func TestTooManyExports(t *testing.T) {
	longest := strings.Repeat("x", image.MaxName-1)
	vmlinux := func(n int, name string) []byte {
		return imagetest.ELF(elf.ET_EXEC, elf.EM_X86_64, sharing(n, name))
	}
	flat := imagetest.Flatcar()
	flat.Exports = imagetest.ManyExports()
	for i := range image.MaxExports {
		flat.Exports = append(flat.Exports, image.Symbol{Name: fmt.Sprintf("q%06d", i)})
	}
	const names = image.MaxNames/(image.MaxName-1) + 1
	for want, data := range map[string][]byte{
		"__ksymtab has 1200000 exports, more than any kernel":      vmlinux(1_200_000, longest),
		"__ksymtab has 131073 exports, more than any kernel":       vmlinux(image.MaxExports+1, "x"),
		"__ksymtab has more than 16 MiB of names":                  vmlinux(names, longest),
		"an export table has 131584 exports, more than any kernel": flat.Flat(t),
	} {
		if log := refused(t, data); !strings.Contains(log, want) {
			t.Errorf("%s, want %s", log, want)
		}
	}
	for _, data := range [][]byte{vmlinux(image.MaxExports, "x"), vmlinux(names-1, longest)} {
		if img, err := read(t, data); err != nil || !img.SymbolsKnown {
			t.Errorf("%d symbols, known: %v, %v", len(img.Symbols), img.SymbolsKnown, err)
		}
	}
}

// A CRC apart is in the section that begins nearest before it, which is found
// without a look at all the others: the first one would have all the CRCs here.
func TestCRCsInManySections(t *testing.T) {
	t.Parallel()
	const n, many, crcs, start = 4000, 60_000, 0xffffffff84000000, 0xffffffff85000000
	sections := append(sharing(n, "x"), imagetest.Section{Name: "all", Addr: start - 4, Data: make([]byte, 4*many+4)})
	le := binary.LittleEndian
	for i := range many {
		sections = append(sections, imagetest.Section{Addr: start + 4*uint64(i), Data: le.AppendUint32(nil, uint32(i+1))})
	}
	var table []byte
	for i := range n {
		to := start + 4*uint64(many-1-i)
		table = le.AppendUint32(table, uint32(to-crcs-uint64(len(table))))
	}
	sections = append(sections, imagetest.Section{Name: "__kcrctab", Addr: crcs, Data: table})
	img, err := read(t, imagetest.ELF(elf.ET_EXEC, elf.EM_X86_64, sections))
	if err != nil || len(img.Symbols) != n || !img.CRCsKnown {
		t.Fatalf("%d symbols, CRCs known: %v, %v", len(img.Symbols), img.CRCsKnown, err)
	}
	seen := map[uint32]bool{}
	for _, s := range img.Symbols {
		if seen[s.CRC] || s.CRC <= many-n || s.CRC > many {
			t.Fatalf("CRC %d", s.CRC)
		}
		seen[s.CRC] = true
	}
}
