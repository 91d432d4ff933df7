//go:build integration

package nextkernel

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// TestRights has the next /usr be mounted in containers with the rights that the help and the
// documents name, and refused, in a sentence that names them, with fewer. That the device
// cgroup is one of them is why in Kubernetes, which has no word for it, the watcher is
// privileged.
func TestRights(t *testing.T) {
	next := needCoreOS(t)
	recorded, _ := stagedtest.Host(t, stagedtest.Files(t, imagetest.Kernel{}), map[string]string{"boot/flatcar/vmlinuz-b": "x"}, nil)
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
			args := append([]string{"run", "--rm", "--name", lab.ContainerName("next"), "--network", "none", "--cap-drop", "ALL", "--security-opt", "apparmor=unconfined",
				"--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/opt/share:exec",
				"--volume", needBuilder(t) + ":/builder:ro", "--volume", recorded + ":/recorded:ro",
				"--volume", devices[tt.disk] + ":/recorded/dev/sda4:ro", "--volume", next.Image() + ":/recorded/boot/flatcar/vmlinuz-b:ro"}, tt.rights...)
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
