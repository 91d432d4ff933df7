package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/klauspost/compress/zstd"
)

// The kernels of these tests are small, and made here: an ELF file or a flat
// image of the parts that Read looks for, in any of the layouts that kernels
// have had. Real ones are in integration/.

const (
	banner = "Linux version 6.12.103-flatcar (build@pony) (x86_64-cros-linux-gnu-gcc (Gentoo Hardened 14.3.1) 14.3.1, GNU ld 2.44) #1 SMP PREEMPT_DYNAMIC Mon Aug 10 20:00:00 -00 2026"
	// The build's own banner, of kernels since 6.1, comes first.
	otherBanner = "Linux version 6.12.103-flatcar (build@pony) (gcc, ld) # SMP PREEMPT_DYNAMIC"
	config      = "CONFIG_MODULES=y\nCONFIG_LOCALVERSION=\"-flatcar\"\n"
)

var exports = []Symbol{
	{Name: "I_BDEV", CRC: 0xdeadbeef},
	{Name: "_printk", CRC: 0x92997ed8},
	{Name: "crypto_cipher_setkey", Namespace: "CRYPTO_INTERNAL", CRC: 0x7a2af7b4},
	{Name: "kvm_vcpu_read_guest", GPL: true, Namespace: "module:kvm-intel,kvm-amd", CRC: 0xffffffff},
	{Name: "pci_alloc_irq_vectors", GPL: true, CRC: 0x00000001},
	{Name: "zstd_reset_dstream", CRC: 0x8f2b5e3d},
}

// kernelParts is what goes into a small kernel.
type kernelParts struct {
	layout   layout
	crcBytes int // 4 or 8 a CRC, 0 for none
	crcsAway bool
	flagstab bool
	exports  []Symbol
	rodata   []byte
	btf      []byte
}

func parts(t testing.TB) kernelParts {
	return kernelParts{layout: layouts[0], crcBytes: 4, exports: exports, rodata: rodata(t), btf: moduleBTF(t)}
}

func rodata(t testing.TB) []byte {
	return slices.Concat([]byte("Linux version %s (%s)\n\x00"), []byte(otherBanner+"\n\x00"), []byte(banner+"\n\x00"),
		[]byte("IKCFG_ST"), gzipped(t, []byte(config)), []byte("IKCFG_ED\x00"))
}

func moduleBTF(t testing.TB) []byte {
	t.Helper()
	word := &btf.Int{Name: "int", Size: 4}
	s := &btf.Struct{Name: "module", Size: 1280, Members: []btf.Member{
		{Name: "state", Type: word}, {Name: "list", Type: word, Offset: 64}, {Name: "name", Type: word, Offset: 192}}}
	var b btf.Builder
	if _, err := b.Add(s); err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tables lays the export tables out one after the other from addr on, as
// kernels do.
func (k kernelParts) tables(addr uint64) []elfSection {
	var plain, gpl []Symbol
	flags := []byte{}
	for _, s := range k.exports {
		flag := byte(0)
		if s.GPL {
			flag = 1
		}
		flags = append(flags, flag)
		if s.GPL && !k.flagstab {
			gpl = append(gpl, s)
		} else {
			plain = append(plain, s)
		}
	}
	lists := []struct {
		suffix string
		list   []Symbol
	}{{"", plain}, {"_gpl", gpl}}

	text := []byte{0}
	at := map[string]uint64{"": 0}
	for _, s := range k.exports {
		for _, name := range []string{s.Name, s.Namespace} {
			if _, ok := at[name]; !ok {
				at[name] = uint64(len(text))
				text = append(text, name+"\x00"...)
			}
		}
	}
	crcs := addr + uint64(len(k.exports)*k.layout.size())
	away := crcs + uint64(len(k.exports)*k.crcBytes)
	strings := away
	if k.crcsAway {
		strings += uint64(4 * len(k.exports))
	}

	var sections []elfSection
	next := addr
	add := func(name string, data []byte) {
		sections = append(sections, elfSection{name, next, data})
		next += uint64(len(data))
	}
	for _, l := range lists {
		var table []byte
		for _, s := range l.list {
			for i, to := range []uint64{0xffffffff81000000, strings + at[s.Name], strings + at[s.Namespace]}[:k.layout.fields] {
				from := next + uint64(len(table))
				switch {
				case k.layout.word == 8:
					table = le.AppendUint64(table, to)
				case i == 2 && s.Namespace == "" && s.CRC%2 == 0: // a null pointer is as good as ""
					table = le.AppendUint32(table, 0)
				default:
					table = le.AppendUint32(table, uint32(to-from))
				}
			}
		}
		add("__ksymtab"+l.suffix, table)
	}
	var real []byte
	for _, l := range lists {
		var table []byte
		for _, s := range l.list {
			switch {
			case k.crcsAway:
				table = le.AppendUint32(table, uint32(away+uint64(len(real))-next-uint64(len(table))))
				real = le.AppendUint32(real, s.CRC)
			case k.crcBytes == 8:
				table = le.AppendUint64(table, uint64(s.CRC))
			case k.crcBytes == 4:
				table = le.AppendUint32(table, s.CRC)
			}
		}
		add("__kcrctab"+l.suffix, table)
	}
	add(".rodata.crcs", real)
	add("__ksymtab_strings", text)
	if k.flagstab {
		add("__kflagstab", flags)
	}
	return sections
}

// vmlinux is the kernel as an ELF file.
func (k kernelParts) vmlinux() []byte {
	sections := append([]elfSection{{}, {".rodata", 0xffffffff82000000, k.rodata}}, k.tables(0xffffffff82100000)...)
	sections = append(sections, elfSection{".BTF", 0xffffffff82800000, k.btf})
	return elfOf(elf.ET_EXEC, elf.EM_X86_64, sections)
}

func elfOf(kind elf.Type, machine elf.Machine, sections []elfSection) []byte {
	names := []byte{}
	sections = append(sections, elfSection{name: ".shstrtab"})
	headers := make([]elf.Section64, len(sections))
	for i := range sections {
		headers[i] = elf.Section64{Name: uint32(len(names)), Type: uint32(elf.SHT_PROGBITS), Addr: sections[i].addr}
		names = append(names, sections[i].name+"\x00"...)
	}
	sections[len(sections)-1].data = names
	h := elf.Header64{Type: uint16(kind), Machine: uint16(machine), Ehsize: 64, Shentsize: 64,
		Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1)}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	body := []byte{}
	for i, s := range sections {
		headers[i].Off, headers[i].Size = uint64(64+len(body)), uint64(len(s.data))
		body = append(body, s.data...)
	}
	h.Shoff = uint64(64 + len(body))
	out, _ := binary.Append(nil, le, h)
	out = append(out, body...)
	out, _ = binary.Append(out, le, headers)
	return out
}

// flat is the kernel as arm64's Image. Its exports are many, for the tables
// are known by their length.
func (k kernelParts) flat() []byte {
	data := make([]byte, 64)
	copy(data, "MZ")
	copy(data[56:], "ARM\x64")
	data = append(data, k.rodata...)
	data = append(data, make([]byte, -len(data)&7+8)...)
	for _, s := range k.tables(uint64(len(data))) {
		data = append(data, s.data...)
	}
	return append(append(data, 0), k.btf...)
}

func manyExports() []Symbol {
	var list []Symbol
	for i := range 2 * minExports {
		list = append(list,
			Symbol{Name: fmt.Sprintf("gpl_%04d", i), GPL: true, CRC: uint32(i) * 0x9e3779b1},
			Symbol{Name: fmt.Sprintf("plain_%04d", i), CRC: uint32(i)*0x9e3779b1 + 1})
	}
	list[7].Namespace = "EXPORTED_FOR_TESTS"
	slices.SortFunc(list, func(a, b Symbol) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list
}

// bzImageOf wraps a payload as x86's build does.
func bzImageOf(payload []byte) []byte {
	const setup = 2 * 512 // the boot sector and one more
	data := make([]byte, setup)
	data[bzSetupSects] = 1
	le.PutUint16(data[bzBootFlag:], 0xAA55)
	copy(data[bzMagic:], "HdrS")
	le.PutUint16(data[bzVersion:], 0x020f)
	le.PutUint16(data[bzKernelVersion:], 0x300-512)
	copy(data[0x300:], "6.12.103-flatcar (build@pony) #1 SMP PREEMPT_DYNAMIC\x00")
	le.PutUint32(data[bzPayload:], 16)
	le.PutUint32(data[bzPayload+4:], uint32(len(payload)))
	return slices.Concat(data, make([]byte, 16), payload, []byte("what the loader itself needs"))
}

func zbootOf(payload []byte) []byte {
	data := make([]byte, 64)
	copy(data, "MZ\x00\x00zimg")
	le.PutUint32(data[8:], 64)
	le.PutUint32(data[12:], uint32(len(payload)))
	copy(data[24:], "zstd")
	return append(data, payload...)
}

func gzipped(t testing.TB, data []byte) []byte {
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

// zstdWithSize is cmd_zstd22_with_size: the frame, and the content's size.
func zstdWithSize(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return le.AppendUint32(z.EncodeAll(data, nil), uint32(len(data)))
}
