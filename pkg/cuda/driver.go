package cuda

import (
	"errors"
	"path"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// The two forms in which NVIDIA ships its kernel modules' sources.
const (
	// Proprietary is the form in the package's kernel folder: closed core
	// objects with an open interface around them.
	Proprietary = "proprietary"
	// Open is the form in kernel-open, from the 515 line on, for Turing
	// GPUs and later.
	Open = "open"
)

// Driver is the part of a driver package that kernel modules are built from,
// with the firmware that goes with them, unpacked into a folder that a build may
// write into. [Unpack] makes one.
type Driver struct {
	// Dir holds nvidia-installer, .manifest, the module sources and the
	// firmware, laid out as in the package. It belongs to one build: the
	// installer compiles in place and leaves its objects there.
	Dir string
	// Version is the driver's, "535.261.03".
	Version string
	// Arch is the architecture that the package's binaries are for.
	Arch kernel.Arch
	// Digest is the digest of the package that Dir was made from, sha256:HEX.
	Digest string
	// Manifest is the package's own, as it was before unpacking left most
	// of its files out.
	Manifest Manifest
	// Sizes are the bytes of all of the package's files, by path, in Dir or
	// not.
	Sizes map[string]int64
}

// Installer is the path of the package's nvidia-installer.
func (d Driver) Installer() string { return filepath.Join(d.Dir, "nvidia-installer") }

// ModuleTypes lists the forms of the modules' sources that the package has,
// [Proprietary] before [Open].
func (d Driver) ModuleTypes() []string {
	var types []string
	for _, t := range []string{Proprietary, Open} {
		if d.Manifest.hasSourceUnder(sourceFolder(t)) {
			types = append(types, t)
		}
	}
	return types
}

// Modules names the modules that the package promises for one of its forms, in
// the manifest's order and without ".ko"; none where it lacks that form.
func (d Driver) Modules(moduleType string) []string {
	if !slices.Contains(d.ModuleTypes(), moduleType) {
		return nil
	}
	return slices.Clone(d.Manifest.Modules)
}

// Firmware names the files that the package brings for the kernel to load on
// to a GPU, as MODULE_FIRMWARE does: "nvidia/VERSION/gsp_ga10x.bin". It is
// empty, not nil, for a package without any.
func (d Driver) Firmware() []string {
	names := []string{}
	for _, f := range d.Manifest.Files {
		if f.Type == firmware {
			names = append(names, d.firmwareName(f))
		}
	}
	return names
}

// FirmwareFiles are the paths of those files in Dir, by the name that
// [Driver.Firmware] gives them.
func (d Driver) FirmwareFiles() map[string]string {
	files := map[string]string{}
	for _, f := range d.Manifest.Files {
		if f.Type == firmware {
			files[d.firmwareName(f)] = filepath.Join(d.Dir, filepath.FromSlash(f.Path))
		}
	}
	return files
}

func (d Driver) firmwareName(f File) string { return path.Join("nvidia", d.Version, f.inherited()) }

// RemoveSources removes the modules' sources and what was compiled of them from
// Dir, once the modules are elsewhere: it is most of what a build takes of a disk.
func (d Driver) RemoveSources() error {
	var errs []error
	for _, t := range d.ModuleTypes() {
		errs = append(errs, beneath.RemoveAll(filepath.Join(d.Dir, sourceFolder(t))))
	}
	return errors.Join(errs...)
}

// SourceDir is the folder of one form's sources, relative to Dir.
func (d Driver) SourceDir(moduleType string) string { return sourceFolder(moduleType) }

// sourceFolder is the package's folder for a form, in the layout that every
// package since the 331 line has.
func sourceFolder(moduleType string) string {
	if moduleType == Open {
		return "kernel-open"
	}
	return "kernel"
}
