//go:build integration

package loading

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/node"
)

// states are those of a result's GPUs, in their order.
func states(r node.LoadResult) (list []string) {
	for _, g := range r.GPUs {
		list = append(list, g.State)
	}
	return list
}

// up expects a load to have ended well, with GPUs in these states.
func up(state string, want ...string) func(*testing.T, plan.Result) {
	return func(t *testing.T, r plan.Result) {
		t.Helper()
		if got := states(loaded(t, r, state, newer)); !slices.Equal(got, want) {
			t.Errorf("the GPUs are %q, want %q", got, want)
		}
	}
}

// fails expects a run to fail for one GPU, with the driver's words and what helps, and
// the modules to be there all the same.
func fails(address, says, do string) func(*testing.T, plan.Result) {
	return func(t *testing.T, r plan.Result) {
		t.Helper()
		out := result[struct{ Failures []node.Finding }](t, r.Ran, 17)
		if len(out.Failures) != 1 || out.Failures[0].Name != node.GPUFails.Name {
			t.Fatalf("got %q, want %s", out.Failures, node.GPUFails.Name)
		}
		if f := out.Failures[0]; !strings.Contains(f.Says, address) || !strings.Contains(f.Says, says) || !strings.Contains(f.Do, do) {
			t.Errorf("it says %q, and to do %q; want %s, %q and %q", f.Says, f.Do, address, says, do)
		}
		for _, want := range []string{says, do, "the driver stays loaded", "--allow-failed-gpus 1"} {
			if !strings.Contains(strings.ToLower(string(r.Ran.Stderr)), strings.ToLower(want)) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if got := loadedModules(r); len(got) != 4 {
			t.Errorf("the modules that are there: %q", got)
		}
	}
}

// TestGPUs has GPUs of a host with three of them fail in the ways in which NVIDIA's do,
// as far as the kernel's log and its files tell: gpu-operator#1146, #649 and #492.
func TestGPUs(t *testing.T) {
	b := needBench(t)
	const parameters = "/sys/module/nvidia/parameters/"
	run := func(words string) plan.Step {
		return plan.Step{Run: builder(words), Read: []string{"/proc/modules"}}
	}
	anew := func(parameter string) plan.Step {
		s := run("load --parameters nvidia." + parameter)
		s.Remove = []string{"nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia"}
		return s
	}
	three := run("load")
	three.Load = card("0x2330", "0x2330", "0x2330")
	mended := run("load --check")
	mended.Write = []plan.Text{{Name: parameters + "standin_fails", Content: "-1"}}
	const second, third = "at 0000:65:01.0", "at 0000:65:02.0"
	const failsToStart = "RmInitAdapter failed! (0x24:0x72:1568)"
	steps := []step{
		{"all work", three, up(node.Loaded, "up", "up", "up")},
		{"all work still", run("load --check"), up(node.AlreadyLoaded, "up", "up", "up")},
		{"one does not start", anew("standin_fails=1"), fails(second, failsToStart, "start the host again")},
		{"one does not start, checked", run("load --check"), fails(second, failsToStart, "start the host again")},
		{"one does not start, in a container that may open none", plan.Step{
			Run: builder("load --check --dev " + plan.HostDev), Confined: plan.Confined{Devices: true}, Read: []string{"/proc/modules"},
		}, fails(second, failsToStart, "start the host again")},
		{"one may fail", run("load --allow-failed-gpus 1"), func(t *testing.T, r plan.Result) {
			up(node.AlreadyLoaded, "up", "failed", "up")(t, r)
			got := result[node.LoadResult](t, r.Ran, 0)
			if !strings.Contains(string(r.Ran.Stderr), failsToStart) {
				t.Error("it does not warn")
			}
			if !json.Valid(r.Ran.Stdout) || got.GPUs[1].Says == "" || got.GPUs[1].Do == "" {
				t.Errorf("%+v", got.GPUs)
			}
		}},
		{"it starts after all", mended, up(node.AlreadyLoaded, "up", "up", "up")},
		{"one has no BAR1", anew("standin_bar=2"), fails(third, "BAR1 is 0M @ 0x0 (PCI:0000:65:02.0)", "Above 4G Decoding")},
		{"one is gone at the probe", anew("standin_gone=1"), fails(second, "fallen off the bus and is not responding to commands", "look at the card's seat")},
		{"one is lost once it has started", anew("standin_lost=1"), fails(second, "GPU has fallen off the bus", "look at the card's seat")},
		{"it is lost still", run("load --check"), fails(second, "GPU has fallen off the bus", "look at the card's seat")},
		{"a new load forgets it", func() plan.Step {
			s := run("load")
			s.Remove = []string{"nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia"}
			return s
		}(), up(node.Loaded, "up", "up", "up")},
	}
	b.boot(t, b.with(t, map[string]string{"/run/README": "where the record is\n"}), steps)
}
