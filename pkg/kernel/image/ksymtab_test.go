package image

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every way in which kernels have stored their exports.
func TestExportLayouts(t *testing.T) {
	withoutNamespaces := slices.Clone(exports)
	for i := range withoutNamespaces {
		withoutNamespaces[i].Namespace = ""
	}
	tests := []struct {
		since    string
		layout   layout
		crcBytes int
		crcsAway bool
		flagstab bool
	}{
		{since: "3.x", layout: layout{8, 2}, crcBytes: 8},
		{since: "4.10", layout: layout{8, 2}, crcBytes: 4},
		{since: "4.10 with MODULE_REL_CRCS", layout: layout{8, 2}, crcBytes: 4, crcsAway: true},
		{since: "4.19", layout: layout{4, 2}, crcBytes: 4},
		{since: "5.4", layout: layout{4, 3}, crcBytes: 4},
		{since: "5.4 without PREL32", layout: layout{8, 3}, crcBytes: 4},
		{since: "5.4 without modversions", layout: layout{4, 3}},
		{since: "5.4 with MODULE_REL_CRCS", layout: layout{4, 3}, crcBytes: 4, crcsAway: true},
		{since: "__kflagstab", layout: layout{4, 3}, crcBytes: 4, flagstab: true},
	}
	for _, tt := range tests {
		t.Run(tt.since, func(t *testing.T) {
			k := parts(t)
			k.layout, k.crcBytes, k.crcsAway, k.flagstab = tt.layout, tt.crcBytes, tt.crcsAway, tt.flagstab
			want := exports
			if tt.layout.fields == 2 {
				want = withoutNamespaces
			}
			if tt.crcBytes == 0 {
				want = withoutCRCs(want)
			}
			got, err := read(t, k.vmlinux())
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
	change := func(name string, edit func(*elfSection)) *elfFile {
		f, err := parseELF(parts(t).vmlinux())
		if err != nil {
			t.Fatal(err)
		}
		edit(f.find(name))
		return f
	}
	for name, f := range map[string]*elfFile{
		"a table of half an entry": change("__ksymtab", func(s *elfSection) { s.data = s.data[:len(s.data)-6] }),
		"GPL's at another place":   change("__ksymtab_gpl", func(s *elfSection) { s.addr += 1 << 20 }),
		"flags for too few":        change(".rodata.crcs", func(s *elfSection) { s.name, s.data = "__kflagstab", []byte{0} }),
	} {
		var img Image
		if err := img.setSymbols(f); err == nil || img.SymbolsKnown || img.Symbols != nil {
			t.Errorf("%s: %v, %d symbols", name, err, len(img.Symbols))
		}
	}
	var img Image
	if err := img.setSymbols(change("__kcrctab", func(s *elfSection) { s.data = s.data[:5] })); err != nil || !img.SymbolsKnown || img.CRCsKnown {
		t.Errorf("CRCs for too few: %v, symbols known %v, CRCs known %v", err, img.SymbolsKnown, img.CRCsKnown)
	}
}

func TestFlatExports(t *testing.T) {
	for _, crcBytes := range []int{4, 0} {
		t.Run(fmt.Sprintf("%d bytes a CRC", crcBytes), func(t *testing.T) {
			k := parts(t)
			k.exports, k.crcBytes = manyExports(), crcBytes
			want := k.exports
			if crcBytes == 0 {
				want = withoutCRCs(want)
			}
			got, err := read(t, k.flat())
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
	tests := map[string]func(*kernelParts){
		"too few":              func(k *kernelParts) { k.exports = exports },
		"one table":            func(k *kernelParts) { k.flagstab = true },
		"CRCs of eight bytes":  func(k *kernelParts) { k.crcBytes = 8 },
		"names of another age": func(k *kernelParts) { k.layout = layout{4, 2} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			k := parts(t)
			k.exports = manyExports()
			change(&k)
			got, err := read(t, k.flat())
			if err != nil || got.SymbolsKnown || got.Symbols != nil {
				t.Errorf("%d symbols, known: %v, %v", len(got.Symbols), got.SymbolsKnown, err)
			}
		})
	}
}
