package kernel

import (
	"slices"
	"strconv"
	"strings"
)

// foreignModules are the loaded modules that were not built with the kernel,
// as the taint flag O in proc/modules says. A driver that is already loaded is
// one: what it exports is no part of the kernel that another is built for.
func foreignModules(root *Root) map[string]bool {
	data, err := root.ReadFile("proc/modules")
	if err != nil {
		return nil
	}
	foreign := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		// name size references users state address [(taints)]
		fields := strings.Fields(line)
		if len(fields) < 7 {
			continue
		}
		if slices.ContainsFunc(fields[6:], func(taints string) bool {
			return strings.HasPrefix(taints, "(") && strings.Contains(taints, "O")
		}) {
			foreign[fields[0]] = true
		}
	}
	return foreign
}

// moduleTables are where a loaded module's export tables begin. A table that
// is not there is nil, one whose address is hidden 0.
type moduleTables struct{ plain, gpl *uint64 }

// loadedTables reads the tables of a loaded module from its sections in sysfs,
// whose names are there for readers who may not see their addresses.
func loadedTables(root *Root) func(module string) moduleTables {
	start := func(module, section string) *uint64 {
		name := "sys/module/" + module + "/sections/" + section
		if !root.Exists(name) {
			return nil
		}
		address, _ := strconv.ParseUint(strings.TrimPrefix(root.text(name), "0x"), 16, 64)
		return &address
	}
	return func(module string) moduleTables {
		return moduleTables{plain: start(module, ksymtab), gpl: start(module, ksymtab+"_gpl")}
	}
}

// license is the class of an export by the address of its entry: that of the
// only table, or of the last one that begins before it.
func (t moduleTables) license(entry uint64) License {
	switch {
	case t.plain == nil && t.gpl == nil:
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
