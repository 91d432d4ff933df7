package image_test

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

func read(t testing.TB, data []byte) (image.Image, error) {
	t.Helper()
	return image.Read(t.Context(), bytes.NewReader(data), int64(len(data)))
}

func TestRead(t *testing.T) {
	t.Parallel()
	k := imagetest.Flatcar()
	x86 := k.Vmlinux(t)
	arm := k
	arm.Exports = imagetest.ManyExports()
	flat := arm.Flat(t)
	tests := []struct {
		name        string
		data        []byte
		format      image.Format
		compression string
		arch        string
		exports     []image.Symbol
	}{
		{"bzImage of zstd", k.BzImage(t), image.BzImage, "zstd", "x86_64", k.Exports},
		{"bzImage of gzip", imagetest.BzImage(k.Release, imagetest.Gzip(t, x86)), image.BzImage, "gzip", "x86_64", k.Exports},
		{"vmlinux", x86, image.Vmlinux, "", "x86_64", k.Exports},
		{"vmlinux.gz", imagetest.Gzip(t, x86), image.Vmlinux, "gzip", "x86_64", k.Exports},
		{"Image", flat, image.Arm64Image, "", "aarch64", arm.Exports},
		{"Image.gz", imagetest.Gzip(t, flat), image.Arm64Image, "gzip", "aarch64", arm.Exports},
		{"vmlinuz.efi", imagetest.Zboot(imagetest.Zstd(t, flat)), image.EFIZboot, "zstd", "aarch64", arm.Exports},
		{"vmlinuz.efi.gz", imagetest.Gzip(t, imagetest.Zboot(imagetest.Zstd(t, flat))), image.EFIZboot, "zstd", "aarch64", arm.Exports},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(t, tt.data)
			if err != nil {
				t.Fatal(err)
			}
			id := "0f1e2d3c"
			if tt.arch == "aarch64" {
				id = "" // a flat image has no sections
			}
			want := image.Image{
				BuildID: id,
				Format:  tt.format, Compression: tt.compression, Arch: tt.arch,
				Release: k.Release, Banner: k.Banner, Config: []byte(k.Config),
				Symbols: tt.exports, SymbolsKnown: true, NamespacesKnown: true, CRCsKnown: true,
				StructModule: 1280, Types: imagetest.BTF(t, 1280),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What an image does not tell is unknown, and no failure: the rest is as good
// as ever.
func TestReadLeavesUnknown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*imagetest.Kernel)
		want   func(*image.Image)
	}{
		{"no IKCONFIG", func(k *imagetest.Kernel) { k.Config = "" }, func(i *image.Image) { i.Config = nil }},
		{"IKCONFIG damaged", func(k *imagetest.Kernel) { k.Config, k.Rodata = "", []byte("IKCFG_ST\x1f\x8b??IKCFG_ED") }, func(i *image.Image) { i.Config = nil }},
		{"IKCONFIG without end", func(k *imagetest.Kernel) { k.Config, k.Rodata = "", []byte("IKCFG_ST\x1f\x8b??") }, func(i *image.Image) { i.Config = nil }},
		{"no banner", func(k *imagetest.Kernel) { k.Banner, k.Rodata = "", []byte("Linux version \x01\n") }, func(i *image.Image) { i.Banner, i.Release = "", "" }},
		{"no BTF", func(k *imagetest.Kernel) { k.StructModule = 0 }, func(i *image.Image) { i.StructModule, i.Types = 0, nil }},
		{"BTF damaged", func(k *imagetest.Kernel) { k.BTF = imagetest.BTF(t, 1280)[:30] }, func(i *image.Image) { i.StructModule, i.Types = 0, nil }},
		{"a name that is none", func(k *imagetest.Kernel) {
			k.Exports = append(slices.Clone(k.Exports), image.Symbol{Name: "not a name"})
		}, func(i *image.Image) {
			i.Symbols, i.SymbolsKnown, i.NamespacesKnown, i.CRCsKnown = nil, false, false, false
		}},
		{"no modversions", func(k *imagetest.Kernel) { k.CRCs = imagetest.NoCRCs }, func(i *image.Image) {
			i.Symbols = withoutCRCs(i.Symbols)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := imagetest.Flatcar()
			want, err := read(t, k.Vmlinux(t))
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&k)
			tt.want(&want)
			got, err := read(t, k.Vmlinux(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	k := imagetest.Flatcar()
	good := imagetest.BzImage(k.Release, imagetest.Gzip(t, k.Vmlinux(t)))
	edit := func(at int, with ...byte) []byte {
		data := slices.Clone(good)
		copy(data[at:], with)
		return data
	}
	again := imagetest.Flatcar().Vmlinux(t)
	for range image.MaxWraps {
		again = imagetest.Gzip(t, again)
	}
	class32 := imagetest.Flatcar().Vmlinux(t)
	class32[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	zboot := imagetest.Zboot(imagetest.Gzip(t, imagetest.Flatcar().Flat(t)))
	tests := []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "begins with", nil},
		{"text", "begins with 23 21 2f 62 69 6e 2f 73", []byte("#!/bin/sh\n")},
		{"a bzImage of 2007", "boot protocol 2.07 is older than 2.08", edit(0x206, 7, 2)},
		{"a bzImage cut short", "its payload is beyond its end", good[:len(good)-100]},
		{"a payload elsewhere", "its payload is beyond its end", edit(0x248, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		{"a payload of another kind", "no compression of one", edit(imagetest.BzImagePayload, 0, 0)},
		{"a payload cut short", "its gzip payload: unexpected EOF", edit(0x24c, 200, 0, 0, 0)},
		{"a zboot cut short", "an EFI zboot image cut short", zboot[:len(zboot)-1]},
		{"wrapped over and over", "compressed over and over", again},
		{"a 32-bit kernel", "not a 64-bit little-endian kernel", class32},
		{"another machine's", "EM_RISCV", imagetest.ELF(elf.ET_EXEC, elf.EM_RISCV, nil)},
		{"a module", "ELF of type ET_REL", imagetest.ELF(elf.ET_REL, elf.EM_X86_64, nil)},
		{"ELF cut short", "cut short in its header", []byte(elf.ELFMAG)},
		{"ELF without sections", "without the sections", imagetest.Flatcar().Vmlinux(t)[:400]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(t, tt.data)
			if !errors.Is(err, image.ErrFormat) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ErrFormat with %q", err, tt.want)
			}
		})
	}
}

func TestReadIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := imagetest.Flatcar().Vmlinux(t)
	if _, err := image.Read(ctx, bytes.NewReader(data), int64(len(data))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	if _, err := image.Read(t.Context(), bytes.NewReader(nil), image.MaxSize+1); !errors.Is(err, image.ErrFormat) {
		t.Errorf("a file of %d bytes: %v", image.MaxSize+1, err)
	}
	bomb := imagetest.Gzip(t, make([]byte, 1<<20))
	if _, _, err := image.Unpack(t.Context(), bomb, 1<<20-1); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a payload beyond the limit: %v", err)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(path, imagetest.Flatcar().BzImage(t), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(t.Context(), path)
	if err != nil || img.Release != "6.12.103-flatcar" {
		t.Errorf("release %q, %v", img.Release, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir, fifo} {
		if _, err := image.Open(t.Context(), bad); !errors.Is(err, image.ErrFormat) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := image.Open(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Kbuild appends the content's size to every compression but gzip's; a file
// that somebody compressed has none.
func TestUnpack(t *testing.T) {
	t.Parallel()
	want := imagetest.Flatcar().Vmlinux(t)
	whole := imagetest.Zstd(t, want)
	for name, data := range map[string][]byte{"kbuild's": whole, "somebody's": whole[:len(whole)-4]} {
		got, content, err := image.Unpack(t.Context(), data, image.MaxPayload)
		if err != nil || got != "zstd" || !bytes.Equal(content.Bytes, want) {
			t.Errorf("%s: %d bytes of %s, %v", name, len(content.Bytes), got, err)
		}
	}
	whole[len(whole)-1]++
	zeros := append(whole[:len(whole)/2:len(whole)/2], 0, 0, 0, 0)
	for name, data := range map[string][]byte{"another size": whole, "cut short": whole[:len(whole)/2], "ends in zeros": zeros} {
		if _, _, err := image.Unpack(t.Context(), data, image.MaxPayload); !errors.Is(err, image.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func withoutCRCs(list []image.Symbol) []image.Symbol {
	list = slices.Clone(list)
	for i := range list {
		list[i].CRC = 0
	}
	return list
}
