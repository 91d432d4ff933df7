package kernel

import (
	"os"
	"path/filepath"
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
	return HostTree{Build: build, Source: source, From: name}
}

func isFile(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}
