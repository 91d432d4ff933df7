package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/node/daemons"
)

// withSwitches is a machine with an HGX H100's NVSwitches.
func withSwitches(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	for _, address := range []string{"0000:07:00.0", "0000:08:00.0"} {
		for name, value := range map[string]string{"vendor": "0x10de", "device": "0x22a3", "class": "0x068000"} {
			write(t, filepath.Join(m.host, "sys/bus/pci/devices", address, name), value+"\n")
		}
	}
	return m
}

// manager gives the share a fabric manager that is a shell's script.
func (m *machine) manager(t *testing.T, script string) {
	t.Helper()
	root := filepath.Join(m.share, "driver", testDriver)
	write(t, filepath.Join(root, fabric.Program), "#!/bin/sh\n"+script+"\n")
	chmod(t, filepath.Join(root, fabric.Program), 0o755)
	write(t, filepath.Join(root, fabric.Config), "# as NVIDIA's\nLOG_LEVEL=4\nLOG_FILE_NAME=/var/log/fabricmanager.log\nDAEMONIZE=1\nTOPOLOGY_FILE_PATH=/usr/share/nvidia/nvswitch\nFABRIC_MODE=0\n")
}

// TestLoadTellsOfTheFabric and of what it needs; where somebody is to stay and cannot run
// that, it fails.
func TestLoadTellsOfTheFabric(t *testing.T) {
	t.Parallel()
	const says = "this host has 2 NVSwitches (10de:22a3), and CUDA fails there with error 802"
	stay := func(o *LoadOptions) { o.Stay = true }
	m := withSwitches(t)
	if got := m.load(t, nil); got.Fabric != "2 NVSwitches (10de:22a3)" || !strings.Contains(m.log.String(), says) || !strings.Contains(m.log.String(), "has no usr/bin/nv-fabricmanager") {
		t.Errorf("%+v\n%s", got, m.log.String())
	}
	if names, said := m.loadRefused(t, stay); !slices.Equal(names, []string{"fabric-manager"}) || !strings.Contains(said, says) {
		t.Errorf("%q\n%s", names, said)
	}
	m.manager(t, "")
	if m.load(t, nil); !strings.Contains(m.log.String(), "nobody runs it here, and the share has it") {
		t.Errorf("%s", m.log.String())
	}
	if m.load(t, stay); strings.Contains(m.log.String(), says) {
		t.Errorf("%s", m.log.String())
	}
	write(t, filepath.Join(m.host, "proc/4242/comm"), "nv-fabricmanage\n")
	if m.load(t, nil); strings.Contains(m.log.String(), says) || !strings.Contains(m.log.String(), "a fabric manager runs on this host") {
		t.Errorf("%s", m.log.String())
	}

	b200 := newMachine(t)
	for name, value := range map[string]string{"vendor": "0x15b3", "device": "0x1021", "class": "0x020700", "vpd": "V3SW_MNG"} {
		write(t, filepath.Join(b200.host, "sys/bus/pci/devices/0000:05:00.0", name), value+"\n")
	}
	if b200.load(t, nil); !strings.Contains(b200.log.String(), "until NVIDIA's NVLSM and fabric manager of driver "+testDriver+" run") {
		t.Errorf("%s", b200.log.String())
	}
	if b200.load(t, stay); !strings.Contains(b200.log.String(), "until NVIDIA's NVLSM and fabric manager") { // somebody else's to run
		t.Errorf("%s", b200.log.String())
	}
	never := withSwitches(t)
	if never.load(t, func(o *LoadOptions) { o.Stay, o.FabricManager = true, "never" }); !strings.Contains(never.log.String(), "it is left to somebody else (--fabric-manager never)") {
		t.Errorf("%s", never.log.String())
	}
	plain := newMachine(t)
	if got := plain.load(t, stay); got.Fabric != "" {
		t.Errorf("%+v", got)
	}
	if names, _ := plain.loadRefused(t, func(o *LoadOptions) { o.Stay, o.Persistence = true, true }); !slices.Equal(names, []string{"persistence"}) {
		t.Errorf("%q", names)
	}
}

// staying runs Stay until the test says so; it returns what ends it and gives the log.
func (m *machine) staying(t *testing.T, change func(*LoadOptions)) (end func() string) {
	t.Helper()
	o := m.options(func(o *LoadOptions) {
		o.Stay, o.daemons = true, daemons.Options{Pause: time.Millisecond, LongestPause: 5 * time.Millisecond, Grace: time.Second}
		if change != nil {
			change(o)
		}
	})
	loaded, err := Load(m.context(t), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, m.said(err))
	}
	log := &lockedBuffer{}
	ctx, cancel := context.WithCancel(zerolog.New(log).WithContext(t.Context()))
	done := make(chan error, 1)
	go func() { done <- Stay(ctx, o, loaded) }()
	for !strings.Contains(log.String(), "staying until stopped") {
		select {
		case err := <-done:
			t.Fatalf("%v\n%s", err, log.String())
		case <-time.After(time.Millisecond):
		}
	}
	ended := false
	end = func() string {
		cancel()
		if !ended {
			if err := <-done; err != nil {
				t.Errorf("%v", err)
			}
		}
		ended = true
		return log.String()
	}
	t.Cleanup(func() { end() })
	return end
}

// check asks until what a check of the GPUs and the daemons says is as it should be.
func (m *machine) check(t *testing.T, want string) {
	t.Helper()
	last := ""
	for range 1000 {
		l, done, err := newLoader(m.context(t), m.options(func(o *LoadOptions) { o.Check = true }))
		if err != nil {
			t.Fatal(err)
		}
		l.result.Driver = testDriver
		err = l.checkStay(m.context(t))
		done()
		if last = m.said(err); err == nil && want == "" || err != nil && want != "" && strings.Contains(last, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("want %q:\n%s", want, last)
}

// TestStay runs the fabric manager with a configuration of its own, tells checks how it
// is, and ends it.
func TestStay(t *testing.T) {
	t.Parallel()
	m := withSwitches(t)
	go1, ended := filepath.Join(t.TempDir(), "go"), filepath.Join(t.TempDir(), "ended")
	m.manager(t, `trap 'echo bye >`+ended+`; exit 0' TERM
grep . "$2"; echo "LIBS=$LD_LIBRARY_PATH"
while [ ! -e `+go1+` ]; do sleep 0.01; done
echo "Successfully configured all the available NVSwitches to route GPU NVLink traffic."
while :; do sleep 0.01; done`)
	m.check(t, "") // nobody stays yet
	end := m.staying(t, nil)
	m.check(t, "until NVIDIA's fabric manager of driver "+testDriver+" runs: it is starting")
	write(t, go1, "")
	m.check(t, "")
	log := end()
	if _, err := os.Stat(ended); err != nil {
		t.Error("it was not asked to end")
	}
	root, err := filepath.EvalSymlinks(filepath.Join(m.share, "driver", testDriver))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LOG_LEVEL=4", "DAEMONIZE=0", `"message":"LOG_FILE_NAME="`, "TOPOLOGY_FILE_PATH=" + root + "/usr/share/nvidia/nvswitch", "LIBS=" + root + "/usr/lib64", "Successfully configured", "staying until stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "DAEMONIZE=1") {
		t.Errorf("it goes into the background:\n%s", log)
	}
	m.check(t, "") // what is written down is of nobody who stays
}

// TestStayWithAManagerThatRefuses has checks say what it says, as long as it takes.
func TestStayWithAManagerThatRefuses(t *testing.T) {
	t.Parallel()
	m := withSwitches(t)
	const says = "fabric manager NVIDIA GPU driver interface version 595.71.05 don't match with driver version 590.48.01. Please update with matching NVIDIA driver package."
	m.manager(t, `echo "`+says+`"; exit 1`)
	end := m.staying(t, nil)
	m.check(t, "it is ended: exit status 1; it said last: "+says)
	if log := end(); !strings.Contains(log, "it is started again") {
		t.Errorf("%s", log)
	}
}

// TestStayOutOfSight says that no check knows of what it runs.
func TestStayOutOfSight(t *testing.T) {
	t.Parallel()
	const says = "no load --check can know how the fabric manager is"
	m := withSwitches(t)
	m.manager(t, "exit 1")
	if log := m.staying(t, nil)(); strings.Contains(log, says) {
		t.Errorf("it is written down where checks see it:\n%s", log)
	}
	m.unmount(t, m.own+runDir)
	if log := m.staying(t, nil)(); !strings.Contains(log, says) || !strings.Contains(log, "add -v /run/cuda:/run/cuda") {
		t.Errorf("the log does not say %q:\n%s", says, log)
	}
}

// TestStayRunsNoOther than what was found to be its to run.
func TestStayRunsNoOther(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stage  func(t *testing.T, m *machine)
		change func(*LoadOptions)
	}{
		"one runs already": {func(t *testing.T, m *machine) { write(t, filepath.Join(m.host, "proc/4242/comm"), "nv-fabricmanage\n") }, nil},
		"never":            {nil, func(o *LoadOptions) { o.FabricManager = "never" }},
	} {
		m := withSwitches(t)
		file := filepath.Join(t.TempDir(), "ran")
		m.manager(t, "echo >"+file)
		if tt.stage != nil {
			tt.stage(t, m)
		}
		end := m.staying(t, tt.change)
		m.check(t, "")
		end()
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s: it was run", name)
		}
	}
}

// TestStayWithTrust runs nothing of the share that could be another by then.
func TestStayWithTrust(t *testing.T) {
	t.Parallel()
	m := withSwitches(t)
	m.manager(t, "exit")
	l, done, err := newLoader(m.context(t), m.options(func(o *LoadOptions) { o.Stay, o.Persistence, o.Trust = true, true, []string{"somebody.pem"} }))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	l.result.UserSpace, l.result.Driver = filepath.Join(m.share, "driver", testDriver), testDriver
	names, said := m.refused(t, l.tellFabric(m.context(t)))
	if !slices.Equal(names, []string{"fabric-manager", "persistence"}) || strings.Count(said, "--copy-to names no place for one") != 2 || len(l.result.runs) > 0 {
		t.Errorf("%q, runs %q\n%s", names, l.result.runs, said)
	}
}

// TestStayBringsNothingBack that somebody has unloaded meanwhile.
func TestStayBringsNothingBack(t *testing.T) {
	t.Parallel()
	m, _ := withGPUs(t, 1, 1)
	const instance = "proc/driver/nvidia/capabilities/gpu0/mig/gi1/"
	write(t, filepath.Join(m.host, instance+"access"), "DeviceFileMinor: 12\n")
	write(t, filepath.Join(m.host, instance+"ci0/access"), "DeviceFileMinor: 13\n")
	end := m.staying(t, func(o *LoadOptions) { o.poll = time.Millisecond })
	m.unload(t)
	remove(t, filepath.Join(m.host, "proc/driver"))
	time.Sleep(50 * time.Millisecond) // many polls: that nothing happens has no end
	if log := end(); strings.Contains(log, "are made anew") {
		t.Errorf("%s", log)
	}
	m.called(t, "+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia")
}

// TestStayWithNothingToRun stays all the same.
func TestStayWithNothingToRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	end := m.staying(t, nil)
	m.check(t, "")
	if log := end(); !strings.Contains(log, "staying until stopped") {
		t.Errorf("%s", log)
	}
}

// TestStayNoticesInstances and has the CDI specification name them.
func TestStayNoticesInstances(t *testing.T) {
	t.Parallel()
	m, _ := withGPUs(t, 1, 1)
	end := m.staying(t, func(o *LoadOptions) { o.poll = time.Millisecond })
	for name, minor := range map[string]string{"gi1/access": "12", "gi1/ci0/access": "13", "gi2/access": "21", "gi2/ci0/access": "22"} {
		write(t, filepath.Join(m.host, "proc/driver/nvidia/capabilities/gpu0/mig", name), "DeviceFileMinor: "+minor+"\nDeviceFileMode: 292\n")
	}
	spec := ""
	for range 1000 {
		if spec = read(t, filepath.Join(m.share, "cdi/nvidia.com-gpu.json")); strings.Contains(spec, `"0:1"`) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(spec, `"0:1"`) || !strings.Contains(spec, "/dev/nvidia-caps/nvidia-cap22") {
		t.Errorf("%s\n%s", spec, end())
	}
	if log := end(); !strings.Contains(log, "the GPUs are parted in another way") {
		t.Errorf("%s", log)
	}
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	got := configured([]byte("A=1\n# B=2\nB=3\n"), [][2]string{{"B", "4"}, {"C", ""}})
	if want := "A=1\n# B=2\nB=4\nC=\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// lockedBuffer is a log that several write to.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
