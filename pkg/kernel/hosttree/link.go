package hosttree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// elsewhere are files of a tree's top that are not linked: those that Link, or
// its caller, writes; a link of kbuild's to where the other half was; and the
// kernel, by which kbuild would add type information to modules.
var elsewhere = map[string]bool{"Makefile": true, "Module.symvers": true, "source": true, "vmlinux": true}

// Link makes at dir, which must not be there, the tree's folder of generated
// files, and returns the two halves that a module is built against; they are
// one folder where the tree is whole. What is in dir is ours, but for what its
// links lead to. It has no Module.symvers. With byLoader its programs are scripts that
// run the host's by the host's own loader.
func Link(tree kernel.HostTree, dir string, byLoader bool) (source, output string, err error) {
	if err := beneath.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	if err := beneath.Mkdir(dir, 0o755); err != nil {
		return "", "", err
	}
	var wrapped []string
	if byLoader {
		wrapped = programs
	}
	if err := linkAround(tree.Build, dir, elsewhere, wrapped, func(program string) []byte { return wrapper(tree.Loader, program) }); err != nil {
		return "", "", err
	}
	source = tree.Source
	if source == tree.Build {
		source = dir
	}
	return source, dir, relocate(tree, dir)
}

// linkAround makes links in a folder to all that another has, but for what is left out
// and for programs, by their paths in it, that something else is written for.
func linkAround(from, to string, without map[string]bool, programs []string, instead func(program string) []byte) error {
	below := map[string][]string{}
	for _, p := range programs {
		first, rest, _ := strings.Cut(p, "/")
		below[first] = append(below[first], rest)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		there, here := filepath.Join(from, name), filepath.Join(to, name)
		rest, around := below[name]
		switch {
		case without[name]:
			continue
		case !around:
			err = beneath.Symlink(there, here)
		case slices.Contains(rest, ""):
			err = beneath.WriteFile(here, instead(there), 0o755)
		default:
			if err = beneath.Mkdir(here, 0o755); err == nil {
				err = linkAround(there, here, nil, rest, instead)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wrapper is a script that runs a program by a loader.
func wrapper(l kernel.Loader, program string) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nexec")
	for _, word := range append(by(l), program) {
		b.WriteString(" '" + strings.ReplaceAll(word, "'", `'\''`) + "'")
	}
	b.WriteString(" \"$@\"\n")
	return []byte(b.String())
}

// otherHalf is how the Makefile of generated files names the folder of the
// sources: since 4.20 it includes that one's, before it ran make there.
var otherHalf = regexp.MustCompile(`(?m)^(include|MAKEARGS := -C) /\S*?(/Makefile)?[ \t]*$`)

// relocate writes dir's Makefile: the host's, with the path in it set right. It is no
// link where nothing is to be set right either, since who builds reads it as a file
// of ours.
func relocate(tree kernel.HostTree, dir string) error {
	name := filepath.Join(dir, "Makefile")
	text, err := readFile(tree.Build, "Makefile")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the driver's build does not use it
	}
	if err != nil {
		return err
	}
	if tree.Source != tree.Build {
		there := strings.ReplaceAll(tree.Source, "$", "$$")
		text = otherHalf.ReplaceAll(text, []byte("${1} "+there+"${2}"))
	}
	return beneath.WriteFile(name, text, 0o644)
}
