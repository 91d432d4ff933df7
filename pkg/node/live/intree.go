package live

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Tree is what came with a kernel of modules: /lib/modules/REL, as depmod left
// it.
type Tree struct {
	dir  string // on this machine; empty where it is not to be seen
	name string // as the root has it
	// files are the modules' paths below dir by name, needs what each needs
	// first, in load order.
	files   map[string]string
	needs   map[string][]string
	builtIn map[string]bool
}

// ReadTree reads the tree of a release from the first of the roots that has it.
func ReadTree(release string, roots ...*kernel.Root) Tree {
	t := Tree{name: "/lib/modules/" + release, files: map[string]string{}, needs: map[string][]string{}, builtIn: map[string]bool{}}
	for _, root := range roots {
		for _, dir := range []string{"lib/modules/" + release, "usr/lib/modules/" + release} {
			if data, err := root.ReadFile(dir + "/modules.dep"); err == nil {
				t.dir, _ = root.Path(dir)
				t.dependencies(string(data))
				data, _ = root.ReadFile(dir + "/modules.builtin") // not there: nothing is known to be built in
				for name := range strings.FieldsSeq(string(data)) {
					t.builtIn[moduleName(name)] = true
				}
				return t
			}
		}
	}
	return t
}

// dependencies reads a modules.dep: a line a module, "FILE: FILE FILE…", with
// everything that it needs, what is needed first at the end.
func (t Tree) dependencies(text string) {
	for line := range strings.Lines(text) {
		file, needs, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		t.files[name] = file
		for need := range strings.FieldsSeq(needs) {
			t.needs[name] = append(t.needs[name], moduleName(need))
		}
		slices.Reverse(t.needs[name])
	}
}

// moduleName is what a module's file is called when it is loaded.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Seen says whether there is anything to be seen.
func (t Tree) Seen() bool { return t.dir != "" }

// Needed are those modules that have to be loaded for the named ones, which
// they include, in load order, and the names of those that are nowhere to be
// found. What the kernel has already is in neither.
func (t Tree) Needed(s State, names []string) (order, missing []string) {
	add := func(name string) {
		switch {
		case s.Has(name), t.builtIn[name], slices.Contains(order, name), slices.Contains(missing, name):
		case t.files[name] == "":
			missing = append(missing, name)
		default:
			order = append(order, name)
		}
	}
	for _, name := range names {
		for _, need := range t.needs[name] {
			add(need)
		}
		add(name)
	}
	return order, missing
}

// Has says whether a module came with the kernel.
func (t Tree) Has(name string) bool { return t.files[name] != "" }

// borrowed are the modules of the kernel's own that those of a driver name in depends:,
// of any version and kernel: what drives displays, the card's I2C and ACPI, the crypto
// that is for confidential computing, IPMI of older drivers, and what nvidia-peermem
// works for.
var borrowed = []string{
	"drm", "drm_client_lib", "drm_kms_helper", "drm_ttm_helper", "ttm", "fb_sys_fops", "syscopyarea", "sysfillrect", "sysimgblt",
	"backlight", "video", "wmi", "i2c_core", "ecc", "ecdh_generic", "ipmi_msghandler", "ib_core", "ib_uverbs",
}

// ForDriver says whether a module of the kernel's own is one that a driver may need:
// one of those that drivers name, or that these need.
func (t Tree) ForDriver(name string) bool {
	return slices.ContainsFunc(borrowed, func(b string) bool { return b == name || slices.Contains(t.needs[b], name) })
}

// Take is a module of the tree in memory, as unpack leaves it.
func (t Tree) Take(name string) (*os.File, error) {
	file := t.files[name]
	if file == "" {
		return nil, fmt.Errorf("%s has no module %s", t.name, name)
	}
	from, err := os.Open(filepath.Join(t.dir, filepath.FromSlash(path.Clean("/"+file))))
	if err != nil {
		return nil, err
	}
	defer from.Close()
	return unpack(from, path.Base(file))
}
