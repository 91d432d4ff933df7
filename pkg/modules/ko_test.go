package modules

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/k8sp/cuda/pkg/kernel"
)

const vermagic = "6.1.192-coreos-r1 SMP preempt mod_unload "

func recorded(name string) string { return filepath.Join("testdata", "ko", name) }

// driver is the recorded modules, in the order of a driver's manifest.
func driver(t *testing.T) []Module {
	t.Helper()
	mods, err := ReadAll([]string{recorded("nvidia.ko"), recorded("nvidia-uvm.ko"), recorded("nvidia-modeset.ko"), recorded("nvidia-drm.ko")})
	if err != nil {
		t.Fatal(err)
	}
	return mods
}

func TestRead(t *testing.T) {
	got, err := Read(recorded("nvidia.ko"))
	if err != nil {
		t.Fatal(err)
	}
	want := Module{
		Name: "nvidia", Path: recorded("nvidia.ko"), File: "nvidia.ko",
		Size: got.Size, SHA256: got.SHA256, // TestReadDigest
		ELF: got.ELF, Signature: got.Signature, // read elsewhere
		Vermagic: vermagic, License: "NVIDIA", Version: "535.261.03", SrcVersion: "0123456789ABCDEF0123456",
		Firmware: []string{"nvidia/535.261.03/gsp_ga10x.bin", "nvidia/535.261.03/gsp_tu10x.bin"},
		Parameters: []Parameter{
			{Name: "NVreg_ModifyDeviceFiles", Type: "int"},
			{Name: "NVreg_RegistryDwords", Type: "charp", Description: "Registry keys, as name=value:more"},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Signature{})); diff != "" {
		t.Error(diff)
	}
	if got.Arch() != kernel.X86_64 {
		t.Errorf("Arch = %s", got.Arch())
	}
}

func TestReadDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hello.ko")
	if err := os.WriteFile(path, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Read(path)
	if want := "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; m.SHA256 != want || m.Size != 6 {
		t.Errorf("digest %s of %d bytes, want %s of 6", m.SHA256, m.Size, want)
	}
	var format *FormatError
	if !errors.As(err, &format) || err.Error() != "hello.ko is not ELF" {
		t.Errorf("error %v", err)
	}
}

func TestReadDepends(t *testing.T) {
	for file, want := range map[string][]string{
		"nvidia.ko":         nil,
		"nvidia-uvm.ko":     {"nvidia"},
		"nvidia-modeset.ko": {"nvidia", "video"},
		"nvidia-drm.ko":     {"drm", "drm_kms_helper", "nvidia_modeset"},
	} {
		m, err := Read(recorded(file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, m.Depends); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

// bytesOf is a sound module's content, for a test to damage.
func bytesOf(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(recorded("nvidia.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReadDamaged(t *testing.T) {
	const shoff, shentsize, shnum, shstrndx = 40, 58, 60, 62 // of Elf64_Ehdr
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
	}
	// header is where the header of the section names' table is.
	header := func(b []byte) []byte {
		return b[binary.LittleEndian.Uint64(b[shoff:])+64*uint64(binary.LittleEndian.Uint16(b[shstrndx:])):]
	}
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		reason string
	}{
		"empty":  {func([]byte) []byte { return nil }, "is not ELF"},
		"a text": {func([]byte) []byte { return []byte("#!/bin/sh\nexit 0\n# and more\n") }, "is not ELF"},
		"32-bit": {func(b []byte) []byte {
			b[elf.EI_CLASS] = byte(elf.ELFCLASS32)
			return put16(46, 40)(put16(shentsize, 0)(b)) // where 32-bit ELF has it
		}, "is not 64-bit ELF"},
		"big-endian": {func(b []byte) []byte {
			b[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
			return put16(shentsize, 64<<8)(b)
		}, "is not little-endian ELF"},
		"no header":     {func(b []byte) []byte { return b[:40] }, "is cut short in its ELF header"},
		"half":          {func(b []byte) []byte { return b[:len(b)/2] }, "is cut short"},
		"no sections":   {put16(shnum, 0), "has no ELF sections"},
		"odd sections":  {put16(shentsize, 40), "has no ELF sections"},
		"no names":      {put16(shstrndx, 0xfff0), "has no ELF sections"},
		"many sections": {put16(shnum, 0xff00), "is cut short"},
		"far sections":  {func(b []byte) []byte { binary.LittleEndian.PutUint64(b[shoff:], 1<<63); return b }, "is cut short"},
		"huge names":    {func(b []byte) []byte { binary.LittleEndian.PutUint64(header(b)[32:], 1<<62); return b }, "is cut short"},
		"far names":     {func(b []byte) []byte { binary.LittleEndian.PutUint64(header(b)[24:], 1<<62); return b }, "is cut short"},
		"huge symbols": {func(b []byte) []byte {
			at := binary.LittleEndian.Uint64(b[shoff:])
			for ; binary.LittleEndian.Uint32(b[at+4:]) != uint32(elf.SHT_SYMTAB); at += 64 {
			}
			binary.LittleEndian.PutUint64(b[at+32:], 1<<40)
			return b
		}, "is cut short: a section is beyond its end"},
		"wrong ELF version": {func(b []byte) []byte { b[20] = 9; return b }, "is damaged ELF"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nvidia.ko")
			if err := os.WriteFile(path, c.damage(bytesOf(t)), 0o644); err != nil {
				t.Fatal(err)
			}
			m, err := Read(path)
			var format *FormatError
			if !errors.As(err, &format) || !strings.HasPrefix(format.Reason, c.reason) {
				t.Fatalf("error %v, want %q", err, c.reason)
			}
			if m.File != "nvidia.ko" || m.SHA256 == "" {
				t.Errorf("the file itself is not described: %+v", m)
			}
		})
	}
}

func TestReadAllGoesOn(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "nvidia-peermem.ko")
	if err := os.WriteFile(bad, []byte("no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	mods, err := ReadAll([]string{bad, recorded("nvidia.ko")})
	if err != nil {
		t.Fatal(err)
	}
	if len(mods) != 2 || mods[0].Defect != "is not ELF" || mods[0].Name != "nvidia_peermem" || mods[1].Defect != "" {
		t.Errorf("read %+v", mods)
	}
	if _, err := ReadAll([]string{filepath.Join(t.TempDir(), "none.ko")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if m, err := Read(t.TempDir()); err == nil {
		t.Errorf("a folder was read as %+v", m)
	}
}
