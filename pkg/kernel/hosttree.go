package kernel

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hostTree locates the tree that a host has for building modules, as
// `make modules_install` and distributions' header packages leave it. A
// folder without the files that kbuild cannot do without is none: a capture
// has Module.symvers there and nothing else.
func hostTree(root *Root, r Release) HostTree {
	name := "lib/modules/" + r.Full + "/build"
	build, err := root.Path(name)
	if err != nil || !isFile(build, "Makefile") || !isFile(build, "include/generated/autoconf.h") {
		return HostTree{}
	}
	source, err := root.Path("lib/modules/" + r.Full + "/source")
	if err != nil || !isFile(source, "Makefile") {
		source = build
	}
	return HostTree{Build: build, Source: source, From: name, Loader: loaderOf(root, filepath.Join(build, "scripts/basic/fixdep"))}
}

// libraryFolders are where distributions have the C library, on x86-64 and arm64.
var libraryFolders = []string{
	"lib64", "usr/lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib", "usr/lib",
}

// loaderOf is the host's own loader of a program, by the path that is in it.
func loaderOf(root *Root, program string) Loader {
	file, err := elf.Open(program)
	if err != nil {
		return Loader{}
	}
	defer file.Close()
	section := file.Section(".interp")
	if section == nil || section.Size > 4096 {
		return Loader{} // a static one, or a script
	}
	name, err := section.Data()
	if err != nil {
		return Loader{}
	}
	var l Loader
	if l.Path, err = root.Path(strings.TrimRight(string(name), "\x00")); err != nil || !isFile("/", l.Path) {
		return Loader{}
	}
	for _, folder := range libraryFolders {
		dir, err := root.Path(folder)
		if err == nil && isFile(dir, "libc.so.6") && !slices.Contains(l.Libraries, dir) {
			l.Libraries = append(l.Libraries, dir)
		}
	}
	return l
}

func isFile(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}
