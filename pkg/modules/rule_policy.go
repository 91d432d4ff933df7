package modules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func checkBuilt(g gate) []Check {
	if len(g.mods) == 0 {
		return []Check{{Verdict: Failed, Detail: "no module was built at all"}}
	}
	if len(g.expect.Modules) == 0 {
		return []Check{{Verdict: NotCheckable, Detail: "the driver package does not name its modules"}}
	}
	has := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return canonical(s) == name })
	}
	var built []string
	for _, m := range g.mods {
		built = append(built, m.Name)
	}
	var checks []Check
	for _, want := range g.expect.Modules {
		name := canonical(want)
		switch {
		case has(built, name):
			checks = append(checks, Check{Module: name, Verdict: Passed})
		case has(g.expect.Excluded, name):
			checks = append(checks, Check{Module: name, Verdict: Passed, Detail: "left out as the user asked"})
		default:
			checks = append(checks, Check{Module: name, Verdict: Failed, Detail: "the driver package names it and it was not built"})
		}
	}
	return checks
}

func checkSample(g gate) []Check {
	s := g.target.Sample
	return g.each(func(m Module) (Verdict, string) {
		switch {
		case s.Name == "":
			return NotCheckable, "none of the host's own modules is to be seen: " + mountModules
		case m.Vermagic != s.Vermagic:
			return Failed, fmt.Sprintf("%s has version magic %q and the host's own %s has %q", m.File, m.Vermagic, s.Name, s.Vermagic)
		case s.ThisModule != 0 && m.ELF.ThisModule.Size != s.ThisModule:
			return Failed, fmt.Sprintf("%s has a struct module of %d bytes and the host's own %s has one of %d", m.File, m.ELF.ThisModule.Size, s.Name, s.ThisModule)
		}
		return Passed, ""
	})
}

// checkDepends holds depends:, by which modprobe loads, against the symbols
// that are used. What a build could only assume of a kernel whose modules it did not
// see is not in depends:, and does as well in the manifest, by which load loads. That the order has no cycle is a finding about all modules.
func checkDepends(g gate) []Check {
	known := map[string]bool{}
	for _, m := range g.mods {
		known[m.Name] = true
	}
	for _, s := range g.target.Exports.Symbols {
		known[canonical(s.Module)] = true
	}
	checks := g.each(func(m Module) (Verdict, string) {
		var unnamed, elsewhere, unseen []string
		for _, s := range m.ELF.Imports {
			p, ok := g.find(s.Name, m)
			if !ok || p.Module == vmlinux || slices.Contains(m.Depends, canonical(p.Module)) {
				continue
			}
			list := &unnamed
			if slices.Contains(g.expect.InTree[m.Name], canonical(p.Module)) {
				list = &elsewhere
			}
			*list = append(*list, canonical(p.Module))
		}
		for _, name := range m.Depends {
			if !known[name] {
				unseen = append(unseen, name)
			}
		}
		switch {
		case len(unnamed) > 0:
			return Failed, fmt.Sprintf("%s uses symbols of modules that its depends: does not name: %s", m.File, some(sortedSet(unnamed)))
		case len(unseen) > 0 && g.target.Exports.Complete:
			return Failed, fmt.Sprintf("%s depends on modules that are not there: %s", m.File, some(unseen))
		case len(unseen) > 0:
			return NotCheckable, fmt.Sprintf("it depends on modules that are not to be seen: %s: %s", some(unseen), mountModules)
		case len(elsewhere) > 0:
			return Passed, fmt.Sprintf("its depends: does not name %s, and the manifest does", some(sortedSet(elsewhere)))
		}
		return Passed, ""
	})
	if _, err := LoadOrder(g.mods); err != nil {
		checks = append(checks, Check{Verdict: Failed, Detail: err.Error()})
	}
	return checks
}

// banner is a compiler's in .comment: "GCC: (Debian 12.2.0-14) 12.2.0" or
// "Ubuntu clang version 18.1.3".
var banner = regexp.MustCompile(`^(?:(GCC): .*\)|.*?\b(clang) version) (\d+)\.`)

// checkCompiler wants the kernel's compiler among those that made the module,
// or a newer one of its kind: objects that the driver brings along ready-made
// may come of any other.
func checkCompiler(g gate) []Check {
	want := g.target.Compiler
	return g.each(func(m Module) (Verdict, string) {
		if want.Name == "" || want.Major == 0 {
			return NotCheckable, "the compiler that built the kernel is not known: mount the host's /proc, or name a kernel image"
		}
		newest, seen := 0, false
		for _, text := range m.ELF.Compilers {
			match := banner.FindStringSubmatch(text)
			if match == nil {
				continue
			}
			seen = true
			major, err := strconv.Atoi(match[3])
			if err != nil || strings.ToLower(match[1]+match[2]) != want.Name {
				continue
			}
			if major == want.Major {
				return Passed, ""
			}
			newest = max(newest, major)
		}
		switch {
		case !seen:
			return NotCheckable, m.File + " does not say what compiled it"
		case newest > want.Major:
			return Passed, fmt.Sprintf("compiled by %s %d, newer than the kernel's %d", want.Name, newest, want.Major)
		case newest > 0:
			return NotCheckable, fmt.Sprintf("compiled by %s %d, older than the kernel's %d: that is seen to serve where the config is the kernel's all the same, and promised by nobody", want.Name, newest, want.Major)
		}
		return Failed, fmt.Sprintf("%s was compiled by %s and the kernel by %s %d", m.File, some(m.ELF.Compilers), want.Name, want.Major)
	})
}

func checkFirmware(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		var missing []string
		for _, name := range m.Firmware {
			if !slices.Contains(g.expect.Firmware, name) {
				missing = append(missing, name)
			}
		}
		switch {
		case len(missing) == 0:
			return Passed, ""
		case g.expect.Firmware == nil:
			return NotCheckable, "what firmware the driver package holds is not known here"
		}
		return Failed, fmt.Sprintf("%s names firmware that the driver package lacks: %s", m.File, some(missing))
	})
}

func checkDebug(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		if len(m.ELF.Debug) > 0 && !g.expect.Debug {
			return Failed, fmt.Sprintf("%s has debugging information, which only makes it large: %s", m.File, some(m.ELF.Debug))
		}
		return Passed, ""
	})
}
