//go:build integration

package loading

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/node/live"
)

const firmwarePath = "/sys/module/firmware_class/parameters/path"

// own is what the kernel's search path for firmware was before any load.
const own = "/lib/firmware/of-its-own"

var devices = map[string]string{
	"/dev/nvidia0":                 "crw-rw-rw- 195:0",
	"/dev/nvidiactl":               "crw-rw-rw- 195:255",
	"/dev/nvidia-modeset":          "crw-rw-rw- 195:254",
	"/dev/nvidia-uvm":              "crw-rw-rw- ",
	"/dev/nvidia-uvm-tools":        "crw-rw-rw- ",
	"/dev/nvidia-caps/nvidia-cap1": "cr-------- ",
	"/dev/nvidia-caps/nvidia-cap2": "cr--r--r-- ",
}

func names(m map[string]string) []string {
	var list []string
	for name := range m {
		list = append(list, name)
	}
	return list
}

// loadedModules are the driver's modules that a /proc/modules has.
func loadedModules(r plan.Result) (list []string) {
	for line := range strings.Lines(string(r.Read["/proc/modules"])) {
		if name, _, _ := strings.Cut(line, " "); slices.Contains(live.Family, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// TestLife is a driver's way from the share into a kernel and out again, on one
// machine that is never started again.
func TestLife(t *testing.T) {
	b := needBench(t)
	all := []string{"nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm"}
	look := func(s plan.Step) plan.Step {
		s.Read, s.Stat = []string{"/proc/modules", firmwarePath}, names(devices)
		return s
	}
	in := func(t *testing.T, r plan.Result, version string) {
		t.Helper()
		if diff := cmp.Diff(all, loadedModules(r)); diff != "" {
			t.Errorf("modules (-want +got):\n%s", diff)
		}
		want := "/opt/share/modules/" + b.host.Release + "/" + version + "/firmware"
		if got := strings.TrimSpace(string(r.Read[firmwarePath])); got != want {
			t.Errorf("the search path for firmware is %q, want %q", got, want)
		}
		for name, want := range devices {
			if got := r.Stat[name]; !strings.HasPrefix(got, want) {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	out := func(t *testing.T, r plan.Result) {
		t.Helper()
		if got := loadedModules(r); len(got) > 0 {
			t.Errorf("still loaded: %q", got)
		}
		if got := strings.TrimSpace(string(r.Read[firmwarePath])); got != own {
			t.Errorf("the search path for firmware is %q, want %q", got, own)
		}
		if len(r.Stat) > 0 {
			t.Errorf("still there: %v", r.Stat)
		}
	}
	run := func(words string) plan.Step { return plan.Step{Run: builder(words)} }
	// The record says that builder has loaded the driver: without it, it may be another's.
	elsewhere := plan.Confined{Hidden: []string{"/run/cuda"}}
	steps := []step{
		{"no GPU", run("load"), refused(node.NoDevice.Of())},
		{"no GPU, tried all the same", look(plan.Step{
			Write: []plan.Text{{Name: firmwarePath, Content: own}}, Run: builder("load --try-without-device"),
		}), func(t *testing.T, r plan.Result) {
			refused(node.NoDevice.Of())(t, r)
			if !strings.Contains(string(r.Ran.Stderr), "NVRM: No NVIDIA GPU found") {
				t.Error("the error lacks what the kernel's log says")
			}
			out(t, r) // all is as it was
		}},
		{"nothing to unload", run("unload"), func(t *testing.T, r plan.Result) {
			if got := result[node.UnloadResult](t, r.Ran, 0); got.Driver != "" {
				t.Errorf("unloaded %+v", got)
			}
		}},
		{"load", look(plan.Step{Load: card("0x2330"), Run: builder("load --driver-version " + older)}), func(t *testing.T, r plan.Result) {
			got := loaded(t, r, node.Loaded, older)
			if len(got.Modules) != len(all) || got.Modules[0] != "nvidia" {
				t.Errorf("loaded %q", got.Modules)
			}
			if !slices.Contains(got.InTree, "drm") {
				t.Errorf("loaded %q of the kernel's own, without drm", got.InTree)
			}
			in(t, r, older)
		}},
		{"load again", look(run("load --driver-version " + older)), func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.AlreadyLoaded, older); len(got.Modules)+len(got.InTree) > 0 {
				t.Errorf("loaded %+v", got)
			}
			in(t, r, older)
		}},
		{"check", run("load --check --driver-version " + older), func(t *testing.T, r plan.Result) { loaded(t, r, node.AlreadyLoaded, older) }},
		// As a DaemonSet's readiness probe does it: in a container that makes
		// the host's device files, and may open none of them.
		{"check of the host's /dev", plan.Step{Run: builder("load --check --dev " + plan.HostDev + " --driver-version " + older), Confined: plan.Confined{Devices: true}},
			func(t *testing.T, r plan.Result) { loaded(t, r, node.AlreadyLoaded, older) }},
		{"check of another version", run("load --check"), refused(node.OtherVersion.Of(older, newer, ""))},
		// The kernel looks for the GPU's firmware as soon as it is opened.
		{"open the GPU", plan.Step{Open: []string{"/dev/nvidia0", "/dev/nvidia-uvm"}}, func(t *testing.T, r plan.Result) {
			if len(r.Errors) > 0 {
				t.Errorf("%q", r.Errors)
			}
		}},
		{"another version, in use", run("load"),
			refused(node.OtherVersion.Of(older, newer, "; it is in use: init (process 1, /dev/nvidia-uvm /dev/nvidia0)"))},
		// NVIDIA/gpu-operator#2570: who uses it is to be stopped, and is named.
		{"replace what is in use", look(run("load --replace")), func(t *testing.T, r plan.Result) {
			refused(node.InUse.Of(older, "init (process 1, /dev/nvidia-uvm /dev/nvidia0)"))(t, r)
			in(t, r, older)
		}},
		{"unload what is in use", look(run("unload")), func(t *testing.T, r plan.Result) {
			refused(node.InUse.Of(older, "init (process 1, /dev/nvidia-uvm /dev/nvidia0)"))(t, r)
			in(t, r, older)
		}},
		{"replace", look(plan.Step{Close: true, Run: builder("load --replace")}), func(t *testing.T, r plan.Result) {
			loaded(t, r, node.Loaded, newer)
			in(t, r, newer)
		}},
		{"open the replaced GPU", plan.Step{Open: []string{"/dev/nvidia0"}}, func(t *testing.T, r plan.Result) {
			if len(r.Errors) > 0 {
				t.Errorf("%q", r.Errors)
			}
		}},
		{"unload", look(plan.Step{Close: true, Run: builder("unload")}), func(t *testing.T, r plan.Result) {
			if got := result[node.UnloadResult](t, r.Ran, 0); got.Driver != newer || len(got.Modules) != len(all) || len(got.InTree) == 0 || got.Firmware != own {
				t.Errorf("unloaded %+v", got)
			}
			out(t, r)
		}},
		{"at the same time", look(plan.Step{Run: builder("load"), Beside: [][]string{builder("load"), builder("load")}}), func(t *testing.T, r plan.Result) {
			states := map[string]int{}
			for _, ran := range append(r.Beside, *r.Ran) {
				states[result[node.LoadResult](t, &ran, 0).State]++
			}
			if diff := cmp.Diff(map[string]int{node.Loaded: 1, node.AlreadyLoaded: 2}, states); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			in(t, r, newer)
		}},
		// As in a container that had more when it loaded.
		{"unload with too little", look(plan.Step{Run: builder("unload"), Confined: plan.Confined{ReadOnly: []string{"/sys", "/dev"}}}), func(t *testing.T, r plan.Result) {
			for _, part := range []string{"the kernel looks for firmware in /opt/share/", "cannot be removed: read-only file system"} {
				says("not-undone", part)(t, r)
			}
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("still loaded: %q", got)
			}
			if len(r.Stat) != len(devices) {
				t.Errorf("device files: %v", r.Stat)
			}
		}},
		{"unload once more", look(run("unload")), func(t *testing.T, r plan.Result) { out(t, r) }},
		{"one module", look(run("load --modules nvidia --parameters nvidia.NVreg_EnableGpuFirmware=0,nvidia.NVreg_DeviceFileMode=432")), func(t *testing.T, r plan.Result) {
			loaded(t, r, node.Loaded, newer)
			if got, want := r.Stat["/dev/nvidiactl"], "crw-rw---- 195:255"; got != want {
				t.Errorf("/dev/nvidiactl is %q, want %q as the parameter has it", got, want)
			}
		}},
		{"the rest", look(run("load")), func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.Loaded, newer); slices.Contains(got.Modules, "nvidia") || len(got.Modules) != len(all)-1 {
				t.Errorf("loaded %q", got.Modules)
			}
		}},
		{"check of another's", run("load --check --share /empty"), refused(node.NotLoaded.Of("driver " + newer + ", which is loaded, is not the share's"))},
		{"nothing published", run("load --share /empty"), func(t *testing.T, r plan.Result) { loaded(t, r, node.LeftAlone, newer) }},
		{"Flatcar's extension", plan.Step{
			Write: []plan.Text{{Name: "/usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-990-open", Content: "ID=flatcar\n"}},
			Run:   builder("load --share /other --host-root /"), Confined: elsewhere,
		}, func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.LeftAlone, newer); got.By != "Flatcar's extension flatcar-nvidia-drivers-990-open" {
				t.Errorf("by %q", got.By)
			}
		}},
		{"Flatcar's extension, to be replaced", plan.Step{Run: builder("load --replace --host-root / --share /other --driver-version " + older), Confined: elsewhere},
			refused(node.HostDriver.Of(newer, "Flatcar's extension flatcar-nvidia-drivers-990-open", older))},
	}
	m := b.with(t, map[string]string{
		"/empty/README":                       "a share with nothing in it\n",
		"/other/README":                       "another\n",
		"/run/README":                         "where the record is\n",
		"/usr/lib/extension-release.d/README": "for Flatcar's extension\n",
	})
	b.boot(t, m, steps)
}

// TestNoRecord is a machine without a /run, as of a container that has none of the
// host's: loads take no turns, and are kept apart by the kernel, and an unload goes by
// what that tells.
func TestNoRecord(t *testing.T) {
	b := needBench(t)
	look := func(s plan.Step) plan.Step {
		s.Read, s.Stat = []string{"/proc/modules", firmwarePath}, names(devices)
		return s
	}
	const told = "what is changed on this host is not recorded"
	steps := []step{
		{"at the same time", look(plan.Step{Load: card("0x2330"), Run: builder("load"), Beside: [][]string{builder("load"), builder("load")}}), func(t *testing.T, r plan.Result) {
			modules := 0
			for _, ran := range append(r.Beside, *r.Ran) {
				got := result[node.LoadResult](t, &ran, 0)
				modules += len(got.Modules)
				if got.Driver != newer || len(got.Files) != len(devices) || !strings.Contains(string(ran.Stderr), told) {
					t.Errorf("%+v\n%s", got, ran.Stderr)
				}
			}
			if got := loadedModules(r); modules != 4 || len(got) != 4 || len(r.Stat) != len(devices) {
				t.Errorf("%d modules were loaded, there are %q and %v", modules, got, r.Stat)
			}
		}},
		{"unload", look(plan.Step{Run: builder("unload")}), func(t *testing.T, r plan.Result) {
			if got := result[node.UnloadResult](t, r.Ran, 0); got.Driver != newer || len(got.Modules) != 4 || len(got.Files) != len(devices) || len(got.InTree) > 0 {
				t.Errorf("unloaded %+v", got)
			}
			if got := loadedModules(r); len(got) > 0 || len(r.Stat) > 0 || strings.TrimSpace(string(r.Read[firmwarePath])) != "" {
				t.Errorf("left are %q, %v, and the search path %q", got, r.Stat, r.Read[firmwarePath])
			}
			if !strings.Contains("\n"+string(r.Read["/proc/modules"]), "\ndrm ") {
				t.Error("the kernel's own drm is unloaded, of which nothing tells whom it was for")
			}
		}},
		{"nothing to unload", plan.Step{Run: builder("unload")}, func(t *testing.T, r plan.Result) {
			if got := result[node.UnloadResult](t, r.Ran, 0); got.Driver != "" {
				t.Errorf("unloaded %+v", got)
			}
		}},
	}
	b.boot(t, b.with(t, nil), steps)
}

// TestForgedRecord has an unload meet records that no load has written, in a kernel
// that has what they name: in the share, whose owner can write one, and in the place
// of its own. Neither is obeyed, and what load itself has done is undone all the same.
func TestForgedRecord(t *testing.T) {
	b := needBench(t)
	const theirs, spec = "/lib/firmware/theirs", "/other/cdi/nvidia.com-gpu.json"
	const record = `[{"kind":"in-tree","change":{"name":"nouveau"}},{"kind":"module","change":{"name":"nouveau","driver":"1.2"}},` +
		`{"kind":"firmware","change":{"path":"` + theirs + `","before":"/tmp"}},` +
		`{"kind":"device-file","change":{"dev":"/dev","file":{"Path":"null","Major":1,"Minor":3}}},` +
		`{"kind":"cdi","change":{"dir":"/other/cdi","mounted":false}}]`
	unload := func(s plan.Step) plan.Step {
		s.Run, s.Read, s.Stat = builder("unload"), []string{"/proc/modules", firmwarePath}, []string{"/dev/null", spec}
		return s
	}
	intact := func(t *testing.T, r plan.Result) {
		t.Helper()
		if !strings.Contains("\n"+string(r.Read["/proc/modules"]), "\nnouveau ") {
			t.Error("nouveau is unloaded")
		}
		if got := strings.TrimSpace(string(r.Read[firmwarePath])); got != theirs {
			t.Errorf("the search path for firmware is %q", got)
		}
		if len(r.Stat) != 2 {
			t.Errorf("of the files there are %v", r.Stat)
		}
	}
	const told = "so it is not obeyed"
	inShare, inRun := plan.Text{Name: "/opt/share/loaded/unknown/" + plan.Boot + ".json", Content: record}, plan.Text{Name: "/run/cuda/" + plan.Boot + ".json", Content: record}
	steps := []step{
		{"load", plan.Step{Load: card("0x2330"), Write: []plan.Text{{Name: firmwarePath, Content: theirs}}, Run: builder("load")},
			func(t *testing.T, r plan.Result) { loaded(t, r, node.Loaded, newer) }},
		{"in the share", unload(plan.Step{Load: []plan.Module{{File: "/standin/nouveau.ko"}}, Write: []plan.Text{inShare}}), func(t *testing.T, r plan.Result) {
			if got := result[node.UnloadResult](t, r.Ran, 0); got.Driver != newer || slices.Contains(got.InTree, "nouveau") || len(loadedModules(r)) > 0 {
				t.Errorf("unloaded %+v, and %q are left", got, loadedModules(r))
			}
			if strings.Count(string(r.Ran.Stderr), told) != 1 {
				t.Error("it is not told of, or not once")
			}
			intact(t, r)
		}},
		{"in its own place", unload(plan.Step{Write: []plan.Text{inRun}}), func(t *testing.T, r plan.Result) {
			for _, part := range []string{`the module "nouveau", which is none of NVIDIA's driver`, `the device file "null" (1:3), which is none`, "for the firmware's folder"} {
				says("not-undone", part)(t, r)
			}
			intact(t, r)
		}},
		{"load beside it", plan.Step{Run: builder("load")}, func(t *testing.T, r plan.Result) { loaded(t, r, node.Loaded, newer) }},
		{"in its own place, beside a load's", unload(plan.Step{}), func(t *testing.T, r plan.Result) {
			says("not-undone", `the module "nouveau"`)(t, r)
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("still loaded: %q", got)
			}
			intact(t, r)
		}},
	}
	b.boot(t, b.with(t, map[string]string{
		"/opt/share/loaded/unknown/README": "where an earlier builder kept its records\n",
		"/run/cuda/README":                 "where this one does\n",
		spec:                               `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[]}`,
	}), steps)
}
