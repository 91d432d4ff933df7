package modules

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

func checkELF(g gate) []Check {
	checks := make([]Check, 0, len(g.mods))
	for _, m := range g.mods {
		verdict, detail := g.elf(m)
		checks = append(checks, Check{Module: m.Name, Verdict: verdict, Detail: detail})
	}
	return checks
}

func (g gate) elf(m Module) (Verdict, string) {
	switch {
	case m.Defect != "":
		return Failed, m.File + " " + m.Defect
	case m.ELF.Type != elf.ET_REL:
		return Failed, fmt.Sprintf("%s is an ELF of type %v and a kernel loads only ET_REL, relocatable files", m.File, m.ELF.Type)
	case m.ELF.SymbolTables == 0:
		return Failed, m.File + " has no symbol table, without which a kernel cannot link it"
	case m.ELF.SymbolTables > 1 && g.since(6, 4):
		return Failed, fmt.Sprintf("%s has %d symbol tables and a kernel since 6.4 wants one", m.File, m.ELF.SymbolTables)
	case len(m.ELF.Common) > 0:
		return Failed, fmt.Sprintf("%s has common symbols, which a kernel has no place for: %s", m.File, some(m.ELF.Common))
	case len(m.ELF.Misplaced) > 0:
		return Failed, fmt.Sprintf("%s has symbols in sections that it does not have: %s", m.File, someNames(m.ELF.Misplaced))
	case m.ELF.InfoSections > 1 && g.since(6, 4):
		return Failed, fmt.Sprintf("%s has %d sections .modinfo and a kernel since 6.4 wants one", m.File, m.ELF.InfoSections)
	case len(m.ELF.WritableCode) > 0 && g.option("STRICT_MODULE_RWX") && !g.before(5, 5): // 5.4 does not look
		return Failed, fmt.Sprintf("%s has sections that are both written and executed, which a kernel with STRICT_MODULE_RWX refuses: %s", m.File, some(m.ELF.WritableCode))
	case g.target.Arch == "":
		return NotCheckable, "the kernel's architecture is not known: mount the host's /boot at /host/boot, or name a kernel image"
	case len(m.ELF.WritableCode) > 0 && !g.configKnown() && !g.before(5, 5):
		return NotCheckable, noConfig
	case m.Arch() != g.target.Arch:
		return Failed, fmt.Sprintf("%s is for %s and the kernel is for %s", m.File, m.Arch(), g.target.Arch)
	}
	return Passed, ""
}

// Vermagic is the version magic that a target's kernel compares a module's
// with, as include/linux/vermagic.h composes it from the release and the
// config. It is not whole where the kernel has RANDSTRUCT, whose hash nothing
// but its build tree knows.
func Vermagic(t kernel.Target) (magic string, whole bool) {
	var b strings.Builder
	b.WriteString(t.Release.Full + " ")
	add := func(on bool, word string) {
		if on {
			b.WriteString(word)
		}
	}
	// Since 5.16 PREEMPT_BUILD is what counts, and PREEMPT implies it. Beside
	// PREEMPT_RT, as since 6.13 it may be, it does not.
	rt := t.Config.Bool("PREEMPT_RT")
	preempt := !rt && (t.Config.Bool("PREEMPT") || t.Config.Bool("PREEMPT_BUILD"))
	add(t.Config.Bool("SMP"), "SMP ")
	add(preempt, "preempt ")
	add(rt, "preempt_rt ")
	add(t.Config.Bool("MODULE_UNLOAD"), "mod_unload ")
	add(t.Config.Bool("MODVERSIONS"), "modversions ")
	add(t.Arch == kernel.AArch64, "aarch64")
	plugin := t.Config.Bool("GCC_PLUGIN_RANDSTRUCT")
	add(plugin && !t.Release.AtLeast(5, 19), "RANDSTRUCT_PLUGIN_")
	random := t.Config.Bool("RANDSTRUCT") || plugin && t.Release.AtLeast(5, 19)
	add(random, "RANDSTRUCT_")
	return b.String(), !random && !plugin
}

func checkVermagic(g gate) []Check {
	want, whole := Vermagic(g.target)
	if !whole && strings.HasPrefix(g.target.Sample.Vermagic, want) {
		want, whole = g.target.Sample.Vermagic, true
	}
	return g.each(func(m Module) (Verdict, string) {
		switch {
		case !g.releaseKnown():
			return NotCheckable, noRelease
		case !g.configKnown():
			return NotCheckable, noConfig
		case m.Vermagic == "" && g.option("MODULE_FORCE_LOAD"):
			return Passed, "it has none, and the kernel, with MODULE_FORCE_LOAD, takes it and is tainted"
		case m.Vermagic == "" && m.ELF.InfoSections == 0:
			return Failed, fmt.Sprintf("%s has no section .modinfo, so no version magic, and is no module: the kernel wants %q", m.File, want)
		case m.Vermagic == "":
			return Failed, fmt.Sprintf("%s has no version magic and the kernel wants %q", m.File, want)
		}
		got, must := m.Vermagic, want
		if g.option("MODVERSIONS") && m.ELF.HasVersions {
			got, must = afterRelease(got), afterRelease(must)
		}
		switch {
		case got == must && whole:
			return Passed, ""
		case whole && g.before(4, 16) && got == must+retpoline && strings.HasSuffix(g.target.Sample.Vermagic, retpoline):
			return Passed, ""
		case whole && g.before(4, 16) && got == must+retpoline && g.target.Sample.Vermagic == "":
			return NotCheckable, "it has the word retpoline, as kernels of some releases of January 2018 have, and none of the kernel's own modules is to be seen to compare with: " + mountModules
		case strings.HasPrefix(got, must) && !whole:
			return NotCheckable, "the kernel's structures were shuffled (RANDSTRUCT), and none of its own modules is to be seen to compare the seed's hash with: " + mountModules
		}
		return Failed, fmt.Sprintf("%s has version magic %q and the kernel wants %q", m.File, m.Vermagic, want)
	})
}

// retpoline ends the version magic of kernels of January 2018 that were compiled with
// retpolines: kernel commit 6cfb521ac0d5, of 4.15 and of stable releases of 4.9 and 4.14,
// which the next of each took back (5132ede0fe80).
const retpoline = "retpoline "

// afterRelease is a version magic without its first word.
func afterRelease(magic string) string {
	if i := strings.IndexByte(magic, ' '); i >= 0 {
		return magic[i:]
	}
	return ""
}

func checkThisModule(g gate) []Check {
	want := g.target.StructModule.Bytes
	if want == 0 {
		// A module that this kernel loads has passed the same comparison.
		want = g.target.Sample.ThisModule
	}
	return g.each(func(m Module) (Verdict, string) {
		this := m.ELF.ThisModule
		switch {
		case this.Sections == 0:
			return Failed, m.File + " has no section .gnu.linkonce.this_module and is no module to a kernel"
		case !this.Loaded:
			return Failed, m.File + " has a section .gnu.linkonce.this_module without contents that are loaded"
		case !g.releaseKnown():
			return NotCheckable, noRelease
		case !g.since(6, 4):
			return NotAsked, "a kernel before 6.4 does not compare it"
		case this.Sections > 1:
			return Failed, fmt.Sprintf("%s has %d sections .gnu.linkonce.this_module and a kernel since 6.4 wants one", m.File, this.Sections)
		case want == 0:
			return NotCheckable, "the size of the kernel's struct module is not known: mount the host's /lib/modules at /host/lib/modules, or name a kernel image"
		case this.Size != want:
			return Failed, fmt.Sprintf("%s has a struct module of %d bytes and the kernel's is %d: it was built with another config or other sources", m.File, this.Size, want)
		}
		return Passed, ""
	})
}

// The types of relocation that the loaders of the two architectures know, the
// same from 5.4 to 7.3, by apply_relocate_add of arch/*/kernel/module.c. Before, those
// of x86-64 that are in youngX86 may be missing, and only the source says whether.
var (
	relocationsX86 = []elf.R_X86_64{
		elf.R_X86_64_NONE, elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S,
		elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64,
	}
	youngX86       = []elf.R_X86_64{elf.R_X86_64_PLT32, elf.R_X86_64_PC64}
	relocationsARM = []elf.R_AARCH64{
		elf.R_AARCH64_NONE, elf.R_AARCH64_NULL,
		elf.R_AARCH64_ABS64, elf.R_AARCH64_ABS32, elf.R_AARCH64_ABS16,
		elf.R_AARCH64_PREL64, elf.R_AARCH64_PREL32, elf.R_AARCH64_PREL16,
		elf.R_AARCH64_MOVW_UABS_G0, elf.R_AARCH64_MOVW_UABS_G0_NC, elf.R_AARCH64_MOVW_UABS_G1, elf.R_AARCH64_MOVW_UABS_G1_NC,
		elf.R_AARCH64_MOVW_UABS_G2, elf.R_AARCH64_MOVW_UABS_G2_NC, elf.R_AARCH64_MOVW_UABS_G3,
		elf.R_AARCH64_MOVW_SABS_G0, elf.R_AARCH64_MOVW_SABS_G1, elf.R_AARCH64_MOVW_SABS_G2,
		// MOVW_PREL_G0 to G3 with their NC forms, which debug/elf does not name.
		287, 288, 289, 290, 291, 292, 293,
		elf.R_AARCH64_LD_PREL_LO19, elf.R_AARCH64_ADR_PREL_LO21, elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADR_PREL_PG_HI21_NC,
		elf.R_AARCH64_ADD_ABS_LO12_NC, elf.R_AARCH64_LDST8_ABS_LO12_NC, elf.R_AARCH64_LDST16_ABS_LO12_NC,
		elf.R_AARCH64_LDST32_ABS_LO12_NC, elf.R_AARCH64_LDST64_ABS_LO12_NC, elf.R_AARCH64_LDST128_ABS_LO12_NC,
		elf.R_AARCH64_TSTBR14, elf.R_AARCH64_CONDBR19, elf.R_AARCH64_JUMP26, elf.R_AARCH64_CALL26,
	}
)

func checkRelocations(g gate) []Check {
	// Of an old loader only its source tells all, and of one that may be old.
	untold := g.expect.Loader == nil && !(g.releaseKnown() && g.since(5, 4))
	return g.each(func(m Module) (Verdict, string) {
		var unknown, young []string
		for _, r := range m.ELF.Relocations {
			var name fmt.Stringer
			var known bool
			switch g.target.Arch {
			case kernel.X86_64:
				name, known = elf.R_X86_64(r.Type), slices.Contains(relocationsX86, elf.R_X86_64(r.Type))
			case kernel.AArch64:
				name, known = elf.R_AARCH64(r.Type), slices.Contains(relocationsARM, elf.R_AARCH64(r.Type))
			default:
				return NotCheckable, "what the loader of this architecture knows is not recorded here"
			}
			where := fmt.Sprintf("%v in %s", name, r.Section)
			switch {
			case g.expect.Loader != nil:
				known = g.expect.Loader.Knows(name.String())
			case untold && known && g.target.Arch == kernel.X86_64 && slices.Contains(youngX86, elf.R_X86_64(r.Type)):
				young = append(young, where)
			}
			if !known {
				unknown = append(unknown, where)
			}
		}
		switch {
		case len(unknown) > 0:
			return Failed, fmt.Sprintf("%s has relocations that the kernel's loader does not know: %s", m.File, some(unknown))
		case len(m.ELF.WithoutAddends) > 0:
			return Failed, fmt.Sprintf("%s has relocations without addends (SHT_REL), which the loader of this architecture does not take, for %s", m.File, some(m.ELF.WithoutAddends))
		case len(m.ELF.Occupied) > 0 && untold:
			return NotCheckable, fmt.Sprintf("it has something other than zero where a relocation goes, in %s: only the source of a kernel before 5.4 says whether its loader writes over that, and it is not at hand", some(m.ELF.Occupied))
		case len(m.ELF.Occupied) > 0 && (g.expect.Loader == nil || g.expect.Loader.WantsZeros):
			return Failed, fmt.Sprintf("%s has something other than zero where a relocation goes, which the loader refuses to write over, in %s", m.File, some(m.ELF.Occupied))
		case len(m.ELF.Low) > 0:
			how := "R_X86_64_32), and kernels load modules higher: it was not compiled with -mcmodel=kernel"
			if g.target.Arch == kernel.AArch64 {
				how = "R_AARCH64_ABS32), and kernels load modules higher"
			}
			return Failed, fmt.Sprintf("%s wants its addresses in 32 bits (%s; in %s", m.File, how, some(m.ELF.Low))
		case len(young) > 0:
			return NotCheckable, fmt.Sprintf("only the source of a kernel before 5.4 says whether its loader knows %s, and it is not at hand", some(young))
		}
		return Passed, ""
	})
}
