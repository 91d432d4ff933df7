//go:build integration

package loading

import (
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/node"
)

// TestFabric is a host with NVSwitches, whose fabric manager builder runs: how that is,
// checks beside it know. Without one they would be NVIDIA/gpu-operator#2781,
// NVIDIA/gpu-driver-container#908 and siderolabs/extensions#893.
func TestFabric(t *testing.T) {
	b := needBench(t)
	const instead, has = "/run/fabricmanager.standin", "2 NVSwitches (10de:22a3)"
	switches := []plan.Module{{File: "/standin/standin_pci.ko", Parameters: "device=0x2330 nvswitch=0x22a3,0x22a3"}}
	check := plan.Step{Run: builder("load --check")}
	may := plan.Confined{Keep: capabilities(t, "cuda-daemons.service"), Volumes: []string{"/run/cuda"}}
	begun := func(s plan.Step) plan.Step { // the stay that goes on is seen in the step's log
		s.Run = check.Run
		return s
	}
	none := func(t *testing.T, r plan.Result) {
		t.Helper()
		if len(r.Errors) > 0 {
			t.Errorf("%q", r.Errors)
		}
	}
	steps := []step{
		{"older, which has none", plan.Step{Load: switches, Run: builder("load --driver-version " + older)}, func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.Loaded, older); got.Fabric != has {
				t.Errorf("between the GPUs is %q, want %q", got.Fabric, has)
			}
			if want := "this host has " + has + ", and CUDA fails there with error 802 (system not yet initialized) until NVIDIA's fabric manager of driver " + older + " runs"; !strings.Contains(string(r.Ran.Stderr), want) {
				t.Errorf("the log does not say %q", want)
			}
		}},
		{"older, to stay", plan.Step{Run: builder("load --stay --driver-version " + older)}, says("fabric-manager", "until NVIDIA's fabric manager of driver "+older+" runs")},
		{"unload", plan.Step{Run: builder("unload")}, func(t *testing.T, r plan.Result) { result[node.UnloadResult](t, r.Ran, 0) }},
		{"stay", begun(plan.Step{Start: builder("load --stay"), Confined: may, Until: "Successfully configured all the available NVSwitches"}), func(t *testing.T, r plan.Result) {
			loaded(t, r, node.AlreadyLoaded, newer)
		}},
		{"its devices", plan.Step{Stat: []string{"/dev/nvidia-nvswitch0", "/dev/nvidia-nvswitch1", "/dev/nvidia-nvswitchctl", "/dev/nvidia-caps/nvidia-cap0"}}, func(t *testing.T, r plan.Result) {
			if none(t, r); len(r.Stat) != 4 {
				t.Errorf("%v", r.Stat)
			}
		}},
		// For the third time; four seconds go by then, in which it is ended.
		{"it crashes", begun(plan.Step{Write: []plan.Text{{Name: instead, Content: "crash"}}, Until: "again_in_ms=4000"}),
			says("fabric-manager", "runs: it is ended: exit status 1; it said last: ")},
		{"it refuses", begun(plan.Step{Write: []plan.Text{{Name: instead, Content: "refuse"}}, Until: "don't match with driver version 990.20"}),
			says("fabric-manager", "until NVIDIA's fabric manager of driver "+newer+" runs")},
		{"it hangs", begun(plan.Step{Write: []plan.Text{{Name: instead, Content: "hang"}}, Until: "Connected to 1 node."}),
			says("fabric-manager", "until NVIDIA's fabric manager of driver "+newer+" runs: it is starting")},
		{"it is well again", begun(plan.Step{Write: []plan.Text{{Name: instead, Content: ""}}, Until: "Successfully configured all the available NVSwitches"}), func(t *testing.T, r plan.Result) {
			loaded(t, r, node.AlreadyLoaded, newer)
		}},
		{"it ends last", plan.Step{Stop: true, Read: []string{"/proc/modules"}}, func(t *testing.T, r plan.Result) {
			none(t, r)
			if r.Ran == nil || r.Ran.Exit != 0 || !strings.Contains(string(r.Ran.Stderr), "received signal SIGTERM, stand-in ends") {
				t.Errorf("%+v", r.Ran)
			}
			if got := loadedModules(r); len(got) != 4 {
				t.Errorf("the modules that are there: %q", got)
			}
		}},
		{"nobody stays", check, func(t *testing.T, r plan.Result) { loaded(t, r, node.AlreadyLoaded, newer) }},
	}
	b.boot(t, b.with(t, map[string]string{"/run/README": "where the record is\n", "/tmp/README": "the container's own\n"}), steps)
}

// TestInstances is a GPU in parts, and then in others, each of which is a device to
// containers (NVIDIA/nvidia-container-toolkit#1828), as are IMEX channels
// (kubernetes-sigs/dra-driver-nvidia-gpu#787).
func TestInstances(t *testing.T) {
	b := needBench(t)
	const spec, channels, parts = "/opt/share/cdi/nvidia.com-gpu.json", "/opt/share/cdi/nvidia.com-imex-channel.json", "/sys/module/nvidia/parameters/standin_mig"
	named := func(want string, has bool) func(*testing.T, plan.Result) {
		return func(t *testing.T, r plan.Result) {
			t.Helper()
			if len(r.Errors) > 0 {
				t.Errorf("%q", r.Errors)
			}
			if got := strings.Contains(string(r.Read[spec]), want); got != has {
				t.Errorf("the specification has %s: %t, want %t\n%s", want, got, has, r.Read[spec])
			}
		}
	}
	caps := []string{"/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"}
	steps := []step{
		{"two", plan.Step{Load: card("0x2330"), Run: builder("load --host-share /opt/share --parameters nvidia.standin_mig=2,nvidia.NVreg_CreateImexChannel0=1"), Read: []string{spec, channels}, Stat: caps}, func(t *testing.T, r plan.Result) {
			loaded(t, r, node.Loaded, newer)
			if named(`"0:1"`, true)(t, r); len(r.Stat) != len(caps) {
				t.Errorf("%v", r.Stat)
			}
			named(`"0:2"`, false)(t, r)
			for _, want := range []string{`"kind": "nvidia.com/imex-channel"`, "/dev/nvidia-caps-imex-channels/channel0"} {
				if !strings.Contains(string(r.Read[channels]), want) {
					t.Errorf("the channels' specification lacks %s:\n%s", want, r.Read[channels])
				}
			}
		}},
		{"three, and somebody stays", plan.Step{Start: builder("load --stay --host-share /opt/share"), Until: "staying until stopped"}, func(*testing.T, plan.Result) {}},
		{"three", plan.Step{Write: []plan.Text{{Name: parts, Content: "3"}}, Until: "INF CDI specification", Read: []string{spec}}, named(`"0:2"`, true)},
		{"none", plan.Step{Write: []plan.Text{{Name: parts, Content: "0"}}, Until: "INF CDI specification", Read: []string{spec}}, named(`"0:0"`, false)},
		{"stop", plan.Step{Stop: true, Stat: []string{channels}}, func(t *testing.T, r plan.Result) {
			if r.Ran == nil || r.Ran.Exit != 0 {
				t.Errorf("%+v", r.Ran)
			}
		}},
		{"unload", plan.Step{Run: builder("unload"), Stat: []string{spec, channels}}, func(t *testing.T, r plan.Result) {
			if result[node.UnloadResult](t, r.Ran, 0); len(r.Stat) > 0 {
				t.Errorf("still there: %v", r.Stat)
			}
		}},
	}
	b.boot(t, b.with(t, map[string]string{"/run/README": "where the record is\n"}), steps)
}
