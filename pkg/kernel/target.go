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
	// Builder is who built the kernel, "debian-kernel@lists.debian.org", by
	// its banner; empty where that was not to be seen.
	Builder string `json:"builder"`
	// BuildID is the linker's identifier of that very build of the kernel; the
	// zero value where it was not to be seen.
	BuildID BuildID `json:"build_id"`
	// Compiler is the one that built the kernel; the zero value where
	// neither proc/version nor the config names it.
	Compiler Compiler `json:"compiler"`
	// Config is the kernel's own .config.
	Config Config `json:"config"`
	// Exports are the symbols that the kernel offers to modules.
	Exports Exports `json:"exports"`
	// StructModule is the size of the kernel's struct module.
	StructModule StructModule `json:"struct_module"`
	// Types is where its type information is.
	Types TypeInfo `json:"types"`
	// Signing is what the kernel asks of a module's signature.
	Signing Signing `json:"signing"`
	// Sample is one of the host's own modules, which that kernel is known
	// to load; the zero value where none can be read.
	Sample Sample `json:"sample"`
	// Tree is the host's own build tree; the zero value where it has none.
	Tree HostTree `json:"tree"`
	// PCI are the devices on the host's PCI bus, by address; none where the bus
	// cannot be seen, and of a captured host those that were kept. Hosts that
	// share a kernel and a share may differ in them, so they are no part of a
	// target's JSON.
	PCI []PCIDevice `json:"-"`
	// InTree are the modules that came with the kernel; none where its modules.dep was
	// not to be seen. What of them a driver needs is in its manifest.
	InTree Dependencies `json:"-"`
	// Captured says that a capture told all this: what it does not tell, no mount shows.
	Captured bool `json:"-"`
}

// BuildID identifies a build of a kernel: every other, of the same source too,
// has another one.
type BuildID struct {
	Hex  string `json:"hex"`
	From string `json:"from"` // "sys/kernel/notes"
}

// PCIDevice is a device on a PCI bus.
type PCIDevice struct {
	Address string // "0000:65:00.0"
	// Vendor and Device are its identifiers, Class its class code (base
	// class, subclass and programming interface: 0x030200).
	Vendor, Device uint16
	Class          uint32
}

// StructModule is the size of struct module, which a kernel since 6.4 compares
// with the section .gnu.linkonce.this_module of a module that it loads.
type StructModule struct {
	// Bytes is 0 where the size is not known.
	Bytes int64  `json:"bytes"`
	From  string `json:"from"` // "sys/kernel/btf/vmlinux"
}

// Enforcement says whether a kernel refuses modules without a valid signature.
type Enforcement string

// Unknown is a kernel whose config leaves it open and whose command line and
// lockdown state cannot be seen.
const (
	EnforcementUnknown Enforcement = ""
	Enforced           Enforcement = "enforced"
	NotEnforced        Enforcement = "not-enforced"
)

// Signing is a kernel's demand for signatures on modules.
type Signing struct {
	// Checked is CONFIG_MODULE_SIG: a signature that is there is verified.
	Checked bool `json:"checked"`
	// Enforcement says whether there must be one.
	Enforcement Enforcement `json:"enforcement"`
	// Hash is CONFIG_MODULE_SIG_HASH, "sha256".
	Hash string `json:"hash"`
	// From is what the enforcement was read from: "CONFIG_MODULE_SIG_FORCE",
	// "module.sig_enforce in proc/cmdline", "sys/kernel/security/lockdown".
	From string `json:"from"`
	// Keys are the subject key identifiers, in lower-case hex, of the keys
	// that the kernel holds. A module that one of them signed need not be
	// accepted: proc/keys does not tell the keyring that modules are verified
	// with from the ones for other uses. One that none of them signed is not.
	Keys []string `json:"keys,omitempty"`
	// KeysFrom is where they were read; empty where no keyring is to be seen.
	KeysFrom string `json:"keys_from,omitempty"`
	// OtherKeyrings are those that hold keys which modules are not verified
	// with: ".platform". Without any, all of Keys are for modules.
	OtherKeyrings []string `json:"other_keyrings,omitempty"`
}

// Sample is a module of the host's own.
type Sample struct {
	Name     string `json:"name"`
	Vermagic string `json:"vermagic"`
	// ThisModule is the size in bytes of its .gnu.linkonce.this_module.
	ThisModule int64  `json:"this_module"`
	From       string `json:"from"` // "lib/modules/REL/kernel/…"
}

// HostTree is what a host has to build modules against, by its paths on this
// machine. They are no part of a target's JSON: the same host may be mounted
// elsewhere the next time.
type HostTree struct {
	// Build holds the config, the generated headers and Module.symvers.
	Build string `json:"-"`
	// Source holds the headers and scripts; the same folder where the tree
	// is whole.
	Source string `json:"-"`
	From   string `json:"from"` // "lib/modules/REL/build"
	// Loader runs the tree's programs where this system's own does not, as it was
	// linked against a newer C library; the zero value where the host's is not to be seen.
	Loader Loader `json:"-"`
}

// Loader is a system's dynamic loader, ld.so(8), and the folders that it finds
// libraries in.
type Loader struct {
	Path      string
	Libraries []string
}

// Folders are what has to be seen to run a program by the loader; none where there is
// no loader.
func (l Loader) Folders() []string {
	if l.Path == "" {
		return nil
	}
	return append([]string{l.Path}, l.Libraries...)
}

// Folders are those of the tree; none where there is no tree.
func (t HostTree) Folders() []string {
	if t.Build == "" {
		return nil
	}
	return []string{t.Build, t.Source}
}

// Arch is a kernel architecture by uname's name for it.
type Arch string

// The architectures that CoreOS's successors run on.
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
	// Namespace is the export's namespace, empty where it has none;
	// NamespaceKnown is false where the source could not tell.
	Namespace      string
	NamespaceKnown bool
	// CRC is its modversions checksum, 0 in a kernel without them; CRCKnown
	// is false where the source could not tell.
	CRC      uint32
	CRCKnown bool
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
	// Digest is sha256:HEX over the kernel's own exports, so that two targets
	// compare. Which of its modules are installed, loaded or read does not count.
	Digest string `json:"digest"`
	// From is where the kernel's own exports were read.
	From string `json:"from"` // "boot/vmlinuz-REL"
	// InTree is where the exports of the kernel's own modules were read;
	// "proc/kallsyms" has those of loaded modules only. Empty where none are
	// known.
	InTree string `json:"in_tree"`
	// Complete says that the exports of all of them are among Symbols, so
	// that nobody exports what is not.
	Complete bool `json:"complete"`
	// Unread are the kernel's own modules of whose exports only the names were
	// read, as [DetectOptions] asked for, sorted by name.
	Unread []string `json:"-"`
}
