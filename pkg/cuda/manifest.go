package cuda

import (
	"io/fs"
	"strings"
)

// Manifest is NVIDIA's list of what is in a driver package, its .manifest.
type Manifest struct {
	// Description is the product as the installer shows it, "NVIDIA
	// Accelerated Graphics Driver for Linux-x86_64".
	Description string
	// Version is the driver's, "535.261.03".
	Version string
	// Modules are the kernel modules that the package promises, without
	// ".ko".
	Modules []string
	// BuildDir is the folder of the module sources that the installer
	// builds by default, "./kernel/"; PrecompiledDir is where it looks for
	// precompiled interfaces first.
	BuildDir, PrecompiledDir string
	// Files are the package's files, in its order.
	Files []File
}

// File is one line of a manifest: a file of the package.
type File struct {
	// Path is slash-separated, relative to the package's folder.
	Path string
	// Mode is the permissions it is to be installed with.
	Mode fs.FileMode
	// Type is what the file is, "KERNEL_MODULE_SRC". Later packages add
	// types, so any word is one.
	Type string
	// Attributes are the words between the type and the module group, whose
	// meaning depends on the type: an architecture, a destination, the
	// target of a symbolic link.
	Attributes []string
	// Group is the part of the product the file belongs to, "resman" of
	// MODULE:resman; empty where the line names none.
	Group string
}

// hasSourceUnder tells whether the package lists module sources in a folder.
func (m Manifest) hasSourceUnder(folder string) bool {
	for _, f := range m.Files {
		if f.Type == "KERNEL_MODULE_SRC" && strings.HasPrefix(f.Path, folder+"/") {
			return true
		}
	}
	return false
}
