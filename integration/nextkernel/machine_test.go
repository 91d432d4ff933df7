//go:build integration

package nextkernel

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/nextkernel"
)

var (
	needTrixie   = shared.Thing(func(l *lab.Lab, ctx context.Context) (lab.Host, error) { return l.Debian(ctx, "trixie") })
	needBookworm = shared.Thing(func(l *lab.Lab, ctx context.Context) (lab.Host, error) { return l.Debian(ctx, "bookworm") })
	needCoreOS   = shared.Thing((*lab.Lab).CoreOS)
	needDisks    = shared.Thing((*lab.Lab).Disks)
	needBuilder  = shared.Thing((*lab.Lab).Program)
)

func TestMain(m *testing.M) { shared.Main(m) }

// udev makes the links that it would, and what update_engine and systemd leave in /run; then
// somebody watches.
const udev = `
/busybox mkdir -p /dev/disk/by-partuuid /run/systemd/system /between /tmp
/busybox ln -s ../../nvme0n1p3 /dev/disk/by-partuuid/7130c94a-213a-4e5a-8e26-6cce9662f132
/busybox ln -s ../../nvme0n1p4 /dev/disk/by-partuuid/e03dd35c-7c2d-4a47-b3fe-27f15780a57c
/busybox touch /run/update_engine_autoupdate_completed
`

// TestMachine has a kernel of today's boot from a disk of Flatcar's, with another system
// staged: it is found by what this kernel says of the disk and of its command line, and
// captured from its partition, of which not a bit changes.
func TestMachine(t *testing.T) {
	next, disks := needCoreOS(t), needDisks(t)
	const running = "/busybox mkdir /usr-a; /busybox mount -t btrfs -o ro /dev/nvme0n1p3 /usr-a\n"
	for name, tt := range map[string]struct {
		disk   string
		host   func(testing.TB) lab.Host
		before string // a script
		state  nextkernel.State
		says   string
	}{
		"btrfs": {"btrfs", needTrixie, running, nextkernel.Working, "the next boot brings kernel " + next.Release},
		"ext4":  {"ext4", needTrixie, "", nextkernel.Working, "the next boot brings kernel " + next.Release},
		// Since Linux 6.7 two copies of a file system may be mounted, and the copy is looked at
		// as any other system is.
		"the same, Linux 6.12": {"same", needTrixie, running, nextkernel.Working, "the next boot brings kernel " + next.Release},
		"the same, Linux 6.1":  {"same", needBookworm, running, nextkernel.Ready, "the staged system is the one that runs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := tt.host(t)
			files, err := host.InTree("crc32c_generic", "nvme", "btrfs", "ext4")
			if err != nil {
				t.Fatal(err)
			}
			m := lab.Machine{
				Kernel: host.Image(), Disk: filepath.Join(disks, tt.disk+".raw"),
				Append: "BOOT_IMAGE=/flatcar/vmlinuz-a mount.usr=/dev/mapper/usr verity.usr=PARTUUID=7130c94a-213a-4e5a-8e26-6cce9662f132",
			}
			load := m.Install(files)
			m.Files["/builder"], m.Files["/busybox"] = needBuilder(t), filepath.Join(disks, "busybox")
			m.Files["/boot/flatcar/vmlinuz-b"] = next.Image()
			outcome, err := shared.Lab(t).Boot(t.Context(), m, plan.Plan{
				{Load: load, Run: []string{"/busybox", "sh", "-ec", udev + tt.before}},
				{Start: []string{"/builder", "next", "watch", "/between", "--host-root=/", "--log-format=json"}, Until: `"state":`},
				{Stop: true},
				{Run: []string{"/busybox", "sh", "-ec", `/busybox cat /between/staged.json; echo; cd /between; /busybox ls -l; for c in *.tar; do if [ -e "$c" ]; then /busybox tar -tf "$c"; fi; done; cat /proc/mounts`}},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range outcome.Results {
				for _, l := range r.Load {
					if l.Errno != 0 {
						t.Errorf("%s: %s %q", l.File, l.Error, l.Log)
					}
				}
				if r.Crashed || len(r.Errors) > 0 || r.Ran != nil && r.Ran.Exit != 0 {
					t.Errorf("%q", r.Errors)
				}
				if t.Failed() && r.Ran != nil {
					t.Logf("%s%s", r.Ran.Stdout, r.Ran.Stderr)
				}
			}
			first, rest, _ := strings.Cut(string(outcome.Results[3].Ran.Stdout), "\n")
			var s nextkernel.Status
			if err := json.Unmarshal([]byte(first), &s); err != nil || s.State != tt.state || s.Says != tt.says || s.Slot != "b" {
				t.Errorf("%+v, %v", s, err)
			}
			if captured := strings.Contains(rest, "lib/modules/"+next.Release+"/kernel.symvers"); captured != (tt.state == nextkernel.Working) {
				t.Errorf("captured: %t\n%s", captured, rest)
			}
			if tt.state == nextkernel.Working && (s.Release != next.Release || s.Version != "4593.2.5") {
				t.Errorf("%+v", s)
			}
			if strings.Contains(rest, "/next-") || outcome.Wrote {
				t.Errorf("it stays mounted, or something was written to the disk: %t\n%s", outcome.Wrote, rest)
			}
		})
	}
}
