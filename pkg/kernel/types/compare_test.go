package types_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/types"
	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
)

// said is what comparing a record with a kernel says: of layouts, and of prototypes.
func said(t *testing.T, kernel []byte, record *types.Record) (layouts, prototypes types.Comparison) {
	t.Helper()
	info, err := types.Parse(kernel)
	if err != nil {
		t.Fatal(err)
	}
	return record.Layouts(info), record.Prototypes(info, []string{"pci_enable_device", "_printk", "memcpy", "this_cpu_off", "__fentry__"})
}

func clauses(c types.Comparison) (list []string) {
	for _, d := range c.Differences {
		list = append(list, d.String())
	}
	return list
}

func TestSameSource(t *testing.T) {
	source := typestest.New()
	layouts, prototypes := said(t, source.Kernel(t), source.Record(t))
	if layouts.Compared != 5 || len(layouts.Unknown) > 0 || len(layouts.Differences) > 0 {
		t.Errorf("layouts: %+v", layouts)
	}
	// One is assembly, and one nobody has declared.
	if diff := cmp.Diff(types.Comparison{Compared: 3, Unknown: []string{"memcpy"}, Undeclared: []string{"__fentry__"}}, prototypes); diff != "" {
		t.Errorf("prototypes (-want +got):\n%s", diff)
	}
}

// Each change of the source is said as a person would say it, and of what only follows
// from it that it is more.
func TestOtherSource(t *testing.T) {
	members := func(s *typestest.Side) []btf.Member { return s.Device.Members }
	for name, tt := range map[string]struct {
		change              func(source *typestest.Side)
		layouts, prototypes []string
	}{
		"inserted first": {func(s *typestest.Side) {
			for i := range members(s) {
				members(s)[i].Offset += 512
			}
			x := btf.Member{Name: "x", Type: &btf.Array{Type: typestest.ULong, Index: typestest.Int, Nelems: 8}}
			s.Device.Members, s.Device.Size = append([]btf.Member{x}, members(s)...), s.Device.Size+64
		}, []string{"struct pci_dev: member x is not in this kernel, member bus is at byte 0 in this kernel and at byte 64 in the source (and 8 more)"}, nil},
		"moved": {func(s *typestest.Side) {
			members(s)[1].Offset, members(s)[2].Offset = 96, 64
		}, []string{"struct pci_dev: member devfn is at byte 8 in this kernel and at byte 12 in the source, member lock is at byte 12 in this kernel and at byte 8 in the source"}, nil},
		"widened into a hole": {func(s *typestest.Side) {
			s.Bus.Members[0].Type = typestest.Long
		}, []string{"struct pci_bus: member number takes 4 bytes in this kernel and 8 bytes in the source"}, nil},
		"renamed": {func(s *typestest.Side) {
			members(s)[1].Name = "function"
		}, []string{"struct pci_dev: member function is not in this kernel, member devfn of this kernel, at byte 8, is not in the source"}, nil},
		"signed": {func(s *typestest.Side) {
			members(s)[5].Type.(*btf.Union).Members[0].Type = typestest.Long
		}, []string{"struct pci_dev: member sriov is long unsigned int in this kernel and long int in the source"}, nil},
		"a bit more": {func(s *typestest.Side) {
			members(s)[3].BitfieldSize = 2
			members(s)[4].Offset++
		}, []string{"struct pci_dev: member is_busmaster takes 1 bit in this kernel and 2 bits in the source, member is_virtfn is at byte 16, bit 1 in this kernel and at byte 16, bit 2 in the source"}, nil},
		"another function in a struct": {func(s *typestest.Side) {
			p := members(s)[6].Type.(*btf.Pointer).Target.(*btf.FuncProto)
			p.Params = append(p.Params, btf.FuncParam{Type: typestest.Int})
		}, []string{"struct pci_dev: member reset takes 1 argument in this kernel and 2 arguments in the source"}, nil},
		"inside a type without a name": {func(s *typestest.Side) {
			spin := s.Spin.Type.(*btf.Struct)
			spin.Members[0].Type, spin.Size = typestest.Long, 8
		}, []string{
			"typedef spinlock_t: member raw takes 4 bytes in this kernel and 8 bytes in the source, its size is 4 bytes in this kernel and 8 in the source",
			"struct pci_dev: member lock takes 4 bytes in this kernel and 8 bytes in the source",
		}, nil},
		"an enumerator inserted": {func(s *typestest.Side) {
			s.State.Values = []btf.EnumValue{{Name: "PCI_D0"}, {Name: "PCI_D1", Value: 1}, {Name: "PCI_D3", Value: 4}}
		}, []string{"enum pci_state: PCI_D1 is not in this kernel, PCI_D3 is 3 in this kernel and 4 in the source"}, nil},
		"a constant moved": {func(s *typestest.Side) {
			s.Flags.Values[1].Value = 2
		}, []string{"constant PG_DIRTY: it is 1 in this kernel and 2 in the source"}, nil},
		"a union for a struct": {func(s *typestest.Side) {
			s.Slot.Members[1].Name = "all"
		}, []string{"union pci_slot: member all is not in this kernel, member bits of this kernel, at byte 0, is not in the source"}, nil},
		"an argument more": {func(s *typestest.Side) {
			f := s.Functions["pci_enable_device"]
			f.Params = append(f.Params, btf.FuncParam{Type: typestest.Int})
		}, nil, []string{"pci_enable_device(): takes 1 argument in this kernel and 2 arguments in the source"}},
		"an argument of another type": {func(s *typestest.Side) {
			s.Functions["pci_enable_device"].Params[0].Type = &btf.Pointer{Target: s.Bus}
		}, nil, []string{"pci_enable_device(): argument 1 is struct pci_dev * in this kernel and struct pci_bus * in the source"}},
		"another value": {func(s *typestest.Side) {
			s.Functions["pci_enable_device"].Return = (*btf.Void)(nil)
		}, nil, []string{"pci_enable_device(): returns int in this kernel and void in the source"}},
		"no more arguments": {func(s *typestest.Side) {
			f := s.Functions["_printk"]
			f.Params = f.Params[:1]
		}, nil, []string{"_printk(): takes 1 argument and more in this kernel and 1 argument in the source"}},
		"another variable": {func(s *typestest.Side) {
			s.Variables["this_cpu_off"] = typestest.Int
		}, nil, []string{"this_cpu_off: is long unsigned int in this kernel and int in the source"}},
		"const, volatile and other names": {func(s *typestest.Side) {
			members(s)[1].Type = &btf.Volatile{Type: &btf.Typedef{Name: "s32", Type: typestest.Int}}
			s.Functions["_printk"].Params[0] = btf.FuncParam{Type: &btf.Pointer{Target: typestest.Char}}
		}, nil, nil},
		"an array of one more": {func(s *typestest.Side) {
			s.Variables["this_cpu_off"] = &btf.Array{Type: typestest.Long, Index: typestest.Int, Nelems: 2}
		}, nil, []string{"this_cpu_off: is long unsigned int in this kernel and long int[2] in the source"}},
		"what an older pahole says of char and float": {func(s *typestest.Side) {
			char := &btf.Pointer{Target: &btf.Const{Type: &btf.Int{Name: "char", Size: 1}}}
			s.Functions["_printk"].Params[0] = btf.FuncParam{Type: char}
			members(s)[5].Type.(*btf.Union).Members[0].Type = &btf.Float{Name: "double", Size: 8}
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			source := typestest.New()
			tt.change(source)
			layouts, prototypes := said(t, typestest.New().Kernel(t), source.Record(t))
			if diff := cmp.Diff(tt.layouts, clauses(layouts)); diff != "" {
				t.Errorf("layouts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.prototypes, clauses(prototypes)); diff != "" {
				t.Errorf("prototypes (-want +got):\n%s", diff)
			}
		})
	}
}

// What one pahole writes as an array of arrays another writes as one.
func TestArrays(t *testing.T) {
	array := func(of btf.Type, n uint32) btf.Type { return &btf.Array{Type: of, Index: typestest.Int, Nelems: n} }
	with := func(of btf.Type) *typestest.Side {
		s := typestest.New()
		s.Slot.Members = append(s.Slot.Members, btf.Member{Name: "words", Type: of})
		return s
	}
	kernel := with(array(array(typestest.Char, 4), 2)).Kernel(t)
	for name, tt := range map[string]struct {
		source btf.Type
		same   bool
	}{
		"the same":          {array(array(typestest.Char, 4), 2), true},
		"flat":              {array(typestest.Char, 8), true},
		"of other elements": {array(typestest.Int, 2), false},
		"of more":           {array(array(typestest.Char, 4), 3), false},
	} {
		if layouts, _ := said(t, kernel, with(tt.source).Record(t)); (len(layouts.Differences) == 0) != tt.same {
			t.Errorf("%s: %q", name, clauses(layouts))
		}
	}
}

// Where the kernel has several types of a name, one has to be the source's; one that it
// only declares is none.
func TestNamesakes(t *testing.T) {
	source := typestest.New()
	other := &btf.Struct{Name: "pci_bus", Size: 4, Members: []btf.Member{{Name: "mine", Type: typestest.Int}}}
	layouts, _ := said(t, source.Kernel(t, other, &btf.Fwd{Name: "pci_slot", Kind: btf.FwdUnion}), source.Record(t))
	if layouts.Compared != 5 || len(layouts.Differences) > 0 {
		t.Errorf("with the right one among them: %+v", layouts)
	}
	wrong := typestest.New()
	wrong.Bus.Members[0].Name = "nr"
	layouts, _ = said(t, wrong.Kernel(t, other), source.Record(t))
	if got := clauses(layouts); len(got) != 1 || !strings.Contains(got[0], "member number is not in this kernel") {
		t.Errorf("with none: %q", got)
	}
}

// What the kernel knows nothing of is counted.
func TestUnknown(t *testing.T) {
	source := typestest.New()
	record, err := types.NewRecord(source.Modules(t, &btf.Struct{Name: "unused", Size: 4, Members: []btf.Member{{Name: "n", Type: typestest.Int}}}))
	if err != nil {
		t.Fatal(err)
	}
	layouts, _ := said(t, source.Kernel(t), record)
	if diff := cmp.Diff([]string{"struct unused"}, layouts.Unknown); diff != "" || layouts.Compared != 5 {
		t.Errorf("%d compared, unknown (-want +got):\n%s", layouts.Compared, diff)
	}
}

func TestRecordReadsBack(t *testing.T) {
	wrong := typestest.New()
	wrong.Bus.Members[0].Name = "nr"
	record := wrong.Record(t)
	var file, again bytes.Buffer
	if err := record.Write(&file); err != nil {
		t.Fatal(err)
	}
	if err := record.Write(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
		t.Errorf("written twice it is two files: %v", err)
	}
	read, err := types.ReadRecord(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	kernel := typestest.New().Kernel(t)
	want, _ := said(t, kernel, record)
	got, _ := said(t, kernel, read)
	if diff := cmp.Diff(clauses(want), clauses(got)); diff != "" || len(got.Differences) == 0 {
		t.Errorf("read back it says something else (-want +got):\n%s", diff)
	}
}

func TestRecordOfDamage(t *testing.T) {
	var whole bytes.Buffer
	if err := typestest.New().Record(t).Write(&whole); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"empty": nil, "no gzip": []byte("struct pci_dev"), "cut short": whole.Bytes()[:whole.Len()-20],
	} {
		if _, err := types.ReadRecord(bytes.NewReader(file)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := types.NewRecord(typestest.New().Kernel(t)); err == nil || !strings.Contains(err.Error(), types.ImportsStruct) {
		t.Errorf("a kernel's for a record: %v", err)
	}
}

// A module's types come with the kernel's.
func TestAddModule(t *testing.T) {
	source := typestest.New()
	base := source.Kernel(t)
	info, err := types.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	record, err := types.NewRecord(source.Modules(t, drm(8)))
	if err != nil {
		t.Fatal(err)
	}
	if got := record.Layouts(info); !slices.Contains(got.Unknown, "struct drm_device") {
		t.Errorf("without the module: %+v", got)
	}
	if err := info.AddModule(split(t, base, drm(16))); err != nil {
		t.Fatal(err)
	}
	if got := clauses(record.Layouts(info)); len(got) != 1 || !strings.HasPrefix(got[0], "struct drm_device: ") {
		t.Errorf("with another module: %q", got)
	}
	if err := info.AddModule([]byte("no BTF")); err == nil {
		t.Error("what is no BTF is added")
	}
}

// drm is a struct that a module has of its own.
func drm(size uint32) *btf.Struct {
	return &btf.Struct{Name: "drm_device", Size: size, Members: []btf.Member{{Name: "dev", Type: typestest.ULong}}}
}

// split is the type information of a module with one struct, whose members are the
// kernel's: its types and strings are numbered on from the kernel's.
func split(t *testing.T, base []byte, s *btf.Struct) []byte {
	t.Helper()
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(base))
	if err != nil {
		t.Fatal(err)
	}
	long, err := spec.AnyTypeByName(s.Members[0].Type.TypeName())
	if err != nil {
		t.Fatal(err)
	}
	id, err := spec.TypeID(long)
	if err != nil {
		t.Fatal(err)
	}
	const header = 24
	order := binary.LittleEndian
	from := order.Uint32(base[20:]) // the length of the kernel's strings
	strings := s.Name + "\x00" + s.Members[0].Name + "\x00"
	types := []uint32{from, 4<<24 | 1, s.Size, from + uint32(len(s.Name)+1), uint32(id), 0} // BTF_KIND_STRUCT of one member
	raw := []byte{0x9f, 0xeb, 1, 0}
	for _, word := range append([]uint32{header, 0, uint32(4 * len(types)), uint32(4 * len(types)), uint32(len(strings))}, types...) {
		raw = order.AppendUint32(raw, word)
	}
	return append(raw, strings...)
}

// Type information that was made to explode ends, and does not pass.
func TestExplosions(t *testing.T) {
	nothing := &btf.Struct{}
	function := &btf.FuncProto{Return: (*btf.Void)(nil)}
	for range 60 {
		nothing = &btf.Struct{Members: []btf.Member{{Type: nothing}, {Type: nothing}}}
		pointer := &btf.Pointer{Target: function}
		function = &btf.FuncProto{Return: pointer, Params: []btf.FuncParam{{Type: pointer}, {Type: pointer}}}
	}
	exploding := typestest.New()
	exploding.Bus.Members = append(exploding.Bus.Members, btf.Member{Type: nothing}, btf.Member{Name: "f", Type: &btf.Pointer{Target: function}})
	layouts, _ := said(t, exploding.Kernel(t), exploding.Record(t))
	if got := clauses(layouts); len(got) == 0 || !strings.Contains(got[len(got)-1], "not all were compared") {
		t.Errorf("%q", got)
	}
}

// A record with one struct over and over, each of them large, ends in bounded memory, and
// does not pass.
func TestRepetitions(t *testing.T) {
	source := typestest.New()
	wide := &btf.Struct{}
	for i := range 10_000 {
		wide.Members = append(wide.Members, btf.Member{Name: fmt.Sprint("m", i), Type: typestest.Int})
	}
	var many []btf.Type
	for range 500 {
		many = append(many, &btf.Struct{Name: "pci_dev", Size: 1, Members: []btf.Member{{Type: wide}, {Type: wide}}})
	}
	record, err := types.NewRecord(source.Modules(t, many...))
	if err != nil {
		t.Fatal(err)
	}
	var layouts types.Comparison
	taken := testkit.Allocated(func() { layouts, _ = said(t, source.Kernel(t), record) })
	if len(layouts.Differences) != 3 || taken > 64<<20 {
		t.Errorf("%d differences, %d bytes taken", len(layouts.Differences), taken)
	}
}

// Whatever is in a share is compared, or refused, in bounded memory.
func FuzzRecord(f *testing.F) {
	source := typestest.New()
	kernel, err := types.Parse(source.Kernel(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(source.Modules(f))
	f.Add(source.Kernel(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		taken := testkit.Allocated(func() {
			record, err := types.NewRecord(raw)
			if err != nil {
				return
			}
			record.Layouts(kernel)
			record.Prototypes(kernel, []string{"pci_enable_device", "_printk"})
		})
		if allowed := uint64(4<<20 + 2000*len(raw)); taken > allowed {
			t.Errorf("%d bytes taken for %d bytes", taken, len(raw))
		}
	})
}
