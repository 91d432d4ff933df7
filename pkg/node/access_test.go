package node

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/live"
)

// answers is a kernel that only answers.
type answers struct {
	try, opened, hidden error
	log                 string
}

func (answers) Release() string                     { return "6.1.0" }
func (answers) Insert(*os.File, string) error       { return nil }
func (a answers) Try() error                        { return a.try }
func (answers) Remove(string) error                 { return nil }
func (a answers) Log() (string, error)              { return a.log, a.hidden }
func (a answers) Open(string, uint32, uint32) error { return a.opened }

func TestAccessModules(t *testing.T) {
	const (
		all      = "CapEff:\t000001ffffffffff\n"
		docker   = "CapEff:\t00000000a80425fb\n" // what Docker gives by default
		identity = "         0          0 4294967295\n"
		userns   = "         0     100000      65536\n"
	)
	for _, tt := range []struct {
		name           string
		try            error
		status, uidMap string
		host           map[string]string
		want           []Finding
	}{
		{"all is well", unix.EBADF, all, identity, nil, nil},
		{"no modules", unix.ENOSYS, docker, userns, nil, []Finding{NoModules.Of("6.1.0")}},
		{"no modules, and no right to", unix.EPERM, docker, identity, map[string]string{"proc/sys/kernel/osrelease": "6.1.0\n"}, []Finding{NoModules.Of("6.1.0")}},
		{"a plain docker run", unix.EPERM, docker, identity, nil, []Finding{NoCapability.Of()}},
		{"seccomp", unix.EPERM, all, identity, nil, []Finding{Seccomp.Of("finit_module")}},
		{"rootless", unix.EPERM, all, userns, nil, []Finding{Rootless.Of()}},
		{"switched off", unix.EPERM, all, identity, map[string]string{"proc/sys/kernel/modules_disabled": "1\n"}, []Finding{Disabled.Of()}},
		{"blacklisted", unix.EBADF, all, identity, map[string]string{"proc/cmdline": "a module-blacklist=nvidia-uvm,b,nvidia c -- module_blacklist=nvidia_drm\n"},
			[]Finding{Blacklisted.Of("nvidia_uvm, nvidia")}},
		{"nothing is to be seen", unix.EBADF, "", "", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own := map[string]string{}
			for name, text := range map[string]string{"proc/self/status": "Name:\tbuilder\n" + tt.status, "proc/self/uid_map": tt.uidMap} {
				if text != "" {
					own[name] = text
				}
			}
			a := access{host: root(t, tt.host), own: root(t, own), kernel: answers{try: tt.try}}
			if diff := cmp.Diff(tt.want, a.modules(live.Family)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccessDevices(t *testing.T) {
	refusal := func(op string, err error) error { return &fs.PathError{Op: op, Path: "/x", Err: err} }
	tmpfs := "600 500 0:52 / / rw - overlay overlay rw\n610 600 0:99 / /dev rw - tmpfs tmpfs rw\n"
	hosts := strings.Replace(tmpfs, "tmpfs tmpfs", "devtmpfs udev", 1)
	for _, tt := range []struct {
		name   string
		opened error
		mounts string
		want   []Finding
	}{
		{"all is well", nil, tmpfs, nil},
		{"the device cgroup", refusal("open", unix.EPERM), tmpfs, []Finding{DeviceCgroup.Of("/dev")}},
		{"the device cgroup, with the host's /dev", refusal("open", unix.EPERM), hosts, nil},
		{"no CAP_MKNOD", refusal("mknod", unix.EPERM), hosts, []Finding{NoMknod.Of("/dev")}},
		{"read-only", refusal("mknod", unix.EROFS), hosts, []Finding{ReadOnlyDev.Of("/dev")}},
	} {
		a := access{own: root(t, map[string]string{"proc/self/mountinfo": tt.mounts}), kernel: answers{opened: tt.opened}}
		if diff := cmp.Diff(tt.want, a.devices("/dev")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestAccessGPUs(t *testing.T) {
	one := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x2330, Class: 0x030200}
	two := one
	two.Address = "0000:02:00.0"
	host := root(t, map[string]string{"sys/bus/pci/devices/0000:01:00.0/x": "", "sys/bus/pci/devices/0000:02:00.0/x": ""})
	a := access{host: host}
	if diff := cmp.Diff([]Finding{NoDevice.Of()}, a.gpus(nil)); diff != "" {
		t.Errorf("none (-want +got):\n%s", diff)
	}
	for _, step := range []struct {
		bind, to string
		want     []Finding
	}{
		{"0000:01:00.0", "vfio-pci", nil}, // the other is free
		{"0000:02:00.0", "nouveau", []Finding{HeldDevice.Of("10de:2330 at 0000:01:00.0", "vfio-pci"), HeldDevice.Of("10de:2330 at 0000:02:00.0", "nouveau")}},
	} {
		if err := os.Symlink("../../../bus/pci/drivers/"+step.to, host.Dir()+"/sys/bus/pci/devices/"+step.bind+"/driver"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, a.gpus([]kernel.PCIDevice{one, two})); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.to, diff)
		}
	}
}
