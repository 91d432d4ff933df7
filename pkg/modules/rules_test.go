package modules

import (
	"debug/elf"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
	"github.com/k8sp/cuda/pkg/modules/signature"
)

// scene is the recorded modules before the kernel that takes them, for a case
// to break something in.
type scene struct {
	*testing.T
	mods   []Module // nvidia, nvidia_uvm, nvidia_modeset, nvidia_drm
	target kernel.Target
	expect Expect
}

// config adds lines to the kernel's config.
func (s *scene) config(lines ...string) {
	s.target.Config = options(s, append([]string{"SMP=y", "PREEMPT_BUILD=y", "MODULE_UNLOAD=y", "MODULE_SIG=y"}, lines...)...)
}

// symbol is the kernel's export of a name, to change.
func (s *scene) symbol(name string) *kernel.Symbol {
	for i := range s.target.Exports.Symbols {
		if s.target.Exports.Symbols[i].Name == name {
			return &s.target.Exports.Symbols[i]
		}
	}
	s.Fatalf("no symbol %s", name)
	return nil
}

// versions gives kernel and modules MODVERSIONS, every CRC the length of the
// symbol's name.
func (s *scene) versions() {
	s.config("MODVERSIONS=y")
	for i := range s.target.Exports.Symbols {
		symbol := &s.target.Exports.Symbols[i]
		symbol.CRC = uint32(len(symbol.Name))
	}
	for i := range s.mods {
		file := &s.mods[i].ELF
		file.HasVersions = true
		file.Versions = []ko.Version{{Name: "module_layout", CRC: uint32(len("module_layout"))}}
		for _, im := range file.Imports {
			file.Versions = append(file.Versions, ko.Version{Name: im.Name, CRC: uint32(len(im.Name))})
		}
		for j := range file.Exports {
			file.Exports[j].CRC, file.Exports[j].HasCRC = uint32(len(file.Exports[j].Name)), true
		}
	}
}

// Every rule has cases here, and finds exactly what is broken in each.
func TestRulesFind(t *testing.T) {
	have := map[string]bool{}
	for rule, cases := range map[string]map[string]struct {
		scene func(*scene)
		want  []string
	}{
		"built": {
			"a missing module": {
				func(s *scene) { s.mods = s.mods[:3] },
				[]string{"built nvidia_drm failed (the driver package names it and it was not built)"},
			},
			"one left out, by either spelling": {
				func(s *scene) { s.mods, s.expect.Excluded = s.mods[:2], []string{"nvidia-drm", "nvidia_modeset"} },
				nil,
			},
			"nothing at all":            {func(s *scene) { s.mods = nil }, []string{"built failed (no module was built at all)"}},
			"a package that names none": {func(s *scene) { s.expect.Modules = nil }, []string{"built not-checkable (the driver package does not name its modules)"}},
		},
		"elf": {
			"a file that is no module": {
				func(s *scene) { s.mods[1] = Module{Name: "nvidia_uvm", File: "nvidia-uvm.ko", Defect: "is not ELF"} },
				[]string{"elf nvidia_uvm failed (nvidia-uvm.ko is not ELF)"},
			},
			"a shared library": {
				func(s *scene) { s.mods[0].ELF.Type = elf.ET_DYN },
				[]string{"elf nvidia failed (nvidia.ko is an ELF of type ET_DYN and a kernel loads only ET_REL, relocatable files)"},
			},
			"another machine": {
				func(s *scene) { s.target.Arch = kernel.AArch64; s.mods = s.mods[:1] },
				[]string{"elf nvidia failed (nvidia.ko is for x86_64 and the kernel is for aarch64)"},
			},
			"a machine unheard of": {
				func(s *scene) { s.mods[0].ELF.Machine = elf.EM_S390 },
				[]string{"elf nvidia failed (nvidia.ko is for EM_S390 and the kernel is for x86_64)"},
			},
			"stripped": {
				func(s *scene) { s.mods[0].ELF.SymbolTables = 0 },
				[]string{"elf nvidia failed (nvidia.ko has no symbol table, without which a kernel cannot link it)"},
			},
			"two symbol tables, of which 6.1 takes the first": {func(s *scene) { s.mods[0].ELF.SymbolTables = 2 }, nil},
			"two symbol tables": {
				func(s *scene) { s.mods[0].ELF.SymbolTables = 2; at(s, &s.target, "6.4.0") },
				[]string{"elf nvidia failed (nvidia.ko has 2 symbol tables and a kernel since 6.4 wants one)"},
			},
			"a symbol in a section that is not there": {
				func(s *scene) { s.mods[0].ELF.Misplaced = []string{"counter", ""} },
				[]string{"elf nvidia failed (nvidia.ko has symbols in sections that it does not have: counter, one without a name)"},
			},
			"two of .modinfo, of which 6.1 takes the first": {func(s *scene) { s.mods[0].ELF.InfoSections = 2 }, nil},
			"two of .modinfo": {
				func(s *scene) { s.mods[0].ELF.InfoSections = 2; at(s, &s.target, "6.4.0") },
				[]string{"elf nvidia failed (nvidia.ko has 2 sections .modinfo and a kernel since 6.4 wants one)"},
			},
			"code that is written": {
				func(s *scene) { s.mods[0].ELF.WritableCode = []string{".text"}; s.config("STRICT_MODULE_RWX=y") },
				[]string{"elf nvidia failed (nvidia.ko has sections that are both written and executed, which a kernel with STRICT_MODULE_RWX refuses: .text)"},
			},
			"code that is written, at which an old kernel does not look": {
				func(s *scene) {
					s.mods[0].ELF.WritableCode = []string{".text"}
					s.config("STRICT_MODULE_RWX=y")
					at(s, &s.target, "5.4.59-flatcar")
				},
				nil,
			},
			"code that is written, which a kernel may let pass": {func(s *scene) { s.mods[0].ELF.WritableCode = []string{".text"} }, nil},
			"code that is written, and the config not known": {
				func(s *scene) { s.mods[0].ELF.WritableCode = []string{".text"}; s.target.Config = kernel.Config{} },
				[]string{"elf nvidia not-checkable (the kernel's config is not known: mount the host's /boot at /host/boot, or name a kernel image)"},
			},
			"common symbols": {
				func(s *scene) { s.mods[0].ELF.Common = []string{"counter"} },
				[]string{"elf nvidia failed (nvidia.ko has common symbols, which a kernel has no place for: counter)"},
			},
			"an architecture not known": {
				func(s *scene) { s.target.Arch = ""; s.mods = s.mods[:1] },
				[]string{"elf nvidia not-checkable (the kernel's architecture is not known: mount the host's /boot at /host/boot, or name a kernel image)"},
			},
		},
		"vermagic": {
			"another release, of which ours is the beginning": {
				func(s *scene) { at(s, &s.target, "6.1.192-coreos"); s.mods = s.mods[:1] },
				[]string{`vermagic nvidia failed (nvidia.ko has version magic "` + vermagic + `" and the kernel wants "6.1.192-coreos SMP preempt mod_unload ")`},
			},
			"another option": {
				func(s *scene) { s.target.Config = options(s, "SMP=y", "MODULE_UNLOAD=y"); s.mods = s.mods[:1] },
				[]string{`vermagic nvidia failed (nvidia.ko has version magic "` + vermagic + `" and the kernel wants "` + release + ` SMP mod_unload ")`},
			},
			"of January 2018": {
				func(s *scene) {
					at(s, &s.target, "4.14.15-coreos")
					s.mods[0].Vermagic = "4.14.15-coreos SMP preempt mod_unload retpoline "
					s.mods, s.target.Sample.Vermagic = s.mods[:1], s.mods[0].Vermagic
				},
				nil,
			},
			"of January 2018, as far as is known": {
				func(s *scene) {
					at(s, &s.target, "4.14.15-coreos")
					s.mods[0].Vermagic = "4.14.15-coreos SMP preempt mod_unload retpoline "
					s.mods, s.target.Sample = s.mods[:1], kernel.Sample{}
				},
				[]string{"vermagic nvidia not-checkable (it has the word retpoline, as kernels of some releases of January 2018 have, and none of the kernel's own modules is to be seen to compare with: mount the host's /lib/modules at /host/lib/modules)"},
			},
			"of January 2018, and a kernel that is not": {
				func(s *scene) {
					at(s, &s.target, "4.14.67-coreos")
					s.mods[0].Vermagic = "4.14.67-coreos SMP preempt mod_unload retpoline "
					s.mods, s.target.Sample.Vermagic = s.mods[:1], "4.14.67-coreos SMP preempt mod_unload "
				},
				[]string{`vermagic nvidia failed (nvidia.ko has version magic "4.14.67-coreos SMP preempt mod_unload retpoline " and the kernel wants "4.14.67-coreos SMP preempt mod_unload ")`},
			},
			"another release, where versions count instead": {
				func(s *scene) {
					s.versions()
					s.mods = s.mods[:1]
					s.mods[0].Vermagic = "6.1.191 SMP preempt mod_unload modversions "
				},
				nil,
			},
			"another release and no versions to count instead": {
				func(s *scene) {
					s.config("MODVERSIONS=y")
					s.mods = s.mods[:1]
					s.mods[0].Vermagic = "6.1.191 SMP preempt mod_unload modversions "
				},
				[]string{`vermagic nvidia failed (nvidia.ko has version magic "6.1.191 SMP preempt mod_unload modversions " and the kernel wants "` + release + ` SMP preempt mod_unload modversions ")`},
			},
			"none": {
				func(s *scene) { s.mods[0].Vermagic = "" },
				[]string{`vermagic nvidia failed (nvidia.ko has no version magic and the kernel wants "` + vermagic + `")`},
			},
			"the config not known": {
				func(s *scene) { s.target.Config = kernel.Config{}; s.mods = s.mods[:1] },
				[]string{"vermagic nvidia not-checkable (the kernel's config is not known: mount the host's /boot at /host/boot, or name a kernel image)"},
			},
			"none, for there is no .modinfo": {
				func(s *scene) {
					s.mods[0].Vermagic, s.mods[0].ELF.Info, s.mods[0].ELF.InfoSections = "", nil, 0
				},
				[]string{`vermagic nvidia failed (nvidia.ko has no section .modinfo, so no version magic, and is no module: the kernel wants "` + vermagic + `")`},
			},
			"none, and a kernel that can be forced": {func(s *scene) { s.mods[0].Vermagic = ""; s.config("MODULE_FORCE_LOAD=y") }, nil},
			"shuffled structures, and no hash to compare": {
				func(s *scene) {
					s.config("RANDSTRUCT=y")
					s.target.Sample = kernel.Sample{}
					s.mods = s.mods[:1]
					s.mods[0].Vermagic += "RANDSTRUCT_0123"
				},
				[]string{"vermagic nvidia not-checkable (the kernel's structures were shuffled (RANDSTRUCT), and none of its own modules is to be seen to compare the seed's hash with: mount the host's /lib/modules at /host/lib/modules)"},
			},
			"shuffled structures, another seed": {
				func(s *scene) {
					s.config("RANDSTRUCT=y")
					s.target.Sample.Vermagic = vermagic + "RANDSTRUCT_4567"
					s.mods = s.mods[:1]
					s.mods[0].Vermagic += "RANDSTRUCT_0123"
				},
				[]string{`vermagic nvidia failed (nvidia.ko has version magic "` + vermagic + `RANDSTRUCT_0123" and the kernel wants "` + vermagic + `RANDSTRUCT_4567")`},
			},
		},
		"this-module": {
			"another size, which 6.1 does not see": {func(s *scene) { s.target.StructModule.Bytes = 896 }, nil},
			"another size": {
				func(s *scene) { s.target.StructModule.Bytes = 896; at(s, &s.target, "6.12.1"); s.mods = s.mods[:1] },
				[]string{"this-module nvidia failed (nvidia.ko has a struct module of 848 bytes and the kernel's is 896: it was built with another config or other sources)"},
			},
			"another size than a module's that the kernel loads": {
				func(s *scene) {
					s.target.StructModule.Bytes, s.target.Sample.ThisModule = 0, 896
					at(s, &s.target, "6.4.0")
					s.mods = s.mods[:1]
				},
				[]string{"this-module nvidia failed (nvidia.ko has a struct module of 848 bytes and the kernel's is 896: it was built with another config or other sources)"},
			},
			"nothing to compare with": {
				func(s *scene) {
					s.target.StructModule.Bytes, s.target.Sample = 0, kernel.Sample{}
					at(s, &s.target, "6.4.0")
					s.mods = s.mods[:1]
				},
				[]string{"this-module nvidia not-checkable (the size of the kernel's struct module is not known: mount the host's /lib/modules at /host/lib/modules, or name a kernel image)"},
			},
			"none": {
				func(s *scene) { s.mods[0].ELF.ThisModule = ko.ThisModule{} },
				[]string{"this-module nvidia failed (nvidia.ko has no section .gnu.linkonce.this_module and is no module to a kernel)"},
			},
			"not loaded, which 6.1 sees as well": {
				func(s *scene) { s.mods[0].ELF.ThisModule.Loaded = false },
				[]string{"this-module nvidia failed (nvidia.ko has a section .gnu.linkonce.this_module without contents that are loaded)"},
			},
			"two, of which 6.1 takes the first": {func(s *scene) { s.mods[0].ELF.ThisModule.Sections = 2 }, nil},
			"two": {
				func(s *scene) { s.mods[0].ELF.ThisModule.Sections = 2; at(s, &s.target, "6.4.0") },
				[]string{"this-module nvidia failed (nvidia.ko has 2 sections .gnu.linkonce.this_module and a kernel since 6.4 wants one)"},
			},
		},
		"symbols": {
			"one that nobody exports": {
				func(s *scene) { s.symbol("pci_enable_device").Name = "pci_enable" },
				[]string{"symbols nvidia failed (nvidia.ko needs symbols that neither the kernel nor a module exports: pci_enable_device)"},
			},
			"a sibling's, that is not there": {
				func(s *scene) { s.mods = s.mods[1:2] },
				[]string{"symbols nvidia_uvm failed (nvidia-uvm.ko needs symbols that neither the kernel nor a module exports: nvUvmInterfaceRegisterGpu)"},
			},
			"one without a name": {
				func(s *scene) { s.mods[0].ELF.Imports = append(s.mods[0].ELF.Imports, ko.Import{}) },
				[]string{"symbols nvidia failed (nvidia.ko needs symbols that neither the kernel nor a module exports: one without a name)"},
			},
			"those that it can do without": {
				func(s *scene) {
					s.mods[0].ELF.Imports = append(s.mods[0].ELF.Imports, ko.Import{Name: "optional", Weak: true}, ko.Import{Name: "_GLOBAL_OFFSET_TABLE_"})
				},
				nil,
			},
			"one that an old kernel may not do without": {
				func(s *scene) {
					at(s, &s.target, "4.19.78-coreos")
					s.mods[0].ELF.Imports = append(s.mods[0].ELF.Imports, ko.Import{Name: "_GLOBAL_OFFSET_TABLE_"})
				},
				[]string{"symbols nvidia not-checkable (it has the symbol _GLOBAL_OFFSET_TABLE_, which a kernel before 5.10 passes over only where a stable release brought that)"},
			},
			"one of a module that is not to be seen": {
				func(s *scene) { s.symbol("drm_dev_register").Name = "drm_dev"; s.target.Exports.Complete = false },
				[]string{"symbols nvidia_drm not-checkable (the kernel's own module drm is assumed to export drm_dev_register: mount the host's /lib/modules at /host/lib/modules)"},
			},
			"one of which nothing is known": {
				func(s *scene) { s.symbol("pci_enable_device").Name = "pci_enable"; s.target.Exports.Complete = false },
				[]string{"symbols nvidia not-checkable (no exporter is to be seen of pci_enable_device: mount the host's /lib/modules at /host/lib/modules)"},
			},
			"modules of an earlier driver, loaded now, are no help": {
				func(s *scene) {
					s.mods = s.mods[:1]
					s.symbol("pci_enable_device").Module = "nvidia"
				},
				[]string{"symbols nvidia failed (nvidia.ko needs symbols that neither the kernel nor a module exports: pci_enable_device)"},
			},
		},
		"crcs": {
			"all right": {func(s *scene) { s.versions() }, nil},
			"the kernel's differs": {
				func(s *scene) { s.versions(); s.symbol("pci_enable_device").CRC = 0xbeef },
				[]string{"crcs nvidia failed (nvidia.ko was built against other versions of pci_enable_device (0x00000011, and vmlinux has 0x0000beef))"},
			},
			"a weak symbol's, which is then refused": {
				func(s *scene) {
					s.versions()
					s.mods = s.mods[:1]
					s.mods[0].ELF.Imports[0].Weak, s.symbol(s.mods[0].ELF.Imports[0].Name).CRC = true, 0xbeef
				},
				[]string{"crcs nvidia failed (nvidia.ko was built against other versions of _printk (0x00000007, and vmlinux has 0x0000beef))"},
			},
			"a weak GPL-only symbol's, which a proprietary module does not see": {
				func(s *scene) {
					s.versions()
					s.mods = s.mods[:1]
					s.mods[0].ELF.Imports[0].Weak, s.symbol(s.mods[0].ELF.Imports[0].Name).CRC = true, 0xbeef
					s.symbol(s.mods[0].ELF.Imports[0].Name).License = kernel.LicenseGPL
				},
				nil,
			},
			"struct module differs": {
				func(s *scene) { s.versions(); s.mods[0].ELF.Versions[0].CRC = 0xbeef },
				[]string{"crcs nvidia failed (nvidia.ko was built against other versions of module_layout (0x0000beef, and vmlinux has 0x0000000d))"},
			},
			"a sibling's differs": {
				func(s *scene) { s.versions(); s.mods[0].ELF.Exports[0].CRC = 0xbeef },
				[]string{"crcs nvidia_uvm failed (nvidia-uvm.ko was built against other versions of nvUvmInterfaceRegisterGpu (0x00000019, and nvidia has 0x0000beef))"},
			},
			"an extended version differs, which earlier kernels do not look at": {
				func(s *scene) {
					s.versions()
					at(s, &s.target, "6.13.12")
					s.mods[0].ELF.HasExtendedVersions = true
					s.mods[0].ELF.ExtendedVersions = []ko.Version{{Name: "module_layout", CRC: 0xbeef}}
				},
				nil,
			},
			"an extended version differs, since 6.14": {
				func(s *scene) {
					s.versions()
					at(s, &s.target, "6.14.0")
					s.mods[0].ELF.HasExtendedVersions = true
					s.mods[0].ELF.ExtendedVersions = []ko.Version{{Name: "module_layout", CRC: 0xbeef}}
				},
				[]string{"crcs nvidia failed (nvidia.ko was built against other versions of module_layout (0x0000beef, and vmlinux has 0x0000000d))"},
			},
			"an extended version lacking, of which every kernel only warns": {
				func(s *scene) {
					s.versions()
					at(s, &s.target, "6.14.0")
					s.target.Builder = "debian-kernel@lists.debian.org"
					s.mods[0].ELF.HasExtendedVersions, s.mods[0].ELF.HasVersions = true, false
					s.mods[0].ELF.ExtendedVersions = s.mods[0].ELF.Versions[:2]
					s.mods[0].ELF.Versions = nil
				},
				nil,
			},
			"extended versions alone, at which earlier kernels do not look": {
				func(s *scene) {
					s.versions()
					at(s, &s.target, "6.13.12")
					s.mods[0].ELF.HasExtendedVersions, s.mods[0].ELF.HasVersions = true, false
				},
				[]string{"crcs nvidia failed (nvidia.ko lacks symbol versions and the kernel has MODVERSIONS)"},
			},
			"none": {
				func(s *scene) { s.versions(); s.mods[1].ELF.HasVersions = false },
				[]string{"crcs nvidia_uvm failed (nvidia-uvm.ko lacks symbol versions and the kernel has MODVERSIONS)"},
			},
			"none of what it exports": {
				func(s *scene) { s.versions(); s.mods[2].ELF.Exports[0].HasCRC = false },
				[]string{"crcs nvidia_modeset failed (nvidia-modeset.ko lacks symbol versions and the kernel has MODVERSIONS)"},
			},
			"none, and a kernel that can be forced": {
				func(s *scene) {
					s.versions()
					s.config("MODVERSIONS=y", "MODULE_FORCE_LOAD=y")
					s.mods[1].ELF.HasVersions = false
				},
				nil,
			},
			"one lacking, of which most kernels only warn": {
				func(s *scene) { s.versions(); s.mods[0].ELF.Versions = s.mods[0].ELF.Versions[:2] },
				nil,
			},
			"one lacking, before Debian's": {
				func(s *scene) {
					s.versions()
					s.mods[0].ELF.Versions = s.mods[0].ELF.Versions[:2]
					s.target.Builder = "debian-kernel@lists.debian.org"
				},
				[]string{"crcs nvidia failed (nvidia.ko has no version of pci_enable_device, and Debian's kernels want one)"},
			},
			"one lacking, on a Debian host whose kernel says nothing of itself": {
				func(s *scene) {
					s.versions()
					s.mods[0].ELF.Versions = s.mods[0].ELF.Versions[:2]
					s.target.Distribution.ID = "debian"
				},
				[]string{"crcs nvidia failed (nvidia.ko has no version of pci_enable_device, and Debian's kernels want one)"},
			},
			"one lacking, on a Debian host with a kernel of its own": {
				func(s *scene) {
					s.versions()
					s.mods[0].ELF.Versions = s.mods[0].ELF.Versions[:2]
					s.target.Distribution.ID, s.target.Builder = "debian", "me@home"
				},
				nil,
			},
			"nobody's known": {
				func(s *scene) { s.versions(); s.target.Exports = kernel.Exports{}; s.mods = s.mods[:1] },
				[]string{"crcs nvidia not-checkable (the symbols that the kernel exports are not known: mount the host's /boot at /host/boot, or name a kernel image)"},
			},
			"nobody's known, by a capture": {
				func(s *scene) {
					s.versions()
					s.target.Exports, s.target.Captured = kernel.Exports{}, true
					s.mods = s.mods[:1]
				},
				[]string{"crcs nvidia not-checkable (the symbols that the kernel exports are not known: capture the host again with -v /boot:/host/boot:ro, or name a kernel image)"},
			},
			"the kernel's not known": {
				func(s *scene) { s.versions(); s.symbol("pci_enable_device").CRCKnown = false },
				[]string{"crcs nvidia not-checkable (the versions of pci_enable_device are not known: mount the host's /boot at /host/boot, so that its kernel image can be read, or name a kernel image)"},
			},
		},
		"gpl": {
			"a proprietary module": {
				func(s *scene) { s.symbol("pci_enable_device").License = kernel.LicenseGPL },
				[]string{`gpl nvidia failed (nvidia.ko uses GPL-only symbols, and to the kernel it is proprietary (its licence is "NVIDIA"): pci_enable_device)`},
			},
			"a GPL-compatible one": {func(s *scene) { s.symbol("drm_dev_register").License = kernel.LicenseGPL; s.mods[2].License = "GPL" }, []string{`gpl nvidia_drm failed (nvidia-drm.ko uses GPL-only symbols, and to the kernel it is proprietary (it uses symbols of the proprietary nvidia_modeset): drm_dev_register)`}},
			"a GPL-compatible one, alone": {func(s *scene) {
				s.symbol("drm_dev_register").License = kernel.LicenseGPL
				s.mods[0].License, s.mods[2].License = "GPL", "GPL"
			}, nil},
			"a proprietary sibling after a GPL-only symbol": {
				func(s *scene) {
					s.symbol("_printk").License = kernel.LicenseGPL
					s.mods[0].ELF.Imports = nil
					s.mods[1].ELF.Imports = []ko.Import{{Name: "_printk"}, {Name: "nvUvmInterfaceRegisterGpu"}}
				},
				[]string{"gpl nvidia_uvm failed (nvidia-uvm.ko uses GPL-only symbols beside those of a proprietary module: nvUvmInterfaceRegisterGpu of nvidia)"},
			},
			"a weak one, which is then not there": {
				func(s *scene) {
					s.symbol("pci_enable_device").License = kernel.LicenseGPL
					s.mods[0].ELF.Imports = []ko.Import{{Name: "pci_enable_device", Weak: true}}
				},
				nil,
			},
			"a sibling's": {
				func(s *scene) { s.mods[0].ELF.Exports[0].GPL = true },
				[]string{"gpl nvidia_uvm failed (nvidia-uvm.ko uses GPL-only symbols beside those of a proprietary module: nvUvmInterfaceRegisterGpu of nvidia)"},
			},
			"an exporter without flags, which a kernel before 7.1 does not look for": {func(s *scene) { at(s, &s.target, "7.0.13") }, nil},
			"an exporter without flags": {
				func(s *scene) {
					at(s, &s.target, "7.1.0")
					s.mods[0].ELF.HasFlags = true
				},
				[]string{"gpl nvidia_modeset failed (nvidia-modeset.ko does not say which of its exports are GPL-only (__kflagstab), and a kernel since 7.1 wants that)"},
			},
			"a class not known": {
				func(s *scene) { s.symbol("pci_enable_device").License = kernel.LicenseUnknown },
				[]string{"gpl nvidia not-checkable (whether these are GPL-only is not known: pci_enable_device: mount the host's /boot at /host/boot, so that its kernel image can be read, or name a kernel image)"},
			},
			"a class not known, of a module that may have either": {
				func(s *scene) {
					s.symbol("pci_enable_device").License = kernel.LicenseUnknown
					s.mods[0].License = "Dual MIT/GPL"
				},
				nil,
			},
		},
		"namespaces": {
			"one not imported": {
				func(s *scene) { s.symbol("pci_enable_device").Namespace = "PCI" },
				[]string{"namespaces nvidia failed (nvidia.ko uses symbols of namespaces that it does not import: pci_enable_device of PCI)"},
			},
			"that of a weak GPL-only symbol, which a proprietary module does not see": {
				func(s *scene) {
					s.symbol("pci_enable_device").Namespace, s.symbol("pci_enable_device").License = "PCI", kernel.LicenseGPL
					s.mods[0].ELF.Imports = []ko.Import{{Name: "pci_enable_device", Weak: true}}
				},
				nil,
			},
			"one imported": {
				func(s *scene) {
					s.symbol("pci_enable_device").Namespace = "PCI"
					s.mods[0].ELF.Info = append(s.mods[0].ELF.Info, ko.Tag{Key: "import_ns", Value: "DMA_BUF"}, ko.Tag{Key: "import_ns", Value: "PCI"})
				},
				nil,
			},
			"one not imported, and a kernel that does not mind": {
				func(s *scene) {
					s.symbol("pci_enable_device").Namespace = "PCI"
					s.config("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y")
				},
				nil,
			},
			"one for this module": {
				func(s *scene) {
					s.symbol("pci_enable_device").Namespace = "module:kvm,nvidia*"
					at(s, &s.target, "6.16.0")
				},
				nil,
			},
			"one for another module": {
				func(s *scene) {
					s.symbol("pci_enable_device").Namespace = "module:kvm"
					at(s, &s.target, "6.16.0")
				},
				[]string{"namespaces nvidia failed (nvidia.ko uses symbols of namespaces that it does not import: pci_enable_device of module:kvm)"},
			},
			"another module's, by name": {
				func(s *scene) {
					s.mods[0].ELF.Info = append(s.mods[0].ELF.Info, ko.Tag{Key: "import_ns", Value: "module:kvm"})
					at(s, &s.target, "6.16.0")
				},
				[]string{"namespaces nvidia failed (nvidia.ko imports the namespace module:kvm, which no module may by name)"},
			},
			"another module's, by name, and a kernel that does not mind what is missing": {
				func(s *scene) {
					s.mods[0].ELF.Info = append(s.mods[0].ELF.Info, ko.Tag{Key: "import_ns", Value: "module:kvm"})
					at(s, &s.target, "6.16.0")
					s.config("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y")
				},
				[]string{"namespaces nvidia failed (nvidia.ko imports the namespace module:kvm, which no module may by name)"},
			},
			"a sibling's": {
				func(s *scene) { s.mods[0].ELF.Exports[0].Namespace = "UVM" },
				[]string{"namespaces nvidia_uvm failed (nvidia-uvm.ko uses symbols of namespaces that it does not import: nvUvmInterfaceRegisterGpu of UVM)"},
			},
			"nobody's known": {
				func(s *scene) { s.target.Exports = kernel.Exports{}; s.mods = s.mods[:1] },
				[]string{"namespaces nvidia not-checkable (the symbols that the kernel exports are not known: mount the host's /boot at /host/boot, or name a kernel image)"},
			},
			"not known": {
				func(s *scene) { s.symbol("pci_enable_device").NamespaceKnown = false },
				[]string{"namespaces nvidia not-checkable (the namespaces of pci_enable_device are not known: mount the host's /boot at /host/boot, so that its kernel image can be read, or name a kernel image)"},
			},
		},
		"duplicates": {
			"the kernel's": {
				func(s *scene) { s.mods[0].ELF.Exports[0].Name = "_printk" },
				[]string{"duplicates nvidia failed (nvidia.ko exports what is exported already: _printk of the kernel)"},
			},
			"a sibling's, of which the later one fails": {
				func(s *scene) { s.mods[2].ELF.Exports[0].Name = "nvUvmInterfaceRegisterGpu" },
				[]string{"duplicates nvidia_modeset failed (nvidia-modeset.ko exports what is exported already: nvUvmInterfaceRegisterGpu of nvidia)"},
			},
			"those of a module that may not be loaded": {
				func(s *scene) { s.mods[0].ELF.Exports[0].Name = "drm_dev_register" },
				[]string{"duplicates nvidia not-checkable (nvidia.ko could not be loaded beside modules of the kernel's own that export the same: drm_dev_register of drm)"},
			},
		},
		"relocations": {
			"of a kind not known": {
				func(s *scene) {
					s.mods[0].ELF.Relocations = append(s.mods[0].ELF.Relocations, ko.Relocation{Type: uint32(elf.R_X86_64_GOTPCRELX), Section: ".text"})
				},
				[]string{"relocations nvidia failed (nvidia.ko has relocations that the kernel's loader does not know: R_X86_64_GOTPCRELX in .text)"},
			},
			"of a kind that the source's loader does not know": {
				func(s *scene) {
					at(s, &s.target, "4.9.9-coreos-r1")
					s.mods = s.mods[:1]
					s.expect.Loader = &loader.Loader{Relocations: []string{"R_X86_64_32", "R_X86_64_32S", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32"}, WantsZeros: true}
				},
				[]string{"relocations nvidia failed (nvidia.ko has relocations that the kernel's loader does not know: R_X86_64_PLT32 in .text)"},
			},
			"of a kind that the source's loader knows": {
				func(s *scene) {
					at(s, &s.target, "4.14.67-coreos")
					s.expect.Loader = &loader.Loader{Relocations: []string{"R_X86_64_32", "R_X86_64_32S", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32", "R_X86_64_PLT32"}, WantsZeros: true}
				},
				nil,
			},
			"of a kind that not every old loader knows": {
				func(s *scene) { at(s, &s.target, "4.14.67-coreos"); s.mods = s.mods[:1] },
				[]string{"relocations nvidia not-checkable (only the source of a kernel before 5.4 says whether its loader knows R_X86_64_PLT32 in .text, and it is not at hand)"},
			},
			"without addends": {
				func(s *scene) { s.mods[0].ELF.WithoutAddends = []string{".text"} },
				[]string{"relocations nvidia failed (nvidia.ko has relocations without addends (SHT_REL), which the loader of this architecture does not take, for .text)"},
			},
			"of a place that is taken": {
				func(s *scene) { s.mods[0].ELF.Occupied = []string{".data"} },
				[]string{"relocations nvidia failed (nvidia.ko has something other than zero where a relocation goes, which the loader refuses to write over, in .data)"},
			},
			"of a place that is taken, which the source's loader writes over": {
				func(s *scene) {
					at(s, &s.target, "4.9.9-coreos-r1")
					s.mods = s.mods[:1]
					s.mods[0].ELF.Occupied = []string{".data"}
					s.expect.Loader = &loader.Loader{Relocations: []string{"R_X86_64_32", "R_X86_64_32S", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32", "R_X86_64_PLT32"}}
				},
				nil,
			},
			"of a place that is taken, which no source tells": {
				func(s *scene) {
					at(s, &s.target, "4.9.9-coreos-r1")
					s.mods = s.mods[:1]
					s.mods[0].ELF.Occupied = []string{".data"}
				},
				[]string{"relocations nvidia not-checkable (it has something other than zero where a relocation goes, in .data: only the source of a kernel before 5.4 says whether its loader writes over that, and it is not at hand)"},
			},
			"of code for the lower 4 GiB": {
				func(s *scene) { s.mods[0].ELF.Low = []string{".text"} },
				[]string{"relocations nvidia failed (nvidia.ko wants its addresses in 32 bits (R_X86_64_32), and kernels load modules higher: it was not compiled with -mcmodel=kernel; in .text)"},
			},
			"for the lower 4 GiB, of the other architecture": {
				func(s *scene) {
					s.target.Arch, s.mods = kernel.AArch64, s.mods[:1]
					s.mods[0].ELF.Relocations, s.mods[0].ELF.Low = nil, []string{".data"}
				},
				[]string{"relocations nvidia failed (nvidia.ko wants its addresses in 32 bits (R_AARCH64_ABS32), and kernels load modules higher; in .data)"},
			},
			"of the other architecture": {
				func(s *scene) {
					s.target.Arch = kernel.AArch64
					for i := range s.mods {
						s.mods[i].ELF.Relocations = []ko.Relocation{{Type: uint32(elf.R_AARCH64_CALL26), Section: ".text"}, {Type: 293, Section: ".text"}}
					}
					s.mods[1].ELF.Relocations = []ko.Relocation{{Type: uint32(elf.R_AARCH64_GOT_LD_PREL19), Section: ".text"}}
				},
				[]string{"relocations nvidia_uvm failed (nvidia-uvm.ko has relocations that the kernel's loader does not know: R_AARCH64_GOT_LD_PREL19 in .text)"},
			},
		},
		"sample": {
			"another magic": {
				func(s *scene) { s.mods[0].Vermagic += "x" },
				[]string{`sample nvidia failed (nvidia.ko has version magic "` + vermagic + `x" and the host's own drm has "` + vermagic + `")`},
			},
			"another size": {
				func(s *scene) { s.mods[0].ELF.ThisModule.Size = 832 },
				[]string{"sample nvidia failed (nvidia.ko has a struct module of 832 bytes and the host's own drm has one of 848)"},
			},
			"none": {
				func(s *scene) { s.target.Sample = kernel.Sample{}; s.mods = s.mods[:1] },
				[]string{"sample nvidia not-checkable (none of the host's own modules is to be seen: mount the host's /lib/modules at /host/lib/modules)"},
			},
		},
		"layout": {
			"a member that was inserted": {
				func(s *scene) {
					other := typestest.New()
					for i := range other.Bus.Members {
						other.Bus.Members[i].Offset += 64
					}
					other.Bus.Size += 8
					s.expect.Types = other.Record(s)
				},
				[]string{"layout failed (struct pci_bus: member number is at byte 0 in this kernel and at byte 8 in the source, member parent is at byte 8 in this kernel and at byte 16 in the source (and 1 more): the kernel was not built from this source with this config (refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz))"},
			},
			"many, of which a few are said": {
				func(s *scene) {
					other := typestest.New()
					other.Bus.Members[0].Name, other.Device.Members[1].Name, other.Slot.Members[0].Name = "n", "f", "n"
					other.State.Values[0].Name, other.Flags.Values[1].Value = "PCI_D", 7
					s.expect.Types = other.Record(s)
				},
				[]string{"layout failed (constant PG_DIRTY: it is 1 in this kernel and 7 in the source; enum pci_state: PCI_D is not in this kernel, PCI_D0 of this kernel, 0, is not in the source; struct pci_bus: member n is not in this kernel, member number of this kernel, at byte 0, is not in the source; and 2 more: " +
					"the kernel was not built from this source with this config (refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz))"},
			},
			"a kernel without type information": {
				func(s *scene) { s.target.Types = kernel.TypeInfo{} },
				[]string{
					"layout not-checkable (the kernel was built without type information (DEBUG_INFO_BTF is not set), so nothing tells its types from those of the source)",
				},
			},
			"one whose type information is not to be seen": {
				func(s *scene) { s.config("DEBUG_INFO_BTF=y"); s.target.Types = kernel.TypeInfo{} },
				[]string{
					"layout not-checkable (the kernel's type information is not to be seen: mount the host's /sys at /host/sys, or name a kernel image)",
				},
			},
			"modules of which nothing is on record": {
				func(s *scene) { s.expect.Types, s.expect.TypesUnknown = nil, "there is no pahole" },
				[]string{"layout not-checkable (there is no pahole)"},
			},
			"a kernel of which the modules have nothing": {
				func(s *scene) {
					s.target.Types.BTF = typestest.Types(s, typestest.Int)
				},
				[]string{
					"layout not-checkable (the kernel's type information has none of what the modules were compiled with)",
				},
			},
			"damage": {
				func(s *scene) { s.target.Types.BTF = []byte("no BTF") },
				[]string{
					"layout not-checkable (the kernel's type information cannot be read: sys/kernel/btf/vmlinux: parsing .BTF header: read header: buffer too small)",
				},
			},
		},
		"prototypes": {
			"an argument more": {
				func(s *scene) {
					other := typestest.New()
					f := other.Functions["pci_enable_device"]
					f.Params = append(f.Params, btf.FuncParam{Type: typestest.Int})
					s.expect.Types = other.Record(s)
				},
				[]string{"prototypes failed (pci_enable_device(): takes 1 argument in this kernel and 2 arguments in the source: the kernel was not built from this source with this config (refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz))"},
			},
			"a kernel without type information": {
				func(s *scene) { s.target.Types = kernel.TypeInfo{} },
				[]string{"prototypes not-checkable (the kernel was built without type information (DEBUG_INFO_BTF is not set), so nothing tells its types from those of the source)"},
			},
			"a kernel without prototypes": {
				func(s *scene) { s.target.Types.BTF = typestest.Types(s, typestest.Int) },
				[]string{"prototypes not-checkable (the kernel's type information has none of what the modules were compiled with)"},
			},
			"of a function that nobody imports": {
				func(s *scene) {
					other := typestest.New()
					other.Variables["this_cpu_off"] = typestest.Int
					s.expect.Types = other.Record(s)
				},
				nil,
			},
		},
		"source-crcs": {
			"not asked for, of a kernel without type information": {
				func(s *scene) { s.versions(); s.target.Types = kernel.TypeInfo{} },
				[]string{"source-crcs not-checkable (which checksums the source gives was not computed, and the check crcs compares those that the kernel itself gave: build with --source-crcs)"},
			},
			"not to be had": {
				func(s *scene) { s.versions(); s.expect.SourceCRCsUnknown = "the host's tree has headers" },
				[]string{"source-crcs not-checkable (the host's tree has headers)"},
			},
			"the kernel's own": {
				func(s *scene) { s.versions(); s.expect.SourceCRCs = map[string][]uint32{"_printk": {1, 7}} },
				nil,
			},
			"others": {
				func(s *scene) {
					s.versions()
					s.expect.SourceCRCs = map[string][]uint32{"_printk": {7}, "pci_enable_device": {1, 2}, "nobody_imports_it": {3}}
				},
				[]string{"source-crcs failed (the source gives other checksums to pci_enable_device (0x00000001, and the kernel has 0x00000011): the kernel was not built from this source with this config (refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz))"},
			},
			"of nothing that is imported": {
				func(s *scene) { s.versions(); s.expect.SourceCRCs = map[string][]uint32{"nobody_imports_it": {3}} },
				[]string{"source-crcs not-checkable (the source has none of the files that export what the modules import)"},
			},
			"found before, of the same checksums": {
				func(s *scene) {
					s.versions()
					s.expect.SourceCRCsFound = &Check{Verdict: Failed, Detail: "as it was found"}
				},
				[]string{"source-crcs failed (as it was found)"},
			},
			"found before, of others": {
				func(s *scene) {
					s.versions()
					s.target.Types = kernel.TypeInfo{}
					s.symbol("pci_enable_device").CRC++
					s.expect.SourceCRCsFound = &Check{Verdict: Passed}
				},
				[]string{"source-crcs not-checkable (which checksums the source gives was not computed, and the check crcs compares those that the kernel itself gave: build with --source-crcs)"},
			},
		},
		"depends": {
			"a sibling not named": {
				func(s *scene) { s.mods[1].Depends = nil },
				[]string{"depends nvidia_uvm failed (nvidia-uvm.ko uses symbols of modules that its depends: does not name: nvidia)"},
			},
			"one of the kernel's own not named": {
				func(s *scene) { s.mods = s.mods[:1]; s.symbol("_printk").Module = "drm" },
				[]string{"depends nvidia failed (nvidia.ko uses symbols of modules that its depends: does not name: drm)"},
			},
			"one of the kernel's own that was assumed before it was seen": {
				func(s *scene) {
					s.mods = s.mods[:1]
					s.symbol("_printk").Module = "drm"
					s.expect.InTree = map[string][]string{"nvidia": {"drm"}}
				},
				nil,
			},
			"one of the kernel's own where another was assumed": {
				func(s *scene) {
					s.mods = s.mods[:1]
					s.symbol("_printk").Module = "drm"
					s.expect.InTree = map[string][]string{"nvidia": {"video"}, "nvidia_uvm": {"drm"}}
				},
				[]string{"depends nvidia failed (nvidia.ko uses symbols of modules that its depends: does not name: drm)"},
			},
			"one that is not there": {
				func(s *scene) { s.mods[0].Depends = []string{"i2c_core"} },
				[]string{"depends nvidia failed (nvidia.ko depends on modules that are not there: i2c_core)"},
			},
			"one that is not to be seen": {
				func(s *scene) { s.mods[0].Depends = []string{"i2c_core"}; s.target.Exports.Complete = false },
				[]string{"depends nvidia not-checkable (it depends on modules that are not to be seen: i2c_core: mount the host's /lib/modules at /host/lib/modules)"},
			},
			"a cycle": {
				func(s *scene) { s.mods = s.mods[:2]; s.mods[0].Depends = []string{"nvidia_uvm"} },
				[]string{"depends failed (modules that need each other cannot be loaded: nvidia, nvidia_uvm)"},
			},
		},
		"compiler": {
			"an older one": {
				func(s *scene) { s.target.Compiler.Major = 13; s.mods = s.mods[:1] },
				[]string{"compiler nvidia not-checkable (compiled by gcc 12, older than the kernel's 13: that is seen to serve where the config is the kernel's all the same, and promised by nobody)"},
			},
			"a newer one": {func(s *scene) { s.target.Compiler.Major = 11 }, nil},
			"another":     {func(s *scene) { s.mods[0].ELF.Compilers = []string{"Ubuntu clang version 12.0.0"} }, []string{"compiler nvidia failed (nvidia.ko was compiled by Ubuntu clang version 12.0.0 and the kernel by gcc 12)"}},
			"among others": {
				func(s *scene) {
					s.mods[0].ELF.Compilers = append([]string{"GCC: (GNU) 9.3.0"}, s.mods[0].ELF.Compilers...)
				},
				nil,
			},
			"clang": {
				func(s *scene) {
					s.target.Compiler = kernel.Compiler{Name: "clang", Major: 18}
					s.mods = s.mods[:1]
					s.mods[0].ELF.Compilers = []string{"Ubuntu clang version 18.1.3 (1ubuntu1)"}
				},
				nil,
			},
			"none named": {
				func(s *scene) { s.mods[0].ELF.Compilers = nil },
				[]string{"compiler nvidia not-checkable (nvidia.ko does not say what compiled it)"},
			},
			"the kernel's not known": {
				func(s *scene) { s.target.Compiler = kernel.Compiler{}; s.mods = s.mods[:1] },
				[]string{"compiler nvidia not-checkable (the compiler that built the kernel is not known: mount the host's /proc, or name a kernel image)"},
			},
		},
		"firmware": {
			"lacking": {
				func(s *scene) { s.expect.Firmware = s.expect.Firmware[:1] },
				[]string{"firmware nvidia failed (nvidia.ko names firmware that the driver package lacks: nvidia/535.261.03/gsp_tu10x.bin)"},
			},
			"not known": {
				func(s *scene) { s.expect.Firmware = nil },
				[]string{"firmware nvidia not-checkable (what firmware the driver package holds is not known here)"},
			},
		},
		"debug": {
			"not asked for": {
				func(s *scene) { s.mods[0].ELF.Debug = []string{".debug_info", ".debug_str"} },
				[]string{"debug nvidia failed (nvidia.ko has debugging information, which only makes it large: .debug_info, .debug_str)"},
			},
			"asked for": {func(s *scene) { s.mods[0].ELF.Debug, s.expect.Debug = []string{".debug_info"}, true }, nil},
		},
		"signature": signatureCases,
	} {
		have[rule] = true
		for name, c := range cases {
			t.Run(rule+"/"+name, func(t *testing.T) {
				s := &scene{t, driver(t), target(t), expected(t)}
				c.scene(s)
				var checks []Check
				for _, check := range Gate(s.mods, s.target, s.expect) {
					if check.Name == rule {
						checks = append(checks, check)
					}
				}
				if len(checks) == 0 {
					t.Fatal("the rule made no check")
				}
				if diff := cmp.Diff(c.want, findings(checks)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	for _, rule := range Rules() {
		if !have[rule.Name] {
			t.Errorf("the rule %s has no case here", rule.Name)
		}
	}
}

// What a kernel with MODULE_SIG says, by what is appended to the first module.
var signatureCases = map[string]struct {
	scene func(*scene)
	want  []string
}{
	"none, and none demanded": {func(*scene) {}, nil},
	"none, and one demanded": {
		func(s *scene) { s.signed(Signature{}, kernel.Enforced) },
		[]string{"signature nvidia failed (nvidia.ko would be refused: it is not signed, and the kernel wants signed modules (CONFIG_MODULE_SIG_FORCE))"},
	},
	"none, and what is demanded not known": {
		func(s *scene) { s.signed(Signature{}, kernel.EnforcementUnknown) },
		[]string{"signature nvidia not-checkable (it is not signed, and whether the kernel wants signed modules is not to be seen: mount the host's /sys/kernel/security at /host/sys/kernel/security)"},
	},
	"no signature, even a damaged one, is looked at": {
		func(s *scene) {
			s.signed(Signature{Present: true, Damaged: "it is cut short"}, kernel.NotEnforced)
			s.target.Signing.Checked = false
		},
		nil,
	},
	"damaged": {
		func(s *scene) { s.signed(Signature{Present: true, Damaged: "it is cut short"}, kernel.NotEnforced) },
		[]string{"signature nvidia failed (nvidia.ko has a signature that no kernel would take, enforced or not: it is cut short)"},
	},
	"of a kind not known": {
		func(s *scene) { s.signed(Signature{Present: true, Unsupported: "PGP"}, kernel.Enforced) },
		[]string{"signature nvidia failed (nvidia.ko would be refused: its signature is of a kind that kernels do not know (PGP), and the kernel wants signed modules (CONFIG_MODULE_SIG_FORCE))"},
	},
	"of a kind not known, before 5.4": {
		func(s *scene) {
			at(s, &s.target, "4.19.78-coreos")
			s.signed(Signature{Present: true, Unsupported: "PGP"}, kernel.NotEnforced)
		},
		[]string{"signature nvidia failed (nvidia.ko would be refused: its signature is of a kind that kernels do not know (PGP), which a kernel before 5.4 does not pass over)"},
	},
	"of a hash that the kernel has not, before 5.4": {
		func(s *scene) {
			at(s, &s.target, "4.9.9-coreos-r1")
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid, parsed: signedWith("sha512", "rsa")}, kernel.NotEnforced, "aa")
		},
		[]string{"signature nvidia failed (nvidia.ko would be refused: the kernel cannot verify its signature (CRYPTO_SHA512 is not set), which a kernel before 5.4 does not pass over)"},
	},
	"of a hash that the kernel has not": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid, parsed: signedWith("sha512", "rsa")}, kernel.Enforced, "aa")
		},
		[]string{"signature nvidia failed (nvidia.ko would be refused: the kernel cannot verify its signature (CRYPTO_SHA512 is not set), and the kernel wants signed modules (CONFIG_MODULE_SIG_FORCE))"},
	},
	"of a kind of key that the kernel has not, of other content": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Wrong, parsed: signedWith("sha256", "ecdsa")}, kernel.NotEnforced, "aa")
			s.target.Signing.Hash = "sha256"
		},
		nil,
	},
	"of the hash of the kernel's own modules": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid, parsed: signedWith("sha256", "rsa")}, kernel.Enforced, "aa")
			s.target.Signing.Hash = "sha256"
		},
		nil,
	},
	"of a hash that the kernel has as a module": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid, parsed: signedWith("sha512", "rsa")}, kernel.Enforced, "aa")
			s.config("CRYPTO_SHA512=m")
		},
		nil,
	},
	"right": {func(s *scene) {
		s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.Enforced, "aa")
	}, nil},
	"of other content": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Wrong}, kernel.NotEnforced, "aa")
		},
		[]string{"signature nvidia failed (nvidia.ko has a signature that is not of its content: it was changed after it was signed)"},
	},
	"of other content, by a key that the kernel has not got": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Wrong}, kernel.NotEnforced, "bb")
		},
		nil,
	},
	"by a key that the kernel has not got": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.Enforced, "bb")
		},
		[]string{"signature nvidia failed (nvidia.ko would be refused: the kernel does not hold the key aa that signed it, and the kernel wants signed modules (CONFIG_MODULE_SIG_FORCE))"},
	},
	"right, and the kernel's keys not known": {
		func(s *scene) { s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.Enforced) },
		[]string{"signature nvidia not-checkable (it is signed, and the keys that the kernel holds are not to be seen: mount the host's /proc/keys at /host/proc/keys)"},
	},
	"right, by a key that may be for other uses": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.Enforced, "aa")
			s.target.Signing.OtherKeyrings = []string{".platform"}
		},
		[]string{"signature nvidia not-checkable (it is signed by a key that the kernel holds, which may be one for other uses than modules: there are keys in .platform too)"},
	},
	"by no key of a kernel that holds none": {
		func(s *scene) {
			s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.Enforced)
			s.target.Signing.KeysFrom = "proc/keys"
		},
		[]string{"signature nvidia failed (nvidia.ko would be refused: the kernel does not hold the key aa that signed it, and the kernel wants signed modules (CONFIG_MODULE_SIG_FORCE))"},
	},
	"right, and none demanded": {
		func(s *scene) { s.signed(Signature{Present: true, KeyID: "aa", Integrity: Valid}, kernel.NotEnforced) },
		nil,
	},
	"no certificate to verify it with": {
		func(s *scene) { s.signed(Signature{Present: true}, kernel.Enforced, "aa") },
		[]string{"signature nvidia not-checkable (it is signed, and there is no certificate here to verify it with: name it with --signing-cert)"},
	},
}

// signedWith is a signature by its algorithms.
func signedWith(hash, key string) signature.Signature {
	return signature.Signature{Signers: []signature.SignerInfo{{Hash: hash, Key: key}}}
}

// signed leaves one module, with this signature, before a kernel that holds
// these keys; of no keys, before one whose keys are not to be seen.
func (s *scene) signed(sig Signature, e kernel.Enforcement, keys ...string) {
	s.mods = s.mods[:1]
	s.mods[0].Signature = sig
	s.target.Signing = kernel.Signing{Checked: true, Enforcement: e, From: "CONFIG_MODULE_SIG_FORCE", Keys: keys}
	if len(keys) > 0 {
		s.target.Signing.KeysFrom = "proc/keys"
	}
}

func TestVermagic(t *testing.T) {
	for name, c := range map[string]struct {
		release string
		arch    kernel.Arch
		config  []string
		want    string
		whole   bool
	}{
		"5.10":             {"5.10.223", kernel.X86_64, []string{"SMP=y", "PREEMPT=y"}, "5.10.223 SMP preempt ", true},
		"Debian 6.1":       {"6.1.0-49-amd64", kernel.X86_64, []string{"SMP=y", "PREEMPT_VOLUNTARY=y", "MODULE_UNLOAD=y", "MODVERSIONS=y"}, "6.1.0-49-amd64 SMP mod_unload modversions ", true},
		"real time, 7.3":   {"7.3.4-rt", kernel.X86_64, []string{"SMP=y", "PREEMPT=y", "PREEMPT_BUILD=y", "PREEMPT_RT=y"}, "7.3.4-rt SMP preempt_rt ", true},
		"real time":        {"6.1.0-rt", kernel.X86_64, []string{"SMP=y", "PREEMPT_RT=y"}, "6.1.0-rt SMP preempt_rt ", true},
		"arm64":            {"6.12.1", kernel.AArch64, []string{"SMP=y", "MODULE_UNLOAD=y"}, "6.12.1 SMP mod_unload aarch64", true},
		"nothing":          {"6.12.1", kernel.X86_64, []string{"MODULES=y"}, "6.12.1 ", true},
		"randstruct":       {"6.12.1", kernel.X86_64, []string{"SMP=y", "RANDSTRUCT=y"}, "6.12.1 SMP RANDSTRUCT_", false},
		"randstruct, 5.10": {"5.10.1", kernel.X86_64, []string{"SMP=y", "GCC_PLUGIN_RANDSTRUCT=y"}, "5.10.1 SMP RANDSTRUCT_PLUGIN_", false},
	} {
		t.Run(name, func(t *testing.T) {
			target := kernel.Target{Arch: c.arch, Config: options(t, c.config...)}
			at(t, &target, c.release)
			if got, whole := Vermagic(target); got != c.want || whole != c.whole {
				t.Errorf("%q, %v; want %q, %v", got, whole, c.want, c.whole)
			}
		})
	}
}
