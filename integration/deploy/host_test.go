//go:build integration

package deploy

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

var systemdImage = shared.Image(lab.SystemdImage, (*lab.Lab).MakeSystemdImage)

// result is what a script left behind.
type result struct {
	status int
	output string // stdout and stderr
}

// host runs a script as root in a container that is the host: with the checkout
// at /checkout, and able to mount. Mounts are "/machine:/container".
func host(t *testing.T, mounts []string, script string) result {
	t.Helper()
	image := systemdImage(t)
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	name := lab.ContainerName("deploy")
	args := []string{"run", "--rm", "--init", "--name", name, "--network", "none", "--cap-add", "SYS_ADMIN",
		"--security-opt", "apparmor=unconfined", "--tmpfs", "/run",
		"--volume", filepath.Join(checkout, "deploy") + ":/checkout/deploy:ro"}
	for _, m := range mounts {
		args = append(args, "--volume", m)
	}
	cmd := exec.CommandContext(t.Context(), "docker", append(args, image, "bash", "-euo", "pipefail", "-c", script)...)
	cmd.Cancel = func() error { lab.Kill(name); return nil }
	output, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), string(output)}
}
