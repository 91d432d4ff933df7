package image_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// mostMemory is what a file of any content may take, in bytes: twice the window
// of a decompressor, and the largest payload that a small file has.
const mostMemory = 1 << 30

func fuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var img image.Image
		var err error
		if taken := testkit.Allocated(func() { img, err = read(t, data) }); taken > mostMemory {
			t.Errorf("%d bytes taken for %d bytes", taken, len(data))
		}
		if err != nil {
			return
		}
		if again, err := read(t, data); err != nil || !cmp.Equal(img, again) {
			t.Errorf("read again: %v\n%s", err, cmp.Diff(img, again))
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
	debians, err := os.ReadFile("../testdata/rootfs-debian/boot/config-6.1.0-56-amd64")
	if err != nil {
		f.Fatal(err)
	}
	k := imagetest.Kernel{Config: string(debians)}
	f.Add(k.Sections(f)[1].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := image.FindConfig(data)
		if err != nil || text == nil {
			return
		}
		if !bytes.Contains(data, []byte("IKCFG_ST")) || len(text) > image.MaxConfig {
			t.Errorf("a config of %d bytes out of %d", len(text), len(data))
		}
		k := imagetest.Kernel{Config: string(text)}
		if again, err := image.FindConfig(k.Sections(t)[1].Data); err != nil || string(again) != string(text) {
			t.Errorf("a kernel with this config has one of %d bytes, %v, want %d", len(again), err, len(text))
		}
	})
}
