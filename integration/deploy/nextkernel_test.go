//go:build integration

package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// flatcar is a recorded host: paths below /recorded, /boot and /sys/bus, and what
// they hold.
type flatcar map[string]string

// node runs USR-A on a SATA disk, and has the next release in USR-B.
func node() flatcar {
	return flatcar{
		"recorded/running": "/dev/sda3\n",
		"recorded/partitions": "/dev/sda3 USR-A ext4\n/dev/sda4 USR-B ext4\n" +
			"/dev/nvme0n1p3 USR-A btrfs\n/dev/nvme0n1p4 USR-B btrfs\n",
		"recorded/usr-a/lib/modules/6.12.81-flatcar/kernel/lib/crc7.ko.xz":  "a",
		"recorded/usr-b/lib/modules/6.12.103-flatcar/kernel/lib/crc7.ko.xz": "b",
		"boot/flatcar/vmlinuz-a":              "image a\n",
		"boot/flatcar/vmlinuz-b":              "image b\n",
		"staged":                              "",
		"bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
		"bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
	}
}

// with is the host with one file more, or less where its content is "-".
func (f flatcar) with(name, content string) flatcar {
	f[name] = content
	if content == "-" {
		delete(f, name)
	}
	return f
}

// write lays the host out in a folder, for mounts at /recorded, /boot and /sys/bus.
func (f flatcar) write(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, folder := range []string{"recorded", "boot", "bus/pci/devices"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range f {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ran is what the container of a release is given, as the docker stand-in notes it.
func ran(image, options, device, kernel, release string) []string {
	return []string{
		"mount -o " + options + " " + device,
		"docker run --rm --name cuda-next-kernel --env-file /etc/cuda-driver.env" +
			" --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add CHOWN --security-opt no-new-privileges" +
			" --memory 2g --pids-limit 2048 --cpu-shares 128" +
			" --volume /home/core/share:/opt/share --volume /run/cuda-next-kernel:/host:ro" +
			" --volume /sys/bus/pci:/host/sys/bus/pci:ro --volume /sys/devices:/host/sys/devices:ro" +
			" --volume " + image + ":/host/boot/vmlinuz:ro --volume /etc/cuda-trust:/trust:ro" +
			" cuda build --host-root /host --kernel-image /host/boot/vmlinuz --wait 10m",
		"host: ./boot", "host: ./boot/vmlinuz", "host: ./lib",
		"host: ./sys", "host: ./sys/bus", "host: ./sys/bus/pci", "host: ./sys/devices", "host: ./usr", "host: ./usr/lib",
		"host: ./usr/lib/modules", "host: ./usr/lib/modules/" + release, "host: ./usr/lib/modules/" + release + "/kernel",
		"host: ./usr/lib/modules/" + release + "/kernel/lib", "host: ./usr/lib/modules/" + release + "/kernel/lib/crc7.ko.xz",
		"usr/lib", kernel,
	}
}

func TestNextKernel(t *testing.T) {
	const b, a = "/boot/flatcar/vmlinuz-b", "/boot/flatcar/vmlinuz-a"
	tests := map[string]struct {
		host   flatcar
		before string // a script that is run first
		status int
		says   string
		record []string // what was mounted and run
	}{
		"A runs, B is next": {host: node(),
			says: "building the modules for kernel 6.12.103-flatcar", record: ran(b, "ro", "/dev/sda4", "image b", "6.12.103-flatcar")},
		"B runs, A is next, btrfs on NVMe": {host: node().with("recorded/running", "/dev/nvme0n1p4\n"),
			says: "6.12.81-flatcar", record: ran(a, "ro,rescue=nologreplay", "/dev/nvme0n1p3", "image a", "6.12.81-flatcar")},
		"a host that began as CoreOS": {host: node().with("boot/coreos/vmlinuz-a", "image a\n").with("boot/coreos/vmlinuz-b", "image b\n").with("boot/flatcar/vmlinuz-b", "old\n"),
			says: "6.12.103-flatcar", record: ran("/boot/coreos/vmlinuz-b", "ro", "/dev/sda4", "image b", "6.12.103-flatcar")},
		"a killed run left its mount": {host: node(), before: "mkdir -p /run/cuda-next-kernel/usr /run/cuda-next-kernel/old; /usr/bin/mount --bind /recorded/usr-a /run/cuda-next-kernel/usr",
			says: "6.12.103-flatcar", record: ran(b, "ro", "/dev/sda4", "image b", "6.12.103-flatcar")},
		"the build fails": {host: node().with("recorded/docker-status", "14"), status: 14,
			says: "6.12.103-flatcar", record: ran(b, "ro", "/dev/sda4", "image b", "6.12.103-flatcar")},
		"no update is staged": {host: node().with("staged", "-"), says: "no update is staged"},
		"an update of a system extension": {host: node().with("staged", "-"), before: "touch /run/reboot-required",
			says: "no update is staged"},
		"the modules are there": {host: node(),
			before: "mkdir -p /home/core/share/modules/6.12.103-flatcar/570.86.10; touch /home/core/share/modules/6.12.103-flatcar/570.86.10/manifest.json",
			says:   "the modules for kernel 6.12.103-flatcar are there already", record: []string{"mount -o ro /dev/sda4"}},
		"not a Flatcar disk": {host: node().with("recorded/running", "/dev/sda1\n"), status: 1,
			says: "/usr is on /dev/sda1, which is neither"},
		"another partition in its place": {host: node().with("recorded/partitions", "/dev/sda3 USR-A ext4\n/dev/sda4 DATA ext4\n"), status: 1,
			says: "/dev/sda4 is not labelled USR-B"},
		"no kernel image": {host: node().with("boot/flatcar/vmlinuz-b", "-"), status: 1,
			says: "there is no kernel image /boot/flatcar/vmlinuz-b. The modules will be built when the next kernel has booted."},
		"an empty partition": {host: node().with("recorded/usr-b/lib/modules/6.12.103-flatcar/kernel/lib/crc7.ko.xz", "-"), status: 1,
			says: "/dev/sda4 cannot be mounted", record: []string{"mount -o ro /dev/sda4"}},
		"two kernels": {host: node().with("recorded/usr-b/lib/modules/6.12.99-flatcar/x", ""), status: 1,
			says: "/dev/sda4 should have the modules of one kernel", record: []string{"mount -o ro /dev/sda4"}},
	}
	standIns, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := tt.host.write(t)
			before := tt.before
			if _, staged := tt.host["staged"]; staged {
				before = "touch /run/update_engine_autoupdate_completed\n" + before
			}
			got := host(t, []string{dir + "/recorded:/recorded", dir + "/boot:/boot:ro", standIns + ":/stand-ins:ro"},
				before+`
status=0
PATH=/stand-ins:$PATH /checkout/deploy/systemd/cuda-next-kernel || status=$?
[ ! -e /run/cuda-next-kernel ] || { echo "left behind:"; find /run/cuda-next-kernel; }
cp /record /recorded/record 2>/dev/null || true
exit $status`)
			if got.status != tt.status || !strings.Contains(got.output, tt.says) || strings.Contains(got.output, "left behind") {
				t.Errorf("status %d, want %d; output, want %q and nothing left behind:\n%s", got.status, tt.status, tt.says, got.output)
			}
			text, err := os.ReadFile(filepath.Join(dir, "recorded/record"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			var record []string
			if len(text) > 0 {
				record = strings.Split(strings.TrimSpace(string(text)), "\n")
			}
			if diff := cmp.Diff(tt.record, record); diff != "" {
				t.Errorf("what was mounted and run (-want +got):\n%s", diff)
			}
		})
	}
}
