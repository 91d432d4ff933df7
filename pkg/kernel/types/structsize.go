package types

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// ErrNotFound is type information without the struct that was asked for.
var ErrNotFound = errors.New("no such struct in the type information")

// StructSize is the size in bytes of the struct called name that has all the
// given members, in raw BTF: the content of /sys/kernel/btf/vmlinux or of an
// ELF section .BTF. The members tell the kernel's struct from a namesake.
func StructSize(raw []byte, name string, members ...string) (int64, error) {
	spec, err := parse(raw)
	if err != nil {
		return 0, err
	}
	types, err := spec.AnyTypesByName(name)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return 0, err
	}
	for _, t := range types {
		if s, ok := t.(*btf.Struct); ok && hasMembers(s, members) {
			return int64(s.Size), nil
		}
	}
	return 0, fmt.Errorf("struct %s: %w", name, ErrNotFound)
}

func hasMembers(s *btf.Struct, members []string) bool {
	present := make(map[string]bool, len(s.Members))
	for _, m := range s.Members {
		present[m.Name] = true
	}
	for _, m := range members {
		if !present[m] {
			return false
		}
	}
	return true
}
