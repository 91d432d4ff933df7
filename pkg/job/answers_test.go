package job

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// writeTests makes a driver package that tests the kernel in the way that is known.
func (f *fixture) writeTests(t *testing.T, version string) {
	t.Helper()
	f.writeDriver(t, version, "")
	pkg := "share/cuda/NVIDIA-Linux-x86_64-" + version + "/"
	manifest, err := os.ReadFile(filepath.Join(filepath.Dir(f.share), pkg+".manifest"))
	if err != nil {
		t.Fatal(err)
	}
	more := "kernel/Kbuild 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\nkernel/conftest.sh 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n"
	f.write(t, pkg+".manifest", string(manifest)+more)
	f.write(t, pkg+"kernel/Kbuild", "NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) \"$(CC)\"\n")
	f.write(t, pkg+"kernel/conftest.sh", "#!/bin/sh\n")
}

// asks has the fixture's installer test the kernel: it finds what is known, by the first
// letters of the questions, needs all of it, and asks one more.
func (f *fixture) asks(t *testing.T, question string) *string {
	t.Helper()
	var known string
	f.tools.before["nvidia-installer"] = func() {
		scratch := filepath.Join(f.share, ".builder/scratch")
		text, err := os.ReadFile(filepath.Join(scratch, "conftest.known"))
		if err != nil {
			t.Error(err)
		}
		known = ""
		notes := []string{strings.Repeat(question, 64) + ".y"}
		for line := range strings.Lines(string(text)) {
			known += line[:1]
			notes = append(notes, line[:64]+".k")
		}
		for _, note := range notes {
			if err := os.WriteFile(filepath.Join(scratch, "installer/conftest", note), nil, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	return &known
}

// TestWhoseAnswersServe: what a driver's tests were answered serves the next driver of the same
// kernel, but what a package says that nobody vouches for, or that was patched, serves
// that one alone.
func TestWhoseAnswersServe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	patches := patchesIn(t, map[string]string{"1.patch": change("kernel", "a patched one")})
	others := patchesIn(t, map[string]string{"1.patch": change("kernel", "another one")})
	rebuild := func(o *Options) { o.Rebuild, o.ModuleType, o.Allow = true, "proprietary", []string{"firmware"} }
	digests := map[string]string{}
	for _, version := range []string{testDriver, "570.207", "999.1"} {
		f.writeTests(t, version)
		digests[version] = f.digestOf(t, version)
	}
	for _, step := range []struct {
		version, asks, patches string
		vouched                bool
		knows                  string
	}{
		{testDriver, "a", "", true, ""},
		{testDriver, "b", "", true, "a"},
		{"570.207", "c", "", true, "ab"},
		{"999.1", "d", "", false, "abc"},
		{"570.207", "e", "", true, "abc"},
		{"999.1", "f", "", false, "abcde"},
		{testDriver, "0", "", false, "abce"},
		{testDriver, "1", patches, true, "abce"},
		{testDriver, "2", patches, true, "1abce"},
		{testDriver, "3", others, true, "abce"},
		// Once somebody vouches for a package, so for what it noted before.
		{"999.1", "4", "", true, "abcdef"},
		{"570.207", "5", "", true, "4abcdef"},
		{testDriver, "6", "", false, "045abcdef"},
	} {
		known := f.asks(t, step.asks)
		o := f.mustBuild(t, rebuild, func(o *Options) {
			o.DriverVersion, o.DriverPatches = step.version, step.patches
			if step.vouched {
				o.DriverSHA256 = digests[step.version]
			}
		})
		if *known != step.knows {
			t.Errorf("driver %s, which asks %s, knows %q, want %q\n%s", step.version, step.asks, *known, step.knows, o.log)
		}
	}
	// For another tree nothing is known.
	known := f.asks(t, "a")
	f.write(t, "source/include/linux/new.h", "")
	f.mustBuild(t, rebuild, func(o *Options) { o.DriverVersion, o.DriverSHA256 = testDriver, digests[testDriver] })
	if *known != "" {
		t.Errorf("of another tree is known %q", *known)
	}
}

// TestAnswersOfABuildThatFails are kept, and a share that cannot have them does not fail
// a build.
func TestAnswersOfABuildThatFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.writeTests(t, testDriver)
	proprietary := func(o *Options) { o.Rebuild, o.ModuleType = true, "proprietary" }
	f.asks(t, "a")
	asks := f.tools.before["nvidia-installer"]
	f.tools.before["nvidia-installer"] = func() {
		asks()
		f.tools.fail = map[string]error{"nvidia-installer": errors.New("broken")}
	}
	if o := f.build(t, proprietary); stage.ExitCode(o.err) != 14 {
		t.Fatalf("error %v, want one of the build stage", o.err)
	}
	f.tools.fail = nil
	known := f.asks(t, "b")
	f.mustBuild(t, proprietary)
	if *known != "a" {
		t.Errorf("%q is known", *known)
	}
	folder := filepath.Join(f.share, ".builder/answers")
	if err := errors.Join(os.RemoveAll(folder), os.WriteFile(folder, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t, proprietary); *known != "" || !strings.Contains(o.log, "answers to the driver's tests cannot be kept") {
		t.Errorf("%q is known\n%s", *known, o.log)
	}
}

// digestOf is the digest of a package of the fixture's, as --driver-sha256 takes it.
func (f *fixture) digestOf(t *testing.T, version string) string {
	t.Helper()
	pkg, err := cuda.Find(t.Context(), filepath.Join(f.share, "cuda"), kernel.X86_64, version)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := pkg.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(digest, "sha256:")
}
