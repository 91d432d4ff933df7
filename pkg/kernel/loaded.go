package kernel

import (
	"slices"
	"strconv"
	"strings"
)

const modulesFile = "proc/modules"

// The columns of a /proc/modules are: name size references users state address
// [(taints)].
const (
	loadAddress = 5
	taintsFrom  = 6
)

// foreignModules are the loaded modules that were not built with the kernel,
// as the taint flag O in proc/modules says. A driver that is already loaded is
// one: what it exports is no part of the kernel that another is built for.
func foreignModules(root *Root) map[string]bool {
	text, err := root.ReadFile(modulesFile)
	if err != nil {
		return nil
	}
	return parseForeign(text)
}

func parseForeign(text []byte) map[string]bool {
	foreign := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) <= taintsFrom {
			continue
		}
		if slices.ContainsFunc(fields[taintsFrom:], func(taints string) bool {
			return strings.HasPrefix(taints, "(") && strings.Contains(taints, "O")
		}) {
			foreign[fields[0]] = true
		}
	}
	return foreign
}

// moduleTables are where a loaded module's export tables begin, and since 7.1
// the flags of the one that is left. A table that is not there is nil, one whose
// address is hidden 0.
type moduleTables struct{ plain, gpl, flags *uint64 }

// kflagstab has a byte for each entry of __ksymtab, whose lowest bit says that
// the symbol is for GPL-compatible modules only (include/linux/module_symbol.h).
// With it, since 7.1, there is no other table.
const kflagstab = "__kflagstab"

// loadedTables reads the tables of a loaded module from its sections in sysfs.
func loadedTables(root *Root) func(module string) moduleTables {
	return func(module string) moduleTables {
		return moduleTables{
			plain: sectionAddress(root, module, ksymtab), gpl: sectionAddress(root, module, ksymtab+"_gpl"),
			flags: sectionAddress(root, module, kflagstab),
		}
	}
}

// sectionAddress is where a loaded module's section is, 0 where that is hidden
// from the reader, and nil where it has no such section, which sysfs tells every
// reader.
func sectionAddress(root *Root, module, section string) *uint64 {
	name := "sys/module/" + module + "/sections/" + section
	if !root.Exists(name) {
		return nil
	}
	address, err := strconv.ParseUint(strings.TrimPrefix(root.Text(name), "0x"), 16, 64)
	if err != nil {
		address = 0 // also of a number out of range
	}
	return &address
}

// license is the class of an export by the address of its entry: that of the
// only table, or of the last one that begins before it. Flags tell of a class
// what no address does.
func (t moduleTables) license(entry uint64) License {
	switch {
	case t.flags != nil, t.plain == nil && t.gpl == nil:
		return LicenseUnknown
	case t.gpl == nil:
		return LicenseAny
	case t.plain == nil:
		return LicenseGPL
	case *t.plain == 0, *t.gpl == 0, entry < min(*t.plain, *t.gpl):
		return LicenseUnknown
	}
	upper, lower := LicenseGPL, LicenseAny
	if *t.plain > *t.gpl {
		upper, lower = lower, upper
	}
	if entry >= max(*t.plain, *t.gpl) {
		return upper
	}
	return lower
}
