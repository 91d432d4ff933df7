//go:build integration

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
)

// boot makes the container a host that systemd runs, with the units of
// flatcar.bu enabled, and stand-ins for Docker and the kubelet that note when
// they come and go. The first build for the next kernel has no end.
const boot = install + `
cp /stand-ins/* /usr/local/bin/
rm /usr/local/bin/docker
cat >/usr/bin/docker <<'END'
#!/bin/bash
[ "$1" = run ] || exit 0
echo "$4: begins" >>/recorded/record
if [ "$4" = cuda-next-kernel ] && [ ! -e /run/second ]; then touch /run/second; exec sleep infinity; fi
echo "$4: ends" >>/recorded/record
END
note() {
    printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "echo %s: begins >>/recorded/record"\nExecStop=/bin/sh -c "echo %s: ends >>/recorded/record"\n' \
        "$1" "$1" >"/etc/systemd/system/$1.service"
}
note docker; note kubelet
systemctl enable cuda-driver.service cuda-next-kernel.path 2>/dev/null
systemctl add-wants multi-user.target kubelet.service 2>/dev/null
exec /lib/systemd/systemd`

// TestLife boots a host, stages an update while it runs, and switches it off
// before the build for the next kernel is done.
func TestLife(t *testing.T) {
	if err := image(); err != nil {
		t.Fatal(err)
	}
	dir := node().write(t)
	name := lab.ContainerName("life")
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	docker := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	docker("run", "--detach", "--name", name, "--network", "none", "--cap-add", "SYS_ADMIN", "--env", "container=docker",
		"--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined", "--tmpfs", "/run", "--tmpfs", "/tmp",
		"--volume", filepath.Join(checkout, "deploy")+":/checkout/deploy:ro",
		"--volume", filepath.Join(checkout, "integration/deploy/testdata/bin")+":/stand-ins:ro",
		"--volume", dir+"/recorded:/recorded", "--volume", dir+"/boot:/boot:ro",
		lab.SystemdImage, "bash", "-euo", "pipefail", "-c", boot)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command("docker", "rm", "--force", name).Run()
	})

	record := func() []string {
		text, _ := os.ReadFile(filepath.Join(dir, "recorded/record"))
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	// waitFor returns when the record ends in a line.
	waitFor := func(line string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if lines := record(); lines[len(lines)-1] == line {
				return
			}
		}
		t.Fatalf("the host did not get to %q, but to: %q", line, record())
	}
	waitFor("kubelet: begins")
	docker("exec", name, "systemctl", "start", "cuda-next-kernel.path") // it is, or will be in a moment
	docker("exec", name, "touch", "/run/update_engine_autoupdate_completed")
	waitFor("cuda-next-kernel: begins")
	docker("exec", name, "systemctl", "--no-block", "poweroff")
	docker("wait", name)

	want := []string{
		"docker: begins",
		"cuda-modules: begins", "cuda-modules: ends",
		"cuda-driver: begins", "cuda-driver: ends",
		"kubelet: begins",
		"cuda-next-kernel: begins", // and is stopped with the host
		"kubelet: ends",
		"cuda-next-kernel: begins", "cuda-next-kernel: ends",
		"docker: ends",
	}
	var got []string
	for _, line := range record() {
		if !strings.HasPrefix(line, "mount ") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the host's life (-want +got):\n%s", diff)
	}
}
