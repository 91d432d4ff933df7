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
	// depend has the modules' paths below dir, and what each needs first.
	depend  kernel.Dependencies
	builtIn map[string]bool
}

// ReadTree reads the tree of a release from the first of the roots that has it.
func ReadTree(release string, roots ...*kernel.Root) Tree {
	t := Tree{name: "/lib/modules/" + release, builtIn: map[string]bool{}}
	for _, root := range roots {
		depend, dir := kernel.ReadDependencies(root, release)
		if depend == nil {
			continue
		}
		t.depend = depend
		t.dir, _ = root.Path(dir)
		data, _ := root.ReadFile(dir + "/modules.builtin") // not there: nothing is known to be built in
		for name := range strings.FieldsSeq(string(data)) {
			t.builtIn[kernel.ModuleName(name)] = true
		}
		return t
	}
	return t
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
		case !t.Has(name):
			missing = append(missing, name)
		default:
			order = append(order, name)
		}
	}
	for _, name := range names {
		for _, need := range t.depend[name].Needs {
			add(need)
		}
		add(name)
	}
	return order, missing
}

// Has says whether a module came with the kernel.
func (t Tree) Has(name string) bool { return t.depend[name].File != "" }

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
	return slices.ContainsFunc(borrowed, func(b string) bool { return b == name || slices.Contains(t.depend[b].Needs, name) })
}

// Take is a module of the tree in memory, as unpack leaves it.
func (t Tree) Take(name string) (*os.File, error) {
	file := t.depend[name].File
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
