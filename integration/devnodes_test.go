//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDeviceFilesInContainers makes real device files where a container may do
// all that it takes, and less.
func TestDeviceFilesInContainers(t *testing.T) {
	base, dir := needTrixie(t), t.TempDir()
	program := filepath.Join(dir, "devnodes")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./devnodes")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const none = "<nil>"
	absent := "nvidia0 is not there. Run builder load again"
	for _, tt := range []struct {
		name   string
		docker []string
		dev    string
		want   []string // a part of each line
	}{
		{"as Docker has it", nil, "/dev", []string{
			"made 2: " + none, "made 0 more: " + none,
			"check: load: the device file /dev/nvidia0 is there but cannot be opened: this container's device cgroup",
			"--device-cgroup-rule 'c 195:* rwm'", "removed: " + none, absent,
		}},
		{"with the devices' rule, and no driver", []string{"--device-cgroup-rule", "c 195:* rwm"}, "/dev", []string{
			"made 2: " + none, "made 0 more: " + none, "check: " + none, "no driver answers for it", "removed: " + none, absent,
		}},
		{"in a mounted folder", []string{"-v", dir + ":/host/dev", "--device-cgroup-rule", "c 195:* rwm"}, "/host/dev", []string{
			"made 2: " + none, "made 0 more: " + none, "check: " + none, "no driver answers for it", "removed: " + none, absent,
		}},
		{"in a mount that allows no devices", []string{"--tmpfs", "/mnt", "--device-cgroup-rule", "c 195:* rwm"}, "/mnt", []string{
			"made 2: " + none, "made 0 more: " + none, "or a mount with nodev", "or a mount with nodev", "removed: " + none, absent,
		}},
		{"without the right to make any", []string{"--cap-drop", "MKNOD"}, "/dev", []string{
			"made 0: load: the device file /dev/nvidia0 cannot be made: this container may not make device files", "--cap-add MKNOD", absent,
			"cannot be opened", "removed: " + none, absent,
		}},
		{"on a file system to read only", []string{"-v", dir + ":/host/dev:ro"}, "/host/dev", []string{
			"made 0: load: the device file /host/dev/nvidia0 cannot be made: its file system is read-only", "-v /dev:/dev", absent,
			"cannot be opened", "removed: " + none, absent,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := slices.Concat([]string{"run", "--rm", "--network", "none", "-v", program + ":/devnodes:ro"}, tt.docker, []string{base, "/devnodes", tt.dev})
			lines := strings.Split(docker(t, args...), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("it says %q", lines)
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("it says\n\t%s\nwant\n\t%s", lines[i], want)
				}
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*nvidia*")); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}
