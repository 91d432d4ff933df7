package cuda

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/command/unconfined"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	standins "github.com/k8sp/cuda/pkg/cuda/conftest/standin"
	"github.com/k8sp/cuda/pkg/stage"
)

// fakeInstaller is a runner that answers as an installer of the 535 line would
// and records how it was called. Build runs it beside the test, so it has no t
// to end: whatever goes wrong is how it ends itself.
type fakeInstaller struct {
	options string   // the version whose options it knows
	modules []string // what it installs
	log     string   // what it leaves in its log
	err     error    // how it ends
	hang    bool     // it ends only when it is stopped
	during  func()   // called while it runs
	standin error    // how the stand-in for the compiler ends that is tried

	calls []command.Command
}

func (f *fakeInstaller) Run(ctx context.Context, c command.Command) error {
	f.calls = append(f.calls, c)
	if c.Args[len(c.Args)-1] == "--advanced-options" {
		text, err := os.ReadFile(filepath.Join("testdata", "installer", "options-"+f.options+".txt"))
		if err != nil {
			return err
		}
		_, err = c.Output.Write(text)
		return err
	}
	if slices.Contains(c.Args, standins.Word) {
		return f.standin
	}
	restore, err := command.PutFiles(c.Files)
	if err != nil {
		return err
	}
	defer restore()
	if f.during != nil {
		f.during()
	}
	if f.log != "" {
		if err := os.WriteFile(value(c.Args, "--log-file-name"), []byte(f.log), 0o644); err != nil {
			return err
		}
	}
	for _, m := range f.modules {
		path := filepath.Join(value(c.Args, "--kernel-install-path"), m+".ko")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(m), 0o644); err != nil {
			return err
		}
	}
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.err != nil {
		_, _ = c.Output.Write([]byte("\nERROR: Installation has failed.\n\n"))
	}
	return f.err
}

func value(args []string, name string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

var failed = &command.ExitError{Program: "nvidia-installer", Code: 1, State: "exit status 1"}

func buildOptions(t *testing.T, r command.Runner) BuildOptions {
	dir := t.TempDir()
	return BuildOptions{
		Runner:     r,
		Scratch:    dir,
		LogFile:    filepath.Join(dir, "logs", "build.log"),
		Release:    "6.1.192-coreos-r1",
		SourceDir:  "/share/linux",
		OutputDir:  "/share/prepared",
		StateDir:   filepath.Join(dir, "state"),
		ModuleType: Proprietary,
		Running:    "6.12.103-flatcar",
		Jobs:       2,
	}
}

var allModules = []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem"}

func TestBuild(t *testing.T) {
	t.Parallel()
	r := &fakeInstaller{options: "535.216.01", modules: []string{"nvidia", "nvidia-modeset", "sub/nvidia-drm", "nvidia-peermem"},
		log: "-> Building kernel modules\n   WARNING: modpost: \"drm_open\" [x.ko] undefined!\n-> done.\n"}
	o := buildOptions(t, r)
	o.Compiler = "gcc-12"
	o.Exclude = []string{"nvidia-uvm"}
	o.AllowUndefined = true
	r.during = func() {
		record, err := os.ReadFile(filepath.Join(o.StateDir, "log"))
		if diff := cmp.Diff("535.261.03\nNVIDIA Accelerated Graphics Driver for Linux-x86_64\n", string(record)); err != nil || diff != "" {
			t.Errorf("record: %v (-want +got):\n%s", err, diff)
		}
	}
	b, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
	if err != nil {
		t.Fatal(err)
	}

	want := Built{
		Dir:       b.Dir,
		Files:     []string{b.Dir + "/nvidia-drm.ko", b.Dir + "/nvidia-modeset.ko", b.Dir + "/nvidia-peermem.ko", b.Dir + "/nvidia.ko"},
		Undefined: []string{"drm_open"},
		InstallerFlags: []string{
			"--kernel-modules-only", "--silent", "--kernel-name=6.1.192-coreos-r1", "--kernel-source-path", "--kernel-output-path",
			"--kernel-install-path", "--log-file-name", "--accept-license", "--no-questions", "--no-precompiled-interface",
			"--no-nouveau-check", "--no-x-check", "--no-check-for-alternate-installs", "--no-distro-scripts", "--no-dkms", "--no-backup",
			"--no-kernel-module-source", "--skip-depmod", "--concurrency-level",
			"--kernel-module-build-directory=kernel", "--no-unified-memory",
		},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("built (-want +got):\n%s", diff)
	}
	call := r.calls[1]
	if call.Args[0] != "/scratch/driver/nvidia-installer" || call.Dir != "/scratch/driver" {
		t.Errorf("ran %s in %s", call.Args[0], call.Dir)
	}
	wantEnv := []string{"LC_ALL=C", "MAKEFLAGS=-- CC=gcc-12", "MAKEFILES=" + o.Scratch + "/askonce.mk", "IGNORE_CC_MISMATCH=1",
		"KCFLAGS=-g0 -ffile-prefix-map=/scratch/driver/=", "CC=gcc-12", "KBUILD_MODPOST_WARN=1", "TMPDIR=" + o.Scratch + "/installer/tmp"}
	if diff := cmp.Diff(wantEnv, call.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	sees := [][]string{{"/share/linux", "/share/prepared", o.Scratch + "/askonce.mk"}, {"/scratch/driver", o.Scratch + "/installer"}}
	if diff := cmp.Diff(sees, [][]string{call.Reads, call.Writes}); diff != "" {
		t.Errorf("reads and writes (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(o.StateDir, "log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestBuildPutsAnotherDriversRecordBack(t *testing.T) {
	t.Parallel()
	o := buildOptions(t, &fakeInstaller{options: "535.216.01", modules: allModules})
	path := filepath.Join(o.StateDir, "log")
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	const record = "470.239.06\nNVIDIA Accelerated Graphics Driver\n1: /lib/modules/x/nvidia.ko\n"
	if err := os.WriteFile(path, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), driver("535.261.03", Proprietary), o); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != record {
		t.Errorf("record is %q (%v), want what was there before", got, err)
	}
}

// An installer that would load the modules into the kernel that runs here must
// not learn that it is the one.
func TestBuildForTheRunningKernel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		options string
		want    []string
	}{
		{"535.216.01", []string{"setarch", "--uname-2.6", "/scratch/driver/nvidia-installer"}},
		{"580.105.08", []string{"/scratch/driver/nvidia-installer", "--kernel-modules-only", "--silent"}},
	}
	for _, tt := range tests {
		r := &fakeInstaller{options: tt.options, modules: allModules}
		o := buildOptions(t, r)
		o.Running = o.Release
		if _, err := Build(t.Context(), driver("535.261.03", Proprietary), o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, r.calls[1].Args[:3]); diff != "" {
			t.Errorf("%s: command (-want +got):\n%s", tt.options, diff)
		}
		if got := slices.Contains(r.calls[1].Args, "--skip-module-load"); got != (tt.options == "580.105.08") {
			t.Errorf("%s: --skip-module-load passed: %v", tt.options, got)
		}
	}
}

// TestBuildFailsAsOnOtherKernels: what is not known of a kernel is only a guess, and
// names no driver that is known to build.
func TestBuildFailsAsOnOtherKernels(t *testing.T) {
	t.Parallel()
	r := &fakeInstaller{options: "535.216.01", err: failed,
		log: "-> Building kernel modules\n   kernel-open/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'; expected 4, have 3\n"}
	o := buildOptions(t, r)
	o.Newer, o.Pair = "580.126.09", breaks.Pair{Kernel: breaks.Version("6.1.50"), Driver: "535.261.03", Form: Open}
	_, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
	var failure *stage.Error
	if !errors.As(err, &failure) || failure.Kind != "" || stage.ExitCode(err) != 14 {
		t.Fatalf("%v, want one of the build stage and of no kind", err)
	}
	for _, says := range []string{"which may have taken in a change of others: nvidia/nv-pci.c calls pci_resize_resource() without its argument exclude_bars (Linux 6.1 from 6.1.178 on", "Take a newer driver, or patch it"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	realLog := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", "installer", "log-"+name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tests := []struct {
		name      string
		installer fakeInstaller
		want      string // with the log's path as LOG
	}{
		{"the driver does not compile",
			fakeInstaller{log: realLog("does-not-compile"), err: failed},
			"build: driver 535.261.03 does not compile against kernel 6.1.192-coreos-r1: kernel/nvidia-modeset/nvidia-modeset-linux.c:200:31: error: implicit declaration of function 'no_such_function' [-Werror=implicit-function-declaration]. Take a newer driver, or patch it with --driver-patches; see LOG."},
		{"the driver does not compile, as is known",
			fakeInstaller{log: "-> Building kernel modules\n   /scratch/driver/kernel-open/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'; expected 4, have 3\n", err: failed},
			"build: driver 535.261.03 does not compile against kernel 6.1.192-coreos-r1, as is known of it: nvidia/nv-pci.c calls pci_resize_resource() without its argument exclude_bars (Linux 6.1 from 6.1.178 on, 6.6 from 6.6.145 on, 6.12 from 6.12.97 on, 6.18 from 6.18.40 on, 6.19 and later): kernel-open/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'; expected 4, have 3. Take driver 580.126.09, with --driver-version 580.126.09, or patch it with --driver-patches; see LOG."},
		{"the installer gives up",
			fakeInstaller{log: realLog("no-compiler"), err: failed},
			"build: nvidia-installer 535.261.03 failed: The CC sanity check failed: The C compiler 'gcc-99' does not appear to be able to create object files.  Please make sure you have your Linux distribution's libc development package installed and that 'gcc-99' is a valid C compiler name. See LOG."},
		{"this machine's modprobe is elsewhere",
			fakeInstaller{log: "ERROR: The path to the `modprobe` utility reported by '/proc/sys/kernel/modprobe', `/nix/store/x/bin/modprobe`, differs from the path determined by `nvidia-installer`, `/usr/bin/kmod`, and does not appear to point to a valid `modprobe` binary.  Please correct the path in '/proc/sys/kernel/modprobe'.\n", err: failed},
			"build: nvidia-installer 535.261.03 insists that this machine's modprobe, /nix/store/x/bin/modprobe, is in this container too. Mount it, -v /nix/store/x/bin/modprobe:/nix/store/x/bin/modprobe:ro: it is only looked at."},
		{"the installer dies before its log",
			fakeInstaller{err: failed},
			"build: nvidia-installer 535.261.03 failed: ERROR: Installation has failed. See LOG."},
		{"exit status 0 without the modules",
			fakeInstaller{modules: []string{"nvidia", "nvidia-modeset"}, log: "-> Building kernel modules\n   a.c:1:1: error: broken\n-> done.\n"},
			"build: nvidia-installer 535.261.03 reported success, but did not build nvidia-uvm, nvidia-drm, nvidia-peermem: a.c:1:1: error: broken. See LOG."},
		{"exit status 0 without a word",
			fakeInstaller{},
			"build: nvidia-installer 535.261.03 reported success, but did not build nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm, nvidia-peermem. See LOG."},
		{"the disk is full",
			fakeInstaller{log: "   /share/x/cc9.s: fatal error: No space left on device\n", err: failed},
			"build: nvidia-installer 535.261.03 ran out of disk space: no space left on device. See LOG."},
		{"memory runs out",
			fakeInstaller{log: "   gcc-12: fatal error: Killed signal terminated program cc1\n   compilation terminated.\n", err: failed},
			"build: a compiler of driver 535.261.03 was killed, as the kernel does where memory runs out: gcc-12: fatal error: Killed signal terminated program cc1. Give the container more memory, or run fewer compilers at once with --jobs 1; see LOG."},
		{"it hangs",
			fakeInstaller{log: "-> Performing CC check.\n-> Building kernel modules\n", hang: true},
			"build: nvidia-installer 535.261.03 did not end by itself and was stopped (time limit reached: 50ms): its last words were: -> Performing CC check. -> Building kernel modules. See LOG, or give it longer with --build-timeout."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.installer.options = "535.216.01"
			o := buildOptions(t, &tt.installer)
			o.Newer, o.Pair = "580.126.09", breaks.Pair{Kernel: breaks.Version("6.1.192"), Driver: "535.261.03", Form: Open}
			if tt.installer.hang {
				o.Timeout = 50 * time.Millisecond
			}
			b, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
			if stage.ExitCode(err) != 14 {
				t.Fatalf("error %v, want exit code 14", err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "LOG", o.LogFile), err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if full := tt.name == "the disk is full"; errors.Is(err, syscall.ENOSPC) != full {
				t.Errorf("a full disk: %v, want %v", !full, full)
			}
			if len(b.Files) > 0 {
				t.Errorf("returned %v", b.Files)
			}
		})
	}
}

// What the build cannot do on its own behalf is not the package's fault.
func TestBuildInAFolderThatIsInTheWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		modules []string
		spoil   func(o *BuildOptions) error
		want    string
	}{
		{"no scratch", nil, func(o *BuildOptions) error { return os.Remove(o.Scratch) }, "build: the build's folders cannot be made: "},
		{"a file where the log's folder would be", nil, func(o *BuildOptions) error {
			return os.WriteFile(filepath.Dir(o.LogFile), nil, 0o644)
		}, "build: the build's folders cannot be made: mkdir "},
		{"a file where the record's folder would be", nil, func(o *BuildOptions) error {
			o.StateDir = filepath.Join(o.Scratch, "file", "state")
			return os.WriteFile(filepath.Dir(o.StateDir), nil, 0o644)
		}, "build: the record of an installed driver, which nvidia-installer insists on, cannot be written: "},
		{"a folder where the record would be", nil, func(o *BuildOptions) error {
			return os.MkdirAll(filepath.Join(o.StateDir, "log"), 0o755)
		}, "build: the record of an installed driver, which nvidia-installer insists on, cannot be written: "},
		{"two of a module", []string{"nvidia", "sub/nvidia"}, func(*BuildOptions) error { return nil },
			"build: the built modules cannot be gathered: there are two of nvidia.ko. "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := buildOptions(t, &fakeInstaller{options: "535.216.01", modules: tt.modules})
			if err := tt.spoil(&o); err != nil {
				t.Fatal(err)
			}
			b, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
			if stage.ExitCode(err) != 14 || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want exit code 14 and %q", err, tt.want)
			}
			if diff := cmp.Diff(Built{}, b); diff != "" {
				t.Errorf("built (-want +got):\n%s", diff)
			}
		})
	}
}

// A log is what the installer says of itself; where it cannot be read, nobody
// knows how the build went.
func TestBuildWithALogThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := &fakeInstaller{options: "535.216.01", modules: allModules}
	o := buildOptions(t, r)
	r.during = func() {
		if err := os.Mkdir(o.LogFile, 0o755); err != nil {
			t.Error(err)
		}
	}
	_, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
	const want = "build: the log of nvidia-installer cannot be read: "
	if stage.ExitCode(err) != 14 || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want exit code 14 and %q", err, want)
	}
}

// What kernel runs is asked where nobody says; where the record is, NVIDIA says.
func TestBuildOptionsOfNobody(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := (BuildOptions{}).running(), strings.TrimSpace(string(text)); got != want {
		t.Errorf("%q runs, want %q", got, want)
	}
	if got := (BuildOptions{}).stateDir(); got != "/var/lib/nvidia" {
		t.Errorf("the record is in %s", got)
	}
}

func TestBuildInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o := buildOptions(t, &fakeInstaller{options: "535.216.01", hang: true, during: cancel})
	_, err := Build(ctx, driver("535.261.03", Proprietary), o)
	if stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("error %v, want an interrupt's", err)
	}
}

// With the real runner: files that cannot be run.
func TestBuildInstallerThatCannotRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		content string
		mode    os.FileMode
		want    string
	}{
		{"no x in its mode", "#!/bin/sh\n", 0o644, "the nvidia-installer of driver 535.261.03 is not executable"},
		{"not a program", "\x7fELF of no machine", 0o755, "the nvidia-installer of driver 535.261.03 is not executable"},
		{"does not know -A", "#!/bin/sh\necho usage >&2\nexit 1\n", 0o755, "the nvidia-installer of driver 535.261.03 does not list its options: usage"},
		{"lists nothing", "#!/bin/sh\n", 0o755, "does not know --kernel-module-only"},
		{"never answers", "#!/bin/sh\nsleep 60\n", 0o755, "did not end by itself when it was asked for its options, and was stopped: time limit reached: 300ms"},
		{"not there", "", 0, "the nvidia-installer of driver 535.261.03 cannot be started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := driver("535.261.03", Proprietary)
			d.Dir = t.TempDir()
			if tt.mode != 0 {
				if err := os.WriteFile(d.Installer(), []byte(tt.content), tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			o := buildOptions(t, unconfined.Exec{})
			o.Timeout = time.Minute
			if tt.name == "never answers" {
				o.Timeout = 300 * time.Millisecond
			}
			_, err := Build(t.Context(), d, o)
			if stage.ExitCode(err) != 14 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want exit code 14 and %q", err, tt.want)
			}
		})
	}
}

// counting is a runner that answers the package's count.
type counting struct {
	says string
	err  error
	call command.Command
}

func (c *counting) Run(_ context.Context, call command.Command) error {
	c.call = call
	_, err := call.Output.Write([]byte(c.says))
	return errors.Join(err, c.err)
}

// What is to be compiled is what the package says, or not known.
func TestSteps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		err        error
		want       steps
	}{
		{"as 535 says it", "/bin/sh: 1: .: cannot open .config: No such file\nconftests:196 objects:167 modules:2\n", nil, steps{196, 169}},
		{"nothing", "", nil, steps{}},
		{"an error", "conftests:1 objects:1 modules:1\n", failed, steps{}},
		{"nonsense", "conftests:1 objects:99999999999999999999 modules:1\n", nil, steps{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &counting{says: tt.says, err: tt.err}
			o := buildOptions(t, r)
			o.Exclude = []string{"nvidia-drm", "nvidia-modeset"}
			d := driver("535.261.03", Open)
			d.Dir, o.ModuleType = t.TempDir(), Open
			if got := o.steps(t.Context(), d); got != (steps{}) || r.call.Args != nil {
				t.Errorf("%+v of a package without a count, by %v", got, r.call.Args)
			}
			list := filepath.Join(d.Dir, "kernel-open", "count-lines.mk")
			if err := errors.Join(os.Mkdir(filepath.Dir(list), 0o755), os.WriteFile(list, nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			if got := o.steps(t.Context(), d); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			want := []string{"make", "--silent", "--file=count-lines.mk", "count", "SYSSRC=/share/linux", "SYSOUT=/share/prepared", "NV_EXCLUDE_KERNEL_MODULES=nvidia-drm"}
			if diff := cmp.Diff(want, r.call.Args); diff != "" || r.call.Dir != filepath.Dir(list) {
				t.Errorf("ran in %s (-want +got):\n%s", r.call.Dir, diff)
			}
		})
	}
}

// TestInstallable tries what takes minutes to fail otherwise, and leaves nothing.
func TestInstallable(t *testing.T) {
	dir := t.TempDir()
	if err := installable(filepath.Join(dir, "nvidia")); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "nvidia")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	// A file system on which nobody, root included, can make a folder.
	err := installable("/proc/self/nvidia")
	if stage.ExitCode(err) != 14 || !strings.Contains(err.Error(), "cannot be written in this container") && !strings.Contains(err.Error(), "may not write") || !strings.Contains(err.Error(), "--tmpfs /proc/self/nvidia") {
		t.Errorf("error %v", err)
	}
}
