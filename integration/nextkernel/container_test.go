//go:build integration

package nextkernel

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/kernel/staged/stagedtest"
	"github.com/k8sp/cuda/pkg/nextkernel"
	"github.com/k8sp/cuda/pkg/stage"
)

var needDebian = shared.Debian("trixie")

// device is a block device of this machine's that is USR-B of a disk, as long as the test
// runs.
func device(t *testing.T, disk string) string {
	t.Helper()
	losetup := func(words ...string) string {
		out, err := exec.Command("docker", append([]string{"run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined",
			"--device-cgroup-rule", "b 7:* rmw", "--device-cgroup-rule", "c 10:237 rmw", "--volume", "/dev:/dev", "--volume", disk + ":" + disk + ":ro",
			needDebian(t), "losetup"}, words...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("losetup: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	name := losetup("--find", "--show", "--read-only", "--offset", "270532608", "--sizelimit", "268435456", disk)
	t.Cleanup(func() { losetup("--detach", name) })
	return name
}

func recordedHost(t *testing.T) string {
	t.Helper()
	dir, _ := stagedtest.Host(t, stagedtest.Files(t, imagetest.Kernel{}), map[string]string{"boot/flatcar/vmlinuz-b": "x"}, nil)
	return dir
}

// hostVolumes show a recorded host with a device as its USR-B, and the image of the kernel
// there.
func hostVolumes(recorded, device string, next lab.Host) []string {
	return []string{"--volume", recorded + ":/recorded:ro", "--volume", device + ":/recorded/dev/sda4:ro", "--volume", next.Image() + ":/recorded/boot/flatcar/vmlinuz-b:ro"}
}

// confined begins the command line of a container with no rights, that has builder.
func confined(t *testing.T, name string) []string {
	t.Helper()
	return []string{"run", "--rm", "--name", name, "--network", "none", "--cap-drop", "ALL", "--security-opt", "apparmor=unconfined",
		"--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp", "--volume", needBuilder(t) + ":/builder:ro"}
}

// TestHalves has one container watch, which may mount and reaches nothing else, and another
// build with the capabilities that deploy/kubernetes/next-kernel gives it and no sight of the
// host but the captures.
func TestHalves(t *testing.T) {
	next, recorded, between, status := needCoreOS(t), recordedHost(t), t.TempDir(), t.TempDir()
	part := device(t, filepath.Join(needDisks(t), "btrfs.raw"))
	run := func(name string, args ...string) {
		t.Helper()
		args = append([]string{"run", "--detach"}, append(confined(t, name)[1:], args...)...)
		if out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() {
			if t.Failed() {
				out, _ := exec.Command("docker", "logs", name).CombinedOutput()
				t.Logf("%s", out)
			}
			lab.Kill(name)
		})
	}
	watch := append(hostVolumes(recorded, part, next), "--cap-add", "SYS_ADMIN", "--device-cgroup-rule", "b *:* r", "--volume", between+":/next",
		needDebian(t), "/builder", "next", "watch", "/next", "--host-root", "/recorded")
	run(lab.ContainerName("watch"), watch...)
	run(lab.ContainerName("build"), "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "CHOWN", "--tmpfs", "/opt/share:exec", "--volume", between+":/next:ro", "--volume", status+":/status",
		needDebian(t), "/builder", "next", "--stay", "--watched=/next", "--status=/status/next.json", "--listen=:9711")
	var s nextkernel.Status
	for deadline := time.Now().Add(10 * time.Minute); s.State != nextkernel.Failed && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(status, "next.json")); err == nil {
			_ = json.Unmarshal(text, &s)
		}
	}
	// As in TestRights.
	if s.Stage != stage.Prepare || s.Release != next.Release || s.Version != "4593.2.5" {
		t.Errorf("%+v", s)
	}
}

// TestRights has the next /usr be mounted in containers with the rights that the help and the
// documents name, and refused, in a sentence that names them, with fewer. That the device
// cgroup is one of them is why in Kubernetes, which has no word for it, the watcher is
// privileged.
func TestRights(t *testing.T) {
	next, recorded := needCoreOS(t), recordedHost(t)
	devices := map[string]string{}
	for _, disk := range []string{"btrfs", "ext4"} {
		devices[disk] = device(t, filepath.Join(needDisks(t), disk+".raw"))
	}
	const refused = "cannot be mounted: mount /recorded/dev/sda4: operation not permitted"
	for name, tt := range map[string]struct {
		disk   string
		rights []string
		stage  stage.Name
		says   string
	}{
		"btrfs":                   {"btrfs", []string{"--cap-add", "SYS_ADMIN", "--device-cgroup-rule", "b *:* r"}, stage.Prepare, ""},
		"ext4":                    {"ext4", []string{"--cap-add", "SYS_ADMIN", "--device-cgroup-rule", "b *:* r"}, stage.Prepare, ""},
		"without the capability":  {"ext4", []string{"--device-cgroup-rule", "b *:* r"}, stage.Detect, refused},
		"without the device rule": {"ext4", []string{"--cap-add", "SYS_ADMIN"}, stage.Detect, refused},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(confined(t, lab.ContainerName("next")), hostVolumes(recorded, devices[tt.disk], next)...)
			args = append(append(args, "--tmpfs", "/opt/share:exec"), tt.rights...)
			cmd := exec.CommandContext(t.Context(), "docker", append(args, needDebian(t), "/builder", "next", "--host-root", "/recorded", "--output", "json")...)
			var log strings.Builder
			cmd.Stderr = &log
			out, err := cmd.Output()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
				t.Fatalf("%v\n%s", err, log.String())
			}
			// With all that it takes, what is missing is a compiler.
			var s nextkernel.Status
			if err := json.Unmarshal(out, &s); err != nil || s.Stage != tt.stage || !strings.Contains(s.Says, tt.says) {
				t.Errorf("%+v, %v\n%s", s, err, log.String())
			}
			if tt.stage == stage.Prepare && s.Release != next.Release {
				t.Errorf("the next kernel is %q, want %q", s.Release, next.Release)
			}
			if tt.says != "" && (!strings.Contains(s.Next, "SYS_ADMIN") || !strings.Contains(s.Next, "--device-cgroup-rule 'b *:* r'")) {
				t.Errorf("it says next: %s", s.Next)
			}
		})
	}
}
