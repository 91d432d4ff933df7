//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConfinedInContainers runs the tests of package confine as root of
// containers that allow this and that, and holds what they could have against
// what can be had there.
func TestConfinedInContainers(t *testing.T) {
	base, dir := needTrixie(t), t.TempDir()
	program := filepath.Join(dir, "confine.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "../internal/confine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const root = "no user (this container lacks CAP_SETUID, CAP_SETGID or CAP_CHOWN)"
	for _, tt := range []struct {
		name   string
		docker []string
		// has is how the best way there confines, and lacks what it does not.
		has   string
		lacks []string
	}{
		{"as Docker has it", nil, "as 1000:1000, isolated false",
			[]string{"no user namespace (clone: operation not permitted)", "no mount, process and network namespaces (clone: operation not permitted)"}},
		{"CAP_SYS_ADMIN", []string{"--cap-add", "SYS_ADMIN"}, "as 1000:1000, isolated true", []string{"no user namespace (view: mount proc: operation not permitted)"}},
		{"no filter", []string{"--security-opt", "seccomp=unconfined"}, "as 1000:1000, isolated true", []string{"no /proc of its own (view: mount proc: operation not permitted)"}},
		{"neither filter nor capabilities", []string{"--security-opt", "seccomp=unconfined", "--cap-drop", "ALL"}, "as 0:0, isolated false", []string{root}},
		{"no capabilities", []string{"--cap-drop", "ALL"}, "as 0:0, isolated false", []string{root}},
		{"to read only", []string{"--read-only", "--tmpfs", "/tmp:exec"}, "as 1000:1000, isolated false", nil},
		{"another user", []string{"--user", "1001:1001"}, "as 1001:1001, isolated false", []string{"no user (builder is user 1001)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := slices.Concat([]string{"run", "--rm", "--network", "none", "-v", program + ":/confine.test:ro"}, tt.docker,
				[]string{base, "/confine.test", "-test.v"})
			out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			best := regexp.MustCompile(`as \d+:\d+, isolated .*`).FindString(string(out)) // the first is that of all that there is
			for _, want := range append(tt.lacks, tt.has) {
				if !strings.Contains(best, want) {
					t.Errorf("it says %q, and not %q", best, want)
				}
			}
		})
	}
}
