package cdi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/devices/devicestest"
	"github.com/k8sp/cuda/pkg/stage"
)

// root is a driver's in a share, small but with an item of each kind.
var root = userspace.Root{Dir: "/opt/share/driver/580.159.04", Version: "580.159.04", Items: []userspace.Item{
	{Kind: userspace.Data, Path: "etc/OpenCL/vendors/nvidia.icd", Names: []string{"nvidia.icd"}},
	{Kind: userspace.Program, Path: "usr/bin/nvidia-modprobe", Names: []string{"nvidia-modprobe"}},
	{Kind: userspace.Program, Path: "usr/bin/nvidia-smi", Names: []string{"nvidia-smi"}},
	{Kind: userspace.Library, Path: "usr/lib64/libcuda.so.580.159.04", Names: []string{"libcuda.so", "libcuda.so.1", "libcuda.so.580.159.04"}},
	{Kind: userspace.Library, Path: "usr/lib64/libnvidia-nvvm.so.580.159.04", Names: []string{"libnvidia-nvvm.so.4", "libnvidia-nvvm.so.580.159.04"}},
}}

// options are those of the recorded machine, or of a change of it.
func options(t *testing.T, changes map[string]string) Options {
	t.Helper()
	host := devicestest.Root(t, devicestest.H100(), changes)
	plan, err := devices.Plan(host)
	if err != nil {
		t.Fatal(err)
	}
	gpus, err := devices.GPUs(host)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Root: root, HostDir: "/home/core/share/driver/580.159.04", Files: plan, GPUs: gpus, Instances: devices.Instances(host), Arch: kernel.X86_64}
}

// read loads what is in a folder as runtimes do, and fails the test where they
// would refuse it.
func read(t *testing.T, dir string) *cdi.Cache {
	t.Helper()
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	for file, errs := range cache.GetErrors() {
		t.Errorf("%s: %v", file, errs)
	}
	return cache
}

func write(t *testing.T, dir string, spec specs.Spec) string {
	t.Helper()
	path, err := Write(dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGolden(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, Spec(options(t, nil)))
	if filepath.Base(path) != cdi.GenerateSpecName("nvidia.com", "gpu")+".json" {
		t.Errorf("written to %s", path)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "h100.json", got)
	wantDevices := []string{"nvidia.com/gpu=0", "nvidia.com/gpu=GPU-aa25b250-0000-4000-8000-000000000001", "nvidia.com/gpu=all"}
	if diff := cmp.Diff(wantDevices, read(t, dir).ListDevices()); diff != "" {
		t.Error(diff)
	}
}

func TestVersionIsTheLowestThatSuffices(t *testing.T) {
	spec := Spec(options(t, nil))
	if least, err := specs.MinimumRequiredVersion(&spec); err != nil || spec.Version != least {
		t.Errorf("version %s, and %s suffices (%v)", spec.Version, least, err)
	}
}

// TestInject has CDI's own library do to a container what runtimes do.
func TestInject(t *testing.T) {
	const half, quarter = "proc/driver/nvidia/capabilities/gpu1/mig/gi2/", "proc/driver/nvidia/capabilities/gpu1/mig/gi3/"
	second := map[string]string{
		half + "access": "DeviceFileMinor: 21\n", half + "ci0/access": "DeviceFileMinor: 22\n",
		quarter + "access": "DeviceFileMinor: 30\n", quarter + "ci0/access": "DeviceFileMinor: 31\n", quarter + "ci1/access": "DeviceFileMinor: 32\n",
		"proc/driver/nvidia/gpus/0000:00:07.0/information": "Device Minor: \t 1\nGPU UUID: \t GPU-ffffffff-0000-4000-8000-000000000002\n",
	}
	for _, c := range []struct {
		device string
		want   []string
	}{
		{"0", []string{"/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/nvidiactl"}},
		{"GPU-ffffffff-0000-4000-8000-000000000002", []string{"/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1", "/dev/nvidiactl"}},
		{"1:0", []string{"/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1", "/dev/nvidiactl"}},
		{"1:2", []string{"/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap32", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1", "/dev/nvidiactl"}},
		{"all", []string{
			"/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31", "/dev/nvidia-caps/nvidia-cap32",
			"/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl",
		}},
	} {
		t.Run(c.device, func(t *testing.T) {
			spec := Spec(options(t, second))
			// The test's machine has no such files to look up.
			for _, edits := range append([]specs.ContainerEdits{spec.ContainerEdits}, containerEdits(spec.Devices)...) {
				for _, n := range edits.DeviceNodes {
					n.HostPath = "/dev/null"
				}
			}
			dir := t.TempDir()
			write(t, dir, spec)
			container := &oci.Spec{Process: &oci.Process{Env: []string{"NVIDIA_VISIBLE_DEVICES=all", "LD_LIBRARY_PATH=/image"}}}
			if _, err := read(t, dir).InjectDevices(container, Kind+"="+c.device); err != nil {
				t.Fatal(err)
			}
			var devices []string
			for _, d := range container.Linux.Devices {
				devices = append(devices, d.Path)
			}
			slices.Sort(devices)
			if diff := cmp.Diff(c.want, devices); diff != "" {
				t.Error(diff)
			}
			if got := strings.Join(container.Process.Env, " "); got != "NVIDIA_VISIBLE_DEVICES=void LD_LIBRARY_PATH=/image" {
				t.Errorf("the environment is %s", got)
			}
			found := map[string]string{}
			for _, m := range container.Mounts {
				if _, twice := found[m.Destination]; twice {
					t.Errorf("%s is mounted twice", m.Destination)
				}
				found[m.Destination] = m.Source
			}
			const share = "/home/core/share/driver/580.159.04/"
			for to, from := range map[string]string{
				"/usr/lib/x86_64-linux-gnu/libcuda.so.1": "usr/lib64/libcuda.so.580.159.04",
				"/usr/lib64/libcuda.so.1":                "usr/lib64/libcuda.so.580.159.04",
				"/usr/lib64/libcuda.so":                  "usr/lib64/libcuda.so.580.159.04",
				"/usr/lib64/libnvidia-nvvm.so.4":         "usr/lib64/libnvidia-nvvm.so.580.159.04",
				"/usr/bin/nvidia-smi":                    "usr/bin/nvidia-smi",
				"/etc/OpenCL/vendors/nvidia.icd":         "etc/OpenCL/vendors/nvidia.icd",
			} {
				if found[to] != share+from {
					t.Errorf("%s is %s", to, found[to])
				}
			}
			if _, mounted := found["/usr/bin/nvidia-modprobe"]; mounted || len(container.Mounts) != 2*5+2 {
				t.Errorf("%d mounts: %v", len(container.Mounts), found)
			}
		})
	}
}

func containerEdits(devices []specs.Device) (all []specs.ContainerEdits) {
	for _, d := range devices {
		all = append(all, d.ContainerEdits)
	}
	return all
}

// TestChannels has IMEX channels in a specification of their own, which goes with that
// of the GPUs.
func TestChannels(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, Spec(options(t, nil)))
	for range 2 { // the second in the place of the first
		if file := write(t, dir, Channels([]string{"nvidia-caps-imex-channels/channel0", "nvidia-caps-imex-channels/channel11"})); filepath.Base(file) != "nvidia.com-imex-channel.json" {
			t.Errorf("written to %s", file)
		}
	}
	cache := read(t, dir)
	for _, want := range []string{"nvidia.com/imex-channel=0", "nvidia.com/imex-channel=11", "nvidia.com/gpu=0"} {
		if !slices.Contains(cache.ListDevices(), want) {
			t.Errorf("there is no %s: %q", want, cache.ListDevices())
		}
	}
	if err := RemoveKind(dir, ChannelKind); err != nil || !Wrote(dir) {
		t.Errorf("%v", err)
	}
	write(t, dir, Channels([]string{"nvidia-caps-imex-channels/channel0"}))
	if err := Remove(dir); err != nil || Wrote(dir) {
		t.Errorf("%v", err)
	}
	// NVIDIA's own, which stays.
	theirs := filepath.Join(dir, "nvidia.yaml")
	if err := os.WriteFile(theirs, []byte("cdiVersion: 0.5.0\nkind: nvidia.com/imex-channel\ndevices: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, Channels([]string{"nvidia-caps-imex-channels/channel0"})); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
}

// TestOtherHosts have specifications that runtimes take, too.
func TestOtherHosts(t *testing.T) {
	const gpu = "proc/driver/nvidia/gpus/0000:00:06.0/information"
	for name, c := range map[string]struct {
		changes map[string]string
		change  func(*Options)
		want    string
	}{
		"a GPU without a UUID": {map[string]string{gpu: "Device Minor: \t 3\n"}, nil, "3 all"},
		"a UUID that is none":  {map[string]string{gpu: "Device Minor: \t 3\nGPU UUID: \t GPU??\n"}, nil, "3 all"},
		"an excluded GPU":      {map[string]string{gpu: "Device Minor: \t 0\nGPU Excluded:\t Yes\n"}, nil, "all"},
		"no user-space side":   {nil, func(o *Options) { o.Root = userspace.Root{} }, "0 GPU-aa25b250-0000-4000-8000-000000000001 all"},
		"another architecture": {nil, func(o *Options) { o.Arch = kernel.Arch("aarch64") }, "0 GPU-aa25b250-0000-4000-8000-000000000001 all"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, c.changes)
			if c.change != nil {
				c.change(&o)
			}
			dir := t.TempDir()
			write(t, dir, Spec(o))
			var names []string
			for _, d := range read(t, dir).ListDevices() {
				names = append(names, strings.TrimPrefix(d, Kind+"="))
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("devices %s, want %s", got, c.want)
			}
		})
	}
}

func TestWriteYieldsToAnother(t *testing.T) {
	spec := Spec(options(t, nil))
	for name, c := range map[string]struct {
		file, text string
		refused    bool
	}{
		"NVIDIA's, in YAML":       {"nvidia.yaml", "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: []\n", true},
		"in JSON":                 {"nvidia.json", `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[]}`, true},
		"quoted":                  {"a.yaml", "kind: 'nvidia.com/gpu'  # ours\n", true},
		"of our name, with hooks": {FileName, `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","containerEdits":{"hooks":[{"hookName":"createContainer","path":"/usr/bin/nvidia-cdi-hook"}]}}`, true},
		"of our name, ours":       {FileName, `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[]}`, false},
		"another kind":            {"mig.yaml", "kind: nvidia.com/gpu-mig\n", false},
		"another vendor":          {"k8s.json", `{"kind": "k8s.device-plugin.nvidia.com/gpu"}`, false},
		"not a specification":     {"nvidia.yaml.disabled", "kind: nvidia.com/gpu\n", false},
		"a mention":               {"x.yaml", "kind: example.com/x\nannotations:\n  see: nvidia.com/gpu\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Write(dir, spec)
			if errors.Is(err, fs.ErrExist) != c.refused {
				t.Fatal(err)
			}
			if c.refused {
				wantLoadError(t, err, file+" specifies nvidia.com/gpu as well")
			}
			text, err := os.ReadFile(file)
			if err != nil || (string(text) != c.text) != (c.file == FileName && !c.refused) {
				t.Errorf("the file is now %s (%v)", text, err)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, Spec(options(t, nil)))
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	// Another's, under our name.
	file := filepath.Join(dir, FileName)
	if err := os.WriteFile(file, []byte(`{"containerEdits":{"hooks":[{}]}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestWrote has a specification be ours, and in one way after the other not.
func TestWrote(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, Spec(options(t, nil)))
	ours, err := os.ReadFile(file)
	if err != nil || !Wrote(dir) {
		t.Fatalf("ours is not: %v", err)
	}
	for name, c := range map[string]struct{ from, to string }{
		"another kind":           {`"kind": "nvidia.com/gpu"`, `"kind": "nvidia.com/mig"`},
		"hooks":                  {`"containerEdits": {`, `"containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "/x"}],`},
		"another environment":    {"NVIDIA_VISIBLE_DEVICES=void", "LD_PRELOAD=/x"},
		"other options":          {`"nosuid",`, ``},
		"another device":         {`"path": "/dev/nvidiactl"`, `"path": "/dev/sda"`},
		"a device by another":    {`"path": "/dev/nvidiactl"`, `"path": "/dev/nvidiactl", "hostPath": "/dev/sda"`},
		"annotations":            {`"kind":`, `"annotations": {"a": "b"}, "kind":`},
		"a device's annotations": {`"name": "all"`, `"annotations": {"a": "b"}, "name": "all"`},
		"a newer format":         {`"kind":`, `"frob": 1, "kind":`},
		"no JSON":                {"{", ""},
	} {
		text := strings.Replace(string(ours), c.from, c.to, 1)
		if text == string(ours) {
			t.Fatalf("%s: %s has no %s", name, text, c.from)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if Wrote(dir) {
			t.Errorf("%s: it is ours", name)
		}
		if err := Remove(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, put := range map[string]func() error{
		"none":     func() error { return nil },
		"a folder": func() error { return os.Mkdir(file, 0o755) },
		"a link": func() error {
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			return errors.Join(os.WriteFile(elsewhere, ours, 0o644), os.Symlink(elsewhere, file))
		},
	} {
		if err := errors.Join(os.RemoveAll(file), put()); err != nil {
			t.Fatal(err)
		}
		if Wrote(dir) || Remove(dir) != nil {
			t.Errorf("%s: it is ours", name)
		}
	}
}

func TestWriteMakesTheFolder(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "etc", "cdi"), Spec(options(t, nil)))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	_, err := Write(path, Spec(options(t, nil)))
	wantLoadError(t, err, "--cdi-dir")
}

func wantLoadError(t *testing.T, err error, text string) {
	t.Helper()
	var e *stage.Error
	if !errors.As(err, &e) || e.Stage != stage.Load || e.Hint == "" || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, want one of load with %q", err, text)
	}
}
