package kernel

import (
	"slices"
	"strings"
)

// InTreeModule is one of the modules that came with a kernel.
type InTreeModule struct {
	// Name is what it is called when it is loaded: "drm_kms_helper".
	Name string `json:"name"`
	// File is its path below /lib/modules/REL, as depmod has it:
	// "kernel/drivers/gpu/drm/drm.ko.xz".
	File string `json:"file"`
	// Needs are the names of all that have to be loaded before it, in load order.
	Needs []string `json:"needs"`
}

// Dependencies are the modules that came with a kernel, by name, as depmod(8) found what
// they need.
type Dependencies map[string]InTreeModule

// dependencyFile is where depmod leaves it, below /lib/modules/REL.
const dependencyFile = "modules.dep"

// ReadDependencies reads them from a root, and the path in it of the folder that they
// are in. There are none where the root has no modules.dep of the release.
func ReadDependencies(root *Root, release string) (d Dependencies, dir string) {
	for _, dir := range []string{"lib/modules/" + release, "usr/lib/modules/" + release} {
		if text, err := root.ReadFile(dir + "/" + dependencyFile); err == nil {
			return parseDependencies(string(text)), dir
		}
	}
	return nil, ""
}

// parseDependencies reads a modules.dep: a line a module, "FILE: FILE FILE…", with
// everything that it needs, what is needed first at the end.
func parseDependencies(text string) Dependencies {
	d := Dependencies{}
	for line := range strings.Lines(text) {
		file, needs, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		m := InTreeModule{Name: ModuleName(file), File: file, Needs: []string{}}
		for need := range strings.FieldsSeq(needs) {
			m.Needs = append(m.Needs, ModuleName(need))
		}
		slices.Reverse(m.Needs)
		d[m.Name] = m
	}
	return d
}

// Of are the named modules and all that they need, sorted by name. Those that are not
// among them are left out: they are built into the kernel, or nowhere.
func (d Dependencies) Of(names []string) (list []InTreeModule) {
	wanted := map[string]bool{}
	for _, name := range names {
		if m, ok := d[name]; ok {
			wanted[name] = true
			for _, need := range m.Needs {
				wanted[need] = true
			}
		}
	}
	for name := range wanted {
		if m, ok := d[name]; ok {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b InTreeModule) int { return strings.Compare(a.Name, b.Name) })
	return list
}
