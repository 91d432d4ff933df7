// Package loader knows what the part of a kernel that loads modules takes, as far as
// only the kernel's source tells it: which types of relocation. On x86-64
// R_X86_64_PLT32, which assemblers write since binutils 2.31, is there from Linux 4.16
// on and in stable releases of older lines, so that no version number tells.
package loader

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
)

// file is where x86-64 applies relocations, in the kernel's source.
const file = "arch/x86/kernel/module.c"

// applied are the types in apply_relocate_add's switch.
var applied = regexp.MustCompile(`(?m)^\s*case (R_X86_64_\w+):`)

// comment is C's.
var comment = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)

// maxSource is far above the size of the file.
const maxSource = 1 << 20

// Relocations are the types of relocation, by their names in the ELF specification of
// x86-64 ("R_X86_64_PC32"), that the loader in the kernel source at dir applies, sorted;
// nil where the source has not that file, as one that is no whole checkout.
func Relocations(dir string) ([]string, error) {
	text, err := beneath.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(text[:min(len(text), maxSource)]), nil
}

func parse(text []byte) (names []string) {
	for _, m := range applied.FindAllSubmatch(comment.ReplaceAll(text, nil), -1) {
		names = append(names, string(bytes.TrimSpace(m[1])))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
