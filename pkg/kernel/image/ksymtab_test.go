package image_test

import (
	"debug/elf"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// Every way in which kernels have stored their exports.
func TestExportLayouts(t *testing.T) {
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
