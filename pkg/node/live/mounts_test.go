package live

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// root is a host root with these files.
func root(t *testing.T, files map[string]string) *kernel.Root {
	t.Helper()
	r, err := kernel.OpenRoot(testkit.WriteTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHostPath has mountinfos as they are on hosts and in their containers.
func TestHostPath(t *testing.T) {
	const (
		overlay = "600 500 0:52 / / rw - overlay overlay rw,lowerdir=x\n"
		disk    = "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n"
	)
	for _, tt := range []struct {
		name, own, host string
		dir             string
		want            string
		sure            bool
	}{
		{"on the host's root", overlay + "601 600 8:9 /home/core/share /opt/share rw - ext4 /dev/sda9 rw\n", disk,
			"/opt/share", "/home/core/share", true},
		{"a folder of it", overlay + "601 600 8:9 /home/core /opt rw - ext4 /dev/sda9 rw\n", disk,
			"/opt/share", "/home/core/share", true},
		{"NFS", overlay + "601 600 0:44 / /opt/share rw - nfs 10.0.0.1:/Users/me/share rw\n", disk + "40 25 0:44 / /home/core/share rw - nfs 10.0.0.1:/Users/me/share rw\n",
			"/opt/share", "/home/core/share", true},
		{"a disk of its own", overlay + "601 600 8:17 /share /opt/share rw - xfs /dev/sdb1 rw\n", disk + "40 25 8:17 / /srv/data rw - xfs /dev/sdb1 rw\n",
			"/opt/share", "/srv/data/share", true},
		{"a subvolume of btrfs", overlay + "601 600 0:30 /@home/core/share /opt/share rw - btrfs /dev/sda3 rw\n",
			"25 1 0:30 /@ / rw - btrfs /dev/sda3 rw,subvol=/@\n26 25 0:30 /@home /home rw - btrfs /dev/sda3 rw,subvol=/@home\n",
			"/opt/share", "/home/core/share", true},
		{"mounted twice, the first of them covered", overlay + "601 600 8:17 /share /opt/share rw - xfs /dev/sdb1 rw\n",
			disk + "40 25 8:17 / /mnt rw - xfs /dev/sdb1 rw\n41 25 0:99 / /mnt rw - tmpfs tmpfs rw\n42 25 8:17 / /srv rw - xfs /dev/sdb1 rw\n",
			"/opt/share", "/srv/share", true},
		{"mounted twice, the last of them the one to go by", overlay + "601 600 8:17 /share /opt/share rw - xfs /dev/sdb1 rw\n",
			disk + "40 25 8:17 / /mnt rw - xfs /dev/sdb1 rw\n42 25 8:17 / /srv rw - xfs /dev/sdb1 rw\n",
			"/opt/share", "/srv/share", true},
		{"spaces", overlay + `601 600 8:9 /home/a\040b /opt/share rw - ext4 /dev/sda9 rw` + "\n", disk, "/opt/share", "/home/a b", true},
		{"not mounted on the host", overlay + "601 600 8:33 / /opt/share rw - ext4 /dev/sdc1 rw\n", disk, "/opt/share", "", false},
		{"a name that only begins alike", overlay + "601 600 8:17 /data /opt/share rw - xfs /dev/sdb1 rw\n", disk + "40 25 8:17 /dat /srv rw - xfs /dev/sdb1 rw\n",
			"/opt/share", "", false},
		{"the host's mounts are not to be seen", overlay + "601 600 8:9 /home/core/share /opt/share rw - ext4 /dev/sda9 rw\n", "",
			"/opt/share", "/home/core/share", false},
		{"nor what is mounted", overlay + "601 600 0:44 / /opt/share rw - nfs 10.0.0.1:/x rw\n", "", "/opt/share", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := map[string]string{"proc/version": "Linux\n"}
			if tt.host != "" {
				host["proc/1/mountinfo"] = tt.host
			}
			got, sure := HostPath(root(t, host), root(t, map[string]string{"proc/self/mountinfo": tt.own}), tt.dir)
			if got != tt.want || sure != tt.sure {
				t.Errorf("%q, sure %t, want %q, %t", got, sure, tt.want, tt.sure)
			}
		})
	}
}

// TestHostPathOfTheFirstNamespace is a container with --pid host, or no container.
func TestHostPathOfTheFirstNamespace(t *testing.T) {
	own := root(t, map[string]string{
		"proc/self/mountinfo": "601 600 8:17 / /opt/share rw - xfs /dev/sdb1 rw\n",
		"proc/1/mountinfo":    "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n40 25 8:17 / /srv rw - xfs /dev/sdb1 rw\n",
		"proc/self/ns/README": "",
	})
	link := filepath.Join(own.Dir(), "proc/self/ns/pid")
	for _, tt := range []struct{ namespace, want string }{{"pid:[4026531836]", "/srv"}, {"pid:[4026532177]", ""}} {
		if err := os.Symlink(tt.namespace, link); err != nil {
			t.Fatal(err)
		}
		if got, _ := HostPath(own, own, "/opt/share"); got != tt.want {
			t.Errorf("in %s: %q, want %q", tt.namespace, got, tt.want)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseMountsPassesOverWhatItCannotRead(t *testing.T) {
	got := ParseMounts("\n25\n25 1 8:9 / / rw\n25 1 8:9 / / rw -\n36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n")
	if len(got) != 1 || got[0].Point != "/mnt2" || got[0].Root != "/mnt1" || got[0].Type != "ext3" {
		t.Errorf("%+v", got)
	}
	// What follows the type is not needed.
	if got := ParseMounts("25 1 8:9 / /srv rw - ext4\n"); len(got) != 1 || got[0] != (Mount{Device: "8:9", Root: "/", Point: "/srv", Type: "ext4"}) {
		t.Errorf("%+v", got)
	}
}

// TestAt has mounts cover each other: the last of a place is the one that is seen.
func TestAt(t *testing.T) {
	mounts := ParseMounts(`25 1 8:9 / / rw - ext4 /dev/sda9 rw
26 25 0:5 / /dev rw - devtmpfs udev rw
27 25 8:17 /share /srv rw - xfs /dev/sdb1 rw
28 25 0:99 / /dev rw - tmpfs tmpfs rw
29 28 0:44 / /dev/shm rw - tmpfs shm rw
`)
	for name, want := range map[string]struct{ device, inside string }{
		"/":            {"8:9", "/"},
		"/etc/cdi":     {"8:9", "/etc/cdi"},
		"/dev":         {"0:99", "/"}, // not the one before it
		"/dev/nvidia0": {"0:99", "/nvidia0"},
		"/dev/shm/x":   {"0:44", "/x"},
		"/device":      {"8:9", "/device"},
		"/srv/modules": {"8:17", "/share/modules"},
	} {
		mount, inside, ok := mounts.At(name)
		if !ok || mount.Device != want.device || inside != want.inside {
			t.Errorf("%s is %s of %s, want %s of %s", name, inside, mount.Device, want.inside, want.device)
		}
	}
	if mount, _, ok := (Mounts{}).At("/"); ok {
		t.Errorf("%+v of none", mount)
	}
}

// TestOnHost has a process be on the host itself, and in containers that have some of
// the host's namespaces.
func TestOnHost(t *testing.T) {
	for _, tt := range []struct {
		name, namespace string
		root            bool
		want            bool
	}{
		{"on the host", initPIDNamespace, true, true},
		{"in a container", "pid:[4026532000]", true, false},
		{"in a container with the host's processes", initPIDNamespace, false, false},
		{"with a kernel without namespaces of processes", "", true, true},
		{"in a chroot, with such a kernel", "", false, false},
	} {
		own := root(t, nil)
		first := own.Dir()
		if !tt.root {
			first = t.TempDir()
		}
		for name, target := range map[string]string{"proc/self/ns/pid": tt.namespace, "proc/1/root": first} {
			if target == "" {
				continue
			}
			path := filepath.Join(own.Dir(), name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
				t.Fatal(err)
			}
		}
		if got := OnHost(own); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
		if err := os.Remove(filepath.Join(own.Dir(), "proc/1/root")); err != nil {
			t.Fatal(err)
		}
		if OnHost(own) {
			t.Errorf("%s, and process 1 not to be seen: it is on the host", tt.name)
		}
	}
}
