package image_test

import (
	"bytes"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

func fuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := read(t, data)
		if err != nil {
			return
		}
		if wrong := img.Unsound(); wrong != "" {
			t.Error(wrong)
		}
	})
}

func FuzzBzImage(f *testing.F) {
	k := imagetest.Flatcar()
	f.Add(k.BzImage(f))
	f.Add(imagetest.BzImage(k.Release, imagetest.Gzip(f, k.Vmlinux(f))))
	f.Add(imagetest.Zboot(imagetest.Gzip(f, k.Flat(f))))
	fuzzRead(f)
}

func FuzzVmlinux(f *testing.F) {
	for _, l := range imagetest.Layouts {
		k := imagetest.Flatcar()
		k.Layout = l
		f.Add(k.Vmlinux(f))
	}
	fuzzRead(f)
}

func FuzzFlat(f *testing.F) {
	k := imagetest.Flatcar()
	k.Exports = imagetest.ManyExports()
	f.Add(k.Flat(f))
	fuzzRead(f)
}

func FuzzConfig(f *testing.F) {
	f.Add(imagetest.Flatcar().Sections(f)[1].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := image.FindConfig(data)
		if err == nil && text != nil && !bytes.Contains(data, []byte("IKCFG_ST")) {
			t.Errorf("a config of %d bytes out of nowhere", len(text))
		}
	})
}
