package modules

// Rule is a check that the gate makes.
type Rule struct {
	// Name is what --allow takes.
	Name string
	Kind Kind
	// Doc says what it demands, as a clause.
	Doc string
	// Since is the kernel line that began to enforce it, "6.4"; empty where
	// every line that this program builds for does, or where none does.
	Since string
	// Config is what in a kernel's config it hangs on, by the options' names
	// without CONFIG_.
	Config string
	// Source is where the kernel enforces it, file and function; empty for
	// policy.
	Source string
	run    func(gate) []Check
}

// Rules lists the checks in the order in which [Gate] makes them. Before 5.19
// the files of kernel/module/ were one, kernel/module.c.
func Rules() []Rule {
	return []Rule{
		{
			Name: "built", Kind: PolicyCheck, run: checkBuilt,
			Doc: "every module that the driver package names was built, or the user excluded it",
		},
		{
			Name: "elf", Kind: KernelCheck, run: checkELF,
			Doc:    "the file is a relocatable ELF for the kernel's machine, with a symbol table, no common symbols, and no section to be both written and executed",
			Config: "STRICT_MODULE_RWX",
			Source: "kernel/module/main.c: elf_validity_check, simplify_symbols; strict_rwx.c: module_enforce_rwx_sections",
		},
		{
			Name: "vermagic", Kind: KernelCheck, run: checkVermagic,
			Doc:    "the version magic is the kernel's own, without the release where symbol versions take its place",
			Config: "SMP, PREEMPT, PREEMPT_BUILD, PREEMPT_RT, MODULE_UNLOAD, MODVERSIONS, RANDSTRUCT, MODULE_FORCE_LOAD",
			Source: "kernel/module/main.c: check_modinfo, include/linux/vermagic.h",
		},
		{
			Name: "this-module", Kind: KernelCheck, run: checkThisModule, Since: "6.4",
			Doc:    "the section .gnu.linkonce.this_module is the size of the kernel's struct module",
			Source: "kernel/module/main.c: elf_validity_cache_copy",
		},
		{
			Name: "symbols", Kind: KernelCheck, run: checkSymbols,
			Doc:    "the kernel, a module of its own or a sibling exports every symbol that the module cannot do without",
			Source: "kernel/module/main.c: simplify_symbols, resolve_symbol",
		},
		{
			Name: "crcs", Kind: KernelCheck, run: checkCRCs,
			Doc:    "the version of each imported symbol is the exporter's",
			Config: "MODVERSIONS, MODULE_FORCE_LOAD",
			Source: "kernel/module/version.c: check_version, check_modstruct_version; main.c: check_export_symbol_versions",
		},
		{
			Name: "gpl", Kind: KernelCheck, run: checkGPL,
			Doc:    "no proprietary module uses a GPL-only symbol; from 5.9 on a user of a proprietary module's symbols counts as proprietary, and from 7.1 on a module says of each of its exports which it is",
			Source: "kernel/module/main.c: find_exported_symbol_in_section, inherit_taint, check_export_symbol_sections",
		},
		{
			Name: "namespaces", Kind: KernelCheck, run: checkNamespaces, Since: "5.4",
			Doc:    "the module imports the namespace of every symbol that has one, and since 6.16 is one of those that a namespace for modules names",
			Config: "MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS",
			Source: "kernel/module/main.c: verify_namespace_is_imported, verify_module_namespace, setup_modinfo",
		},
		{
			Name: "duplicates", Kind: KernelCheck, run: checkDuplicates,
			Doc:    "nobody else exports what the module exports",
			Source: "kernel/module/main.c: verify_exported_symbols",
		},
		{
			Name: "relocations", Kind: KernelCheck, run: checkRelocations,
			Doc:    "the kernel's loader knows every type of relocation in what it loads, and can apply it",
			Source: "arch/x86/kernel/module.c, arch/arm64/kernel/module.c: apply_relocate_add",
		},
		{
			Name: SignatureCheck, Kind: KernelCheck, run: checkSignature,
			Doc:    "a signature is right if it is there, and there by a key that the kernel holds if signatures are enforced",
			Config: "MODULE_SIG; enforced by MODULE_SIG_FORCE, LOCK_DOWN_KERNEL_FORCE_*, module.sig_enforce, or SECURITY_LOCKDOWN_LSM in force",
			Source: "kernel/module/signing.c: module_sig_check, kernel/module_signature.c: mod_check_sig",
		},
		{
			Name: "sample", Kind: PolicyCheck, run: checkSample,
			Doc: "version magic and the size of this_module are those of one of the host's own modules",
		},
		{
			Name: LayoutCheck, Kind: PolicyCheck, run: checkLayout,
			Doc:    "every struct, union and enum that the modules were compiled with is laid out as in the kernel, by the kernel's own type information",
			Config: "DEBUG_INFO_BTF, DEBUG_INFO_BTF_MODULES",
		},
		{
			Name: PrototypesCheck, Kind: PolicyCheck, run: checkPrototypes,
			Doc:    "every function and variable that the modules import was declared to them as it is in the kernel, by the kernel's own type information",
			Config: "DEBUG_INFO_BTF, DEBUG_INFO_BTF_MODULES",
		},
		{
			Name: SourceCRCsCheck, Kind: PolicyCheck, run: checkSourceCRCs,
			Doc:    "the source gives each imported symbol the version that it has in the kernel; made where asked for, and missed where the kernel has no type information",
			Config: "MODVERSIONS",
		},
		{
			Name: "depends", Kind: PolicyCheck, run: checkDepends,
			Doc: "depends: names every module whose symbols are used and none that is not there, without a cycle",
		},
		{
			Name: "compiler", Kind: PolicyCheck, run: checkCompiler,
			Doc: "the compiler is the kernel's by major version, or a newer one; an older one is not checkable",
		},
		{
			Name: "firmware", Kind: PolicyCheck, run: checkFirmware,
			Doc: "the firmware that the module names is in the driver package",
		},
		{
			Name: "debug", Kind: PolicyCheck, run: checkDebug,
			Doc: "there is no debugging information unless it was asked for",
		},
	}
}
