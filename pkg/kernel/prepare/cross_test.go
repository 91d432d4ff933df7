package prepare

import (
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// native and cross are images on trixie, without CROSS and with it.
var (
	native = []string{"gcc", "gcc-12", "gcc-13", "gcc-14"}
	cross  = append([]string{"aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc-12", "aarch64-linux-gnu-gcc-13", "aarch64-linux-gnu-gcc-14"}, native...)
)

func TestCheckArch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		arch   kernel.Arch
		goarch string
		image  []string
		err    string
	}{
		{arch: kernel.X86_64, goarch: "amd64"},
		{arch: kernel.AArch64, goarch: "arm64"},
		{arch: kernel.AArch64, goarch: "amd64", image: cross},
		{arch: kernel.X86_64, goarch: "arm64", image: []string{"gcc-14", "x86_64-linux-gnu-gcc-14"}},
		{arch: kernel.AArch64, goarch: "amd64", image: native, err: "detect: the host's kernel is for aarch64 and this image is for amd64, without a compiler for the other. " +
			"Build the image with one, docker build -t cuda:arm64 --build-arg CROSS=arm64 ., or on a machine of the host's architecture, aarch64."},
		// Debian's own compilers have such a name beside their short one.
		{arch: kernel.X86_64, goarch: "arm64", image: cross, err: "detect: the host's kernel is for x86_64 and this image is for arm64, without a compiler for the other. " +
			"Build the image with one, docker build -t cuda:amd64 --build-arg CROSS=amd64 ., or on a machine of the host's architecture, x86_64."},
	} {
		err := CheckArch(kernel.Target{Arch: test.arch}, test.goarch, has(test.image))
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%s on %s: %v", test.arch, test.goarch, err)
		case test.err != "" && (err == nil || err.Error() != test.err || stage.ExitCode(err) != 10):
			t.Errorf("%s on %s: error %v (exit code %d)\nwant %s (10)", test.arch, test.goarch, err, stage.ExitCode(err), test.err)
		}
	}
}

// The rules are those for this machine's own compilers, of cross compilers alone.
func TestChooseCrossCompiler(t *testing.T) {
	t.Parallel()
	only12 := append([]string{"aarch64-linux-gnu-gcc-12"}, native...)
	for _, test := range []struct {
		name, built   string
		major         int
		image         []string
		want, warning string
		err           string
	}{
		{name: "the kernel's own", built: "13.3.1", major: 13, image: cross, want: "aarch64-linux-gnu-gcc-13"},
		{
			name: "the nearest newer", built: "9.3.0", major: 9, image: cross, want: "aarch64-linux-gnu-gcc-12",
			warning: `the kernel was built by gcc 9.3.0, which this image does not have: aarch64-linux-gnu-gcc-12 is the nearest (to have it, build the image docker build -t cuda:bullseye --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS="10 9" --build-arg CROSS=arm64 .)`,
		},
		{
			name: "of which there is a native one only", built: "14.2.0", major: 14, image: only12, want: "aarch64-linux-gnu-gcc-12",
			warning: `the kernel was built by gcc 14.2.0, which this image does not have: aarch64-linux-gnu-gcc-12 is the nearest (to have it, build the image docker build -t cuda:trixie --build-arg BASE=debian:trixie-slim --build-arg COMPILERS="14 13 12" --build-arg CROSS=arm64 .)`,
		},
		{name: "not known", image: cross, want: "aarch64-linux-gnu-gcc", warning: "nothing says which compiler built the kernel: aarch64-linux-gnu-gcc is this image's default"},
		{name: "not known, and none here", image: only12, err: "prepare: there is no aarch64-linux-gnu-gcc to build modules with: executable file not found in $PATH. Run builder in its own image, which has kbuild's tools."},
	} {
		target := kernel.Target{Arch: kernel.AArch64, Compiler: kernel.Compiler{Name: "gcc", Major: test.major, Version: test.built}}
		got, err := ChooseCompiler(target, kernel.X86_64, has(test.image))
		if want := (Compiler{Command: test.want, Warning: test.warning}); got != want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, want)
		}
		if said := errorText(err); said != test.err {
			t.Errorf("%s: error %q, want %q", test.name, said, test.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSplitCross(t *testing.T) {
	t.Parallel()
	for compiler, want := range map[string][2]string{
		"gcc-12":                       {"", "gcc-12"},
		"gcc":                          {"", "gcc"},
		"aarch64-linux-gnu-gcc-12":     {"aarch64-linux-gnu-", "gcc-12"},
		"x86_64-linux-gnu-gcc":         {"x86_64-linux-gnu-", "gcc"},
		"/usr/bin/gcc-12":              {"", "/usr/bin/gcc-12"},
		"clang-19":                     {"", "clang-19"},
		"/opt/x/aarch64-none-gcc-13.2": {"/opt/x/aarch64-none-", "gcc-13.2"},
	} {
		prefix, native := splitCross(compiler)
		if got := [2]string{prefix, native}; got != want {
			t.Errorf("%s: %q, want %q", compiler, got, want)
		}
	}
}

// A tree for another architecture is made by its compiler, and by this machine's what runs
// here; what is compiled against it is so too.
func TestPrepareForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	f := newFake()
	target, src, o := setup(t, f)
	target.Arch, o.Compiler = kernel.AArch64, "aarch64-linux-gnu-gcc-12"
	tree, err := Prepare(t.Context(), target, src, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"make", "-C", src.Dir, "O=" + tree.Output, "ARCH=arm64", "CC=aarch64-linux-gnu-gcc-12", "HOSTCC=gcc-12",
		"LOCALVERSION=", "-j2", "CROSS_COMPILE=aarch64-linux-gnu-", "modules_prepare"}
	if diff := cmp.Diff(want, f.ran[2].Args); diff != "" {
		t.Errorf("it is prepared by (-want +got):\n%s", diff)
	}
	if got := tree.CrossCompile(); got != "aarch64-linux-gnu-" {
		t.Errorf("CROSS_COMPILE is %q", got)
	}
	if err := tree.Compile(t.Context(), target, f, Unit{Name: "x", Dir: t.TempDir() + "/x", Output: io.Discard}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Make(t.Context(), target, f, 2, []string{"drivers/pci/pci.o"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.ran[3:] {
		if !slices.Contains(c.Args, "ARCH=arm64") || !slices.Contains(c.Args, "CC=aarch64-linux-gnu-gcc-12") || !slices.Contains(c.Args, "CROSS_COMPILE=aarch64-linux-gnu-") {
			t.Errorf("it ran %q", c.Args)
		}
	}
}

// Cross compilers of the version that built the kernel need no trial, and others are named
// with how to have the right one.
func TestCompilesAs(t *testing.T) {
	t.Parallel()
	for compiler, want := range map[string]bool{"gcc-12": true, "aarch64-linux-gnu-gcc-12": true, "gcc-13": false, "aarch64-linux-gnu-gcc-13": false} {
		if got := (Options{Compiler: compiler}).compilesAs(kernel.Compiler{Name: "gcc", Major: 12}); got != want {
			t.Errorf("%s: %v", compiler, got)
		}
	}
}
