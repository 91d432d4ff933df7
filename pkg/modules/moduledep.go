package modules

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/kmodindex"
	"github.com/k8sp/cuda/pkg/kernel"
)

// ModulesDep are modules.dep and modules.dep.bin, of which modprobe(8) reads the second,
// of a folder that has the manifest's modules, and those that came with the kernel below
// inTree, such as "host". Unlike the published indexes, in which the modules are alone,
// they have modprobe load those of the kernel's own that these need.
func (m Manifest) ModulesDep(inTree string) (text, index []byte) {
	d := dependencies{byName: map[string]Entry{}, inTree: map[string]kernel.InTreeModule{}, folder: inTree}
	for _, e := range m.Modules {
		d.byName[e.Name] = e
	}
	for _, k := range m.InTree {
		d.inTree[k.Name] = k
	}
	lines := map[string]string{}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(d.byName)), slices.Collect(maps.Keys(d.inTree))) {
		lines[name] = d.line(name)
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		all.WriteString(lines[name] + "\n")
	}
	return []byte(all.String()), kmodindex.Encode(lines)
}

type dependencies struct {
	byName map[string]Entry
	inTree map[string]kernel.InTreeModule
	folder string
}

// file is where a module is; "" of one that is nowhere, as what is built into the kernel.
func (d dependencies) file(name string) string {
	if e, ok := d.byName[name]; ok {
		return e.File
	}
	if k, ok := d.inTree[name]; ok {
		return path.Join(d.folder, k.File)
	}
	return ""
}

// line is "FILE: FILE FILE…", with what is needed first at the end, as depmod has it.
func (d dependencies) line(name string) string {
	var files []string
	for _, need := range slices.Backward(d.order(name, nil, map[string]bool{})) {
		if file := d.file(need); file != "" && need != name {
			files = append(files, " "+file)
		}
	}
	return d.file(name) + ":" + strings.Join(files, "")
}

// order goes on with a module and all that it needs, in load order. A manifest may be
// anybody's: of modules that need each other one comes first.
func (d dependencies) order(name string, order []string, seen map[string]bool) []string {
	if seen[name] {
		return order
	}
	seen[name] = true
	e := d.byName[name]
	for _, need := range slices.Concat(d.inTree[name].Needs, e.InTree, e.Siblings) {
		order = d.order(need, order, seen)
	}
	return append(order, name)
}
