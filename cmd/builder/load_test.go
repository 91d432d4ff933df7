package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live/livetest"
	"github.com/k8sp/cuda/pkg/share"
)

// hopper is a GPU that every form of the modules runs, volta one that only the
// proprietary ones do.
const (
	hopper = "0x2330"
	volta  = "0x1db4"
)

// machine is a fixture whose driver was built, on a host that can load it.
type machine struct {
	*fixture
	kernel *livetest.Kernel
	own    string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	f := newFixture(t)
	f.gpu(t, hopper)
	f.build(t)
	return f.machine(t)
}

// machine is a machine with a copy of the fixture's share and host.
func (f *fixture) machine(t *testing.T) *machine {
	t.Helper()
	top := t.TempDir()
	n := &machine{fixture: &fixture{share: filepath.Join(top, "share"), host: filepath.Join(top, "host"), state: f.state}, own: filepath.Join(top, "own")}
	n.environ = []string{"BUILDER_SHARE=" + n.share, "BUILDER_HOST_ROOT=" + n.host, "BUILDER_LOG_FORMAT=json"}
	for to, from := range map[string]string{n.share + "/modules": f.share + "/modules", n.host: f.host} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	n.kernel = livetest.New(t, n.host, fixtureRelease)
	for name, text := range map[string]string{
		"proc/self/status":    "Name:\tbuilder\nCapEff:\t000001ffffffffff\n",
		"proc/self/uid_map":   "         0          0 4294967295\n",
		"proc/self/mountinfo": "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n31 25 8:9 " + n.share + " " + n.share + " rw - ext4 /dev/sda9 rw\n",
		"dev/null":            "",
		"sys/module/firmware_class/parameters/path": "",
	} {
		write(t, filepath.Join(n.own, name), 0o644, text)
	}
	write(t, filepath.Join(n.host, "proc/1/mountinfo"), 0o644, "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n")
	// The driver's drm needs the kernel's.
	tree := filepath.Join(n.host, "lib/modules", fixtureRelease)
	write(t, filepath.Join(tree, "modules.dep"), 0o644, "")
	write(t, filepath.Join(tree, "modules.builtin"), 0o644, "kernel/drivers/gpu/drm/drm.ko\nkernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n")
	return n
}

// run runs a command on the node.
func (n *machine) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), n.defaults(), args, n.environ, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func (n *machine) defaults() defaults {
	return defaults{
		build: job.Options{Runner: command.Exec{}, StateDir: n.state},
		load:  node.LoadOptions{Kernel: n.kernel, OwnRoot: n.own},
	}
}

// load expects a load to end well.
func (n *machine) load(t *testing.T, args ...string) node.LoadResult {
	t.Helper()
	o := n.run(t, append([]string{"load", "--output", "json"}, args...)...)
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	var result node.LoadResult
	if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	return result
}

// refused expects a command to be refused, and returns the names of why.
func (n *machine) refused(t *testing.T, args ...string) (names []string, o outcome) {
	t.Helper()
	o = n.run(t, append(args, "--output", "json")...)
	if o.code != 17 {
		t.Errorf("exit code %d, want 17\n%s", o.code, o.stderr)
	}
	var result loadFailure
	if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
		t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
	}
	for _, f := range result.Failures {
		names = append(names, f.Name)
	}
	return names, o
}

var fixtureModules = []string{"nvidia", "nvidia_modeset", "nvidia_drm", "nvidia_uvm"}

func TestLoad(t *testing.T) {
	n := newMachine(t)
	got := n.load(t)
	if got.State != node.Loaded || got.Driver != fixtureDriver || got.Release != fixtureRelease {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(fixtureModules, got.Modules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := n.load(t); again.State != node.AlreadyLoaded || len(again.Modules) > 0 {
		t.Errorf("again: %+v", again)
	}
	if o := n.run(t, "unload"); o.code != 0 || strings.TrimSpace(o.stdout) != fixtureDriver {
		t.Errorf("unload: %+v", o)
	}
	want := []string{"+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia"}
	if diff := cmp.Diff(want, n.kernel.Calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o := n.run(t, "unload"); o.code != 0 || !strings.Contains(o.stderr, "nothing to undo") {
		t.Errorf("unload of nothing: %+v", o)
	}
}

// stopper stops a command as soon as it prints its result.
type stopper struct {
	bytes.Buffer
	stop func()
}

func (s *stopper) Write(text []byte) (int, error) {
	defer s.stop()
	return s.Buffer.Write(text)
}

func TestLoadStays(t *testing.T) {
	n := newMachine(t)
	ctx, stop := context.WithCancel(t.Context())
	out := &stopper{stop: stop}
	var stderr bytes.Buffer
	code := run(ctx, n.defaults(), []string{"load", "--stay"}, n.environ, out, &stderr)
	if code != 0 || strings.TrimSpace(out.String()) != fixtureDriver || !strings.Contains(stderr.String(), "staying until stopped") {
		t.Errorf("exit code %d, stdout %q\n%s", code, out.String(), stderr.String())
	}
	if slices.ContainsFunc(n.kernel.Calls, func(call string) bool { return strings.HasPrefix(call, "-") }) {
		t.Errorf("%q", n.kernel.Calls)
	}
}

// TestLoadBesideAnother has a loader with a share of its own be a moment faster.
func TestLoadBesideAnother(t *testing.T) {
	n := newMachine(t)
	n.kernel.Before = func(name string) {
		if name == "nvidia" {
			n.kernel.Have("nvidia", fixtureDriver, "")
		}
	}
	if got := n.load(t); !slices.Equal(got.Modules, fixtureModules[1:]) {
		t.Errorf("loaded %q, want all but nvidia", got.Modules)
	}
	other := n.machine(t)
	other.kernel.Before = func(name string) {
		if name == "nvidia" {
			other.kernel.Have("nvidia", "580.159.04", "")
		}
	}
	if names, o := other.refused(t, "load"); !slices.Equal(names, []string{"other-version"}) {
		t.Errorf("%q\n%s", names, o.stderr)
	}
}

// TestLoadRemindsOfFirmware has the kernel forget where firmware is, as when
// somebody else loaded the driver.
func TestLoadRemindsOfFirmware(t *testing.T) {
	n := newMachine(t)
	n.load(t)
	parameter := filepath.Join(n.own, "sys/module/firmware_class/parameters/path")
	want := n.share + "/modules/" + fixtureRelease + "/" + fixtureDriver + "/firmware"
	if got, _ := os.ReadFile(parameter); string(got) != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	write(t, parameter, 0o644, "")
	if got := n.load(t); got.State != node.AlreadyLoaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got, _ := os.ReadFile(parameter); string(got) != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
}

// TestLoadKeepsTheFirmwarePath has nobody who knows less put a guess in the
// place of what is set.
func TestLoadKeepsTheFirmwarePath(t *testing.T) {
	n := newMachine(t)
	parameter := filepath.Join(n.own, "sys/module/firmware_class/parameters/path")
	set := func(path string) {
		write(t, parameter, 0o644, path)
		write(t, filepath.Join(n.host, "sys/module/firmware_class/parameters/path"), 0o644, path+"\n")
	}
	n.load(t, "--host-share", "/srv/share")
	want := "/srv/share/modules/" + fixtureRelease + "/" + fixtureDriver + "/firmware"
	set(want)
	if got := n.load(t); got.Firmware != want {
		t.Errorf("%+v", got)
	}
	// A module more, with a guess for a path.
	if err := n.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	if got := n.load(t); got.State != node.Loaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got, _ := os.ReadFile(parameter); string(got) != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	// The host's mounts are not to be seen, and somebody has reset the path.
	set("")
	if err := os.Remove(filepath.Join(n.host, "proc/1/mountinfo")); err != nil {
		t.Fatal(err)
	}
	n.load(t)
	if got, _ := os.ReadFile(parameter); len(got) > 0 {
		t.Errorf("the search path is %q, a guess", got)
	}
	// A driver of somebody else has its firmware from elsewhere.
	other := n.fixture.machine(t)
	other.kernel.Have("nvidia", fixtureDriver, "")
	other.kernel.Have("nvidia_uvm", fixtureDriver, "")
	if got := other.load(t); got.State != node.AlreadyLoaded || got.Firmware != "" {
		t.Errorf("%+v", got)
	}
}

// TestLoadWithoutFirmware has no way to tell the kernel of firmware, on hosts
// that need it and that do not.
func TestLoadWithoutFirmware(t *testing.T) {
	f := newMachine(t)
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, n *machine)
		args   []string
		refuse bool
	}{
		{"a GPU that needs it", nil, nil, true},
		{"a GPU without a GSP", func(t *testing.T, n *machine) { n.gpu(t, volta) }, nil, false},
		{"no GPU", func(t *testing.T, n *machine) {
			if err := os.RemoveAll(filepath.Join(n.host, "sys/bus/pci")); err != nil {
				t.Fatal(err)
			}
		}, []string{"--try-without-device"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := f.machine(t)
			if tt.stage != nil {
				tt.stage(t, n)
			}
			if err := os.RemoveAll(filepath.Join(n.own, "sys")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(n.host, "sys/module/firmware_class")); err != nil {
				t.Fatal(err)
			}
			if !tt.refuse {
				if got := n.load(t, tt.args...); got.Firmware != "" {
					t.Errorf("%+v", got)
				}
				return
			}
			if names, o := n.refused(t, append([]string{"load"}, tt.args...)...); !slices.Equal(names, []string{"read-only-sys"}) {
				t.Errorf("%q\n%s", names, o.stderr)
			}
		})
	}
}

// TestLoadForAContainerThatMayNotOpen has a second container ask, which may
// make device files and open none.
func TestLoadForAContainerThatMayNotOpen(t *testing.T) {
	n := newMachine(t)
	n.load(t)
	n.kernel.Opened = &os.PathError{Op: "open", Path: "/dev", Err: unix.EPERM}
	if names, o := n.refused(t, "load"); !slices.Equal(names, []string{"device-cgroup"}) {
		t.Errorf("%q\n%s", names, o.stderr)
	}
	if names, o := n.refused(t, "load", "--share", t.TempDir()); !slices.Equal(names, []string{"device-cgroup"}) {
		t.Errorf("a driver left alone: %q\n%s", names, o.stderr)
	}
	mounts := filepath.Join(n.own, "proc/self/mountinfo")
	before, err := os.ReadFile(mounts)
	if err != nil {
		t.Fatal(err)
	}
	write(t, mounts, 0o644, string(before)+"33 25 0:5 / "+n.own+"/dev rw - devtmpfs devtmpfs rw\n")
	if got := n.load(t); got.State != node.AlreadyLoaded {
		t.Errorf("with the host's /dev: %+v", got)
	}
}

// TestLoadTellsWhatTheKernelSays has programs be told what the log says.
func TestLoadTellsWhatTheKernelSays(t *testing.T) {
	n := newMachine(t)
	n.kernel.Refuse["nvidia"] = unix.ENOEXEC
	n.kernel.Says["nvidia"] = "<4>[1.0] nvidia: frobnicated\n<4>[1.1] nvidia: twice\n"
	_, o := n.refused(t, "load")
	var got loadFailure
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"nvidia: frobnicated", "nvidia: twice"}; !slices.Equal(got.Log, want) {
		t.Errorf("%q, want %q", got.Log, want)
	}
}

// TestLoadWithDamagedUserSpace has a library be changed before a load, and after.
func TestLoadWithDamagedUserSpace(t *testing.T) {
	f := newFixture(t)
	f.gpu(t, hopper)
	f.build(t)
	n := f.machine(t)
	if err := os.CopyFS(filepath.Join(n.share, "driver"), os.DirFS(filepath.Join(f.share, "driver"))); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(n.share, "driver", fixtureDriver, "usr/*/libcuda.so."+fixtureDriver))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	whole, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	damage := func(text string) {
		t.Helper()
		if err := os.Remove(found[0]); err != nil {
			t.Fatal(err)
		}
		write(t, found[0], 0o644, text)
	}
	damage("another file")
	names, o := n.refused(t, "load")
	if !slices.Equal(names, []string{"user-space"}) || !strings.Contains(o.stderr, "libcuda.so."+fixtureDriver) {
		t.Errorf("%q\n%s", names, o.stderr)
	}
	if len(n.kernel.Calls) > 0 {
		t.Errorf("it tried: %q", n.kernel.Calls)
	}
	damage(string(whole))
	got := n.load(t)
	if got.UserSpace == "" || got.CDI != filepath.Join(n.share, "cdi/nvidia.com-gpu.json") {
		t.Errorf("%+v", got)
	}
	n.load(t)
	if got := n.recorded(t).CDI; !slices.Equal(got, []node.CDIFolder{{Dir: "cdi"}}) {
		t.Errorf("recorded: %+v", got)
	}
	damage("another file")
	if got := n.load(t); got.State != node.AlreadyLoaded || got.UserSpace != "" {
		t.Errorf("%+v", got)
	}
	if o := n.run(t, "unload"); o.code != 0 {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Join(n.share, "cdi/nvidia.com-gpu.json")); !os.IsNotExist(err) {
		t.Errorf("the specification is still there: %v", err)
	}
}

// TestLoadTellsAll stages everything at once that can be.
func TestLoadTellsAll(t *testing.T) {
	n := newMachine(t)
	if err := os.RemoveAll(filepath.Join(n.host, "sys/bus/pci")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.own, "proc/self/status"), 0o644, "CapEff:\t0000000000000000\n")
	write(t, filepath.Join(n.host, "proc/sys/kernel/modules_disabled"), 0o644, "1\n")
	write(t, filepath.Join(n.host, "proc/cmdline"), 0o644, "quiet module_blacklist=foo,nvidia_uvm\n")
	n.kernel.Opened = &os.PathError{Op: "open", Path: "/dev", Err: unix.EPERM}
	if err := os.RemoveAll(filepath.Join(n.host, "lib/modules")); err != nil {
		t.Fatal(err)
	}
	names, o := n.refused(t, "load", "--modules", "nvidia-drm")
	want := []string{"no-device", "modules-disabled", "blacklisted", "cap-sys-module", "no-tree", "device-cgroup"}
	if !slices.Equal(names, []string{"no-device", "modules-disabled", "cap-sys-module", "no-tree", "device-cgroup"}) {
		t.Errorf("%q, want %q but blacklisted, which is of nvidia-uvm\n%s", names, want, o.stderr)
	}
	if names, o := n.refused(t, "load", "--modules", "nvidia-drm,nvidia-uvm"); !slices.Equal(names, want) {
		t.Errorf("%q, want %q\n%s", names, want, o.stderr)
	} else if !strings.Contains(o.stderr, "6 things stand in the way: (1) there is no NVIDIA GPU") {
		t.Errorf("%s", o.stderr)
	}
	if len(n.kernel.Calls) > 0 {
		t.Errorf("it tried: %q", n.kernel.Calls)
	}
}

// TestLoadRefuses stages one thing at a time.
func TestLoadRefuses(t *testing.T) {
	f := newMachine(t)
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, n *machine)
		args   []string
		kind   string
		says   []string
		called []string
	}{
		{"a kernel without modules", func(_ *testing.T, n *machine) { n.kernel.Tried = unix.ENOSYS }, nil, "no-modules", []string{fixtureRelease}, nil},
		{"a seccomp profile as of containerd", func(t *testing.T, n *machine) {
			n.kernel.Tried = unix.ENOSYS
			write(t, filepath.Join(n.own, "proc/modules"), 0o644, "")
		}, nil, "seccomp", nil, nil},
		{"seccomp", func(_ *testing.T, n *machine) { n.kernel.Tried = unix.EPERM }, nil, "seccomp", []string{"seccomp"}, nil},
		{"a user namespace", func(t *testing.T, n *machine) {
			write(t, filepath.Join(n.own, "proc/self/uid_map"), 0o644, "0 1000 1\n1 100000 65536\n")
			n.kernel.Tried = unix.EPERM
		}, nil, "rootless", nil, nil},
		{"nouveau", func(t *testing.T, n *machine) { n.hold(t, "nouveau") }, nil, "held-device", []string{"nouveau", "10de:2330 at 0000:65:00.0"}, nil},
		{"vfio", func(t *testing.T, n *machine) { n.hold(t, "vfio-pci") }, nil, "held-device", []string{"vfio-pci"}, nil},
		{"modules of another kernel", func(_ *testing.T, n *machine) {
			n.kernel.Is = "6.12.1-flatcar"
			write(t, filepath.Join(n.host, "proc/sys/kernel/osrelease"), 0o644, "6.12.1-flatcar\n")
		}, nil, "not-built", []string{"6.12.1-flatcar", fixtureRelease}, nil},
		{"another version than there is", nil, []string{"--driver-version", "1.2"}, "no-version", []string{"1.2", fixtureDriver}, nil},
		{"another host's root", func(_ *testing.T, n *machine) { n.kernel.Is = "6.12.1-flatcar" }, nil, "other-host", []string{"6.12.1-flatcar", fixtureRelease}, nil},
		{"a changed module", func(t *testing.T, n *machine) {
			path := filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver, "nvidia-uvm.ko")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-1] ^= 1
			write(t, path, 0o644, string(data))
		}, nil, "damaged", []string{"nvidia-uvm.ko"}, nil},
		{"a module that goes as others are loaded", func(t *testing.T, n *machine) {
			n.kernel.Before = func(name string) {
				if err := os.Remove(filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver, "nvidia-uvm.ko")); name == "nvidia" && err != nil {
					t.Error(err)
				}
			}
		}, nil, "damaged", []string{"are not what was published", "nvidia-uvm.ko"},
			[]string{"+nvidia", "+nvidia_modeset", "+nvidia_drm", "-nvidia_drm", "-nvidia_modeset", "-nvidia"}},
		{"another build, published as modules are loaded", func(t *testing.T, n *machine) {
			n.kernel.Before = func(name string) {
				if name == "nvidia" {
					n.publishAnew(t)
				}
			}
		}, nil, "damaged", []string{`the modules were published anew meanwhile"`, `"next":"load again"`}, []string{"+nvidia", "-nvidia"}},
		{"another build, published before any is loaded", func(t *testing.T, n *machine) {
			n.kernel.BeforeTry = func() { n.publishAnew(t) }
		}, nil, "damaged", []string{`the modules were published anew meanwhile"`, `"next":"load again"`}, nil},
		{"another build, published for a kernel that would refuse what is left of the old one", func(t *testing.T, n *machine) {
			write(t, filepath.Join(n.host, "boot/config-"+fixtureRelease), 0o644, strings.Replace(fixtureConfig, "CONFIG_SMP=y\n", "", 1))
			n.kernel.BeforeTry = func() {
				link := filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver)
				left := filepath.Join(n.publishAnew(t), "nvidia-drm.ko")
				write(t, left, 0o644, read(t, filepath.Join(link, "nvidia-drm.ko")))
			}
		}, nil, "damaged", []string{`the modules were published anew meanwhile"`, `"next":"load again"`}, nil},
		{"modules that the kernel would refuse", func(t *testing.T, n *machine) {
			write(t, filepath.Join(n.host, "boot/config-"+fixtureRelease), 0o644, strings.Replace(fixtureConfig, "CONFIG_SMP=y\n", "", 1))
		}, nil, "check", []string{"vermagic"}, nil},
		{"signatures", func(t *testing.T, n *machine) {
			write(t, filepath.Join(n.host, "boot/config-"+fixtureRelease), 0o644, fixtureConfig+"CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\n")
		}, nil, "signature", []string{"CONFIG_MODULE_SIG_FORCE"}, nil},
		{"a /dev that cannot be written", func(_ *testing.T, n *machine) {
			n.kernel.Opened = &os.PathError{Op: "mknod", Path: "/dev", Err: unix.EROFS}
		}, nil, "read-only-dev", nil, nil},
		{"no CAP_MKNOD", func(_ *testing.T, n *machine) {
			n.kernel.Opened = &os.PathError{Op: "mknod", Path: "/dev", Err: unix.EPERM}
		}, nil, "cap-mknod", nil, nil},
		{"another version, held", func(t *testing.T, n *machine) {
			n.kernel.Have("nvidia", "550.1", "")
			write(t, filepath.Join(n.own, "proc/self/ns/README"), 0o644, "")
			n.kernel.Hold("nvidia", "gdrdrv")
		}, nil, "other-version", []string{"550.1", fixtureDriver, "gdrdrv"}, nil},
		{"another version, held, to be replaced", func(_ *testing.T, n *machine) {
			n.kernel.Have("nvidia", "550.1", "")
			n.kernel.Hold("nvidia", "gdrdrv")
		}, []string{"--replace"}, "in-use", []string{"the module gdrdrv"}, nil},
		{"another build", func(_ *testing.T, n *machine) { n.kernel.Have("nvidia", fixtureDriver, "ANOTHER") }, nil, "other-build", nil, nil},
		{"the kernel, who says why", func(_ *testing.T, n *machine) {
			n.kernel.Refuse["nvidia_uvm"] = unix.ENOENT
			n.kernel.Says["nvidia_uvm"] = "<4>[   12.000000] nvidia_uvm: Unknown symbol frobnicate (err -2)\n"
		}, nil, "refused", []string{"nvidia_uvm: ENOENT", "Unknown symbol frobnicate"},
			[]string{"+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia"}},
		{"the kernel, whose log is hidden", func(_ *testing.T, n *machine) {
			n.kernel.Refuse["nvidia"], n.kernel.Hidden = unix.ENOEXEC, unix.EPERM
		}, nil, "refused", []string{"ENOEXEC", "--cap-add SYSLOG"}, []string{"+nvidia"}},
		{"a driver that passes the GPU over", func(_ *testing.T, n *machine) {
			n.kernel.Refuse["nvidia"] = unix.ENODEV
			n.kernel.Says["nvidia"] = "<3>[1.0] NVRM: No NVIDIA GPU found.\n"
		}, nil, "not-served", []string{"10de:2330 at 0000:65:00.0"}, []string{"+nvidia"}},
		{"a driver that does not know the GPU", func(_ *testing.T, n *machine) {
			n.kernel.Refuse["nvidia"] = unix.ENODEV
			n.kernel.Says["nvidia"] = "<3>[1.0] NVRM: The NVIDIA GPU 0000:65:00.0 (PCI ID: 10de:2901)\n<3>[1.0] NVRM: installed in this system requires use of the NVIDIA open kernel modules.\n"
		}, nil, "not-served", []string{"10de:2901 at 0000:65:00.0", "requires use of the NVIDIA open kernel modules"}, []string{"+nvidia"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := f.machine(t)
			if tt.stage != nil {
				tt.stage(t, n)
			}
			names, o := n.refused(t, append([]string{"load"}, tt.args...)...)
			if !slices.Equal(names, []string{tt.kind}) {
				t.Errorf("%q, want %q\n%s", names, tt.kind, o.stderr)
			}
			for _, part := range append(tt.says, `"kind":"`+tt.kind+`"`) {
				if !strings.Contains(o.stderr, part) {
					t.Errorf("it does not say %q:\n%s", part, o.stderr)
				}
			}
			if diff := cmp.Diff(tt.called, n.kernel.Calls); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// publishAnew replaces the share's modules by others, as a build does, and
// returns the folder that had the old ones.
func (n *machine) publishAnew(t *testing.T) (old string) {
	t.Helper()
	link := filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver)
	old, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	anew := filepath.Join(filepath.Dir(link), "."+fixtureDriver+"-0123456789ab")
	if err := errors.Join(os.Rename(old, anew), os.Remove(link), os.Symlink(filepath.Base(anew), link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nvidia-modeset.ko", "nvidia-uvm.ko"} {
		write(t, filepath.Join(anew, name), 0o644, read(t, filepath.Join(anew, name))+"\n")
	}
	return old
}

// hold binds the node's GPU to a driver.
func (n *machine) hold(t *testing.T, driver string) {
	t.Helper()
	if err := os.Symlink("../../../../bus/pci/drivers/"+driver, filepath.Join(n.host, "sys/bus/pci/devices/0000:65:00.0/driver")); err != nil {
		t.Fatal(err)
	}
}

func TestLoadLeavesOthersAlone(t *testing.T) {
	n := newMachine(t)
	n.kernel.Have("nvidia", "580.159.04", "")
	if got := n.load(t, "--share", t.TempDir()); got.State != node.LeftAlone || got.Driver != "580.159.04" {
		t.Errorf("%+v", got)
	}
	write(t, filepath.Join(n.host, "usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open"), 0o644, "ID=flatcar\n")
	if got := n.load(t); got.State != node.LeftAlone || got.By != "Flatcar's extension flatcar-nvidia-drivers-570-open" {
		t.Errorf("%+v", got)
	}
	if names, _ := n.refused(t, "load", "--replace"); !slices.Equal(names, []string{"host-driver"}) {
		t.Errorf("%q", names)
	}
	if o := n.run(t, "unload"); o.code != 0 || !strings.Contains(o.stderr, "not by builder") {
		t.Errorf("%+v", o)
	}
	if len(n.kernel.Calls) > 0 {
		t.Errorf("%q", n.kernel.Calls)
	}
}

// TestUnloadLeavesOthersAlone has somebody load another driver in the place of
// the one that builder had loaded.
func TestUnloadLeavesOthersAlone(t *testing.T) {
	n := newMachine(t)
	n.load(t)
	for _, name := range slices.Backward(fixtureModules) {
		if err := n.kernel.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	n.kernel.Have("nvidia", "580.159.04", "")
	n.kernel.Calls = nil
	if o := n.run(t, "unload", "--output", "json"); o.code != 0 || !strings.Contains(o.stderr, "left as they are") {
		t.Errorf("%+v", o)
	}
	if len(n.kernel.Calls) > 0 {
		t.Errorf("%q", n.kernel.Calls)
	}
}

// TestUnloadRefuses has a driver stay whole that is in use, or cannot go.
func TestUnloadRefuses(t *testing.T) {
	f := newMachine(t)
	for _, tt := range []struct {
		name  string
		stage func(n *machine)
		kind  string
	}{
		{"in use", func(n *machine) { n.kernel.Hold("nvidia", "gdrdrv") }, "in-use"},
		{"in use a moment later", func(n *machine) { n.kernel.Refuse["-nvidia_uvm"] = unix.EAGAIN }, "in-use"},
		{"a kernel that cannot", func(n *machine) { n.kernel.Refuse["-nvidia_uvm"] = unix.ENOSYS }, "no-unload"},
		{"anything else", func(n *machine) { n.kernel.Refuse["-nvidia_uvm"] = unix.EIO }, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := f.machine(t)
			n.load(t)
			tt.stage(n)
			names, o := n.refused(t, "unload")
			if !slices.Equal(names, []string{tt.kind}) {
				t.Errorf("%q, want %q\n%s", names, tt.kind, o.stderr)
			}
			// What is not undone is still known.
			delete(n.kernel.Refuse, "-nvidia_uvm")
			if err := os.RemoveAll(filepath.Join(n.host, "sys/module/nvidia/holders/gdrdrv")); err != nil {
				t.Fatal(err)
			}
			n.kernel.Show()
			if o := n.run(t, "unload"); o.code != 0 || strings.TrimSpace(o.stdout) != fixtureDriver {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestLoadReplaces(t *testing.T) {
	n := newMachine(t)
	n.kernel.Have("nvidia", "550.1", "")
	n.kernel.Have("nvidia_uvm", "550.1", "")
	n.kernel.Hold("nvidia", "nvidia_uvm")
	if got := n.load(t, "--replace"); got.State != node.Loaded || got.Driver != fixtureDriver {
		t.Errorf("%+v", got)
	}
	if want := []string{"-nvidia_uvm", "-nvidia", "+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm"}; !slices.Equal(n.kernel.Calls, want) {
		t.Errorf("%q, want %q", n.kernel.Calls, want)
	}
}

// TestUnloadUndoesAllOrSaysWhat has things be undone that are not modules, and
// what cannot be be said and kept for the next time.
func TestUnloadUndoesAllOrSaysWhat(t *testing.T) {
	f := newMachine(t)
	t.Run("firmware alone", func(t *testing.T) {
		n := f.machine(t)
		for _, root := range []string{n.own, n.host} {
			write(t, filepath.Join(root, "sys/module/firmware_class/parameters/path"), 0o644, "/set\n")
		}
		// No kernel takes so long a path.
		n.record(t, node.Record{Firmware: "/set", Before: strings.Repeat("/long", 100)})
		if names, o := n.refused(t, "unload"); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(o.stderr, "/set") {
			t.Errorf("%q\n%s", names, o.stderr)
		}
		if got := n.recorded(t); got.Firmware != "/set" {
			t.Errorf("recorded: %+v", got)
		}
		n.record(t, node.Record{Firmware: "/set", Before: "/lib/firmware/mine"})
		if o := n.run(t, "unload"); o.code != 0 {
			t.Errorf("%+v", o)
		}
		if got, _ := os.ReadFile(filepath.Join(n.own, "sys/module/firmware_class/parameters/path")); string(got) != "/lib/firmware/mine" {
			t.Errorf("the search path is %q", got)
		}
		if got := n.recorded(t); !got.Empty() {
			t.Errorf("recorded: %+v", got)
		}
	})
	t.Run("a driver left alone", func(t *testing.T) {
		n := f.machine(t)
		n.kernel.Have("nvidia", "580.159.04", "")
		dir := t.TempDir()
		write(t, filepath.Join(dir, "nvidia.com-gpu.json"), 0o644, `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu"}`)
		mounts := filepath.Join(n.own, "proc/self/mountinfo")
		without, err := os.ReadFile(mounts)
		if err != nil {
			t.Fatal(err)
		}
		n.record(t, node.Record{CDI: []node.CDIFolder{{Dir: dir, Mounted: true}}})
		if names, o := n.refused(t, "unload"); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(o.stderr, dir+", which is not mounted") {
			t.Errorf("%q\n%s", names, o.stderr)
		}
		write(t, mounts, 0o644, string(without)+"32 25 8:9 /etc/cdi "+dir+" rw - ext4 /dev/sda9 rw\n")
		if o := n.run(t, "unload"); o.code != 0 || strings.Contains(o.stderr, "somebody has loaded another driver") {
			t.Errorf("%+v", o)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("still there: %v", left)
		}
	})
	t.Run("device files of an unmounted /dev", func(t *testing.T) {
		n := f.machine(t)
		n.record(t, node.Record{Dev: "/dev", Nodes: []devices.Node{{Path: "nvidia0", Major: 195}}})
		if names, o := n.refused(t, "unload"); !slices.Equal(names, []string{"not-undone"}) || !strings.Contains(o.stderr, "-v /dev:/dev") {
			t.Errorf("%q\n%s", names, o.stderr)
		}
		if got := n.recorded(t); len(got.Nodes) != 1 {
			t.Errorf("recorded: %+v", got)
		}
	})
}

// TestLoadKilled has a load be stopped for good in the middle: what it did is
// known.
func TestLoadKilled(t *testing.T) {
	n := newMachine(t)
	n.kernel.Before = func(name string) {
		if name == "nvidia_uvm" {
			if got := n.recorded(t); !slices.Equal(got.Modules, fixtureModules) || got.Firmware == "" || got.Driver != fixtureDriver {
				t.Errorf("recorded while the last is loaded: %+v", got)
			}
		}
	}
	n.kernel.Refuse["nvidia_uvm"], n.kernel.Refuse["-nvidia_drm"] = unix.EIO, unix.EBUSY
	n.refused(t, "load")
	want := []string{"nvidia_drm"}
	if got := n.recorded(t); !slices.Equal(got.Modules, want) || got.Firmware != "" {
		t.Errorf("recorded after nvidia_drm stayed: %+v, want %q", got, want)
	}
	clear(n.kernel.Refuse)
	if o := n.run(t, "unload"); o.code != 0 || strings.TrimSpace(o.stdout) != fixtureDriver {
		t.Errorf("%+v", o)
	}
	if got := n.recorded(t); !got.Empty() {
		t.Errorf("recorded: %+v", got)
	}
}

// recorded is what is written down of the node's boot.
func (n *machine) recorded(t *testing.T) node.Record {
	t.Helper()
	s, boot := n.boot(t)
	r, err := node.ReadRecord(s, boot)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// record writes something down for the node's boot.
func (n *machine) record(t *testing.T, r node.Record) {
	t.Helper()
	s, boot := n.boot(t)
	if err := r.Write(t.Context(), s, boot); err != nil {
		t.Fatal(err)
	}
}

func (n *machine) boot(t *testing.T) (*share.Share, string) {
	t.Helper()
	s, err := share.Open(n.share)
	if err != nil {
		t.Fatal(err)
	}
	host, err := kernel.OpenRoot(n.host)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := kernel.BootID(host)
	if err != nil {
		t.Fatal(err)
	}
	return s, boot
}

// TestLoadWithoutWhatCUDANeedsNot has a driver of which modules are left out
// that CUDA can do without: it is loaded, and stays so for whoever asks.
func TestLoadWithoutWhatCUDANeedsNot(t *testing.T) {
	f := newMachine(t)
	display := []string{"nvidia_modeset", "nvidia_drm"}
	for _, tt := range []struct {
		name  string
		stage func(t *testing.T, n *machine)
		left  []string
	}{
		{"refused by the kernel", func(_ *testing.T, n *machine) { n.kernel.Refuse["nvidia_modeset"] = unix.ENOENT }, display},
		{"blacklisted", func(t *testing.T, n *machine) {
			write(t, filepath.Join(n.host, "proc/cmdline"), 0o644, "quiet module_blacklist=nvidia_modeset\n")
		}, display},
		{"its drm not to be read", func(t *testing.T, n *machine) {
			tree := filepath.Join(n.host, "lib/modules", fixtureRelease)
			write(t, filepath.Join(tree, "modules.dep"), 0o644, "kernel/drivers/gpu/drm/drm.ko:\n")
			write(t, filepath.Join(tree, "modules.builtin"), 0o644, "kernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n")
		}, display[1:]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := f.machine(t)
			tt.stage(t, n)
			if got := n.load(t); got.State != node.Loaded || !slices.Equal(got.LeftOut, tt.left) {
				t.Errorf("%s without %q, want %q", got.State, got.LeftOut, tt.left)
			}
			calls := len(n.kernel.Calls)
			if got := n.load(t); got.State != node.AlreadyLoaded || !slices.Equal(got.LeftOut, tt.left) {
				t.Errorf("again: %s without %q, want %q", got.State, got.LeftOut, tt.left)
			}
			if more := n.kernel.Calls[calls:]; len(more) > 0 {
				t.Errorf("it tried again: %q", more)
			}
			// The stand-in for a kernel has no device files, which a check looks
			// for after the modules.
			if names, o := n.refused(t, "load", "--check"); slices.Contains(names, "not-loaded") {
				t.Errorf("%q\n%s", names, o.stderr)
			}
			if names, o := n.refused(t, "load", "--modules", "nvidia-drm", "--check"); !slices.Equal(names, []string{"not-loaded"}) {
				t.Errorf("asked for: %q\n%s", names, o.stderr)
			}
		})
	}
}

// TestLoadKeepsTheHosts has the host's own driver be of the share's version,
// without what CUDA can do without.
func TestLoadKeepsTheHosts(t *testing.T) {
	n := newMachine(t)
	own := n.fixture.machine(t)
	n.kernel.Have("nvidia", fixtureDriver, "ANOTHER")
	n.kernel.Have("nvidia_uvm", fixtureDriver, "ANOTHER")
	if got := n.load(t); got.State != node.AlreadyLoaded || got.By != "" {
		t.Errorf("%+v", got)
	}
	extension := filepath.Join(n.host, "usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open")
	write(t, extension, 0o644, "ID=flatcar\n")
	if got := n.load(t); got.State != node.LeftAlone || got.By == "" || got.Manifest != "" {
		t.Errorf("%+v", got)
	}
	if names, o := n.refused(t, "load", "--replace"); !slices.Equal(names, []string{"host-driver"}) {
		t.Errorf("%q\n%s", names, o.stderr)
	}
	// What builder itself has loaded is not the extension's.
	write(t, strings.Replace(extension, n.host, own.host, 1), 0o644, "ID=flatcar\n")
	own.load(t)
	if names, o := own.refused(t, "load", "--driver-version", "1.2"); !slices.Equal(names, []string{"no-version"}) {
		t.Errorf("%q\n%s", names, o.stderr)
	}
}

// TestLoadUsage has what no load can make sense of.
func TestLoadUsage(t *testing.T) {
	n := newMachine(t)
	for _, args := range [][]string{
		{"load", "extra"}, {"load", "--modules", "frobnicator"}, {"load", "--parameters", "nvidia"},
		{"load", "--parameters", "nvidia.NoSuch=1"}, {"load", "--parameters", "frob.X=1"}, {"unload", "extra"}, {"load", "--share", "/nowhere"},
		{"load", "--dev", "/nowhere"},
	} {
		if o := n.run(t, args...); o.code != 2 {
			t.Errorf("%q: exit code %d, want 2\n%s", args, o.code, o.stderr)
		}
	}
}

// TestRefusalsHaveRows holds the README's table against the sentences: a row
// for each, in their order.
func TestRefusalsHaveRows(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| kind | it says | what to do |\n|---|---|---|\n"
	_, table, found := strings.Cut(string(readme), head)
	if !found {
		t.Fatalf("the README has no table that begins\n%s", head)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var want strings.Builder
	for _, r := range node.Refusals() {
		says := strings.ReplaceAll(r.Says, "%s", "…")
		want.WriteString("| `" + r.Name + "` | " + says + " | " + r.Do + " |\n")
	}
	if diff := cmp.Diff(strings.TrimSpace(want.String()), strings.TrimSpace(table)); diff != "" {
		t.Errorf("the README's table (-code +README):\n%s", diff)
	}
}
