//go:build integration

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
for word; do if [ "$word" = /usr/src:/host/usr/src:ro ]; then echo "$4" >>/recorded/options; fi; done
echo "$4: begins" >>/recorded/record
if [ "$4" = cuda-next-kernel ] && [ ! -e /run/second ]; then touch /run/second; exec sleep infinity; fi
echo "$4: ends" >>/recorded/record
END
note() {
    printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "echo %s: begins >>/recorded/record"\nExecStop=/bin/sh -c "echo %s: ends >>/recorded/record"\n' \
        "$1" "$1" >"/etc/systemd/system/$1.service"
}
note docker; note kubelet
if [ -e /recorded/hold ]; then echo CUDA_HOLD_UPDATES=yes >>/etc/cuda-driver.env; fi
sed -i 's|^CUDA_DOCKER_OPTIONS=$|CUDA_DOCKER_OPTIONS=--security-opt apparmor=unconfined --volume /usr/src:/host/usr/src:ro|' /etc/cuda-driver.env
systemctl enable cuda-driver.service cuda-hold-updates.service cuda-next-kernel.path 2>/dev/null
systemctl add-wants multi-user.target kubelet.service 2>/dev/null
exec /lib/systemd/systemd`

// life is a host that has booted, to its kubelet.
type life struct {
	*testing.T
	name, dir string
}

// start boots a host.
func start(t *testing.T, recorded flatcar) life {
	t.Helper()
	image := systemdImage(t)
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	h := life{t, lab.ContainerName("life"), recorded.write(t)}
	h.docker("run", "--detach", "--name", h.name, "--network", "none", "--cap-add", "SYS_ADMIN", "--env", "container=docker",
		"--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined", "--tmpfs", "/run", "--tmpfs", "/tmp",
		"--volume", filepath.Join(checkout, "deploy")+":/checkout/deploy:ro",
		"--volume", filepath.Join(checkout, "integration/deploy/testdata/bin")+":/stand-ins:ro",
		"--volume", h.dir+"/recorded:/recorded", "--volume", h.dir+"/boot:/boot:ro", "--volume", h.dir+"/bus:/sys/bus:ro",
		image, "bash", "-euo", "pipefail", "-c", boot)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", h.name).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command("docker", "rm", "--force", h.name).Run()
	})
	h.waitFor("kubelet: begins")
	return h
}

// docker runs docker, and systemctl the host's.
func (h life) docker(args ...string) string {
	h.Helper()
	out, err := exec.CommandContext(h.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		h.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h life) systemctl(args ...string) string {
	h.Helper()
	return h.docker(append([]string{"exec", h.name, "systemctl"}, args...)...)
}

// stage does what update_engine does when an update is in place.
func (h life) stage() {
	h.Helper()
	h.systemctl("start", "cuda-next-kernel.path") // it is, or will be in a moment
	h.docker("exec", h.name, "touch", "/run/update_engine_autoupdate_completed")
}

// powerOff returns when the host is down.
func (h life) powerOff() {
	h.Helper()
	h.docker("exec", "--detach", h.name, "systemctl", "poweroff") // which may be over before docker asks how it ended
	h.docker("wait", h.name)
}

// record is what began and ended so far.
func (h life) record() []string {
	text, _ := os.ReadFile(filepath.Join(h.dir, "recorded/record"))
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "mount ")
	})
}

// waitFor returns when the record has a line.
func (h life) waitFor(line string) {
	h.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if slices.Contains(h.record(), line) {
			return
		}
	}
	h.Fatalf("the host did not get to %q, but to: %q", line, h.record())
}

// TestLife boots a host, stages an update while it runs, and switches it off
// before the build for the next kernel is done.
func TestLife(t *testing.T) {
	h := start(t, node().with("recorded/hold", "x"))
	h.systemctl("start", "cuda-hold-updates.service") // it was, or is about to be
	h.docker("exec", h.name, "cmp", "/checkout/deploy/systemd/oem-postinst", "/usr/share/oem/bin/oem-postinst")
	h.stage()
	h.waitFor("cuda-next-kernel: begins")
	h.powerOff()
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
	if diff := cmp.Diff(want, h.record()); diff != "" {
		t.Errorf("the host's life (-want +got):\n%s", diff)
	}
	// Each word of CUDA_DOCKER_OPTIONS is one of docker's.
	options, err := os.ReadFile(filepath.Join(h.dir, "recorded/options"))
	if diff := cmp.Diff("cuda-modules\ncuda-driver\ncuda-next-kernel\ncuda-next-kernel\n", string(options)); diff != "" || err != nil {
		t.Errorf("who has the options of cuda-driver.env (-want +got): %v\n%s", err, diff)
	}
}

// TestLifeWithoutGPU is the same on a node of the fleet that has nothing of
// NVIDIA's: the units are skipped, and not failed.
func TestLifeWithoutGPU(t *testing.T) {
	for name, host := range map[string]flatcar{
		"other devices": node().with("bus/pci/devices/0000:01:00.0/vendor", "-"),
		"no PCI device": node().with("bus/pci/devices/0000:01:00.0/vendor", "-").with("bus/pci/devices/0000:00:02.0/vendor", "-"),
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, host)
			h.stage()
			// It is, or was: a skipped one can be started. One that is not has no end.
			h.docker("exec", h.name, "timeout", "300", "systemctl", "start", "cuda-next-kernel.service")
			// Nor does anybody want updates to be held back.
			h.docker("exec", h.name, "systemctl", "start", "cuda-hold-updates.service")
			for _, unit := range []string{"cuda-modules", "cuda-driver", "cuda-next-kernel", "cuda-hold-updates"} {
				if got := h.systemctl("show", "--property", "Result,ActiveState", unit); got != "Result=exec-condition\nActiveState=inactive\n" {
					t.Errorf("%s was not skipped:\n%s", unit, got)
				}
			}
			h.powerOff()
			// Which ends first is nobody's concern without the driver's unit between them.
			want := []string{"docker: begins", "docker: ends", "kubelet: begins", "kubelet: ends"}
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(h.record()))); diff != "" {
				t.Errorf("the host's life (-want +got):\n%s", diff)
			}
		})
	}
}
