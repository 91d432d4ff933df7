package modules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
)

// TestOtherKernel: a kernel is the same however it was looked at, and another in
// whatever both sides know.
func TestOtherKernel(t *testing.T) {
	known := kernel.Target{
		Arch: kernel.X86_64, BuildID: kernel.BuildID{Hex: "abcd", From: "--kernel-image"},
		Config: kernel.Config{Digest: digestOf('c'), From: "--kernel-image"},
		Exports: kernel.Exports{From: "--kernel-image", Symbols: []kernel.Symbol{
			{Name: "a", Module: "vmlinux", License: kernel.LicenseAny, NamespaceKnown: true, CRCKnown: true, CRC: 1},
			{Name: "b", Module: "vmlinux", License: kernel.LicenseGPL, NamespaceKnown: true, CRCKnown: true, CRC: 2},
		}},
	}
	known.Release.Full = release
	dir := t.TempDir()
	file, err := describeExports(dir, known.Exports)
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{Target: DescribeTarget(known), Exports: file}
	names := func(list ...string) (symbols []kernel.Symbol) {
		for _, name := range list {
			symbols = append(symbols, kernel.Symbol{Name: name, Module: "vmlinux"})
		}
		return symbols
	}
	for _, c := range []struct {
		name   string
		change func(*kernel.Target)
		want   []string
	}{
		{"the same", func(*kernel.Target) {}, nil},
		{"seen by kallsyms without addresses", func(k *kernel.Target) {
			k.BuildID, k.Config.From, k.Distribution.ID = kernel.BuildID{}, "proc/config.gz", "flatcar"
			k.Exports = kernel.Exports{From: "proc/kallsyms", Digest: "sha256:1", Symbols: names("a", "b")}
		}, nil},
		{"another release", func(k *kernel.Target) { k.Release.Full = "6.1.193" }, []string{"kernel release (was " + release + ", is 6.1.193)"}},
		{"another machine", func(k *kernel.Target) { k.Arch = kernel.AArch64 }, []string{"architecture (was x86_64, is aarch64)"}},
		{"another build", func(k *kernel.Target) { k.BuildID.Hex = "ef01" }, []string{"kernel build (was abcd, is ef01)"}},
		{"another config", func(k *kernel.Target) { k.Config.Digest = digestOf('d') },
			[]string{"kernel config (was " + digestOf('c') + ", is " + digestOf('d') + ")"}},
		{"another export", func(k *kernel.Target) {
			k.Exports = kernel.Exports{From: "proc/kallsyms", Symbols: names("a", "c")}
		}, []string{"kernel exports: b was exported, and is not; c was not exported, and is (was --kernel-image, is proc/kallsyms)"}},
		{"many others", func(k *kernel.Target) {
			k.Exports = kernel.Exports{From: "proc/kallsyms", Symbols: names("c", "d", "e", "f", "g")}
		}, []string{"kernel exports: a was exported, and is not; b was exported, and is not; c was not exported, and is; " +
			"d was not exported, and is; e was not exported, and is; and 2 more (was --kernel-image, is proc/kallsyms)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := known
			c.change(&target)
			found, err := m.OtherKernel(dir, target)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	m.Target.BuildID = ""
	if found, err := m.OtherKernel(dir, known); err != nil || len(found) > 0 {
		t.Errorf("of a build that was not known: %v, %v", found, err)
	}
	if _, err := m.OtherKernel(t.TempDir(), known); err == nil {
		t.Error("a list that is not there contradicts nothing")
	}
	if got := (Difference{What: "x"}).String(); !strings.Contains(got, "was nothing, is nothing") {
		t.Error(got)
	}
}
