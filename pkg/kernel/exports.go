package kernel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

const kallsymsFile = "proc/kallsyms"

// exportList is what one source says of exports.
type exportList struct {
	symbols []Symbol
	from    string
	// whole says that no symbol is missing from it.
	whole bool
	// unread are the modules of whose exports only the names are in it.
	unread []string
}

// readExports reads what the kernel offers to modules. There are two ladders:
// for the kernel itself the build tree's Module.symvers, the kernel image,
// kallsyms; for its modules Module.symvers, their files, kallsyms, which has
// those of loaded modules only.
func (s *sources) readExports(ctx context.Context, config Config) (Exports, error) {
	symvers, ofModules := s.symvers(ctx)
	own, err := s.kernelExports(ctx, config, symvers)
	if err != nil {
		return Exports{}, err
	}
	if own.from != symvers.from {
		ofModules = exportList{} // of a tree that was not believed
	}
	if len(ofModules.symbols) == 0 {
		ofModules = s.moduleExports(ctx) // the tree lists the kernel alone
	}
	none := len(ofModules.symbols) == 0 && !config.hasModules()
	return newExports(own, ofModules, ofModules.whole || none), nil
}

// symvers is what the host's build tree says: of the kernel, and of its
// modules. A tree may list the kernel alone.
func (s *sources) symvers(ctx context.Context) (own, ofModules exportList) {
	name := "lib/modules/" + s.release.Full + "/build/Module.symvers"
	f, err := s.root.Open(name)
	if err != nil {
		return exportList{}, exportList{}
	}
	defer f.Close()
	symbols, err := ParseSymvers(io.LimitReader(f, fileLimit))
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("file", name).Msg("the host's list of exports is passed over")
		return exportList{}, exportList{}
	}
	for _, symbol := range symbols {
		list := &ofModules
		if symbol.Module == vmlinux {
			list = &own
		}
		list.symbols = append(list.symbols, symbol)
	}
	own.from, ofModules.from = name, name
	own.whole, ofModules.whole = true, true
	return own, ofModules
}

// kernelExports are the kernel's own exports. In a kernel that compares CRCs a
// list without them is of no use, and kallsyms never has any.
func (s *sources) kernelExports(ctx context.Context, config Config, symvers exportList) (exportList, error) {
	versions := config.Bool("MODVERSIONS")
	if symvers.serves(versions) && s.agrees(ctx, symvers) {
		return symvers, nil
	}
	img := s.kernelImage(ctx)
	list := exportList{symbols: img.symbols(), from: img.from, whole: true}
	if list.serves(versions) {
		return list, nil
	}
	if versions {
		return exportList{}, stage.New(stage.Detect,
			fmt.Sprintf("kernel %s checks a checksum of every symbol that a module uses (CONFIG_MODVERSIONS=y), and none were found: they are in its build tree's Module.symvers and in its image, not in proc/kallsyms", s.release),
			"mount the host's /boot (-v /boot:/host/boot:ro), or its /lib/modules where that has "+s.release.Full+"/build, or name the kernel's image with --kernel-image")
	}
	return s.kallsymsExports()
}

// serves says whether the list can be built with.
func (l exportList) serves(versions bool) bool {
	if !versions {
		return len(l.symbols) > 0
	}
	return slices.ContainsFunc(l.symbols, func(s Symbol) bool { return s.CRCKnown && s.CRC != 0 })
}

// agrees says whether the kernel's image, where it was read already, exports what
// the build tree says. Where it does not, the tree is of another build.
func (s *sources) agrees(ctx context.Context, symvers exportList) bool {
	if s.image == nil || !s.image.SymbolsKnown || !s.image.CRCsKnown {
		return true
	}
	if exportsDigest(sorted(symvers.symbols)) == exportsDigest(sorted(s.image.symbols())) {
		return true
	}
	zerolog.Ctx(ctx).Warn().Str("file", symvers.from).Msg("the host's list of exports is not the kernel image's, and is passed over")
	return false
}

func (s *sources) kallsymsExports() (exportList, error) {
	k, err := s.kallsyms()
	own := k.kernelSymbols()
	if err == nil && len(own) == 0 {
		err = errNoExports
	}
	switch {
	case err == nil:
		return exportList{symbols: own, from: kallsymsFile, whole: true}, nil
	case errors.Is(err, errNoExports):
		return exportList{}, stage.Wrap(stage.Detect, err, "cannot tell from "+kallsymsFile+" what the kernel exports to modules",
			"use a kernel built with CONFIG_KALLSYMS_ALL; its names are there for every reader, with or without --privileged")
	case s.named() && errors.Is(err, fs.ErrNotExist):
		return exportList{}, stage.New(stage.Detect,
			fmt.Sprintf("cannot tell what kernel %s exports to modules: its image has no table of them that could be read", s.release),
			"name a host that runs this kernel, or a capture of one, with --host-root")
	}
	return exportList{}, stage.Wrap(stage.Detect, err, "cannot read what the kernel exports to modules", procHint)
}

// moduleExports are the exports of the kernel's modules, from their files or
// else of those that are loaded.
func (s *sources) moduleExports(ctx context.Context) exportList {
	if list := s.inTreeExports(ctx); list.whole || len(list.symbols) > 0 {
		list.from = inTreeDir(s.release)
		return list
	}
	k, err := s.kallsyms()
	if err != nil {
		return exportList{}
	}
	symbols := k.moduleSymbols(foreignModules(s.root), loadedTables(s.root))
	if len(symbols) == 0 {
		return exportList{}
	}
	return exportList{symbols: symbols, from: kallsymsFile}
}

// kallsyms reads the host's kallsyms.
func (s *sources) kallsyms() (kallsyms, error) {
	f, err := s.root.Open(kallsymsFile)
	if err != nil {
		return kallsyms{}, err
	}
	defer f.Close()
	k, err := parseKallsyms(f)
	if err != nil {
		return kallsyms{}, fmt.Errorf("%s: %w", kallsymsFile, err)
	}
	return k, nil
}

// newExports puts the kernel's own exports and its modules' together.
//
// The digest leaves out the modules'. A host loads drm when it likes, for one when
// it loads the driver, and is the same host: what was built for it must not count
// as stale. Of its other modules not all is always read.
func newExports(own, ofModules exportList, complete bool) Exports {
	x := Exports{
		Symbols:  sorted(slices.Concat(own.symbols, ofModules.symbols)),
		From:     own.from,
		InTree:   ofModules.from,
		Complete: complete,
		Unread:   slices.Sorted(slices.Values(ofModules.unread)),
	}
	x.Digest = exportsDigest(sorted(own.symbols))
	return x
}

// sorted are the symbols by name, each once. A kernel refuses a second export
// of a name, so the kernel's own is the one.
func sorted(symbols []Symbol) []Symbol {
	byName := make(map[string]Symbol, len(symbols))
	for _, s := range symbols {
		if other, ok := byName[s.Name]; !ok || compareModules(s.Module, other.Module) < 0 {
			byName[s.Name] = s
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b Symbol) int { return cmp.Compare(a.Name, b.Name) })
}

// compareModules puts vmlinux before every module.
func compareModules(a, b string) int {
	if (a == vmlinux) != (b == vmlinux) {
		if a == vmlinux {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}

// exportsDigest is sha256:HEX over the symbols' lines in a Module.symvers.
func exportsDigest(symbols []Symbol) string {
	h := sha256.New()
	_ = writeSymvers(h, symbols, true) // a hash takes every write
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
