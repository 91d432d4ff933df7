package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/modules"
)

func TestAgree(t *testing.T) {
	refuses := GateVerdict{Failed: []string{"crcs"}}
	unsure := GateVerdict{Unsure: []string{"crcs"}}
	accepted, refused := KernelVerdict{Accepted: true, Errno: "ENODEV"}, KernelVerdict{Errno: "ENOEXEC"}
	for name, c := range map[string]struct {
		row  Row
		want bool
	}{
		"both accept":                  {Row{Kernel: accepted}, true},
		"both refuse":                  {Row{Gate: refuses, Kernel: refused}, true},
		"the gate passes too much":     {Row{Kernel: refused}, false},
		"the gate passes too little":   {Row{Gate: refuses, Kernel: accepted}, false},
		"the gate cannot say":          {Row{Gate: unsure, Kernel: accepted}, false},
		"the gate cannot say, refused": {Row{Gate: unsure, Kernel: refused}, false},
		"the gate cannot say all":      {Row{Gate: GateVerdict{Failed: []string{"elf"}, Unsure: []string{"crcs"}}, Kernel: refused}, true},
		"only our own policy fails":    {Row{Gate: GateVerdict{Policy: []string{"debug"}}, Kernel: accepted}, true},
		"a crash":                      {Row{Kernel: KernelVerdict{Crashed: true}}, false},
		"a crash, expected or not":     {Row{Gate: refuses, Kernel: KernelVerdict{Crashed: true}}, false},
	} {
		if got := c.row.Agree(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		loaded plan.Loaded
		want   KernelVerdict
		words  string
	}{
		"loaded": {plan.Loaded{}, KernelVerdict{Accepted: true}, "accepts"},
		"taken, and its init fails": {
			plan.Loaded{Errno: 19, Error: "ENODEV", Log: []string{"nvidia: loading out-of-tree module taints kernel.", "calling  nvidia_init_module+0x0/0x1 [nvidia] @ 1", "NVRM: No NVIDIA GPU found.", "initcall nvidia_init_module+0x0/0x1 [nvidia] returned -19 after 1 usecs"}},
			KernelVerdict{Accepted: true, Errno: "ENODEV", Words: []string{"NVRM: No NVIDIA GPU found."}},
			"accepts (its init: ENODEV)",
		},
		"refused": {
			plan.Loaded{Errno: 22, Error: "EINVAL", Log: []string{"nvidia: Unknown symbol up (err -22)"}},
			KernelVerdict{Errno: "EINVAL", Words: []string{"nvidia: Unknown symbol up (err -22)"}},
			"refuses: EINVAL: nvidia: Unknown symbol up (err -22)",
		},
		"refused without a word": {plan.Loaded{Errno: 74, Error: "EBADMSG"}, KernelVerdict{Errno: "EBADMSG"}, "refuses: EBADMSG"},
	} {
		got := answered(c.loaded)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got.String() != c.words {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Only kernel checks of the module itself make the gate's verdict.
func TestVerdictOf(t *testing.T) {
	check := func(name, module string, kind modules.Kind, v modules.Verdict) modules.Check {
		return modules.Check{Name: name, Module: module, Kind: kind, Verdict: v}
	}
	got := verdictOf([]modules.Check{
		check("elf", "nvidia", modules.KernelCheck, modules.Passed),
		check("crcs", "nvidia", modules.KernelCheck, modules.Failed),
		check("gpl", "nvidia", modules.KernelCheck, modules.NotCheckable),
		check("debug", "nvidia", modules.PolicyCheck, modules.Failed),
		check("sample", "nvidia", modules.PolicyCheck, modules.NotCheckable),
		check("symbols", "nvidia_uvm", modules.KernelCheck, modules.Failed),
	}, "nvidia")
	want := GateVerdict{Failed: []string{"crcs"}, Unsure: []string{"gpl"}, Policy: []string{"debug"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The table can come out badly, and says so.
func TestReport(t *testing.T) {
	r := Report{{Kernel: "Linux 6.1", Rows: []Row{
		{Variant: "good", Kernel: KernelVerdict{Accepted: true}},
		{Variant: "bad", Gate: GateVerdict{Failed: []string{"elf"}}, Kernel: KernelVerdict{Errno: "ENOEXEC"}},
		{Variant: "odd", Gate: GateVerdict{Failed: []string{"crcs"}}, Kernel: KernelVerdict{Accepted: true}},
		{Variant: "depends", Policy: true, Gate: GateVerdict{Policy: []string{"depends"}}, Kernel: KernelVerdict{Accepted: true}},
	}}}
	var out strings.Builder
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"agree     good                         accepts        accepts\n",
		"agree     bad                          refuses: elf   refuses: ENOEXEC\n",
		"DISAGREE  odd                          refuses: crcs  accepts\n",
		"Linux 6.1, of which only our own policy takes note\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
	if lines := strings.Split(out.String(), "\n"); lines[len(lines)-2] != "agree: 2, disagree: 1" {
		t.Errorf("last line %q", lines[len(lines)-2])
	}
	if !slices.Equal(r.failed(), []string{"elf"}) {
		t.Errorf("checks that found something: %v", r.failed())
	}
}
