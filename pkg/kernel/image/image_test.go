package image

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
)

func read(t testing.TB, data []byte) (Image, error) {
	t.Helper()
	return Read(t.Context(), bytes.NewReader(data), int64(len(data)))
}

func TestRead(t *testing.T) {
	x86 := parts(t).vmlinux()
	arm := parts(t)
	arm.exports = manyExports()
	flat := arm.flat()
	tests := []struct {
		name        string
		data        []byte
		format      Format
		compression string
		arch        string
		exports     []Symbol
	}{
		{"bzImage of zstd", bzImageOf(zstdWithSize(t, x86)), BzImage, "zstd", "x86_64", exports},
		{"bzImage of gzip", bzImageOf(gzipped(t, x86)), BzImage, "gzip", "x86_64", exports},
		{"vmlinux", x86, Vmlinux, "", "x86_64", exports},
		{"vmlinux.gz", gzipped(t, x86), Vmlinux, "gzip", "x86_64", exports},
		{"Image", flat, Arm64Image, "", "aarch64", arm.exports},
		{"Image.gz", gzipped(t, flat), Arm64Image, "gzip", "aarch64", arm.exports},
		{"vmlinuz.efi", zbootOf(zstdWithSize(t, flat)), EFIZboot, "zstd", "aarch64", arm.exports},
		{"vmlinuz.efi.gz", gzipped(t, zbootOf(zstdWithSize(t, flat))), EFIZboot, "zstd", "aarch64", arm.exports},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(t, tt.data)
			if err != nil {
				t.Fatal(err)
			}
			want := Image{
				Format: tt.format, Compression: tt.compression, Arch: tt.arch,
				Release: "6.12.103-flatcar", Banner: banner, Config: []byte(config),
				Symbols: tt.exports, SymbolsKnown: true, NamespacesKnown: true, CRCsKnown: true,
				StructModule: 1280,
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
	tests := []struct {
		name   string
		change func(*kernelParts)
		want   func(*Image)
	}{
		{"no IKCONFIG", func(k *kernelParts) { k.rodata = []byte(banner + "\n") }, func(i *Image) { i.Config = nil }},
		{"IKCONFIG damaged", func(k *kernelParts) { k.rodata = []byte(banner + "\nIKCFG_ST\x1f\x8b??IKCFG_ED") }, func(i *Image) { i.Config = nil }},
		{"IKCONFIG without end", func(k *kernelParts) { k.rodata = []byte(banner + "\nIKCFG_ST\x1f\x8b??") }, func(i *Image) { i.Config = nil }},
		{"no banner", func(k *kernelParts) { k.rodata = []byte("Linux version \x01\n") }, func(i *Image) { i.Config, i.Banner, i.Release = nil, "", "" }},
		{"no BTF", func(k *kernelParts) { k.btf = nil }, func(i *Image) { i.StructModule = 0 }},
		{"BTF damaged", func(k *kernelParts) { k.btf = k.btf[:30] }, func(i *Image) { i.StructModule = 0 }},
		{"a name that is none", func(k *kernelParts) {
			k.exports = append(slices.Clone(exports), Symbol{Name: "not a name"})
		}, func(i *Image) {
			i.Symbols, i.SymbolsKnown, i.NamespacesKnown, i.CRCsKnown = nil, false, false, false
		}},
		{"no modversions", func(k *kernelParts) { k.crcBytes = 0 }, func(i *Image) {
			i.Symbols = withoutCRCs(exports)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, err := read(t, parts(t).vmlinux())
			if err != nil {
				t.Fatal(err)
			}
			k := parts(t)
			tt.change(&k)
			tt.want(&want)
			got, err := read(t, k.vmlinux())
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
	good := bzImageOf(gzipped(t, parts(t).vmlinux()))
	edit := func(at int, with ...byte) []byte {
		data := slices.Clone(good)
		copy(data[at:], with)
		return data
	}
	again := parts(t).vmlinux()
	for range maxWraps {
		again = gzipped(t, again)
	}
	class32 := parts(t).vmlinux()
	class32[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	zboot := zbootOf(gzipped(t, parts(t).flat()))
	tests := []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "begins with", nil},
		{"text", "begins with 23 21 2f 62 69 6e 2f 73", []byte("#!/bin/sh\n")},
		{"a bzImage of 2007", "boot protocol 2.07 is older than 2.08", edit(bzVersion, 7, 2)},
		{"a bzImage cut short", "its payload is beyond its end", good[:len(good)-100]},
		{"a payload elsewhere", "its payload is beyond its end", edit(bzPayload, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		{"a payload of another kind", "no compression of one", edit(2*512+16, 0, 0)},
		{"a payload cut short", "its gzip payload: unexpected EOF", edit(bzPayload+4, 200, 0, 0, 0)},
		{"a zboot cut short", "an EFI zboot image cut short", zboot[:len(zboot)-1]},
		{"wrapped over and over", "compressed over and over", again},
		{"a 32-bit kernel", "not a 64-bit little-endian kernel", class32},
		{"another machine's", "EM_RISCV", elfOf(elf.ET_EXEC, elf.EM_RISCV, nil)},
		{"a module", "ELF of type ET_REL", elfOf(elf.ET_REL, elf.EM_X86_64, nil)},
		{"ELF cut short", "cut short in its header", []byte(elf.ELFMAG)},
		{"ELF without sections", "without the sections", parts(t).vmlinux()[:400]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(t, tt.data)
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ErrFormat with %q", err, tt.want)
			}
		})
	}
}

func TestReadIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := parts(t).vmlinux()
	if _, err := Read(ctx, bytes.NewReader(data), int64(len(data))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadIsBounded(t *testing.T) {
	if _, err := Read(t.Context(), bytes.NewReader(nil), maxFile+1); !errors.Is(err, ErrFormat) {
		t.Errorf("a file of %d bytes: %v", maxFile+1, err)
	}
	bomb := gzipped(t, make([]byte, 1<<20))
	if _, _, err := unpack(t.Context(), bomb, 1<<20-1); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a payload beyond the limit: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(path, bzImageOf(gzipped(t, parts(t).vmlinux())), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := Open(t.Context(), path)
	if err != nil || img.Release != "6.12.103-flatcar" {
		t.Errorf("release %q, %v", img.Release, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir, fifo} {
		if _, err := Open(t.Context(), bad); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Kbuild appends the content's size to every compression but gzip's; a file
// that somebody compressed has none.
func TestUnpack(t *testing.T) {
	want := parts(t).vmlinux()
	whole := zstdWithSize(t, want)
	for name, data := range map[string][]byte{"kbuild's": whole, "somebody's": whole[:len(whole)-4]} {
		got, content, err := unpack(t.Context(), data, maxPayload)
		if err != nil || got != "zstd" || !bytes.Equal(content, want) {
			t.Errorf("%s: %d bytes of %s, %v", name, len(content), got, err)
		}
	}
	whole[len(whole)-1]++
	zeros := append(whole[:len(whole)/2:len(whole)/2], 0, 0, 0, 0)
	for name, data := range map[string][]byte{"another size": whole, "cut short": whole[:len(whole)/2], "ends in zeros": zeros} {
		if _, _, err := unpack(t.Context(), data, maxPayload); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func withoutCRCs(list []Symbol) []Symbol {
	list = slices.Clone(list)
	for i := range list {
		list[i].CRC = 0
	}
	return list
}
