package image

import (
	"bytes"
	"testing"
)

// sound fails on an image that says more than it knows.
func sound(t *testing.T, img Image) {
	t.Helper()
	if !img.SymbolsKnown && (img.Symbols != nil || img.NamespacesKnown || img.CRCsKnown) {
		t.Errorf("%d symbols that are not known", len(img.Symbols))
	}
	for _, s := range img.Symbols {
		if !isIdentifier([]byte(s.Name)) || !printable([]byte(s.Namespace)) {
			t.Errorf("symbol %q in namespace %q", s.Name, s.Namespace)
		}
	}
	if img.StructModule < 0 || !printable([]byte(img.Banner)) || !printable([]byte(img.Release)) {
		t.Errorf("release %q, banner %q, struct module of %d bytes", img.Release, img.Banner, img.StructModule)
	}
}

func fuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if img, err := read(t, data); err == nil {
			sound(t, img)
		}
	})
}

func FuzzBzImage(f *testing.F) {
	f.Add(bzImageOf(gzipped(f, parts(f).vmlinux())))
	f.Add(bzImageOf(zstdWithSize(f, parts(f).vmlinux())))
	f.Add(zbootOf(gzipped(f, parts(f).flat())))
	fuzzRead(f)
}

func FuzzVmlinux(f *testing.F) {
	for _, l := range layouts {
		k := parts(f)
		k.layout = l
		f.Add(k.vmlinux())
	}
	fuzzRead(f)
}

func FuzzFlat(f *testing.F) {
	k := parts(f)
	k.exports = manyExports()
	f.Add(k.flat())
	fuzzRead(f)
}

func FuzzConfig(f *testing.F) {
	f.Add(rodata(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := findConfig(data)
		if err == nil && text != nil && !bytes.Contains(data, []byte("IKCFG_ST")) {
			t.Errorf("a config of %d bytes out of nowhere", len(text))
		}
	})
}
