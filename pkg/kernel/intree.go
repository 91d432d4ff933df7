package kernel

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/ko"
)

// modulesLimit bounds how many modules of a host are looked at. Distributions
// have some 4,500.
const modulesLimit = 50_000

// moduleFile is one of the modules that came with a kernel.
type moduleFile struct {
	path string // on this machine
	name string // in the root: "lib/modules/REL/kernel/lib/crc7.ko.xz"
	size int64
	// changed is when it was last written, in nanoseconds since 1970.
	changed int64
}

func inTreeDir(r Release) string { return "lib/modules/" + r.Full + "/kernel" }

// inTreeSymvers is where a capture keeps what the modules in inTreeDir export,
// in place of the modules. The name says whether all of them could be read.
func inTreeSymvers(r Release, whole bool) string {
	if whole {
		return inTreeDir(r) + ".symvers"
	}
	return inTreeDir(r) + ".incomplete.symvers"
}

// moduleSuffixes are how the name of a module's file ends, plain or in one of
// the compressions that depmod knows.
var moduleSuffixes = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

func isModuleFile(name string) bool {
	return slices.ContainsFunc(moduleSuffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// moduleFiles are the files of the modules that came with a kernel, by name.
type moduleFiles struct {
	list []moduleFile
	// whole says that no file is missing from the list.
	whole bool
}

// inTreeModules are the files of the modules that came with the kernel; none
// where they cannot be seen.
func inTreeModules(root *Root, r Release) moduleFiles {
	dir, err := root.Path(inTreeDir(r))
	if err != nil {
		return moduleFiles{}
	}
	m := findModules(os.DirFS(dir))
	for i := range m.list {
		m.list[i].path = filepath.Join(dir, m.list[i].name)
		m.list[i].name = inTreeDir(r) + "/" + m.list[i].name
	}
	return m
}

// findModules lists the modules' files in a folder. Links are not followed: they
// could lead out of the root.
func findModules(folder fs.FS) moduleFiles {
	m := moduleFiles{whole: true}
	_ = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			m.whole = false // a folder that may not be listed
			return nil
		}
		if !d.Type().IsRegular() || !isModuleFile(d.Name()) {
			return nil
		}
		info, err := d.Info()
		if err != nil || len(m.list) >= modulesLimit {
			m.whole = false
			return nil
		}
		m.list = append(m.list, moduleFile{name: name, size: info.Size(), changed: info.ModTime().UnixNano()})
		return nil
	})
	return m
}

// sampleModule is the smallest of the host's own modules: they agree in all
// that is asked of it.
func sampleModule(ctx context.Context, files []moduleFile) Sample {
	files = slices.SortedFunc(slices.Values(files), func(a, b moduleFile) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.name, b.name))
	})
	const tries = 5
	for _, file := range files[:min(tries, len(files))] {
		m, err := ko.Open(file.path)
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("module", file.name).Msg("one of the host's own modules cannot be read")
			continue
		}
		return Sample{
			Name: ModuleName(file.name), Vermagic: m.Value("vermagic"),
			ThisModule: m.ThisModule.Size, From: file.name,
		}
	}
	return Sample{}
}

// inTreeExports are the exports of the modules that came with the kernel: of
// their files, or of the list that a capture has of them. The list is not whole
// where some file could not be read.
func (s *sources) inTreeExports(ctx context.Context) exportList {
	for _, whole := range []bool{true, false} {
		name := inTreeSymvers(s.release, whole)
		data, err := s.root.ReadFile(name)
		if err != nil {
			continue
		}
		symbols, err := ParseSymvers(bytes.NewReader(data))
		if err != nil && len(data) > 0 {
			zerolog.Ctx(ctx).Warn().Err(err).Str("file", name).Msg("the list of what the kernel's modules export is passed over")
			return exportList{}
		}
		return exportList{symbols: symbols, whole: whole}
	}
	if s.needs != nil && len(s.modules.list) > 0 {
		list, err := s.neededExports(ctx)
		if err == nil {
			return list
		}
		zerolog.Ctx(ctx).Info().Err(err).Msg("depmod's list of what the kernel's modules export does not serve, and each of them is read")
	}
	symbols, whole := s.cachedExports(ctx, s.modules)
	return exportList{symbols: symbols, whole: whole}
}

// neededExports are the exports of the modules that are needed, from their files,
// and the names of the others', from depmod's list. It is an error where that list
// is not of these modules.
func (s *sources) neededExports(ctx context.Context) (exportList, error) {
	index, err := readIndex(s.root, s.release, s.modules)
	if err != nil {
		return exportList{}, err
	}
	read, named, unread := index.divide(s.modules, s.needs)
	symbols, whole := s.cachedExports(ctx, read)
	if len(read.list) == 0 {
		whole = s.modules.whole
	}
	if whole {
		if err := index.agrees(read, symbols); err != nil {
			return exportList{}, err
		}
	}
	return exportList{symbols: append(symbols, named...), whole: whole, unread: unread}, nil
}

// cachedExports reads the files' exports once: their names, sizes and times
// tell whether they are still the same.
func (s *sources) cachedExports(ctx context.Context, m moduleFiles) (symbols []Symbol, whole bool) {
	if s.cache == "" || len(m.list) == 0 {
		return readModuleExports(ctx, m)
	}
	name := filepath.Join(s.cache, s.release.Full+"-"+fingerprint(m.list)+".symvers")
	if data, err := beneath.ReadFile(name); err == nil {
		if symbols, err := ParseSymvers(bytes.NewReader(data)); err == nil {
			return symbols, m.whole
		}
	}
	symbols, whole = readModuleExports(ctx, m)
	if !whole || len(symbols) == 0 {
		return symbols, whole
	}
	var text bytes.Buffer
	_ = writeSymvers(&text, symbols, true) // a buffer takes every write
	err := beneath.MkdirAll(s.cache, 0o755)
	if err == nil {
		err = atomicfile.WriteFile(name, text.Bytes(), 0o644)
	}
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("what the kernel's modules export is not kept for the next run")
	}
	return symbols, true
}

// fingerprint tells one state of a host's module files from another.
func fingerprint(files []moduleFile) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d %d\n", f.name, f.size, f.changed)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// readModuleExports reads the exports of every file, in the files' order.
func readModuleExports(ctx context.Context, m moduleFiles) (symbols []Symbol, whole bool) {
	files := m.list
	exports := make([][]Symbol, len(files))
	errs := make([]error, len(files))
	next := make(chan int)
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Go(func() {
			for i := range next {
				exports[i], errs[i] = moduleExports(files[i])
			}
		})
	}
	for i := range files {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	readers.Wait()
	if len(files) > 0 {
		zerolog.Ctx(ctx).Debug().Int("modules", len(files)).Msg("read what the kernel's modules export")
	}
	for i, err := range errs {
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("module", files[i].name).Msg("what one of the kernel's modules exports is not known")
			return slices.Concat(exports...), false
		}
	}
	return slices.Concat(exports...), m.whole && len(files) > 0 && ctx.Err() == nil
}

func moduleExports(file moduleFile) ([]Symbol, error) {
	m, err := ko.Open(file.path)
	if err != nil {
		return nil, err
	}
	return exportsOf(m, ModuleName(file.name))
}

// exportsOf refuses a module with a name that no list of exports can hold.
func exportsOf(m ko.File, module string) ([]Symbol, error) {
	var symbols []Symbol
	for _, e := range m.Exports {
		s := Symbol{
			Name: e.Name, Module: module, License: LicenseAny,
			Namespace: e.Namespace, NamespaceKnown: true, CRC: e.CRC, CRCKnown: true,
		}
		if e.GPL {
			s.License = LicenseGPL
		}
		if !s.listable() {
			return nil, fmt.Errorf("an export of no name that a kernel gives: %+v", s)
		}
		symbols = append(symbols, s)
	}
	return symbols, nil
}
