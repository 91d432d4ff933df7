package kernel

// Target is everything the job knows about the kernel that it builds for. It
// is plain data: made once by [Detect], passed on, never changed. Each part
// names the file that it was read from, relative to the host root.
type Target struct {
	// Release is `uname -r`, taken apart.
	Release Release `json:"release"`
	// Arch is the kernel's architecture, not the image's.
	Arch Arch `json:"arch"`
	// Distribution is the host's, from its own os-release; the zero value
	// where that file was not to be seen.
	Distribution Distribution `json:"distribution"`
	// Compiler is the one that built the kernel; the zero value where
	// neither proc/version nor the config names it.
	Compiler Compiler `json:"compiler"`
	// Config is the kernel's own .config.
	Config Config `json:"config"`
	// Exports are the symbols that the kernel offers to modules.
	Exports Exports `json:"exports"`
}

// Arch is a kernel architecture by NVIDIA's and uname's name for it.
type Arch string

// The architectures that NVIDIA ships Linux drivers for and that CoreOS's
// successors run on.
const (
	X86_64  Arch = "x86_64"
	AArch64 Arch = "aarch64"
)

// Distribution is what a host's os-release says of it (os-release(5)).
type Distribution struct {
	ID         string `json:"id"`          // "coreos", "flatcar", "debian"
	VersionID  string `json:"version_id"`  // "1185.3.0", "4459.2.1", "12"
	PrettyName string `json:"pretty_name"` // as a person would say it
	From       string `json:"from"`        // "etc/os-release"
}

// Compiler is the compiler that built a kernel.
type Compiler struct {
	// Name is "gcc" or "clang".
	Name string `json:"name"`
	// Major and Version are 13 and "13.3.1" of gcc 13.3.1.
	Major   int    `json:"major"`
	Version string `json:"version"`
	// Banner is the text that they were read from.
	Banner string `json:"banner"`
	From   string `json:"from"` // "proc/version"
}

// Symbol is one export of a kernel or of a module in its tree.
type Symbol struct {
	Name string
	// Module is "vmlinux", or the in-tree module that exports the symbol.
	Module string
	// License says whether every module may use it or only GPL-compatible
	// ones; a source that cannot tell leaves it unknown.
	License License
	// Namespace is the export's namespace; meaningful only where
	// Exports.Namespaces is set.
	Namespace string
	// CRC is its modversions checksum; meaningful only where Exports.CRCs
	// is set.
	CRC uint32
}

// License is which modules a symbol is exported to.
type License uint8

// The classes of export; since 5.12 there is no other.
const (
	LicenseUnknown License = iota
	LicenseAny             // EXPORT_SYMBOL
	LicenseGPL             // EXPORT_SYMBOL_GPL
)

// Exports are the symbols a kernel offers, sorted by name.
type Exports struct {
	Symbols []Symbol `json:"-"`
	// Digest is sha256:HEX over the symbols, so that two targets compare.
	Digest string `json:"digest"`
	// Licenses, Namespaces and CRCs say what the source could know.
	Licenses   bool   `json:"licenses"`
	Namespaces bool   `json:"namespaces"`
	CRCs       bool   `json:"crcs"`
	From       string `json:"from"` // "proc/kallsyms"
}
