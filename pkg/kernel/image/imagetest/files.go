package imagetest

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// ELF is a file of the sections, the first of which is the empty one.
func ELF(kind elf.Type, machine elf.Machine, sections []Section) []byte {
	names := []byte{}
	sections = append(slices.Clone(sections), Section{Name: ".shstrtab"})
	headers := make([]elf.Section64, len(sections))
	for i, s := range sections {
		headers[i] = elf.Section64{Name: uint32(len(names)), Type: uint32(elf.SHT_PROGBITS), Addr: s.Addr}
		names = append(names, s.Name+"\x00"...)
	}
	sections[len(sections)-1].Data = names
	headers[len(sections)-1].Type = uint32(elf.SHT_STRTAB)
	h := elf.Header64{Type: uint16(kind), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Shentsize: 64,
		Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1)}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	body := []byte{}
	for i, s := range sections {
		headers[i].Off, headers[i].Size = uint64(64+len(body)), uint64(len(s.Data))
		body = append(body, s.Data...)
	}
	h.Shoff = uint64(64 + len(body))
	out, _ := binary.Append(nil, le, h) // of fixed size
	out = append(out, body...)
	out, _ = binary.Append(out, le, headers)
	return out
}

// BzImage wraps a compressed kernel as x86's build does
// (Documentation/arch/x86/boot.rst). The payload is at [BzImagePayload].
func BzImage(release string, payload []byte) []byte {
	const version = 0x300 // of the file, where the release is
	data := make([]byte, BzImagePayload-16)
	data[0x1f1] = 1 // sectors of setup code, behind the boot sector
	le.PutUint16(data[0x1fe:], 0xAA55)
	copy(data[0x202:], "HdrS")
	le.PutUint16(data[0x206:], 0x020f)
	le.PutUint16(data[0x20e:], version-512)
	copy(data[version:], release+" (build@pony) #1 SMP PREEMPT_DYNAMIC\x00")
	le.PutUint32(data[0x248:], 16)
	le.PutUint32(data[0x24c:], uint32(len(payload)))
	return slices.Concat(data, make([]byte, 16), payload, []byte("what the loader itself needs"))
}

// BzImagePayload is where the payload of a [BzImage] begins.
const BzImagePayload = 2*512 + 16

// Zboot wraps a compressed arm64 Image as EFI's generic loader.
func Zboot(payload []byte) []byte {
	data := make([]byte, 64)
	copy(data, "MZ\x00\x00zimg")
	le.PutUint32(data[8:], 64)
	le.PutUint32(data[12:], uint32(len(payload)))
	copy(data[24:], "zstd")
	return append(data, payload...)
}

// Gzip compresses as kbuild does with gzip.
func Gzip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Zstd compresses as kbuild does with zstd (cmd_zstd22_with_size): the frame,
// and the content's size in four bytes.
func Zstd(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return le.AppendUint32(z.EncodeAll(data, nil), uint32(len(data)))
}
