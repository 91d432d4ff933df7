//go:build gpu

package gpu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs one of the programs that scripts/test-gpu.sh made, by the variable
// that names it, and returns its exit status and what it wrote.
func run(t *testing.T, program string, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	path := os.Getenv(program)
	if path == "" {
		t.Fatalf("%s names no program: run this with `make test-gpu`", program)
	}
	var out, log strings.Builder
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	t.Logf("%s %s: status %d\n%s%s", filepath.Base(path), strings.Join(args, " "), cmd.ProcessState.ExitCode(), &out, &log)
	return cmd.ProcessState.ExitCode(), out.String(), log.String()
}

// gpus is how many GPUs the driver runs.
func gpus(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/driver/nvidia/gpus")
	if err != nil || len(entries) == 0 {
		t.Fatalf("this machine has no GPU that a driver runs: %v", err)
	}
	return len(entries)
}

func TestExample(t *testing.T) {
	for _, n := range []int{1, 1_000_003, 1 << 24} {
		status, stdout, _ := run(t, "CUDA_TEST_EXAMPLE", nil, fmt.Sprint(n))
		right := fmt.Sprintf("  %d sums, all equal to the CPU's\n", n)
		if got := strings.Count(stdout, right); status != 0 || got != gpus(t) {
			t.Errorf("status %d, and %d GPUs of %d were right", status, got, gpus(t))
		}
	}
}

// TestEntrypoint starts the program as the image does, on a machine that has a
// driver and no share: no builder is asked for anything.
func TestEntrypoint(t *testing.T) {
	bin := t.TempDir()
	if err := os.Symlink(os.Getenv("CUDA_TEST_EXAMPLE"), filepath.Join(bin, "vectoradd")); err != nil {
		t.Fatal(err)
	}
	refuses := "#!/bin/sh\necho builder was run\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "builder"), []byte(refuses), 0o755); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "BUILDER_SHARE=" + t.TempDir()}
	status, stdout, _ := run(t, "CUDA_TEST_ENTRYPOINT", environ, "1000")
	if status != 0 || strings.Count(stdout, "  1000 sums, all equal to the CPU's\n") != gpus(t) {
		t.Errorf("status %d, and not every GPU was right", status)
	}
}

func TestExampleFails(t *testing.T) {
	for name, tt := range map[string]struct {
		environ, args []string
		status        int
		says          string
	}{
		"no device to be seen": {[]string{"CUDA_VISIBLE_DEVICES=-1"}, nil, 3, "cudaErrorNoDevice"},
		"no number":            {nil, []string{"many"}, 2, "usage"},
		"nothing to add":       {nil, []string{"0"}, 2, "usage"},
		"below nothing":        {nil, []string{"-1"}, 2, "usage"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := run(t, "CUDA_TEST_EXAMPLE", tt.environ, tt.args...)
			if status != tt.status || !strings.Contains(stderr, tt.says) || strings.Contains(stdout, "all equal") {
				t.Errorf("status %d, want %d and %q on stderr", status, tt.status, tt.says)
			}
		})
	}
}
