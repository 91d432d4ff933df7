package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live/livetest"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// The kernel and the driver of the machines. The modules are pkg/modules's
// recorded ones, which are of these.
const (
	testRelease = "6.1.192-coreos-r1"
	testDriver  = "535.261.03"
	testBoot    = "0e8ac4a1-6b0c-4b2e-9d43-0f6a4c1e7b55" // livetest's
)

// testModules are the driver's in load order.
var testModules = []string{"nvidia", "nvidia_modeset", "nvidia_drm", "nvidia_uvm"}

// GPUs: hopper is run by every form of the modules, volta by the proprietary
// ones only, as the machines' are, and graceHopper by the open ones only.
const (
	hopper      = "0x2330"
	volta       = "0x1db4"
	graceHopper = "0x2342"
)

const (
	testConfig = "CONFIG_X86_64=y\nCONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_DRM=m\n# CONFIG_MODVERSIONS is not set\n"
	disk       = "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n"
	firmware   = "sys/module/firmware_class/parameters/path"
)

// testHost is what a host says of itself beside what livetest.Kernel does.
var testHost = map[string]string{
	"proc/version": "Linux version " + testRelease + " (jenkins@localhost) (gcc version 12.2.0 (Debian 12.2.0-14) ) #1 SMP Thu Jan 1 00:00:00 UTC 1970\n",
	"proc/kallsyms": `ffffffff81000000 R __start___ksymtab
ffffffff81000000 r __ksymtab__printk
ffffffff8100000c R __stop___ksymtab
ffffffff8100000c R __start___ksymtab_gpl
ffffffff8100000c r __ksymtab_device_add
ffffffff81000018 R __stop___ksymtab_gpl
`,
	"proc/1/mountinfo":           disk,
	"proc/sys/kernel/osrelease":  testRelease + "\n",
	"etc/os-release":             "ID=coreos\nVERSION_ID=1911.3.0\n",
	"boot/config-" + testRelease: testConfig,
	// The driver's drm needs the kernel's.
	"lib/modules/" + testRelease + "/modules.dep":     "",
	"lib/modules/" + testRelease + "/modules.builtin": "kernel/drivers/gpu/drm/drm.ko\nkernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n",
}

// machine is a host that can load the driver which its share has.
type machine struct {
	share, host, own string
	kernel           *livetest.Kernel
	files            *fakeFiles // nil is package devices
	// log is what the last load or unload said.
	log bytes.Buffer
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{share: t.TempDir(), host: testkit.WriteTree(t, testHost)}
	m.own = testkit.WriteTree(t, map[string]string{
		"proc/self/status":    "Name:\tbuilder\nCapEff:\t000001ffffffffff\n",
		"proc/self/uid_map":   "         0          0 4294967295\n",
		"proc/self/mountinfo": disk + "31 25 8:9 " + m.share + " " + m.share + " rw - ext4 /dev/sda9 rw\n",
		"run/cuda/README":     "",
		"dev/null":            "",
		"sys/module/firmware_class/parameters/README": "",
	})
	for _, dir := range []string{m.host, m.own} { // whatever the umask
		chmod(t, dir, 0o755)
	}
	if err := os.CopyFS(m.share, os.DirFS(published(t))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.host, firmware), "")
	if err := os.Link(filepath.Join(m.host, firmware), filepath.Join(m.own, firmware)); err != nil {
		t.Fatal(err)
	}
	m.mount(t, m.own+runDir, "tmpfs")
	m.gpu(t, hopper)
	m.kernel = livetest.New(t, m.host, testRelease)
	return m
}

// gpu gives the host a graphics card of NVIDIA's in the place of the one it has.
func (m *machine) gpu(t *testing.T, device string) {
	t.Helper()
	for name, value := range map[string]string{"vendor": "0x10de", "device": device, "class": "0x030200"} {
		write(t, filepath.Join(m.host, "sys/bus/pci/devices/0000:65:00.0", name), value+"\n")
	}
}

// hold binds the host's GPU to a driver.
func (m *machine) hold(t *testing.T, driver string) {
	t.Helper()
	if err := os.Symlink("../../../../bus/pci/drivers/"+driver, filepath.Join(m.host, "sys/bus/pci/devices/0000:65:00.0/driver")); err != nil {
		t.Fatal(err)
	}
}

// mount has this process see a mount more.
func (m *machine) mount(t *testing.T, point, kind string) {
	t.Helper()
	file := filepath.Join(m.own, "proc/self/mountinfo")
	write(t, file, read(t, file)+"33 25 0:5 / "+point+" rw - "+kind+" "+kind+" rw\n")
}

// unmount has this process see no mount at a point any more.
func (m *machine) unmount(t *testing.T, point string) {
	t.Helper()
	file, kept := filepath.Join(m.own, "proc/self/mountinfo"), ""
	for line := range strings.Lines(read(t, file)) {
		if !strings.Contains(line, " "+point+" rw ") {
			kept += line
		}
	}
	write(t, file, kept)
}

// firmwarePath is the kernel's search path for firmware, and setFirmware sets it.
func (m *machine) firmwarePath(t *testing.T) string {
	return strings.Trim(read(t, filepath.Join(m.own, firmware)), "\x00")
}

func (m *machine) setFirmware(t *testing.T, path string) {
	t.Helper()
	write(t, filepath.Join(m.host, firmware), path)
}

// published is the path of something that is published.
func (m *machine) published(name string) string {
	return filepath.Join(m.share, "modules", testRelease, testDriver, name)
}

// options are a load's on this machine; change may be nil.
func (m *machine) options(change func(*LoadOptions)) LoadOptions {
	o := LoadOptions{Share: m.share, HostRoot: m.host, OwnRoot: m.own, Kernel: m.kernel}
	if m.files != nil {
		o.files = m.files
	}
	if change != nil {
		change(&o)
	}
	return o
}

// context is a test's with a log that is heard.
func (m *machine) context(t *testing.T) context.Context {
	m.log.Reset()
	return zerolog.New(&m.log).WithContext(t.Context())
}

// load expects a load to end well.
func (m *machine) load(t *testing.T, change func(*LoadOptions)) LoadResult {
	t.Helper()
	result, err := Load(m.context(t), m.options(change))
	if err != nil {
		t.Fatalf("%v\n%s", err, m.said(err))
	}
	return result
}

// unload expects an unload to end well.
func (m *machine) unload(t *testing.T) UnloadResult {
	t.Helper()
	result, err := Unload(m.context(t), m.options(nil))
	if err != nil {
		t.Errorf("%v\n%s", err, m.said(err))
	}
	return result
}

// loadRefused expects a load to be refused, and returns the names of why and
// all that was said.
func (m *machine) loadRefused(t *testing.T, change func(*LoadOptions)) (names []string, said string) {
	t.Helper()
	_, err := Load(m.context(t), m.options(change))
	return m.refused(t, err)
}

// unloadRefused expects the same of an unload.
func (m *machine) unloadRefused(t *testing.T) (names []string, said string) {
	t.Helper()
	_, err := Unload(m.context(t), m.options(nil))
	return m.refused(t, err)
}

func (m *machine) refused(t *testing.T, err error) (names []string, said string) {
	t.Helper()
	var failure *stage.Error
	if !errors.As(err, &failure) || failure.Stage != stage.Load {
		t.Fatalf("%v, want a failure of load\n%s", err, m.said(err))
	}
	for _, f := range failure.Findings {
		names = append(names, f.Name)
	}
	if names == nil {
		names = []string{failure.Kind}
	}
	return names, m.said(err)
}

// said is the log, and an error with what to do next.
func (m *machine) said(err error) string {
	said := m.log.String()
	var failure *stage.Error
	if errors.As(err, &failure) {
		said += fmt.Sprintf("%v\nnext: %s\n", err, failure.Hint)
	}
	return said
}

// publishAnew replaces the share's modules by others, as a build does, and
// returns the folder that had the old ones.
func (m *machine) publishAnew(t *testing.T) (old string) {
	t.Helper()
	link := m.published("")
	old, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	anew := filepath.Join(filepath.Dir(link), "."+testDriver+"-0123456789ab")
	if err := errors.Join(os.Rename(old, anew), os.Remove(link), os.Symlink(filepath.Base(anew), link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nvidia-modeset.ko", "nvidia-uvm.ko"} {
		write(t, filepath.Join(anew, name), read(t, filepath.Join(anew, name))+"\n")
	}
	return old
}

// modulesPublished is the folder that [published] returns, once it was made.
var modulesPublished struct {
	sync.Once
	dir string
	err error
}

// published is a share with the recorded modules and their user-space side, for
// machines to have copies of.
func published(t *testing.T) string {
	t.Helper()
	modulesPublished.Do(func() {
		if modulesPublished.dir, modulesPublished.err = os.MkdirTemp("", "published-*"); modulesPublished.err == nil {
			modulesPublished.err = publishRecorded(modulesPublished.dir)
		}
	})
	if modulesPublished.err != nil {
		t.Fatal(modulesPublished.err)
	}
	return modulesPublished.dir
}

func TestMain(m *testing.M) {
	testkit.InMemory()
	code := m.Run()
	if modulesPublished.dir != "" {
		_ = os.RemoveAll(modulesPublished.dir)
	}
	os.Exit(code)
}

// publishRecorded leaves the recorded modules in a share as a build does.
func publishRecorded(dir string) error {
	s, err := share.Open(dir)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "scratch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	target, err := target(scratch)
	if err != nil {
		return err
	}
	const recorded = "../modules/testdata/ko"
	files, err := filepath.Glob(recorded + "/*.ko")
	if err != nil {
		return err
	}
	mods, err := modules.ReadAll(files)
	if err != nil {
		return err
	}
	entries, err := modules.Entries(mods, target)
	if err != nil {
		return err
	}
	manifest := modules.Manifest{
		Target: modules.DescribeTarget(target), Modules: entries,
		Driver: modules.DriverInfo{Version: testDriver, ModuleType: cuda.Proprietary},
	}
	given := map[string]string{}
	for _, name := range []string{"gsp_ga10x.bin", "gsp_tu10x.bin"} {
		given["nvidia/"+testDriver+"/"+name] = filepath.Join(scratch, name)
		if err := os.WriteFile(filepath.Join(scratch, name), []byte(name+"\n"), 0o600); err != nil {
			return err
		}
	}
	var firmware map[string]string
	if manifest.Firmware, firmware, err = modules.DescribeFirmware(given); err != nil {
		return err
	}
	ctx := context.Background()
	if _, err = modules.Publish(ctx, modules.PublishOptions{Share: s, Scratch: scratch, Dir: recorded, Firmware: firmware, Exports: target.Exports, Manifest: manifest}); err != nil {
		return err
	}
	return publishUserSpace(ctx, s, scratch)
}

// target is the kernel of [testHost].
func target(scratch string) (kernel.Target, error) {
	dir := filepath.Join(scratch, "host")
	for name, text := range testHost {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			return kernel.Target{}, err
		}
	}
	host, err := kernel.OpenRoot(dir)
	if err != nil {
		return kernel.Target{}, err
	}
	return kernel.Detect(context.Background(), host, kernel.DetectOptions{})
}

// publishUserSpace leaves a driver's library and program in a share.
func publishUserSpace(ctx context.Context, s *share.Share, scratch string) error {
	dir := filepath.Join(scratch, "NVIDIA-Linux-x86_64-"+testDriver)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	library := "libcuda.so." + testDriver
	for name, text := range map[string]string{
		".manifest": "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n" + testDriver + "\n \nnvidia \n \n \n \n \n" +
			library + " 0755 CUDA_LIB NATIVE / MODULE:gpgpu\nlibcuda.so.1 0000 CUDA_SYMLINK NATIVE / " + library + " MODULE:gpgpu\nnvidia-smi 0755 UTILITY_BINARY MODULE:nvml\n",
		library: "a library\n", "nvidia-smi": "a program\n", "nvidia-installer": "an installer\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	pkg := cuda.Package{Path: dir, Kind: cuda.Folder, Version: testDriver, Arch: kernel.X86_64}
	contents, err := cuda.Inspect(ctx, pkg, filepath.Join(scratch, "inspect"))
	if err != nil {
		return err
	}
	_, err = userspace.Publish(ctx, userspace.Options{
		Share: s, Scratch: scratch, Package: pkg, Digest: "sha256:" + strings.Repeat("0", 64), Choice: userspace.Choose(ctx, contents, userspace.Compute),
	})
	return err
}

// root is a host root with these files.
func root(t *testing.T, files map[string]string) *kernel.Root {
	t.Helper()
	return open(t, testkit.WriteTree(t, files))
}

func open(t *testing.T, dir string) *kernel.Root {
	t.Helper()
	r, err := kernel.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// remove removes what is there.
func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// called expects the kernel to have been asked to take and to let go of these.
func (m *machine) called(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(m.kernel.Calls, want) {
		t.Errorf("the kernel was asked for %q, want %q", m.kernel.Calls, want)
	}
}
