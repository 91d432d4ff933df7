package modules

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
	"github.com/k8sp/cuda/pkg/stage"
)

// options is a kernel's config of these lines, CONFIG_ left out.
func options(t testing.TB, lines ...string) kernel.Config {
	t.Helper()
	c, err := kernel.ParseConfig([]byte("CONFIG_" + strings.Join(lines, "\nCONFIG_") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// target is a kernel that takes the recorded modules, and of which everything
// is known.
func target(t testing.TB) kernel.Target {
	t.Helper()
	r, err := kernel.ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	symbol := func(name, module string) kernel.Symbol {
		return kernel.Symbol{Name: name, Module: module, License: kernel.LicenseAny, NamespaceKnown: true, CRCKnown: true}
	}
	return kernel.Target{
		Release: r, Arch: kernel.X86_64,
		Compiler: kernel.Compiler{Name: "gcc", Major: 12},
		Config:   options(t, "SMP=y", "PREEMPT_BUILD=y", "MODULE_UNLOAD=y", "MODULE_SIG=y"),
		Exports: kernel.Exports{Complete: true, Symbols: []kernel.Symbol{
			symbol("_printk", "vmlinux"), symbol("acpi_video_register", "video"), symbol("drm_dev_register", "drm"),
			symbol("drm_helper_probe", "drm_kms_helper"), symbol("module_layout", "vmlinux"), symbol("pci_enable_device", "vmlinux"),
		}},
		StructModule: kernel.StructModule{Bytes: 848},
		Types:        kernel.TypeInfo{BTF: typestest.New().Kernel(t), From: "sys/kernel/btf/vmlinux"},
		Signing:      kernel.Signing{Checked: true, Enforcement: kernel.NotEnforced, Hash: "sha256"},
		Sample:       kernel.Sample{Name: "drm", Vermagic: vermagic, ThisModule: 848},
	}
}

// at is the target with another release.
func at(t testing.TB, target *kernel.Target, release string) {
	t.Helper()
	r, err := kernel.ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	target.Release = r
}

var allFour = []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"}

// expected is what the recorded modules' package says of them.
func expected(t testing.TB) Expect {
	return Expect{
		Modules: allFour, Firmware: []string{"nvidia/535.261.03/gsp_ga10x.bin", "nvidia/535.261.03/gsp_tu10x.bin"},
		Types: typestest.New().Record(t), Source: "refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz",
	}
}

func TestGatePassesWhatIsRight(t *testing.T) {
	checks := Gate(driver(t), target(t), expected(t))
	ofAll := []string{LayoutCheck, PrototypesCheck}
	each := len(Rules()) - len(ofAll) - len([]string{SourceCRCsCheck}) // which is of other kernels
	if want := each*len(allFour) + len(ofAll); len(checks) != want {
		t.Errorf("%d checks, want %d: of %d rules, each for each of %d modules but %q", len(checks), want, len(Rules()), len(allFour), ofAll)
	}
	for _, c := range checks {
		want := Passed
		if c.Name == "this-module" { // the target is 6.1
			want = NotAsked
		}
		if c.Verdict != want {
			t.Errorf("%s, want %s", c, want)
		}
	}
	if err := Judge(checks, Policy{Strict: true}); err != nil {
		t.Error(err)
	}
}

// What a kernel does not ask for yet is nothing that could be known better, and stops
// nobody, whatever is known of the target.
func TestOldKernelsAskForLess(t *testing.T) {
	old := target(t)
	at(t, &old, "4.19.78-coreos")
	for i := range old.Exports.Symbols {
		old.Exports.Symbols[i].NamespaceKnown = false
	}
	later := map[string]bool{}
	for _, r := range Rules() {
		later[r.Name] = r.Since != ""
	}
	seen, expect := 0, expected(t)
	expect.Loader = &loader.Loader{Relocations: []string{"R_X86_64_32", "R_X86_64_32S", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32", "R_X86_64_PLT32"}, WantsZeros: true}
	checks := Gate(driver(t), old, expect)
	for _, c := range checks {
		if later[c.Name] != (c.Verdict == NotAsked) {
			t.Errorf("%s", c)
		}
		if c.Verdict == NotAsked {
			seen++
		}
	}
	if want := 2 * len(allFour); seen != want {
		t.Errorf("%d findings of what 4.19 does not ask for, want %d", seen, want)
	}
	strict := Policy{Strict: true, Allow: []string{"vermagic"}} // the modules are for 6.1
	if err := Judge(checks, strict); err != nil {
		t.Error(err)
	}
}

// Of a target of which nothing is known, nothing that hangs on it passes.
func TestGateKnowsWhatItDoesNotKnow(t *testing.T) {
	for _, c := range Gate(driver(t), kernel.Target{}, Expect{}) {
		want := NotCheckable
		switch {
		case c.Name == "debug", c.Name == "firmware" && c.Module != "nvidia", c.Name == "depends" && (c.Module == "nvidia" || c.Module == "nvidia_uvm"):
			want = Passed // they hang on the modules alone
		case c.Name == "duplicates" && (c.Module == "nvidia_uvm" || c.Module == "nvidia_drm"):
			want = Passed // they export nothing
		}
		if c.Verdict != want {
			t.Errorf("%s, want %s", c, want)
		}
	}
}

// findings are the checks that did not pass, of what the kernel asks for.
func findings(checks []Check) []string {
	var list []string
	for _, c := range checks {
		if c.Verdict != Passed && c.Verdict != NotAsked {
			list = append(list, c.String())
		}
	}
	return list
}

func TestJudgeListsEverything(t *testing.T) {
	wrong := target(t)
	at(t, &wrong, "6.1.193-coreos")
	mods := driver(t)[:2]
	mods[1] = Module{Name: "nvidia_uvm", File: "nvidia-uvm.ko", Defect: "is not ELF"}
	checks := Gate(mods, wrong, Expect{Modules: allFour[:3], Firmware: expected(t).Firmware})

	err := Judge(checks, Policy{})
	if got := stage.ExitCode(err); got != 15 {
		t.Errorf("exit code %d, want 15", got)
	}
	for _, words := range []string{"3 findings", "nvidia-uvm.ko is not ELF", "built nvidia_modeset failed", "nvidia.ko has version magic", "--allow (here: built, elf, vermagic)"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v does not say %q", err, words)
		}
	}
	if err := Judge(checks, Policy{Allow: []string{"built", "elf"}}); err == nil || !strings.Contains(err.Error(), "1 finding:") {
		t.Errorf("what is not allowed passed: %v", err)
	}
	all := Policy{Allow: []string{"vermagic", "built", "elf"}}
	if err := Judge(checks, all); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"built", "elf", "vermagic"}, Overridden(checks, all)); diff != "" {
		t.Error(diff)
	}
}

func TestStrictStopsAtWhatCouldNotBeChecked(t *testing.T) {
	unknown := target(t)
	unknown.Arch = ""
	checks := Gate(driver(t), unknown, expected(t))
	if err := Judge(checks, Policy{}); err != nil {
		t.Errorf("stopped without being strict: %v", err)
	}
	if err := Judge(checks, Policy{Strict: true}); stage.ExitCode(err) != 15 {
		t.Errorf("strict: %v", err)
	}
	if got := Overridden(checks, Policy{Allow: []string{"elf"}}); len(got) != 0 || got == nil {
		t.Errorf("nothing failed, and %#v is overridden", got)
	}
}

func TestRulesAreDescribed(t *testing.T) {
	var seen []string
	for _, r := range Rules() {
		if r.Doc == "" || r.Kind != KernelCheck && r.Kind != PolicyCheck || slices.Contains(seen, r.Name) || (r.Source == "") == (r.Kind == KernelCheck) {
			t.Errorf("rule %+v", r)
		}
		seen = append(seen, r.Name)
	}
}

// A gate over five modules must take less than a second.
func BenchmarkGate(b *testing.B) {
	mods, err := ReadAll([]string{recorded("nvidia.ko"), recorded("nvidia-uvm.ko"), recorded("nvidia-modeset.ko"), recorded("nvidia-drm.ko")})
	if err != nil {
		b.Fatal(err)
	}
	t, expect := target(b), expected(b)
	for b.Loop() {
		Gate(mods, t, expect)
	}
}
