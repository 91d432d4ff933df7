package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/command/unconfined"
	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel/staged"
)

// The kernel and the driver of the fixture. The modules that its installer
// "builds" are pkg/modules's recorded ones, which are for this release, and of
// recordedDriver; there is no such driver as the fixture's, so that no digest of it is
// known.
const (
	fixtureRelease = "6.1.192-coreos-r1"
	fixtureDriver  = "535.261.99"
	recordedDriver = "535.261.03"
)

// recorded makes, once, a folder of the test's with the recorded modules, in ko and
// debug, that call themselves the fixture's driver's.
func recorded(t *testing.T, name string) string {
	t.Helper()
	dir, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

var recordings = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "builder-recorded-")
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob("../../pkg/modules/testdata/*/*.ko")
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		to := filepath.Join(dir, filepath.Base(filepath.Dir(file)), filepath.Base(file))
		err = errors.Join(err, readErr, os.MkdirAll(filepath.Dir(to), 0o755),
			os.WriteFile(to, bytes.ReplaceAll(text, []byte(recordedDriver), []byte(fixtureDriver)), 0o644))
	}
	return dir, errors.Join(err, os.Chmod(dir, 0o755))
})

// What that kernel says of itself.
const (
	fixtureBanner = "Linux version " + fixtureRelease + " (jenkins@localhost) (gcc version 12.2.0 (Debian 12.2.0-14) ) #1 SMP Thu Jan 1 00:00:00 UTC 1970"
	fixtureConfig = "CONFIG_X86_64=y\nCONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_DRM=m\n# CONFIG_MODVERSIONS is not set\n"
)

func TestMain(m *testing.M) {
	testkit.InMemory()
	code := m.Run()
	if dir, err := recordings(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// fixture is a share, a recorded host, a kernel repository and a PATH, all
// small, with which the whole job runs in a fraction of a second. The tools
// on the PATH and the installer are scripts that stand in for the real ones;
// the tests in integration/ run those.
type fixture struct {
	share, host, repository, bin, state string
	// runtime is what runs in what is pushed, and cluster the API server; most tests have
	// neither.
	runtime string
	cluster dynamic.Interface
	// mount has a partition of the host's, in tests of what its next boot brings.
	mount   staged.Mounter
	environ []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	top := testkit.PlainTemp(t)
	f := &fixture{
		share: filepath.Join(top, "share"), host: filepath.Join(top, "host"),
		repository: filepath.Join(top, "linux.git"), bin: filepath.Join(top, "bin"), state: filepath.Join(top, "state"),
		runtime: filepath.Join(top, "runtime"),
	}
	f.environ = []string{
		"BUILDER_SHARE=" + f.share, "BUILDER_HOST_ROOT=" + f.host,
		"BUILDER_CLONE_URL=" + f.repository, "BUILDER_LOG_FORMAT=json",
		"BUILDER_RETRY_PAUSE=1ms",
	}
	f.writeHost(t)
	f.writeTools(t)
	f.writeRepository(t)
	f.writeDriver(t, fixtureDriver)
	return f
}

func (f *fixture) writeHost(t *testing.T) {
	write(t, filepath.Join(f.host, "proc/version"), 0o644, fixtureBanner+"\n")
	write(t, filepath.Join(f.host, "proc/sys/kernel/osrelease"), 0o644, fixtureRelease+"\n")
	write(t, filepath.Join(f.host, "etc/os-release"), 0o644, "ID=coreos\nVERSION_ID=1911.3.0\n")
	write(t, filepath.Join(f.host, "boot/config-"+fixtureRelease), 0o644, fixtureConfig)
	write(t, filepath.Join(f.host, "proc/kallsyms"), 0o644, `ffffffff81000000 R __start___ksymtab
ffffffff81000000 r __ksymtab__printk
ffffffff8100000c R __stop___ksymtab
ffffffff8100000c R __start___ksymtab_gpl
ffffffff8100000c r __ksymtab_device_add
ffffffff81000018 R __stop___ksymtab_gpl
`)
}

// gpu gives the host a graphics card of NVIDIA's.
func (f *fixture) gpu(t *testing.T, device string) {
	t.Helper()
	for name, value := range map[string]string{"vendor": "0x10de", "device": device, "class": "0x030200"} {
		write(t, filepath.Join(f.host, "sys/bus/pci/devices/0000:65:00.0", name), 0o644, value+"\n")
	}
}

// writeTools makes a make, a gcc-12 and a depmod that do the little the job looks at.
func (f *fixture) writeTools(t *testing.T) {
	write(t, filepath.Join(f.bin, "gcc-12"), 0o755, "#!/bin/sh\necho 'gcc-12 (stand-in) 12.2.0'\n")
	write(t, filepath.Join(f.bin, "make"), 0o755, `#!/bin/sh
for argument; do
	case $argument in O=*) out=${argument#O=} ;; esac
done
mkdir -p "$out/include/config"
echo `+fixtureRelease+` >"$out/include/config/kernel.release"
`)
	write(t, filepath.Join(f.bin, "depmod"), 0o755, `#!/bin/sh
printf index >"$2/lib/modules/$3/modules.dep.bin"
`)
}

var kernelRepository gittest.Template

// writeRepository makes a kernel tree of one Makefile, and tags it as CoreOS
// would, and an earlier one with a tag that promises a later version.
func (f *fixture) writeRepository(t *testing.T) {
	kernelRepository.Copy(t, f.repository, func() {
		gittest.Run(t, "", "init", "--quiet", "--template=", "--initial-branch=master", f.repository)
		for _, tree := range []struct{ sublevel, tag string }{{"191", "v6.1.193-coreos"}, {"192", "v6.1.192-coreos"}} {
			write(t, filepath.Join(f.repository, "Makefile"), 0o644, "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = "+tree.sublevel+"\nEXTRAVERSION =\n")
			gittest.Run(t, f.repository, "add", "--all")
			gittest.Run(t, f.repository, "commit", "--quiet", "--message=Linux 6.1."+tree.sublevel)
			gittest.Run(t, f.repository, "tag", tree.tag)
		}
	})
}

func (f *fixture) driver(version string) string {
	return filepath.Join(f.share, "cuda", "NVIDIA-Linux-x86_64-"+version)
}

// writeDriver makes an unpacked driver package.
func (f *fixture) writeDriver(t *testing.T, version string) {
	dir := f.driver(version)
	write(t, filepath.Join(dir, ".manifest"), 0o644, "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n"+version+
		"\n \nnvidia nvidia-uvm nvidia-modeset nvidia-drm \n \n \n./kernel/\n./kernel/precompiled/\n"+
		"kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n"+
		"firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n"+
		"firmware/gsp_tu10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n"+
		"libcuda.so."+version+" 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n"+
		"libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so."+version+" MODULE:gpgpu\n"+
		"nvidia-smi 0755 UTILITY_BINARY MODULE:nvml\n"+
		"libGLX_nvidia.so."+version+" 0755 OPENGL_LIB NATIVE MODULE:opengl\n"+
		"nvidia-installer 0755 INSTALLER_BINARY MODULE:installer\n")
	for _, name := range []string{"libcuda.so." + version, "nvidia-smi", "libGLX_nvidia.so." + version} {
		write(t, filepath.Join(dir, name), 0o755, name+"\n")
	}
	write(t, filepath.Join(dir, "kernel/nvidia/nv.c"), 0o644, "/* a source */\n")
	for _, name := range []string{"gsp_ga10x.bin", "gsp_tu10x.bin"} {
		write(t, filepath.Join(dir, "firmware", name), 0o644, name+" of "+version+"\n")
	}
	f.writeInstaller(t, version, `cp "$modules"/*.ko "$install"`)
}

// writeInstaller makes an nvidia-installer that ends in the given script,
// with the folders $modules (recorded ones), $install and the file $log.
func (f *fixture) writeInstaller(t *testing.T, version, script string) {
	write(t, filepath.Join(f.driver(version), "nvidia-installer"), 0o755, `#!/bin/sh
for argument; do
	case $argument in
	-A | --advanced-options) cat <<'END'
  -K, --kernel-module-only
  -s, --silent
  -k KERNEL-NAME, --kernel-name=KERNEL-NAME
  --kernel-source-path=KERNEL-SOURCE-PATH
  --kernel-output-path=KERNEL-OUTPUT-PATH
  --kernel-install-path=KERNEL-INSTALL-PATH
  --log-file-name=LOG-FILE-NAME
  --no-drm
  --skip-module-load
END
		exit 0 ;;
	--kernel-install-path=*) install=${argument#*=} ;;
	--log-file-name=*) log=${argument#*=} ;;
	esac
done
modules=`+recorded(t, "ko")+`
echo "-> Building kernel modules" >"$log"
`+script+"\n")
}

// outcome is what a run of builder left for its caller.
type outcome struct {
	code           int
	stdout, stderr string
}

// options are what a run has beside its flags.
func (f *fixture) options() job.Options {
	return job.Options{Runner: tools{f.bin}, LookPath: tools{f.bin}.lookPath, StateDir: f.state, Runtime: f.runtime, Cluster: cluster.Options{Client: f.cluster, Pause: time.Millisecond}}
}

// tools runs the fixture's programs, and those of this machine where there are
// none. Tests would have to take turns if these were on the process's own PATH.
type tools struct{ bin string }

func (r tools) Run(ctx context.Context, c command.Command) error {
	path, err := r.lookPath(c.Args[0])
	if err == nil {
		c.Args = append([]string{path}, c.Args[1:]...)
	}
	c.Env = append([]string{"PATH=" + r.bin + ":" + os.Getenv("PATH")}, c.Env...)
	return unconfined.Exec{}.Run(ctx, c)
}

func (r tools) lookPath(name string) (string, error) {
	if path := filepath.Join(r.bin, name); !strings.Contains(name, "/") {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if strings.Contains(name, "-linux-gnu-") {
		return "", exec.ErrNotFound // a cross compiler that this machine may have is none of the image's
	}
	return exec.LookPath(name)
}

func (f *fixture) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return f.runContext(t, t.Context(), args...)
}

func (f *fixture) runContext(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(ctx, defaults{build: f.options(), mount: f.mount}, args, f.environ, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// build runs builder with no arguments, as users do, and fails the test where
// it fails.
func (f *fixture) build(t *testing.T) outcome {
	t.Helper()
	o := f.run(t)
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	return o
}

// results is a picture of everything that is published: each path, its mode
// and the digest of what is there.
func (f *fixture) results(t *testing.T) string {
	t.Helper()
	var picture strings.Builder
	err := filepath.WalkDir(f.share, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if filepath.Dir(path) == f.share && entry.Name() != "modules" && entry.Name() != "driver" {
			return filepath.SkipDir
		}
		var content []byte
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			content = []byte(target)
		case entry.Type().IsRegular():
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&picture, "%s %v %x\n", path, entry.Type(), sha256.Sum256(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return picture.String()
}

func write(t *testing.T, path string, mode fs.FileMode, text string) {
	t.Helper()
	// A program that another test starts meanwhile would have the file open for writing for
	// a moment, in which it cannot be run itself ("text file busy").
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
