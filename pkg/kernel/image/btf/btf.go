// Package btf answers the one question that the job has for a kernel's type
// information: how large is this struct? The format is the kernel's BTF
// (Documentation/bpf/btf.rst); reading it is the work of cilium/ebpf, of which
// nothing else is used.
package btf

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// maxSize bounds what is parsed, in bytes: ten times what today's largest
// kernels have. The parser takes about three times the size in memory.
const maxSize = 64 << 20

// ErrNotFound is type information without the struct that was asked for.
var ErrNotFound = errors.New("no such struct in the type information")

// StructSize is the size in bytes of the struct called name that has all the
// given members, in raw BTF: the content of /sys/kernel/btf/vmlinux or of an
// ELF section .BTF. The members tell the kernel's struct from a namesake.
func StructSize(raw []byte, name string, members ...string) (int64, error) {
	if len(raw) > maxSize {
		return 0, fmt.Errorf("type information of %d bytes, of %d allowed", len(raw), maxSize)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
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
