package cuda

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/command"
	standins "github.com/k8sp/cuda/pkg/cuda/conftest/standin"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// fakeMake leaves modules where it is run, and prints.
type fakeMake struct {
	modules []string
	prints  []string
	err     error

	calls []command.Command
}

func (f *fakeMake) Run(_ context.Context, c command.Command) error {
	if slices.Contains(c.Args, standins.Word) {
		return nil
	}
	f.calls = append(f.calls, c)
	for _, part := range f.prints {
		if _, err := c.Output.Write([]byte(part)); err != nil {
			return err
		}
	}
	for _, m := range f.modules {
		if err := os.WriteFile(filepath.Join(c.Dir, m+".ko"), []byte(m), 0o644); err != nil {
			return err
		}
	}
	return f.err
}

// crossOptions are those of a build for arm64 on x86-64, of a driver that is there.
func crossOptions(t *testing.T, f *fakeMake) (Driver, BuildOptions) {
	t.Helper()
	o := buildOptions(t, f)
	o.Compiler, o.CrossCompile, o.Arch = "aarch64-linux-gnu-gcc-12", "aarch64-linux-gnu-", "arm64"
	d := driver("535.261.03", Proprietary)
	d.Arch, d.Dir = kernel.AArch64, filepath.Join(o.Scratch, "driver")
	if err := os.MkdirAll(filepath.Join(d.Dir, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	return d, o
}

// An installer for another architecture is not run: kbuild is, as it would run it.
func TestBuildWithoutInstaller(t *testing.T) {
	t.Parallel()
	f := &fakeMake{modules: []string{"nvidia", "nvidia-peermem"},
		prints: []string{"  CC [M]  /x.o\nWARNING: modpost: \"drm_", "open\" [x.ko] undefined!\n"}}
	d, o := crossOptions(t, f)
	o.Exclude = []string{"nvidia-drm", "nvidia-modeset", "nvidia-uvm"}
	b, err := Build(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	want := Built{
		Dir:              b.Dir,
		Files:            []string{b.Dir + "/nvidia-peermem.ko", b.Dir + "/nvidia.ko"},
		Undefined:        []string{"drm_open"},
		WithoutInstaller: "the package's nvidia-installer is a program for aarch64, and did not run: kbuild was called in kernel as it does",
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("built (-want +got):\n%s", diff)
	}
	if len(f.calls) != 1 {
		t.Fatalf("it ran %d programs", len(f.calls))
	}
	call := f.calls[0]
	argv := []string{"make", "-k", "-j2", "modules", "NV_EXCLUDE_KERNEL_MODULES=nvidia-drm nvidia-modeset nvidia-uvm", "SYSSRC=/share/linux", "SYSOUT=/share/prepared"}
	if diff := cmp.Diff(argv, call.Args); diff != "" || call.Dir != filepath.Join(d.Dir, "kernel") {
		t.Errorf("ran in %s (-want +got):\n%s", call.Dir, diff)
	}
	flags := "MAKEFLAGS=-- CC=aarch64-linux-gnu-gcc-12 ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- LD=aarch64-linux-gnu-ld OBJDUMP=aarch64-linux-gnu-objdump"
	if !slices.Contains(call.Env, flags) || !slices.Contains(call.Env, "IGNORE_CC_MISMATCH=1") {
		t.Errorf("its environment is %q", call.Env)
	}
	if len(call.Files) > 0 {
		t.Errorf("it was given files: %v", call.Files)
	}
	log, err := os.ReadFile(o.LogFile)
	wantLog := "-> Building kernel modules\n   executing: '" + strings.Join(argv, " ") + "'...\n     CC [M]  /x.o\n   WARNING: modpost: \"drm_open\" [x.ko] undefined!\n"
	if diff := cmp.Diff(wantLog, string(log)); err != nil || diff != "" {
		t.Errorf("the log: %v (-want +got):\n%s", err, diff)
	}
}

func TestBuildWithoutInstallerFails(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]fakeMake{
		"build: driver 535.261.03 does not compile against kernel 6.1.192-coreos-r1: kernel/a.c:1:1: error: broken. Take a newer driver, or patch it with --driver-patches; see LOG.": {
			prints: []string{"DIR/kernel/a.c:1:1: error: broken\nmake: *** [x] Error 2\n"}, err: failed},
		"build: kbuild of driver 535.261.03 reported success, but did not build nvidia-drm, nvidia-peermem. See LOG.": {
			modules: []string{"nvidia", "nvidia-uvm", "nvidia-modeset"}},
		"build: kbuild of driver 535.261.03 failed: it is odd. See LOG.": {prints: []string{"it is odd\n"}, err: failed},
	} {
		d, o := crossOptions(t, &f)
		for i, text := range f.prints {
			f.prints[i] = strings.ReplaceAll(text, "DIR", d.Dir)
		}
		b, err := Build(t.Context(), d, o)
		if err == nil || stage.ExitCode(err) != 14 || err.Error() != strings.ReplaceAll(want, "LOG", o.LogFile) || len(b.Files) > 0 {
			t.Errorf("error %v\nwant %s", err, want)
		}
	}
}
