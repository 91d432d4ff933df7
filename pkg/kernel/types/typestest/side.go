// Package typestest makes small type information for tests: of a kernel, and of
// modules that were compiled with the same source or with another.
package typestest

import (
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/k8sp/cuda/pkg/kernel/types"
)

// Side is a source: change what it holds, and it is another one.
type Side struct {
	// Bus is struct pci_bus; Device, struct pci_dev, points to it and holds Spin, the
	// typedef spinlock_t of a struct without a name.
	Bus, Device *btf.Struct
	Spin        *btf.Typedef
	// Slot, union pci_slot, is in no other.
	Slot *btf.Union
	// State is enum pci_state; Flags is an enum without a name.
	State, Flags *btf.Enum
	// Functions and Variables are those of the kernel, by name: pci_enable_device,
	// _printk and memcpy; this_cpu_off.
	Functions map[string]*btf.FuncProto
	Variables map[string]btf.Type
}

// The integers of C.
var (
	Int   = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	Long  = &btf.Int{Name: "long int", Size: 8, Encoding: btf.Signed}
	ULong = &btf.Int{Name: "long unsigned int", Size: 8}
	Char  = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
)

// New is the source that all changes begin with.
func New() *Side {
	bus := &btf.Struct{Name: "pci_bus", Size: 16, Members: []btf.Member{
		{Name: "number", Type: Int}, {Name: "parent", Type: &btf.Pointer{Target: &btf.Fwd{Name: "pci_bus", Kind: btf.FwdStruct}}, Offset: 64},
	}}
	spin := &btf.Typedef{Name: "spinlock_t", Type: &btf.Struct{Size: 4, Members: []btf.Member{{Name: "raw", Type: Int}}}}
	device := &btf.Struct{Name: "pci_dev", Size: 40, Members: []btf.Member{
		{Name: "bus", Type: &btf.Pointer{Target: bus}},
		{Name: "devfn", Type: Int, Offset: 64},
		{Name: "lock", Type: spin, Offset: 96},
		{Name: "is_busmaster", Type: Int, Offset: 128, BitfieldSize: 1},
		{Name: "is_virtfn", Type: Int, Offset: 129, BitfieldSize: 1},
		{Type: &btf.Union{Size: 8, Members: []btf.Member{{Name: "sriov", Type: ULong}, {Name: "physfn", Type: ULong}}}, Offset: 192},
	}}
	device.Members = append(device.Members, btf.Member{
		Name: "reset", Offset: 256, Type: &btf.Pointer{Target: &btf.FuncProto{Return: Int, Params: []btf.FuncParam{{Type: &btf.Pointer{Target: device}}}}},
	})
	return &Side{
		Bus: bus, Device: device, Spin: spin,
		Slot:  &btf.Union{Name: "pci_slot", Size: 8, Members: []btf.Member{{Name: "number", Type: Int}, {Name: "bits", Type: ULong}}},
		State: &btf.Enum{Name: "pci_state", Size: 4, Values: []btf.EnumValue{{Name: "PCI_D0", Value: 0}, {Name: "PCI_D3", Value: 3}}},
		Flags: &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "PG_LOCKED", Value: 0}, {Name: "PG_DIRTY", Value: 1}}},
		Functions: map[string]*btf.FuncProto{
			"pci_enable_device": {Return: Int, Params: []btf.FuncParam{{Name: "dev", Type: &btf.Pointer{Target: device}}}},
			"_printk":           {Return: Int, Params: []btf.FuncParam{{Name: "fmt", Type: &btf.Pointer{Target: &btf.Const{Type: Char}}}, {Type: (*btf.Void)(nil)}}},
			"memcpy":            {Return: (*btf.Void)(nil)}, // as assembly seems to be
		},
		Variables: map[string]btf.Type{"this_cpu_off": ULong},
	}
}

func (s *Side) types() []btf.Type {
	return []btf.Type{s.Bus, s.Device, s.Spin, s.Slot, s.State, s.Flags}
}

// Kernel is the type information of the kernel that is built from the source, and of
// further types.
func (s *Side) Kernel(t testing.TB, more ...btf.Type) []byte {
	list := append(s.types(), more...)
	for _, name := range slices.Sorted(maps.Keys(s.Functions)) {
		f := s.Functions[name]
		list = append(list, &btf.Func{Name: name, Type: f, Linkage: btf.StaticFunc})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		list = append(list, &btf.Var{Name: name, Type: s.Variables[name], Linkage: btf.GlobalVar})
	}
	return Types(t, list...)
}

// Modules is that of what is compiled with its headers, which declare memcpy as C does.
func (s *Side) Modules(t testing.TB, more ...btf.Type) []byte {
	imports := &btf.Struct{Name: types.ImportsStruct}
	declare := func(name string, declared btf.Type) {
		imports.Members = append(imports.Members, btf.Member{Name: name, Type: &btf.Pointer{Target: declared}, Offset: btf.Bits(64 * len(imports.Members))})
		imports.Size += 8
	}
	for _, name := range slices.Sorted(maps.Keys(s.Functions)) {
		f := s.Functions[name]
		if name == "memcpy" {
			pointer := &btf.Pointer{Target: (*btf.Void)(nil)}
			f = &btf.FuncProto{Return: pointer, Params: []btf.FuncParam{{Type: pointer}, {Type: pointer}, {Type: ULong}}}
		}
		declare(name, f)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		declare(name, s.Variables[name])
	}
	return Types(t, append(append(s.types(), imports), more...)...)
}

// Record is the same as a record.
func (s *Side) Record(t testing.TB) *types.Record {
	r, err := types.NewRecord(s.Modules(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Types is the type information of any types.
func Types(t testing.TB, list ...btf.Type) []byte {
	t.Helper()
	var b btf.Builder
	for _, typ := range list {
		if _, err := b.Add(typ); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
