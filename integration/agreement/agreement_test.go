//go:build integration

package main

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
)

var needSubjects = shared.Thing(func(l *lab.Lab, ctx context.Context) ([]Subject, error) {
	return kernels(ctx, l, lab.CUDAImage)
})

// TestAgreement is `make agreement`. The rows say whether gate and kernel
// agree; that they say it of enough, and by every check, is seen to here.
func TestAgreement(t *testing.T) {
	report, err := compare(t.Context(), shared.Lab(t), needSubjects(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.write(t.Output()); err != nil {
		t.Fatal(err)
	}
	if agree, disagree := report.count(); disagree > 0 || agree == 0 {
		t.Errorf("%d rows agree and %d do not", agree, disagree)
	}
	whole := 0
	for _, s := range report {
		if refused, accepted := s.verdicts(); refused >= 16 && accepted >= 4 {
			whole++
		}
	}
	if whole < 6 {
		t.Errorf("only %d kernels refuse sixteen variants and accept four", whole)
	}
	found := report.failed()
	for _, rule := range modules.Rules() {
		if rule.Kind == modules.KernelCheck && !slices.Contains(found, rule.Name) {
			t.Errorf("no variant that a kernel refused was refused by the check %s", rule.Name)
		}
	}
}

// five are a driver's modules, all of them, and the kernel that they are for.
func five(t testing.TB) ([]modules.Module, kernel.Target) {
	t.Helper()
	subjects := needSubjects(t)
	s := subjects[len(subjects)-1] // one with symbol versions
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(s.Modules["nvidia"]), "*.ko"))
	if err != nil || len(paths) != 5 {
		t.Fatalf("modules %q, %v", paths, err)
	}
	target, err := s.detect(t.Context(), s.Host.Dir, "")
	if err != nil {
		t.Fatal(err)
	}
	mods, err := modules.ReadAll(paths)
	if err != nil {
		t.Fatal(err)
	}
	return mods, target
}

// BenchmarkGate is the gate over the driver's five modules, which must take less
// than a second.
func BenchmarkGate(b *testing.B) {
	mods, target := five(b)
	for b.Loop() {
		modules.Gate(mods, target, modules.Expect{})
	}
}

// BenchmarkReadAndGate reads the files, too, as `builder verify` does.
func BenchmarkReadAndGate(b *testing.B) {
	mods, target := five(b)
	var paths []string
	for _, m := range mods {
		paths = append(paths, m.Path)
	}
	for b.Loop() {
		mods, err := modules.ReadAll(paths)
		if err != nil {
			b.Fatal(err)
		}
		modules.Gate(mods, target, modules.Expect{})
	}
}
