package imagetest

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/k8sp/cuda/pkg/kernel/image"
)

// Kernel is what goes into a small kernel. Its zero value is one that tells
// nothing.
type Kernel struct {
	// Release is what the setup header of a bzImage says.
	Release string
	// Banner is linux_banner, without its newline; none where it is empty.
	Banner string
	// Config is the text of an IKCONFIG kernel's .config; none where it is
	// empty.
	Config string
	// Exports are the kernel's own, sorted by name.
	Exports []image.Symbol
	// StructModule is sizeof(struct module) in bytes as .BTF has it; there is
	// no .BTF where it is 0.
	StructModule uint32
	// Machine is x86-64 where it is 0. A flat image is always of arm64.
	Machine elf.Machine

	// Layout is how the export tables are stored; its zero value is how they
	// have been since 5.4.
	Layout Layout
	// CRCs is how their checksums are.
	CRCs CRCs
	// Flagstab has all exports in one table, and their classes in
	// __kflagstab.
	Flagstab bool

	// BuildID is in the note of the linker's; there is no section .notes where
	// it is empty.
	BuildID string

	// Rodata is put behind banner and config; BTF in place of what
	// StructModule makes.
	Rodata, BTF []byte
}

// Layout is the form of struct kernel_symbol: its fields, each of Word bytes.
type Layout struct{ Word, Fields int }

// Layouts are those that kernels have had, the latest first.
var Layouts = []Layout{{4, 3}, {8, 3}, {4, 2}, {8, 2}}

func (l Layout) size() uint64 { return uint64(l.Word * l.Fields) }

// CRCs is a form of the tables of checksums.
type CRCs int

// The forms that kernels have had, and none.
const (
	CRCWords  CRCs = iota // 32 bits each, since 4.10
	CRCLongs              // 64 bits each, before
	CRCsApart             // 32-bit distances to them (MODULE_REL_CRCS)
	NoCRCs                // without MODVERSIONS
)

func (c CRCs) size() uint64 { return [...]uint64{CRCWords: 4, CRCLongs: 8, CRCsApart: 4, NoCRCs: 0}[c] }

// Section is one of an ELF file.
type Section struct {
	Name string
	Addr uint64
	Data []byte
}

// Flatcar is a kernel that tells everything: 6.12.103-flatcar's banner, a
// config of two lines, and an export of each kind.
func Flatcar() Kernel {
	return Kernel{
		Release: "6.12.103-flatcar",
		Banner:  "Linux version 6.12.103-flatcar (build@pony) (x86_64-cros-linux-gnu-gcc (Gentoo Hardened 14.3.1) 14.3.1, GNU ld 2.44) #1 SMP PREEMPT_DYNAMIC Mon Aug 10 20:00:00 -00 2026",
		Config:  "CONFIG_MODULES=y\nCONFIG_LOCALVERSION=\"-flatcar\"\n",
		Exports: []image.Symbol{
			{Name: "I_BDEV", CRC: 0xdeadbeef},
			{Name: "_printk", CRC: 0x92997ed8},
			{Name: "crypto_cipher_setkey", Namespace: "CRYPTO_INTERNAL", CRC: 0x7a2af7b4},
			{Name: "kvm_vcpu_read_guest", GPL: true, Namespace: "module:kvm-intel,kvm-amd", CRC: 0xffffffff},
			{Name: "pci_alloc_irq_vectors", GPL: true, CRC: 0x00000001},
			{Name: "zstd_reset_dstream", CRC: 0x8f2b5e3d},
		},
		StructModule: 1280,
		BuildID:      "\x0f\x1e\x2d\x3c",
	}
}

// ManyExports are as many as let a reader know the tables of a flat image,
// which nothing names, by their length.
func ManyExports() []image.Symbol {
	var list []image.Symbol
	for i := range 512 {
		list = append(list,
			image.Symbol{Name: fmt.Sprintf("gpl_%04d", i), GPL: true, CRC: uint32(i) * 0x9e3779b1},
			image.Symbol{Name: fmt.Sprintf("plain_%04d", i), CRC: uint32(i)*0x9e3779b1 + 1})
	}
	list[7].Namespace = "EXPORTED_FOR_TESTS"
	slices.SortFunc(list, func(a, b image.Symbol) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Vmlinux is the kernel as an ELF file.
func (k Kernel) Vmlinux(t testing.TB) []byte {
	return ELF(elf.ET_EXEC, cmp.Or(k.Machine, elf.EM_X86_64), k.Sections(t))
}

// Sections are those of Vmlinux.
func (k Kernel) Sections(t testing.TB) []Section {
	t.Helper()
	sections := []Section{{}, {".rodata", 0xffffffff82000000, k.rodata(t)}}
	if len(k.Exports) > 0 {
		sections = append(sections, k.tables(0xffffffff82100000)...)
	}
	if k.BuildID != "" {
		sections = append(sections, Section{".notes", 0xffffffff82700000, Notes(k.BuildID)})
	}
	return append(sections, Section{".BTF", 0xffffffff82800000, k.btf(t)})
}

// Notes are a kernel's ELF notes (elf(5)): one of Xen's, and the linker's with a
// build ID.
func Notes(buildID string) []byte {
	var b []byte
	for _, note := range []struct {
		name, content string
		kind          uint32
	}{{"Xen\x00", "6.12", 1}, {"GNU\x00", buildID, 3}} {
		for _, word := range []uint32{uint32(len(note.name)), uint32(len(note.content)), note.kind} {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
		b = append(append(b, note.name...), note.content...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// Flat is the kernel as arm64's Image.
func (k Kernel) Flat(t testing.TB) []byte {
	t.Helper()
	data := make([]byte, 64)
	copy(data, "MZ")
	copy(data[56:], "ARM\x64")
	data = append(data, k.rodata(t)...)
	data = append(data, make([]byte, -len(data)&7+8)...)
	for _, s := range k.tables(uint64(len(data))) {
		data = append(data, s.Data...)
	}
	return append(append(data, 0), k.btf(t)...)
}

// BzImage is the kernel as x86's boot loaders load it, compressed with zstd.
func (k Kernel) BzImage(t testing.TB) []byte {
	t.Helper()
	return BzImage(k.Release, Zstd(t, k.Vmlinux(t)))
}

// rodata has the banner among what a careless reader would take for it: the
// format of /proc/version's, and the build's own banner, which kernels have had
// since 6.1 and which comes first.
func (k Kernel) rodata(t testing.TB) []byte {
	var b bytes.Buffer
	if k.Banner != "" {
		before, _, _ := strings.Cut(k.Banner, " #1 ")
		fmt.Fprintf(&b, "Linux version %%s (%%s)\n\x00%s # SMP PREEMPT_DYNAMIC\n\x00%s\n\x00", before, k.Banner)
	}
	if k.Config != "" {
		fmt.Fprintf(&b, "IKCFG_ST%sIKCFG_ED\x00", Gzip(t, []byte(k.Config)))
	}
	b.Write(k.Rodata)
	return b.Bytes()
}

func (k Kernel) btf(t testing.TB) []byte {
	if k.BTF != nil || k.StructModule == 0 {
		return k.BTF
	}
	return BTF(t, k.StructModule)
}

// BTF is type information as /sys/kernel/btf/vmlinux has it, of a kernel whose
// struct module has size bytes.
func BTF(t testing.TB, size uint32) []byte {
	t.Helper()
	word := &btf.Int{Name: "int", Size: 4}
	s := &btf.Struct{Name: "module", Size: size, Members: []btf.Member{
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
