package modules

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// ExportsFile is the name, beside the modules, of the list of what is known of
// their kernel's exports.
const ExportsFile = "kernel-exports.tsv"

// describeExports leaves what is known of a kernel's exports in a folder, for
// [Manifest.Exports].
func describeExports(dir string, x kernel.Exports) (File, error) {
	var text strings.Builder
	_ = x.WriteFacts(&text) // a builder takes every write
	path := filepath.Join(dir, ExportsFile)
	if err := atomicfile.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return File{}, err
	}
	return describeFile(path)
}

// Difference is what one build was made from and another would not be.
type Difference struct {
	// What is its name, Was and Is what it was and is now, for people.
	What, Was, Is string
}

// String is the difference as a clause.
func (d Difference) String() string {
	return fmt.Sprintf("%s (was %s, is %s)", d.What, said(d.Was), said(d.Is))
}

func said(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// maxContradictions bounds how many exports are named that two kernels differ in.
const maxContradictions = 5

// OtherKernel says in what the kernel of published modules, which are in dir, is
// another than the target; nothing where they are one kernel, as far as both are
// known. Which files told of it does not count. Its error is of reading the
// folder.
func (m Manifest) OtherKernel(dir string, target kernel.Target) ([]Difference, error) {
	var list []Difference
	is := DescribeTarget(target)
	for _, d := range []Difference{
		{"kernel release", m.Target.Release, is.Release},
		{"architecture", string(m.Target.Arch), string(is.Arch)},
		{"kernel config", m.Target.Config.Digest, is.Config.Digest},
	} {
		if d.Was != d.Is {
			list = append(list, d)
		}
	}
	if was := m.Target.BuildID; was != "" && is.BuildID != "" && was != is.BuildID {
		list = append(list, Difference{"kernel build", was, is.BuildID})
	}
	was, err := m.exports(dir)
	if err != nil {
		return nil, err
	}
	clauses := was.Contradictions(target.Exports)
	if more := len(clauses) - maxContradictions; more > 0 {
		clauses = append(clauses[:maxContradictions], fmt.Sprintf("and %d more", more))
	}
	if len(clauses) > 0 {
		list = append(list, Difference{"kernel exports: " + strings.Join(clauses, "; "), m.Target.Symbols.From, is.Symbols.From})
	}
	return list, nil
}

// exports are what was known of the exports of the modules' kernel.
func (m Manifest) exports(dir string) (kernel.Exports, error) {
	f, err := beneath.Open(filepath.Join(dir, m.Exports.Name))
	if err != nil {
		return kernel.Exports{}, err
	}
	defer f.Close()
	symbols, err := kernel.ParseFacts(f)
	if err != nil {
		return kernel.Exports{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return kernel.Exports{Symbols: symbols, Complete: m.Target.Complete}, nil
}
