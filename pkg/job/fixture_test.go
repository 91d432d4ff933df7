package job

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

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
)

// The kernel and the driver of the fixture. What its installer "compiles" are
// pkg/modules's recorded modules, which are for this release.
const (
	testRelease = "6.1.192-coreos-r1"
	testDriver  = "535.261.03"
	testBanner  = "Linux version " + testRelease + " (jenkins@localhost) (gcc version 12.2.0 (Debian 12.2.0-14) ) #1 SMP Thu Jan 1 00:00:00 UTC 1970"
	testConfig  = "CONFIG_X86_64=y\nCONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_DRM=m\n# CONFIG_MODVERSIONS is not set\n"
)

func TestMain(m *testing.M) {
	testkit.InMemory()
	os.Exit(m.Run())
}

// fixture is a share, a recorded host and a kernel tree, all small, and tools that
// do the little that the job looks at: a whole build takes some milliseconds.
type fixture struct {
	share, host, source string
	options             Options
	tools               *tools
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	top := testkit.PlainTemp(t)
	f := &fixture{
		share: filepath.Join(top, "share"), host: filepath.Join(top, "host"), source: filepath.Join(top, "linux"),
		tools: newTools(),
	}
	f.options = f.standard(filepath.Join(top, "state"))
	f.write(t, "source/Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n")
	for name, text := range map[string]string{
		"proc/version": testBanner + "\n", "proc/sys/kernel/osrelease": testRelease + "\n",
		"etc/os-release": "ID=coreos\nVERSION_ID=1911.3.0\n", "proc/config.gz": testConfig,
		"proc/kallsyms": kallsyms("_printk", "device_add"),
	} {
		f.write(t, "host/"+name, text)
	}
	f.writeDriver(t, testDriver, "")
	return f
}

// standard are the options of a build by the fixture's tools.
func (f *fixture) standard(stateDir string) Options {
	return Options{
		Share: f.share, Host: Host{Root: f.host}, Source: source.Options{From: f.source},
		Builder: "0.1.0", Runner: f.tools, StateDir: stateDir,
		LookPath: func(name string) (string, error) {
			if name != "gcc-12" {
				return "", fs.ErrNotExist
			}
			return "/usr/bin/" + name, nil
		},
	}
}

// kallsyms is what a host's says that exports a name to every module and one to
// GPL-compatible ones.
func kallsyms(plain, gpl string, more ...string) string {
	const text = `ffffffff81000000 R __start___ksymtab
ffffffff81000000 r __ksymtab_%s
ffffffff8100000c R __stop___ksymtab
ffffffff8100000c R __start___ksymtab_gpl
ffffffff8100000c r __ksymtab_%s
ffffffff81000018 R __stop___ksymtab_gpl
`
	return fmt.Sprintf(text, plain, gpl) + strings.Join(more, "")
}

// kernelImage is the host's kernel as its image.
func kernelImage(t *testing.T, change func(*imagetest.Kernel)) []byte {
	t.Helper()
	k := imagetest.Kernel{
		Release: testRelease, Banner: testBanner, Config: testConfig, CRCs: imagetest.NoCRCs, BuildID: "\x0a\x0b",
		Exports: []image.Symbol{{Name: "_printk"}, {Name: "device_add", GPL: true}},
	}
	if change != nil {
		change(&k)
	}
	return k.BzImage(t)
}

// write writes a file of the fixture: host/…, share/… or source/….
func (f *fixture) write(t *testing.T, name, text string) string {
	t.Helper()
	top, rest, _ := strings.Cut(name, "/")
	path := filepath.Join(map[string]string{"host": f.host, "share": f.share, "source": f.source}[top], filepath.FromSlash(rest))
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// hostModule gives the host a module of its own, which exports nothing, and one that
// cannot be read, and so may export whatever is missing; smp is what the version magic
// has in the place of SMP.
func (f *fixture) hostModule(t *testing.T, smp string) {
	t.Helper()
	text, err := os.ReadFile("../modules/testdata/ko/nvidia-uvm.ko")
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "host/lib/modules/"+testRelease+"/kernel/crc7.ko", "")
	f.write(t, "host/lib/modules/"+testRelease+"/kernel/crc8.ko", strings.ReplaceAll(string(text), "-r1 SMP ", "-r1 "+smp+" "))
}

func (f *fixture) driver() string {
	return filepath.Join(f.share, "cuda", "NVIDIA-Linux-x86_64-"+testDriver)
}

// writeDriver makes an unpacked driver package of a version, or changes it to another
// edition of that.
func (f *fixture) writeDriver(t *testing.T, version, edition string) {
	t.Helper()
	for name, text := range map[string]string{
		".manifest": "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n" + version +
			"\n \nnvidia nvidia-uvm nvidia-modeset nvidia-drm \n \n \n./kernel/\n./kernel/precompiled/\n" +
			"kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n" +
			"kernel-open/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n" +
			"firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n" +
			"firmware/gsp_tu10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n" +
			"libcuda.so." + version + " 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n" +
			"nvidia-installer 0755 INSTALLER_BINARY MODULE:installer\n",
		"libcuda.so." + version: "libcuda" + edition + "\n", "nvidia-installer": "#!/bin/sh\n",
		"kernel/nvidia/nv.c": "/* a source */" + edition + "\n", "kernel-open/nvidia/nv.c": "/* a source */" + edition + "\n",
		"firmware/gsp_ga10x.bin": "ga10x\n", "firmware/gsp_tu10x.bin": "tu10x\n",
	} {
		f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+version+"/"+name, text)
	}
}

// outcome is what became of a run.
type outcome struct {
	Result
	err error
	log string
	ran []string
}

// build runs the job with options that are changed for this run.
func (f *fixture) build(t *testing.T, change ...func(*Options)) outcome {
	t.Helper()
	o := f.options
	for _, c := range change {
		c(&o)
	}
	var log bytes.Buffer
	f.tools.ran = nil
	result, err := Build(zerolog.New(&log).WithContext(t.Context()), o)
	return outcome{result, err, log.String(), slices.Clone(f.tools.ran)}
}

func (f *fixture) mustBuild(t *testing.T, change ...func(*Options)) outcome {
	t.Helper()
	o := f.build(t, change...)
	if o.err != nil {
		t.Fatalf("%v\n%s", o.err, o.log)
	}
	return o
}

// compiled says whether a run had the installer compile.
func (o outcome) compiled() bool { return slices.Contains(o.ran, "nvidia-installer") }

// manifest is the one that is published.
func (f *fixture) manifest(t *testing.T) modules.Manifest {
	t.Helper()
	file, err := os.Open(filepath.Join(f.share, "modules", testRelease, testDriver, modules.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, err := modules.ParseManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// published is a picture of what is.
func (f *fixture) published(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, top := range []string{"modules", "driver"} {
		err := filepath.WalkDir(filepath.Join(f.share, top), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				var data []byte
				data, err = os.ReadFile(path)
				fmt.Fprintf(&all, "%s %q\n", path, data)
			} else if err == nil {
				target, _ := os.Readlink(path)
				fmt.Fprintf(&all, "%s -> %s\n", path, target)
			}
			if os.IsNotExist(err) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// tools stand in for the programs that a build runs. What they leave in a share is
// its owner's.
type tools struct {
	gcc string // what the compiler says of itself
	// debug has the installer leave an nvidia.ko with debugging information.
	debug bool
	// before is called before a program runs, by its name.
	before map[string]func()
	// fail is with what a program ends, by its name.
	fail map[string]error

	mu  sync.Mutex
	ran []string
}

func newTools() *tools {
	return &tools{gcc: "gcc-12 (stand-in) 12.2.0", before: map[string]func(){}}
}

func (r *tools) Run(_ context.Context, c command.Command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := filepath.Base(c.Args[0])
	if name != "nvidia-installer" || !asksOptions(c.Args) {
		r.ran = append(r.ran, name)
		if before := r.before[name]; before != nil {
			before()
		}
	}
	if err := r.fail[name]; err != nil {
		return err
	}
	_, name = splitTool(name)
	switch name {
	case "gcc-12":
		_, err := fmt.Fprintln(c.Output, r.gcc)
		return err
	case "make":
		if slices.Contains(c.Args, "modules") {
			return r.leave(c.Dir)
		}
		out := argument(c.Args, "O=")
		if err := beneath.MkdirAll(filepath.Join(out, "include/config"), 0o755); err != nil {
			return err
		}
		return beneath.WriteFile(filepath.Join(out, "include/config/kernel.release"), []byte(testRelease+"\n"), 0o644)
	case "nvidia-installer":
		return r.install(c)
	case filepath.Base(os.Args[0]):
		return nil // the stand-in for the compiler is tried
	case "strip":
		return copyFile(c.Args[3], "../modules/testdata/ko/nvidia.ko")
	case "depmod":
		return os.WriteFile(filepath.Join(c.Args[2], "lib/modules", c.Args[3], "modules.dep.bin"), []byte("index"), 0o644)
	}
	return fmt.Errorf("no such program: %s", c.Args[0])
}

// install is NVIDIA's installer: it tells its options, or leaves modules.
func (r *tools) install(c command.Command) error {
	if asksOptions(c.Args) {
		for _, option := range []string{"kernel-module-only", "silent", "kernel-name=KERNEL-NAME", "kernel-source-path=PATH", "kernel-output-path=PATH",
			"kernel-install-path=PATH", "log-file-name=FILE", "no-drm", "skip-module-load", "kernel-module-type=TYPE"} {
			fmt.Fprintf(c.Output, "  --%s\n", option)
		}
		return nil
	}
	if err := beneath.WriteFile(argument(c.Args, "--log-file-name="), []byte("-> Building kernel modules\n"), 0o644); err != nil {
		return err
	}
	return r.leave(argument(c.Args, "--kernel-install-path="))
}

// leave leaves modules in a folder.
func (r *tools) leave(dir string) error {
	recorded, err := filepath.Glob("../modules/testdata/ko/*.ko")
	if r.debug {
		recorded = append(recorded, "../modules/testdata/debug/nvidia.ko")
	}
	for _, from := range recorded {
		err = errors.Join(err, copyFile(filepath.Join(dir, filepath.Base(from)), from))
	}
	return err
}

// splitTool takes from a program's name what says that it is for another architecture.
func splitTool(name string) (prefix, program string) {
	if before, after, found := strings.Cut(name, "-linux-gnu-"); found {
		return before + "-linux-gnu-", after
	}
	return "", name
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return beneath.WriteFile(to, data, 0o644)
}

// argument is the value of the one that begins so.
func argument(args []string, prefix string) string {
	for _, a := range args {
		if value, ok := strings.CutPrefix(a, prefix); ok {
			return value
		}
	}
	return ""
}

// asksOptions says whether an installer is asked which options it knows.
func asksOptions(args []string) bool {
	return slices.Contains(args, "-A") || slices.Contains(args, "--advanced-options")
}
