package hosttree

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// Copy makes at dir, which must not be there, a source that kbuild takes for
// one that nothing was ever built in, as it demands for building elsewhere:
// links to all that the tree's source has, without what an earlier build left.
// Programs have to be gone from scripts, so that one is copied, 10 MB at most.
func Copy(tree kernel.HostTree, dir string) error {
	if err := beneath.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := linkWithout(tree.Source, dir, ".config", "include", "arch", "scripts", "source", "vmlinux", "Module.symvers"); err != nil {
		return err
	}
	if err := linkWithout(filepath.Join(tree.Source, "include"), filepath.Join(dir, "include"), "config", "generated"); err != nil {
		return err
	}
	if err := linkArch(filepath.Join(tree.Source, "arch"), filepath.Join(dir, "arch")); err != nil {
		return err
	}
	return copyScripts(filepath.Join(tree.Source, "scripts"), filepath.Join(dir, "scripts"))
}

// linkWithout makes a folder of links to all that another has but for a few.
func linkWithout(from, to string, without ...string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := beneath.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if slices.Contains(without, e.Name()) {
			continue
		}
		if err := beneath.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// linkArch links the architectures, without headers that were generated.
func linkArch(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, dest := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if _, err := os.Stat(filepath.Join(source, "include", "generated")); err != nil {
			if err := beneath.MkdirAll(to, 0o755); err != nil {
				return err
			}
			if err := beneath.Symlink(source, dest); err != nil {
				return err
			}
			continue
		}
		if err := linkWithout(source, dest, "include"); err != nil {
			return err
		}
		if err := linkWithout(filepath.Join(source, "include"), filepath.Join(dest, "include"), "generated"); err != nil {
			return err
		}
	}
	return nil
}

// copyScripts copies the tree's scripts, and the sources of its programs.
func copyScripts(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := beneath.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		source, dest := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.IsDir():
			err = copyScripts(source, dest)
		case e.Type() == fs.ModeSymlink:
			err = copyLink(source, dest) // to places in the tree
		case e.Type().IsRegular() && !wasBuilt(e.Name()):
			err = copySource(source, dest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return beneath.Symlink(target, to)
}

// wasBuilt tells kbuild's own files by their names.
func wasBuilt(name string) bool {
	return strings.HasSuffix(name, ".o") || strings.HasSuffix(name, ".so") || strings.HasSuffix(name, ".cmd")
}

// copySource copies a file, unless it is a program.
func copySource(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(in, fileLimit))
	if err != nil || bytes.HasPrefix(text, []byte("\x7fELF")) {
		return err
	}
	return beneath.WriteFile(to, text, info.Mode().Perm()|0o200)
}
