//go:build gpu

package gpu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// state is what a load may change of a machine.
type state struct {
	Modules  []string // names and sizes of loaded modules
	Firmware string   // where the kernel looks for firmware first
	Nodes    []string // NVIDIA's device nodes, to the inode
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func machine(t *testing.T) state {
	t.Helper()
	s := state{Firmware: read(t, "/sys/module/firmware_class/parameters/path")}
	for line := range strings.Lines(read(t, "/proc/modules")) {
		// Name and size; the count of users changes as programs come and go.
		s.Modules = append(s.Modules, strings.Join(strings.Fields(line)[:2], " "))
	}
	err := filepath.WalkDir("/dev", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(path, "/dev/nvidia") {
			return nil // others come and go
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		s.Nodes = append(s.Nodes, fmt.Sprintf("%s %v rdev=%#x uid=%d gid=%d ino=%d", path, info.Mode(), stat.Rdev, stat.Uid, stat.Gid, stat.Ino))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLoadLeavesTheDriver has builder load into a machine whose driver somebody
// else loaded, with a share that holds nothing.
func TestLoadLeavesTheDriver(t *testing.T) {
	share, cdi := t.TempDir(), t.TempDir()
	version := read(t, "/sys/module/nvidia/version")
	before := machine(t)
	status, _, stderr := run(t, "CUDA_TEST_BUILDER", nil,
		"load", "--share", share, "--host-root", "/", "--host-share", share, "--cdi-dir", cdi, "--log-format", "json")
	if status != 0 || !strings.Contains(stderr, version) {
		t.Errorf("status %d, want 0 and a word on driver %s", status, version)
	}
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Errorf("builder load changed the machine (-before +after):\n%s", diff)
	}
	specification(t, cdi)
}

// specification holds the one CDI specification in a folder to the machine:
// every path of the host's that it names is there.
func specification(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		entries, _ := os.ReadDir(dir)
		t.Fatalf("%d CDI specifications, want 1 (%v): %v", len(files), entries, err)
	}
	text := read(t, files[0])
	t.Log(text)
	type edits struct {
		DeviceNodes []struct{ Path, HostPath string }
		Mounts      []struct{ HostPath, ContainerPath string }
		Hooks       []struct{ Path string }
	}
	var spec struct {
		Kind    string
		Devices []struct {
			Name           string
			ContainerEdits edits
		}
		ContainerEdits edits
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	all := []edits{spec.ContainerEdits}
	var names []string
	for _, d := range spec.Devices {
		all, names = append(all, d.ContainerEdits), append(names, d.Name)
	}
	if spec.Kind != "nvidia.com/gpu" || !slices.Contains(names, "all") || len(names) < gpus(t)+1 {
		t.Errorf("%s with the devices %q, want nvidia.com/gpu with all and %d more", spec.Kind, names, gpus(t))
	}
	var nodes, libraries int
	for _, e := range all {
		for _, n := range e.DeviceNodes {
			nodes++
			path := n.HostPath
			if path == "" {
				path = n.Path
			}
			if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeCharDevice == 0 {
				t.Errorf("the device node %s is none: %v", path, err)
			}
		}
		for _, m := range e.Mounts {
			if strings.Contains(m.HostPath, "libcuda.so") {
				libraries++
			}
			if _, err := os.Stat(m.HostPath); err != nil {
				t.Errorf("what is mounted at %s: %v", m.ContainerPath, err)
			}
		}
		for _, h := range e.Hooks {
			if info, err := os.Stat(h.Path); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("the hook %s is no program: %v", h.Path, err)
			}
		}
	}
	if nodes == 0 || libraries == 0 {
		t.Errorf("%d device nodes and %d libcuda.so: no program could use this", nodes, libraries)
	}
}
