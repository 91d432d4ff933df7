// Package loader knows what the part of a kernel that loads modules takes, as far as
// only the kernel's source tells it. On x86-64 it applies relocations of the type
// R_X86_64_PLT32, which assemblers write since binutils 2.31, from Linux 4.16 on and in
// stable releases of older lines, and refuses to write over something from 4.15 on and in
// such releases: no version number tells.
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

// Loader is what a kernel's loader takes.
type Loader struct {
	// Relocations are the types of relocation that it applies, by their names in the ELF
	// specification of x86-64 ("R_X86_64_PC32"), sorted.
	Relocations []string `json:"relocations"`
	// WantsZeros says that it refuses a module in which there is something where a
	// relocation goes.
	WantsZeros bool `json:"wants_zeros"`
}

// Knows says whether it applies relocations of a type.
func (l Loader) Knows(relocation string) bool { return slices.Contains(l.Relocations, relocation) }

// Read reads the loader in the kernel source at dir; nil where the source has not that
// file, as one that is no whole checkout.
func Read(dir string) (*Loader, error) {
	text, err := beneath.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(text[:min(len(text), maxSource)]), nil
}

func parse(text []byte) *Loader {
	text = comment.ReplaceAll(text, nil)
	l := &Loader{WantsZeros: bytes.Contains(text, []byte("goto invalid_relocation;"))}
	for _, m := range applied.FindAllSubmatch(text, -1) {
		l.Relocations = append(l.Relocations, string(bytes.TrimSpace(m[1])))
	}
	slices.Sort(l.Relocations)
	l.Relocations = slices.Compact(l.Relocations)
	return l
}
