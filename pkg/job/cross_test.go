package job

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// crossGCC is the image's compiler for the architecture that is not this machine's.
const crossGCC = "aarch64-linux-gnu-gcc-12"

// elsewhere makes the fixture's host, and its driver, those of another architecture than
// this machine's, for which the image has a cross compiler.
func (f *fixture) elsewhere(t *testing.T) {
	t.Helper()
	f.write(t, "host/proc/config.gz", strings.ReplaceAll(testConfig, "X86_64", "ARM64"))
	if err := os.Rename(f.driver(), filepath.Join(f.share, "cuda", "NVIDIA-Linux-aarch64-"+testDriver)); err != nil {
		t.Fatal(err)
	}
	f.options.LookPath = func(name string) (string, error) {
		if name != "gcc-12" && name != crossGCC {
			return "", fs.ErrNotExist
		}
		return "/usr/bin/" + name, nil
	}
	// The recorded modules are for x86-64, which the gate sees.
	f.options.Allow = []string{"elf", "vermagic", "relocations"}
}

// TestBuildForAnotherArchitecture has kbuild build in the place of an installer that does
// not run here, and puts that on record.
func TestBuildForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.elsewhere(t)
	f.tools.debug = true
	said, err := Plan(t.Context(), f.options)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(texts(said), "\n"); !strings.Contains(text, "kbuild with "+crossGCC+" in NVIDIA-Linux-aarch64-"+testDriver+", whose nvidia-installer does not run here") {
		t.Errorf("the plan is\n%s", text)
	}
	o := f.mustBuild(t)
	if diff := cmp.Diff([]string{crossGCC, crossGCC, "make", "make", "make", "aarch64-linux-gnu-strip", "depmod"}, o.ran); diff != "" {
		t.Errorf("programs, -want +got:\n%s", diff)
	}
	m := f.manifest(t)
	if m.Target.Arch != kernel.AArch64 || len(m.Build.InstallerFlags) > 0 || !strings.Contains(m.Build.WithoutInstaller, "nvidia-installer is a program for aarch64") {
		t.Errorf("%+v", m.Build)
	}
	if got := provenanceOf(m).BuildDefinition.InternalParameters["withoutInstaller"]; got != m.Build.WithoutInstaller {
		t.Errorf("the provenance has %v", got)
	}
	if _, err := os.Stat(filepath.Join(f.share, ".builder/logs", "kbuild-"+testRelease+"-"+testDriver+".log")); err != nil {
		t.Error(err)
	}
	if again := f.mustBuild(t); !again.Reused {
		t.Error("it does not serve again")
	}
}

// An image without cross compilers says how to have one, before anything else is done.
func TestAnotherArchitectureWantsItsCompiler(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.elsewhere(t)
	f.options.LookPath = func(name string) (string, error) {
		if name != "gcc-12" {
			return "", fs.ErrNotExist
		}
		return "/usr/bin/" + name, nil
	}
	o := f.build(t)
	if stage.ExitCode(o.err) != 10 || !strings.Contains(o.err.Error(), "--build-arg CROSS=arm64") || len(o.ran) > 0 {
		t.Errorf("%v, after %q", o.err, o.ran)
	}
}

func texts(said []Step) (all []string) {
	for _, s := range said {
		all = append(all, s.Does)
	}
	return all
}
