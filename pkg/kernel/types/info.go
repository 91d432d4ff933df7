package types

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// maxSize bounds what is parsed, in bytes: ten times what today's largest
// kernels have. The parser takes about three times the size in memory, and eight
// times where every type is looked at.
const maxSize = 64 << 20

// Info is the type information of a kernel, and of modules of its own.
type Info struct {
	kernel *btf.Spec
	// named are the types with a name, of all kinds, by that.
	named map[string][]btf.Type
	// constants are the values that constants of enums without a name have.
	constants map[string][]uint64
}

// Parse reads a kernel's type information: the content of /sys/kernel/btf/vmlinux
// or of its image's section .BTF.
func Parse(raw []byte) (*Info, error) {
	base, err := parse(raw)
	if err != nil {
		return nil, err
	}
	info := &Info{kernel: base, named: map[string][]btf.Type{}, constants: map[string][]uint64{}}
	return info, info.add(base)
}

func parse(raw []byte) (*btf.Spec, error) {
	if len(raw) > maxSize {
		return nil, fmt.Errorf("type information of %d bytes, of %d allowed", len(raw), maxSize)
	}
	return btf.LoadSpecFromReader(bytes.NewReader(raw))
}

// AddModule adds those of a module that was built with the kernel: the content of
// /sys/kernel/btf/MODULE or of its file's section .BTF, which refers to the
// kernel's ("split BTF").
func (i *Info) AddModule(raw []byte) error {
	if len(raw) > maxSize {
		return fmt.Errorf("type information of %d bytes, of %d allowed", len(raw), maxSize)
	}
	split, err := btf.LoadSplitSpecFromReader(bytes.NewReader(raw), i.kernel)
	if err != nil {
		return err
	}
	return i.add(split)
}

// add indexes the types of a spec. The library's own index takes "pid___v1" for a
// "pid" of its own (CO-RE's flavours), and the kernel has names with such a "___".
func (i *Info) add(s *btf.Spec) error {
	for t, err := range s.All() {
		if err != nil {
			return err
		}
		if name := t.TypeName(); name != "" {
			i.named[name] = append(i.named[name], t)
			continue
		}
		enum, ok := t.(*btf.Enum)
		if !ok {
			continue
		}
		for _, v := range enum.Values {
			if value := v.Value & valueMask; !slices.Contains(i.constants[v.Name], value) {
				i.constants[v.Name] = append(i.constants[v.Name], value)
			}
		}
	}
	return nil
}
