package modules

import (
	"fmt"
	"slices"
	"strings"
)

// LoadOrder returns the modules in an order in which each comes after those
// siblings that it needs, by depends: or by the symbols it imports. Modules
// that do not need each other are in order of name, so the result is the same
// whatever order they came in. It fails where two have one name or need each
// other.
func LoadOrder(mods []Module) ([]Module, error) {
	needs, err := siblings(mods)
	if err != nil {
		return nil, err
	}
	left := byName(mods)
	loaded := map[string]bool{}
	ready := func(m Module) bool {
		return !slices.ContainsFunc(needs[m.Name], func(name string) bool { return !loaded[name] })
	}
	order := make([]Module, 0, len(mods))
	for len(left) > 0 {
		i := slices.IndexFunc(left, ready)
		if i < 0 {
			return nil, fmt.Errorf("modules that need each other cannot be loaded: %s", names(left))
		}
		loaded[left[i].Name] = true
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order, nil
}

// siblings is, for each module's name, the sorted names of those among mods
// that it needs.
func siblings(mods []Module) (map[string][]string, error) {
	exporter := map[string]string{}
	needs := map[string][]string{}
	for _, m := range mods {
		if _, twice := needs[m.Name]; twice {
			return nil, fmt.Errorf("two modules are named %s", m.Name)
		}
		needs[m.Name] = nil
		for _, symbol := range m.ELF.Exports {
			exporter[symbol.Name] = m.Name
		}
	}
	for _, m := range mods {
		for _, name := range m.Depends {
			if _, ok := needs[name]; ok {
				needs[m.Name] = append(needs[m.Name], name)
			}
		}
		for _, symbol := range m.ELF.Imports {
			if name, ok := exporter[symbol.Name]; ok && name != m.Name {
				needs[m.Name] = append(needs[m.Name], name)
			}
		}
		needs[m.Name] = sortedSet(needs[m.Name])
	}
	return needs, nil
}

// byName is the modules sorted by name, in a slice of its own.
func byName(mods []Module) []Module {
	return slices.SortedStableFunc(slices.Values(mods), func(a, b Module) int { return strings.Compare(a.Name, b.Name) })
}

func names(mods []Module) string {
	var list []string
	for _, m := range mods {
		list = append(list, m.Name)
	}
	return strings.Join(list, ", ")
}
