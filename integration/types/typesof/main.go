// Command typesof holds what a driver was compiled with against a kernel, as the job
// does, for sources that are altered each in turn. It runs in a container that has the
// compilers, beside a driver that was compiled there.
//
//	typesof -host ROOT -objects DIR -source DIR -output DIR -compiler gcc-14 <cases.json
//	typesof -host ROOT -crcs SYMBOL,… -source DIR -output DIR -compiler gcc-12 <cases.json
//
// The second form computes the checksums of symbols from the whole of a kernel's source,
// in an output tree that it makes. It reads a list of [cases.Case] and prints a list of
// [cases.Result].
package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/k8sp/cuda/integration/types/cases"
	"github.com/k8sp/cuda/internal/command/unconfined"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/crcs"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/probe"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "typesof:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	host := flag.String("host", "", "the kernel's host root")
	image := flag.String("image", "", "the kernel's image, where the root does not say which it runs")
	objects := flag.String("objects", "", "the `folder` that the driver was compiled in")
	var tree prepare.Tree
	flag.StringVar(&tree.Source, "source", "", "the kernel's source tree, which the cases alter")
	flag.StringVar(&tree.Output, "output", "", "the output tree")
	flag.StringVar(&tree.Compiler, "compiler", "gcc", "the compiler")
	crcs := flag.String("crcs", "", "`symbols` to compute checksums of")
	names := flag.String("imports", "", "a `file` of the symbols that the driver imports, in place of what its objects do")
	flag.Parse()

	root, err := kernel.OpenRoot(*host)
	if err != nil {
		return err
	}
	target, err := kernel.Detect(ctx, root, kernel.DetectOptions{Image: *image})
	if err != nil {
		return err
	}
	var find func() (cases.Result, error)
	if *crcs != "" {
		if tree, err = prepareTree(ctx, target, tree); err != nil {
			return err
		}
		find = func() (cases.Result, error) { return compute(ctx, target, tree, strings.Split(*crcs, ",")) }
	} else {
		built, err := imports(*objects, *names, target)
		if err != nil {
			return err
		}
		find = func() (cases.Result, error) { return hold(ctx, target, tree, *objects, built) }
	}
	var list []cases.Case
	if err := json.NewDecoder(os.Stdin).Decode(&list); err != nil {
		return err
	}
	var results []cases.Result
	for _, c := range list {
		r, err := try(c, tree, find)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		r.Name = c.Name
		results = append(results, r)
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// imports is a module that imports all that the driver's objects use of the kernel, or
// what a file names.
func imports(dir, file string, target kernel.Target) (modules.Module, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		return importing(strings.Fields(string(text))), err
	}
	offered := map[string]bool{}
	for _, s := range target.Exports.Symbols {
		offered[s.Name] = true
	}
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".o" {
			return err
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // a list of objects, by kbuild's name for it
		}
		defer f.Close()
		symbols, err := f.Symbols()
		for _, s := range symbols {
			if s.Section == elf.SHN_UNDEF && offered[s.Name] {
				names = append(names, s.Name)
			}
		}
		return err
	})
	slices.Sort(names)
	return importing(slices.Compact(names)), err
}

func importing(symbols []string) modules.Module {
	m := modules.Module{Name: "nvidia", File: "nvidia.ko"}
	for _, s := range symbols {
		m.ELF.Imports = append(m.ELF.Imports, ko.Import{Name: s})
	}
	return m
}

// try alters the source for as long as hold runs.
func try(c cases.Case, tree prepare.Tree, hold func() (cases.Result, error)) (r cases.Result, err error) {
	for _, e := range c.Edits {
		dir := tree.Source
		if e.Output {
			dir = tree.Output
		}
		path := filepath.Join(dir, e.File)
		before, err := os.ReadFile(path)
		if err != nil {
			return r, err
		}
		if n := bytes.Count(before, []byte(e.Old)); n != 1 {
			return r, fmt.Errorf("%s has %q %d times, want it once", e.File, e.Old, n)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(before), e.Old, e.New, 1)), 0o644); err != nil {
			return r, err
		}
		defer os.WriteFile(path, before, 0o644)
	}
	return hold()
}

// hold is the two checks of the gate.
func hold(ctx context.Context, target kernel.Target, tree prepare.Tree, objects string, built modules.Module) (r cases.Result, err error) {
	scratch, err := os.MkdirTemp("", "typesof-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(scratch)
	expect := modules.Expect{Source: "the test's"}
	expect.Types, err = probe.Types(ctx, probe.Options{
		Runner: unconfined.Exec{}, Target: target, Tree: tree, Objects: objects, Imports: modules.Imported([]modules.Module{built}), Scratch: scratch,
	})
	if err != nil {
		return r, err
	}
	return judged(built, target, expect), nil
}

func judged(built modules.Module, target kernel.Target, expect modules.Expect) (r cases.Result) {
	for _, c := range modules.Gate([]modules.Module{built}, target, expect) {
		switch c.Name {
		case modules.LayoutCheck:
			r.Layout = c
		case modules.PrototypesCheck:
			r.Prototypes = c
		case modules.SourceCRCsCheck:
			r.SourceCRCs = c
		}
	}
	return r
}

// prepareTree prepares the whole source of a kernel.
func prepareTree(ctx context.Context, target kernel.Target, tree prepare.Tree) (prepare.Tree, error) {
	src := source.Tree{Dir: tree.Source, Rung: source.RungLocal, Commit: "the test's", Version: target.Release.Version}
	return prepare.Prepare(ctx, target, src, prepare.Options{Runner: unconfined.Exec{}, Dir: tree.Output, Compiler: tree.Compiler, AllowDrift: true})
}

// compute is the check of a module that imports the symbols.
func compute(ctx context.Context, target kernel.Target, tree prepare.Tree, symbols []string) (r cases.Result, err error) {
	files, err := crcs.Exporters(tree.Source, target.Arch, symbols)
	if err != nil {
		return r, err
	}
	expect := modules.Expect{Source: "the test's"}
	expect.SourceCRCs, err = crcs.Compute(ctx, crcs.Options{
		Runner: unconfined.Exec{}, Target: target, Tree: tree, Files: files, Jobs: runtime.NumCPU(), Log: os.Stderr,
	})
	if err != nil {
		return r, err
	}
	return judged(importing(symbols), target, expect), nil
}
