package modules

import (
	"debug/elf"
	"strings"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
)

// Module is what a .ko file says of itself. Its strings are the file's own;
// its lists are in the file's order unless they say otherwise.
type Module struct {
	// Name is the module's name as lsmod has it, "snd_hda_intel". Siblings and
	// depends: use it, with "_" where the file's name may have "-".
	Name string
	// Path is where it was read, File the last part of it, "snd-hda-intel.ko".
	Path, File string
	// Size is the file's, in bytes.
	Size int64
	// SHA256 is the file's digest, 64 hexadecimal digits.
	SHA256 string
	// Defect says why the rest could not be read; empty in a sound module.
	Defect string

	// Vermagic is the version magic: the release it was built for, a space,
	// and the options that a kernel compares.
	Vermagic string
	// License, Version and SrcVersion are MODULE_LICENSE, MODULE_VERSION and
	// the digest of the sources that modpost adds; empty where absent.
	License, Version, SrcVersion string
	// Depends are the modules that modpost found it to need, by Name.
	Depends []string
	// Firmware are the files that MODULE_FIRMWARE names.
	Firmware []string
	// Parameters are those it takes, sorted by name.
	Parameters []Parameter

	// ELF is what a kernel's loader looks at: symbols, versions, relocations.
	ELF ko.File
	// Signature is the one appended to it.
	Signature Signature
}

// Parameter is one that a module takes.
type Parameter struct {
	Name string `json:"name"`
	// Type is the kernel's word for it: "int", "charp", "array of uint".
	Type string `json:"type,omitempty"`
	// Description is MODULE_PARM_DESC's.
	Description string `json:"description,omitempty"`
}

// Arch is the module's machine by the kernel's name for it, or the ELF
// constant's name where there is no [kernel.Arch] for the machine.
func (m Module) Arch() kernel.Arch {
	switch m.ELF.Machine {
	case elf.EM_X86_64:
		return kernel.X86_64
	case elf.EM_AARCH64:
		return kernel.AArch64
	}
	return kernel.Arch(m.ELF.Machine.String())
}

// canonical is a module's name as the kernel spells it. Files, a
// package's manifest and people write "-" where the kernel has "_".
func canonical(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(name, ".ko"), "-", "_")
}
