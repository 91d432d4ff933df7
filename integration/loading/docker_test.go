//go:build integration

package loading

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/node/live"
)

// TestDocker has a container's own limits refuse a load, on the kernel that
// this machine runs. That one may have no modules at all; then it is only told
// so where nothing hides it, and for all else there is a host root whose /proc
// says that it has. Nothing is ever loaded: the modules are of another kernel.
func TestDocker(t *testing.T) {
	release := live.Running{}.Release()
	dir := t.TempDir()
	target := kernel.Target{Release: kernel.Release{Full: release}}
	if _, err := publish(t.Context(), filepath.Join(dir, "share"), older, filepath.Join(needStandins(t), older), target); err != nil {
		t.Fatal(err)
	}
	const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["finit_module", "init_module"], "action": "SCMP_ACT_ERRNO"}]}`
	for name, text := range map[string]string{
		"seccomp.json":                                   profile,
		"node/proc/version":                              "Linux version " + release + " (a@b) (gcc version 12.2.0) #1 SMP\n",
		"node/proc/sys/kernel/osrelease":                 release + "\n",
		"node/proc/modules":                              "",
		"node/sys/bus/pci/devices/0000:65:00.0/vendor":   "0x10de\n",
		"node/sys/bus/pci/devices/0000:65:00.0/device":   "0x2330\n",
		"node/sys/bus/pci/devices/0000:65:00.0/class":    "0x030200\n",
		"node/sys/module/firmware_class/parameters/path": "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	node := []string{"-v", dir + "/node:/node:ro", "-e", "BUILDER_HOST_ROOT=/node", "-e", "BUILDER_MODULES=nvidia"}
	// With this, the kernel is not asked, and cannot say that it has no modules.
	filtered := append(slices.Clip(node), "--security-opt", "seccomp="+dir+"/seccomp.json")
	const (
		modules    = "--cap-add=SYS_MODULE"
		devices    = "--device-cgroup-rule=c *:* rmw"
		parameters = "--volume=/sys/module/firmware_class/parameters:/sys/module/firmware_class/parameters"
	)
	for _, tt := range []struct {
		name   string
		docker []string
		want   []string
	}{
		{"plain", node, []string{"cap-sys-module", "device-cgroup", "read-only-sys"}},
		{"all that is needed", append(slices.Clip(filtered), modules, devices, parameters), []string{"seccomp"}},
		{"the host's /dev", append(slices.Clip(filtered), modules, parameters, "--volume=/dev:/dev"), []string{"seccomp"}},
		{"cuda-driver.service", append(slices.Clip(filtered), append(privileges(t, "cuda-driver.service"), parameters, "--volume=/dev:/dev")...), []string{"seccomp"}},
		// It could open the devices even where they are of this container's own.
		{"cuda-daemons.service", append(slices.Clip(filtered), append(privileges(t, "cuda-daemons.service"), parameters)...), []string{"seccomp"}},
		{"no device cgroup rule", append(slices.Clip(filtered), modules, parameters), []string{"seccomp", "device-cgroup"}},
		{"no firmware path", append(slices.Clip(filtered), modules, devices), []string{"seccomp", "read-only-sys"}},
		{"no capability", append(slices.Clip(filtered), devices, parameters), []string{"cap-sys-module"}},
		{"no CAP_MKNOD", append(slices.Clip(filtered), modules, parameters, "--cap-drop=MKNOD"), []string{"seccomp", "cap-mknod"}},
		{"read-only", append(slices.Clip(filtered), modules, parameters, "--read-only", "--env=BUILDER_DEV=/"), []string{"seccomp", "read-only-dev"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := dockerLoad(t, filepath.Join(dir, "share"), tt.docker...)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	// Docker's own seccomp profile lets finit_module through to the kernel where
	// the capability is there: a kernel without modules says so itself.
	t.Run("Docker's own profile", func(t *testing.T) {
		want := []string{"refused"} // for its version magic
		if !exists("/proc/modules") {
			want = []string{"no-modules"}
		}
		if got := dockerLoad(t, filepath.Join(dir, "share"), append(slices.Clip(node), modules, devices, parameters)...); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("this machine", func(t *testing.T) {
		got := dockerLoad(t, filepath.Join(dir, "share"))
		if want := !exists("/proc/modules"); slices.Contains(got, "no-modules") != want {
			t.Errorf("%q; no-modules is wanted: %t", got, want)
		}
	})
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// dockerLoad runs a load in a container and returns the names of what refused it.
// That the modules are of another kernel is no news.
func dockerLoad(t *testing.T, share string, options ...string) []string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	run := lab.Builder{
		Image: needTrixie(t), Share: share, Args: []string{"load", "--output=json", "--log-format=json"},
		Docker: append([]string{"-v", needBuilder(t) + ":/builder:ro", "--entrypoint", "/builder"}, options...),
		Stdout: &stdout, Stderr: &stderr,
	}
	code, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\nexit code %d\n%s%s", strings.Join(run.Argv(), " "), code, stdout.String(), stderr.String())
	var out struct{ Failures []node.Finding }
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil || code != 17 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	names := []string{}
	for _, f := range out.Failures {
		if f.Name != node.Unaccepted.Name {
			names = append(names, f.Name)
		}
	}
	return names
}
