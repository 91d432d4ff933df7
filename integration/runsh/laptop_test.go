//go:build integration

package runsh

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	driverVersion = "590.48.01"
	driverName    = "NVIDIA-Linux-x86_64-" + driverVersion + ".run"
	toolkitName   = "cuda_13.1.1_" + driverVersion + "_linux.run"
)

// laptop is a checkout on a machine with macOS's tools and a stand-in for
// vagrant.
type laptop struct {
	Dir string            // the checkout, and so the share
	Env map[string]string // over what a fresh machine has
}

// newLaptop returns a fresh checkout whose run.sh downloads the archive that
// s serves.
func newLaptop(t *testing.T, s *server) *laptop {
	t.Helper()
	l := &laptop{Dir: t.TempDir()}
	script, err := os.ReadFile(filepath.Join(checkout, "run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "run.sh", script)
	if err := os.Chmod(l.path("run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(s.content)
	l.Env = map[string]string{
		"CUDA_URL":       s.URL,
		"CUDA_SHA256":    hex.EncodeToString(digest[:]),
		"RETRY_DELAY":    "0",
		"VAGRANT_RECORD": l.path("vagrant.record"),
		"VAGRANT_FAIL":   "",
		"VAGRANT_VM":     "",
		"PATH":           absolute(t, "testdata/bin") + ":/usr/local/bin:/usr/bin:/bin",
	}
	return l
}

// result is what a user sees of a run.
type result struct {
	Status int
	Output string // stdout and stderr, as a terminal shows them
}

// run runs ./run.sh as the checkout's owner.
func (l *laptop) run(t *testing.T) result {
	t.Helper()
	return l.exec(t, l.Dir, "./run.sh")
}

// exec runs a command in the tools image, which sees the checkout at its own
// path and shares the machine's loopback.
func (l *laptop) exec(t *testing.T, workdir string, argv ...string) result {
	t.Helper()
	standIns := absolute(t, "testdata")
	args := []string{"run", "--rm", "--init", "--network", "host",
		"--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		"--volume", l.Dir + ":" + l.Dir, "--volume", standIns + ":" + standIns + ":ro",
		"--workdir", workdir}
	for name, value := range l.Env {
		args = append(args, "--env", name+"="+value)
	}
	args = append(append(args, toolsImage(t)), argv...)
	return docker(t, args...)
}

// docker runs one docker command, whatever its exit status.
func docker(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return result{Status: cmd.ProcessState.ExitCode(), Output: string(output)}
}

// only leaves the laptop those tools, of the stand-ins or the machine's, and returns the
// folder that they are in.
func (l *laptop) only(t *testing.T, tools ...string) (bin string) {
	t.Helper()
	bin = l.path("bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools {
		from := filepath.Join(absolute(t, "testdata/bin"), tool)
		if _, err := os.Stat(from); err != nil {
			from = "/usr/bin/" + tool
		}
		if err := os.Symlink(from, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	l.Env["PATH"] = bin
	return bin
}

// vagrant returns what the stand-in was asked, a line a call.
func (l *laptop) vagrant(t *testing.T) []string {
	t.Helper()
	record, err := os.ReadFile(l.path("vagrant.record"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(record)), "\n")
}

func (l *laptop) path(name string) string { return filepath.Join(l.Dir, name) }

func (l *laptop) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(l.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path(name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (l *laptop) read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(l.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// cuda returns the names in ./cuda, sorted.
func (l *laptop) cuda(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(l.path("cuda"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// toolkit returns a CUDA toolkit of the real one's layout, packed by makeself
// as NVIDIA packs it: `pkg` with the driver in pkg/builds, and an installer
// that must not run. Its members make it some megabytes.
func toolkit(t *testing.T, driverName string, driver []byte) []byte {
	t.Helper()
	l := &laptop{Dir: t.TempDir()}
	l.write(t, "pkg/builds/"+driverName, driver)
	l.write(t, "pkg/builds/cuda_nvcc/bin/nvcc", bytes.Repeat([]byte("nvcc "), 1000))
	l.write(t, "pkg/builds/cuda_cudart/lib64/libcudart.so", noise(3<<20))
	l.write(t, "pkg/cuda-installer", []byte("#!/bin/sh\n: >../installer-was-run\nexit 1\n"))
	if err := os.Chmod(l.path("pkg/cuda-installer"), 0o755); err != nil {
		t.Fatal(err)
	}
	packed := l.exec(t, l.Dir, "makeself", "pkg", toolkitName, "CUDA Toolkit (stand-in)", "./cuda-installer")
	if packed.Status != 0 {
		t.Fatalf("makeself: %s", packed.Output)
	}
	return l.read(t, toolkitName)
}

// noise returns n bytes that do not compress, the same each time.
func noise(n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
