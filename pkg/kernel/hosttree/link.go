package hosttree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
// links lead to. It has no Module.symvers.
func Link(tree kernel.HostTree, dir string) (source, output string, err error) {
	if err := beneath.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	if err := beneath.Mkdir(dir, 0o755); err != nil {
		return "", "", err
	}
	entries, err := os.ReadDir(tree.Build)
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		if elsewhere[e.Name()] {
			continue
		}
		if err := beneath.Symlink(filepath.Join(tree.Build, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return "", "", err
		}
	}
	source = tree.Source
	if source == tree.Build {
		source = dir
	}
	return source, dir, relocate(tree, dir)
}

// otherHalf is how the Makefile of generated files names the folder of the
// sources: since 4.20 it includes that one's, before it ran make there.
var otherHalf = regexp.MustCompile(`(?m)^(include|MAKEARGS := -C) /\S*?(/Makefile)?[ \t]*$`)

// relocate writes dir's Makefile: the host's, with the path in it set right.
func relocate(tree kernel.HostTree, dir string) error {
	name := filepath.Join(dir, "Makefile")
	text, err := readFile(tree.Build, "Makefile")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the driver's build does not use it
	}
	if err != nil {
		return err
	}
	if tree.Source == tree.Build {
		return beneath.Symlink(filepath.Join(tree.Build, "Makefile"), name)
	}
	there := strings.ReplaceAll(tree.Source, "$", "$$")
	return beneath.WriteFile(name, otherHalf.ReplaceAll(text, []byte("${1} "+there+"${2}")), 0o644)
}
