package variants

import (
	"debug/elf"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// sound are modules as they were built.
func (m *maker) sound() []Variant {
	return []Variant{
		{Done: "nothing: nvidia as it was built", Parts: []Part{as(NVIDIA)}},
		{Done: "nothing: nvidia-peermem as it was built", Parts: []Part{as(Peermem)}},
		{Done: "nothing, but to its init: nvidia-modeset", Parts: []Part{as(Stub), as(Modeset)}},
		{Done: "nothing, but to its init: nvidia-uvm", Parts: []Part{as(Stub), as(UVM)}},
	}
}

// peermem is a variant of nvidia-peermem, which needs no sibling.
func peermem(done string, edits ...edit) Variant {
	return Variant{Done: done, Parts: []Part{edited(Peermem, edits...)}}
}

// peermemFile is one whose file was changed as a whole.
func peermemFile(done string, change func([]byte) ([]byte, error)) Variant {
	return Variant{Done: done, Parts: []Part{{Base: Peermem, file: change}}}
}

// files are about the file as an ELF object.
func (m *maker) files() []Variant {
	ident := func(at int, value byte) edit { return header(func(h *elf.Header64) { h.Ident[at] = value }) }
	common := elf.Sym64{Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_OBJECT), Shndx: uint16(elf.SHN_COMMON), Value: 8, Size: 8}
	nowhere := elf.Sym64{Info: elf.ST_INFO(elf.STB_LOCAL, elf.STT_OBJECT), Shndx: 0x7f00}
	list := []Variant{
		peermem("ELF: of type ET_EXEC", header(func(h *elf.Header64) { h.Type = uint16(elf.ET_EXEC) })),
		peermem("ELF: for another machine", header(func(h *elf.Header64) { h.Machine = uint16(m.types().stranger) })),
		peermemFile("ELF: of the 32-bit class, header and all", elf32),
		peermem("ELF: the class byte says 32-bit, and no more", ident(elf.EI_CLASS, byte(elf.ELFCLASS32))),
		peermem("ELF: the byte order's byte is wrong", ident(elf.EI_DATA, byte(elf.ELFDATA2MSB))),
		peermemFile("ELF: cut short", func(file []byte) ([]byte, error) { return file[:len(file)-100], nil }),
		peermem("ELF: no symbol table", dropSection(".symtab")),
		peermem("ELF: two symbol tables", copySection(".symtab")),
		peermem("ELF: a common symbol", addSymbol("counter", common)),
		peermem("ELF: a common symbol of the compiler's own", addSymbol("__gnu_lto_slim", common)),
		peermem("ELF: a section to be both written and executed", inSection(".text", func(s *section) { s.Flags |= uint64(elf.SHF_WRITE) })),
		peermem("ELF: no .modinfo", dropSection(modinfo)),
		peermem("ELF: two of .modinfo", copySection(modinfo)),
	}
	if m.looksBeyond() {
		return list
	}
	return append(list, peermem("ELF: a symbol in a section that is not there", addSymbol("nowhere", nowhere)))
}

// looksBeyond says whether the kernel reads the address of a section that a module
// does not have, wherever that leads: simplify_symbols did not compare the number
// with how many there are, which later releases of the same lines do. Debian's last
// 6.18 is of before that, and so are lines before 5.11.
func (m *maker) looksBeyond() bool {
	major, minor, patch := m.Target.Release.Numbers()
	return major == 6 && minor == 18 && patch <= 15 || !m.Target.Release.AtLeast(5, 11)
}

// otherRelease puts another release into the version magic.
func otherRelease(o *object) error {
	return changeTag("vermagic", func(magic string) string { return "4.7.3-coreos-r2" + magic[strings.IndexByte(magic, ' '):] })(o)
}

func (m *maker) vermagics() []Variant {
	return []Variant{
		peermem("vermagic: of another release", otherRelease),
		peermem("vermagic: of a kernel without SMP", changeTag("vermagic", func(magic string) string { return strings.Replace(magic, " SMP", "", 1) })),
		peermem("vermagic: none", dropTag("vermagic")),
		peermem("vermagic: a second, wrong one", addTag("vermagic", "4.7.3-coreos-r2 ")),
	}
}

const thisModule = ".gnu.linkonce.this_module"

func (m *maker) thisModules() []Variant {
	return []Variant{
		peermem("this_module: 64 bytes larger", inSection(thisModule, func(s *section) { s.data = append(s.data, make([]byte, 64)...) })),
		peermem("this_module: none", dropSection(thisModule)),
		peermem("this_module: two", copySection(thisModule)),
		peermem("this_module: takes up no memory", inSection(thisModule, func(s *section) { s.Flags &^= uint64(elf.SHF_ALLOC) })),
	}
}

func (m *maker) unresolved() []Variant {
	list := []Variant{
		peermem("symbols: one that nobody exports", undefined("no_such_symbol")),
		peermem("symbols: one that nobody exports, weak", weak("no_such_symbol")),
		peermem("symbols: one without a name", undefined("")),
		{Done: "symbols: a sibling's, that is not there", Parts: []Part{as(UVM)}},
		{Done: "symbols: a sibling's, that was stripped", Parts: []Part{edited(Stub, stripped), as(UVM)}},
	}
	if m.Target.Release.AtLeast(5, 10) { // before, it hangs on the stable release
		list = append(list, peermem("symbols: _GLOBAL_OFFSET_TABLE_", undefined("_GLOBAL_OFFSET_TABLE_")))
	}
	return list
}

// sibling is an export of nvidia's that nvidia-uvm uses.
const sibling = "nvUvmInterfaceRegisterGpu"

func (m *maker) crcs() []Variant {
	plain, gplOnly := m.plain(), m.gplOnly()
	wrong := m.export(plain).CRC ^ 1
	list := []Variant{
		peermem("CRC: of a symbol off by a bit", undefined(plain), setVersion(plain, wrong)),
		peermem("CRC: of a weak symbol off by a bit", weak(plain), setVersion(plain, wrong)),
		peermem("CRC: of a weak GPL-only symbol off by a bit, in a proprietary module", weak(gplOnly), setVersion(gplOnly, m.export(gplOnly).CRC^1)),
		peermem("CRC: of a symbol that it does not use", setVersion("no_such_symbol", 1)),
		peermem("CRC: of struct module (module_layout) wrong", setVersion("module_layout", 1)),
		{Done: "CRC: of a sibling's symbol off", Parts: []Part{as(Stub), edited(UVM, setVersion(sibling, 1))}},
	}
	if !m.Target.Config.Bool("MODVERSIONS") {
		return list
	}
	return append(list,
		peermem("CRC: none at all", dropSection(versions)),
		peermem("CRC: none at all, and of another release", dropSection(versions), otherRelease),
		peermem("CRC: none of a symbol", undefined(plain)),
		peermem("CRC: none of struct module (module_layout)", dropVersion("module_layout")),
		Variant{Done: "CRC: none of what it exports", Parts: []Part{as(Stub), edited(Modeset, dropSection("__kcrctab"))}},
	)
}

func (m *maker) licences() []Variant {
	symbol := m.gplOnly()
	gpl := setTag("license", "GPL")
	forGPL := edited(Stub, forGPL)
	list := []Variant{
		peermem("licence: a GPL-only symbol in a proprietary module", m.uses(symbol, undefined)),
		peermem("licence: a GPL-only symbol in a proprietary module, weak", m.uses(symbol, weak)),
		peermem("licence: a GPL-only symbol in a GPL module", gpl, m.uses(symbol, undefined)),
		peermem("licence: a GPL-only symbol in a module without a licence", dropTag("license"), m.uses(symbol, undefined)),
		{Done: "licence: a GPL-only symbol after a proprietary sibling's", Parts: []Part{as(Stub), edited(UVM, m.uses(symbol, undefined))}},
		{Done: "licence: a GPL-only symbol before a proprietary sibling's", Parts: []Part{as(Stub), edited(UVM, m.uses(symbol, undefinedFirst))}},
		{Done: "licence: a GPL-only symbol beside a GPL sibling's", Parts: []Part{edited(Stub, gpl), edited(UVM, m.uses(symbol, undefined))}},
		{Done: "licence: a sibling's GPL-only symbols in a proprietary module", Parts: []Part{forGPL, as(Modeset)}},
		{Done: "licence: a proprietary sibling's GPL-only symbols in a GPL module", Parts: []Part{forGPL, as(UVM)}},
	}
	list = append(list, m.inTree()...)
	if !m.Target.Release.AtLeast(7, 1) {
		return list
	}
	return append(list,
		Variant{Done: "licence: no flags of what it exports", Parts: []Part{as(Stub), edited(Modeset, dropSection(flagTable))}},
		Variant{Done: "licence: a sibling's symbols in the table for GPL-only ones, which is not read any more", Parts: []Part{edited(Stub, renameSection("__ksymtab", "__ksymtab_gpl")), as(UVM)}},
	)
}

// drm is the module of a kernel's own whose exports variants use, where it is one.
const drm = "drm"

// inTree are about what modules that came with the kernel export.
func (m *maker) inTree() []Variant {
	if !slices.ContainsFunc(m.Target.Exports.Symbols, func(s kernel.Symbol) bool { return s.Module == drm }) {
		return nil
	}
	of := func(license kernel.License) string {
		return m.symbolOf(drm, "symbol of drm's", func(s kernel.Symbol) bool { return s.License == license && s.Namespace == "" })
	}
	plain, gplOnly := of(kernel.LicenseAny), of(kernel.LicenseGPL)
	after := func(v Variant) Variant {
		v.Before = []string{drm}
		return v
	}
	return []Variant{
		after(peermem("licence: a GPL-only symbol of drm's in a proprietary module", setTag("license", "NVIDIA"), m.uses(gplOnly, undefined))),
		after(peermem("licence: a GPL-only symbol of drm's in a proprietary module, weak", setTag("license", "NVIDIA"), m.uses(gplOnly, weak))),
		after(peermem("licence: a GPL-only symbol of drm's in a GPL module", setTag("license", "GPL"), m.uses(gplOnly, undefined))),
		after(peermem("licence: a plain symbol of drm's in a proprietary module", setTag("license", "NVIDIA"), m.uses(plain, undefined))),
	}
}

func (m *maker) namespaces() []Variant {
	gpl := setTag("license", "GPL")
	// They mean nothing before 5.4, whose kernel itself has no symbol in one.
	if !m.Target.Release.AtLeast(5, 5) {
		return []Variant{peermem("namespace: one that there is not, imported", gpl, addTag("import_ns", "NO_SUCH_NAMESPACE"))}
	}
	symbol := m.spaced()
	return []Variant{
		peermem("namespace: not imported", gpl, m.uses(symbol, undefined)),
		peermem("namespace: not imported, for a weak symbol", gpl, m.uses(symbol, weak)),
		peermem("namespace: not imported, for a weak GPL-only symbol in a proprietary module", m.uses(m.gplSpaced(), weak)),
		peermem("namespace: another imported", gpl, m.uses(symbol, undefined), addTag("import_ns", "NO_SUCH_NAMESPACE")),
		{Done: "namespace: a sibling's, not imported", Parts: []Part{edited(Stub, intoNamespace(sibling, "NVIDIA")), as(UVM)}},
		{Done: "namespace: a sibling's, imported", Parts: []Part{edited(Stub, intoNamespace(sibling, "NVIDIA")), edited(UVM, addTag("import_ns", "NVIDIA"))}},
		peermem("namespace: imported", gpl, m.uses(symbol, undefined), addTag("import_ns", m.export(symbol).Namespace)),
		peermem("namespace: imported after another", gpl, m.uses(symbol, undefined), addTag("import_ns", "NO_SUCH_NAMESPACE"), addTag("import_ns", m.export(symbol).Namespace)),
	}
}

// exports are about names that more than one exports.
func (m *maker) exports() []Variant {
	const table = "nvKmsKapiGetFunctionsTable"
	return []Variant{
		{Done: "export: of a name that the kernel exports", Parts: []Part{as(Stub), edited(Modeset, renameExport(table, m.plain()))}},
		{Done: "export: of a name that the kernel exports to GPL modules", Parts: []Part{as(Stub), edited(Modeset, renameExport(table, m.gplOnly()))}},
		{Done: "export: of a name that a sibling exports", Parts: []Part{as(Stub), edited(Modeset, renameExport(table, "nvidia_get_rm_ops"))}},
		{Done: "export: of another name", Parts: []Part{as(Stub), edited(Modeset, renameExport(table, "nvKmsKapi"))}},
	}
}

// types are what an architecture's files have of its own.
type types struct {
	stranger elf.Machine // another machine's
	// Types of relocation: one that no loader knows, one of nothing, and one of 32 bits.
	unknown, none, low uint32
	// call is what means the same as plainCall for a call, by the name of which.
	plainCall, call uint32
	callName        string
}

func (m *maker) types() types {
	if m.Target.Arch == kernel.AArch64 {
		return types{
			elf.EM_X86_64, uint32(elf.R_AARCH64_ADR_GOT_PAGE), uint32(elf.R_AARCH64_NULL), uint32(elf.R_AARCH64_ABS32),
			uint32(elf.R_AARCH64_CALL26), uint32(elf.R_AARCH64_JUMP26), "as jumps (R_AARCH64_JUMP26)",
		}
	}
	return types{
		elf.EM_AARCH64, uint32(elf.R_X86_64_GOTPCRELX), uint32(elf.R_X86_64_NONE), uint32(elf.R_X86_64_32),
		uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PLT32), "as assemblers write them since 2018 (R_X86_64_PLT32)",
	}
}

func (m *maker) relocations() []Variant {
	kind := func(t uint32) func(*elf.Rela64) {
		return func(r *elf.Rela64) { r.Info = elf.R_INFO(elf.R_SYM64(r.Info), t) }
	}
	types := m.types()
	return []Variant{
		peermem("relocation: of a type that no loader knows", firstRelocation(thisModule, kind(types.unknown))),
		peermem("relocation: of type NONE", firstRelocation(thisModule, kind(types.none))),
		peermem("relocation: of code for the lower 4 GiB", firstRelocation(thisModule, kind(types.low))),
		peermem("relocation: of a place that is not zero", nonzeroTarget(thisModule)),
		peermem("relocation: without addends (SHT_REL)", inSection(".rela"+thisModule, func(s *section) { s.Type = uint32(elf.SHT_REL) })),
		peermem("relocation: calls "+types.callName, relocations(func(r *elf.Rela64) {
			if elf.R_TYPE64(r.Info) == types.plainCall {
				kind(types.call)(r)
			}
		})),
		peermem("relocation: of an unknown type, in what is not loaded", addDebug, relocateDebug(types.unknown)),
	}
}

// policies are about what no kernel looks at.
func (m *maker) policies() []Variant {
	list := []Variant{
		peermem("depends: names a module that is not there", setTag("depends", "no_such_module")),
		peermem("firmware: names a file that is not there", addTag("firmware", "nvidia/none.bin")),
		peermem("debug: a section of debugging information", addDebug),
		peermem("modinfo: an entry of no meaning", addTag("colour", "green")),
		peermem("compiler: an older one", inSection(".comment", func(s *section) { s.data = []byte("GCC: (GNU) 4.9.4\x00") })),
	}
	for i := range list {
		list[i].Policy = true
	}
	return list
}
