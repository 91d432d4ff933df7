package crcs

import (
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// others are folders of a tree that no kernel is compiled of.
var others = []string{"Documentation", "LICENSES", "include", "rust", "samples", "scripts", "tools", "usr"}

// sourceLimit bounds a source file, in bytes. The kernel's largest that exports
// anything have half a megabyte.
const sourceLimit = 8 << 20

// exportOf finds what a file exports: EXPORT_SYMBOL_GPL(x), ACPI_EXPORT_SYMBOL(x),
// EXPORT_PER_CPU_SYMBOL(x), EXPORT_SYMBOL_NS(x, …).
var exportOf = regexp.MustCompile(`(?m)^[ \t]*[A-Z_]*EXPORT[A-Z_]*SYMBOL[A-Z_]*[ \t]*\([ \t]*([A-Za-z_][A-Za-z0-9_]*)`)

// Exporters are the C files of a kernel's tree that export the symbols: of each file,
// by its path in the tree ("drivers/pci/pci.c"), which of them. Several may export the
// same, for one architecture or config each. A symbol that only assembly or a macro of
// a file's own exports is not found.
func Exporters(tree string, arch kernel.Arch, symbols []string) (map[string][]string, error) {
	wanted := make(map[string]bool, len(symbols))
	for _, s := range symbols {
		wanted[s] = true
	}
	found := map[string][]string{}
	err := beneath.WalkDir(tree, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, file)
		if err != nil {
			return err
		}
		if d.IsDir() && skipped(name, arch) {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() || path.Ext(name) != ".c" {
			return nil
		}
		text, err := read(file)
		if err != nil {
			return err
		}
		for _, m := range exportOf.FindAllSubmatch(text, -1) {
			if symbol := string(m[1]); wanted[symbol] && !slices.Contains(found[name], symbol) {
				found[name] = append(found[name], symbol)
			}
		}
		return nil
	})
	return found, err
}

func read(file string) ([]byte, error) {
	info, err := beneath.Lstat(file)
	if err != nil || info.Size() > sourceLimit {
		return nil, err
	}
	return beneath.ReadFile(file)
}

// skipped says whether nothing below a folder of the tree is part of the kernel.
func skipped(name string, arch kernel.Arch) bool {
	if name == ".git" || slices.Contains(others, name) {
		return true
	}
	of, isArch := strings.CutPrefix(name, "arch/")
	own := map[kernel.Arch]string{kernel.X86_64: "x86", kernel.AArch64: "arm64"}[arch]
	return isArch && !strings.Contains(of, "/") && of != own
}
