//go:build integration

package example

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestRefusal runs the image with the real builder and as plainly as can be, on
// a machine without a driver: what a user sees who forgot --privileged.
func TestRefusal(t *testing.T) {
	image, _, _ := buildImage(t)
	builder := filepath.Join(t.TempDir(), "builder")
	if status, _, stderr := run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-C", "../..", "-o", builder, "./cmd/builder"); status != 0 {
		t.Fatal(stderr)
	}
	status, stdout, stderr := run(t, nil, "docker", "run", "--rm", "--network", "none",
		"--volume", builder+":/usr/local/bin/builder:ro", image)
	if status != 17 || stdout != "" {
		t.Errorf("status %d, want 17; stdout %q, want nothing", status, stdout)
	}
	if want := "no NVIDIA GPU on the PCI bus"; !strings.Contains(stderr, want) {
		t.Errorf("the refusal does not say %q", want)
	}
	// Where the kernel takes no modules at all, no option would help.
	if !strings.Contains(stderr, "add --cap-add SYS_MODULE to docker run, or --privileged") &&
		!strings.Contains(stderr, "was built without loadable modules (CONFIG_MODULES)") {
		t.Error("the refusal does not say what is missing")
	}
	if t.Failed() {
		t.Log(stderr)
	}
}
