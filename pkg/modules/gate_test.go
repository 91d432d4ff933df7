package modules

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

func target() kernel.Target {
	return kernel.Target{Release: kernel.Release{Full: "6.1.192-coreos-r1"}, Arch: kernel.X86_64}
}

var allFour = []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"}

func TestGatePassesWhatIsRight(t *testing.T) {
	checks := Gate(driver(t), target(), Expect{Modules: allFour})
	if len(checks) != 3*len(allFour) {
		t.Errorf("%d checks, want each of 3 for each of %d modules", len(checks), len(allFour))
	}
	for _, c := range checks {
		if c.Verdict != Passed || c.Detail != "" {
			t.Errorf("%s", c)
		}
	}
	if err := Judge(checks, Policy{Strict: true}); err != nil {
		t.Error(err)
	}
}

// findings are the checks that did not simply pass.
func findings(checks []Check) []string {
	var list []string
	for _, c := range checks {
		if c.Verdict != Passed || c.Detail != "" {
			list = append(list, c.String())
		}
	}
	return list
}

func TestGateFinds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(mods []Module, t *kernel.Target) []Module
		expect Expect
		want   []string
	}{
		"a missing module": {
			func(mods []Module, _ *kernel.Target) []Module { return mods[:3] },
			Expect{Modules: allFour},
			[]string{"built nvidia_drm failed (the driver package names it and it was not built)"},
		},
		"one left out, by either spelling": {
			func(mods []Module, _ *kernel.Target) []Module { return mods[:2] },
			Expect{Modules: allFour, Excluded: []string{"nvidia-drm", "nvidia_modeset"}},
			[]string{"built nvidia_drm passed (left out as the user asked)", "built nvidia_modeset passed (left out as the user asked)"},
		},
		"nothing at all": {
			func([]Module, *kernel.Target) []Module { return nil },
			Expect{Modules: allFour},
			[]string{"built failed (no module was built at all)"},
		},
		"a package that names none": {
			func(mods []Module, _ *kernel.Target) []Module { return mods },
			Expect{},
			[]string{"built not-checkable (the driver package does not name its modules)"},
		},
		"a file that is no module": {
			func(mods []Module, _ *kernel.Target) []Module {
				mods[1] = Module{Name: "nvidia_uvm", File: "nvidia-uvm.ko", Defect: "is not ELF"}
				return mods
			},
			Expect{Modules: allFour},
			[]string{"elf nvidia_uvm failed (nvidia-uvm.ko is not ELF)", "vermagic nvidia_uvm not-checkable (the file could not be read as a module)"},
		},
		"a shared library": {
			func(mods []Module, _ *kernel.Target) []Module { mods[0].Type = elf.ET_DYN; return mods },
			Expect{Modules: allFour},
			[]string{"elf nvidia failed (nvidia.ko is an ELF of type ET_DYN and a kernel loads only ET_REL, relocatable files)"},
		},
		"another machine": {
			func(mods []Module, t *kernel.Target) []Module { t.Arch = kernel.AArch64; return mods[:1] },
			Expect{Modules: allFour[:1]},
			[]string{"elf nvidia failed (nvidia.ko is for x86_64 and the kernel is for aarch64)"},
		},
		"a machine unheard of": {
			func(mods []Module, _ *kernel.Target) []Module { mods[0].Machine = elf.EM_S390; return mods[:1] },
			Expect{Modules: allFour[:1]},
			[]string{"elf nvidia failed (nvidia.ko is for EM_S390 and the kernel is for x86_64)"},
		},
		"another release, of which ours is the beginning": {
			func(mods []Module, t *kernel.Target) []Module { t.Release.Full = "6.1.192-coreos"; return mods[:1] },
			Expect{Modules: allFour[:1]},
			[]string{`vermagic nvidia failed (nvidia.ko has version magic "` + vermagic + `" and the kernel wants "6.1.192-coreos …")`},
		},
		"no vermagic": {
			func(mods []Module, _ *kernel.Target) []Module { mods[0].Vermagic = ""; return mods[:1] },
			Expect{Modules: allFour[:1]},
			[]string{`vermagic nvidia failed (nvidia.ko has no version magic and the kernel wants "6.1.192-coreos-r1 …")`},
		},
		"an unknown target": {
			func(mods []Module, t *kernel.Target) []Module { *t = kernel.Target{}; return mods[:1] },
			Expect{Modules: allFour[:1]},
			[]string{"elf nvidia not-checkable (the kernel's architecture is not known)", "vermagic nvidia not-checkable (the kernel's release is not known)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := target()
			mods := c.change(driver(t), &target)
			if diff := cmp.Diff(c.want, findings(Gate(mods, target, c.expect))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeListsEverything(t *testing.T) {
	wrong := target()
	wrong.Release.Full = "6.1.193-coreos"
	mods := driver(t)[:2]
	mods[0] = Module{Name: "nvidia", File: "nvidia.ko", Defect: "is not ELF"}
	checks := Gate(mods, wrong, Expect{Modules: allFour[:3]})

	err := Judge(checks, Policy{})
	if got := stage.ExitCode(err); got != 15 {
		t.Errorf("exit code %d, want 15", got)
	}
	for _, words := range []string{"3 findings", "nvidia.ko is not ELF", "built nvidia_modeset failed", "nvidia-uvm.ko has version magic", "--allow (here: built, elf, vermagic)"} {
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
	checks := Gate(driver(t), kernel.Target{Arch: kernel.X86_64}, Expect{Modules: allFour})
	if err := Judge(checks, Policy{}); err != nil {
		t.Errorf("stopped without being strict: %v", err)
	}
	if err := Judge(checks, Policy{Strict: true}); stage.ExitCode(err) != 15 {
		t.Errorf("strict: %v", err)
	}
	if got := Overridden(checks, Policy{Allow: []string{"vermagic"}}); len(got) != 0 || got == nil {
		t.Errorf("nothing failed, and %#v is overridden", got)
	}
}

func TestRulesAreDescribed(t *testing.T) {
	var seen []string
	for _, r := range Rules() {
		if r.Doc == "" || r.Kind != KernelCheck && r.Kind != PolicyCheck || slices.Contains(seen, r.Name) {
			t.Errorf("rule %+v", r)
		}
		seen = append(seen, r.Name)
	}
}
