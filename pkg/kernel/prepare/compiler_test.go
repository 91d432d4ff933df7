package prepare

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// has is the lookPath of an image that has some programs.
func has(programs []string) func(string) (string, error) {
	return func(name string) (string, error) {
		if !slices.Contains(programs, name) {
			return "", exec.ErrNotFound
		}
		return "/usr/bin/" + name, nil
	}
}

func TestChooseCompiler(t *testing.T) {
	t.Parallel()
	gcc13 := kernel.Compiler{Name: "gcc", Major: 13, Version: "13.3.1"}
	trixie := []string{"gcc", "gcc-12", "gcc-13", "gcc-14"}
	for _, test := range []struct {
		name    string
		built   kernel.Compiler
		config  string
		image   []string
		want    string
		warning string
		err     string
	}{
		{name: "the kernel's own", built: kernel.Compiler{Name: "gcc", Major: 13, Version: "13.3.1"}, image: trixie, want: "gcc-13"},
		{
			name: "the nearest newer", built: kernel.Compiler{Name: "gcc", Major: 9, Version: "9.3.0"}, image: trixie, want: "gcc-12",
			warning: "the kernel was built by gcc 9.3.0, which this image does not have: gcc-12 is the nearest (to have it, build the image docker build -t cuda:bullseye --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS=\"10 9\" .)",
		},
		{
			name: "the nearest older", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: trixie, want: "gcc-14",
			warning: "the kernel was built by gcc 15.2.0, which this image does not have: gcc-14 is the nearest (to have it, build the image docker build -t cuda:forky --build-arg BASE=debian:forky-slim --build-arg COMPILERS=\"15\" .)",
		},
		{
			name: "one that no Debian has", built: kernel.Compiler{Name: "gcc", Major: 8, Version: "8.3.0"}, image: []string{"gcc-9", "gcc-10"}, want: "gcc-9",
			warning: "the kernel was built by gcc 8.3.0, which this image does not have: gcc-9 is the nearest (no release of Debian that can be had has gcc 8)",
		},
		{
			name: "newer before older", built: kernel.Compiler{Name: "gcc", Major: 12, Version: "12.2.0"}, image: []string{"gcc-11", "gcc-14"}, want: "gcc-14",
			warning: "the kernel was built by gcc 12.2.0, which this image does not have: gcc-14 is the nearest (to have it, build the image docker build -t cuda:trixie --build-arg BASE=debian:trixie-slim --build-arg COMPILERS=\"14 13 12\" .)",
		},
		{
			name: "older, and gcov", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: trixie, config: "CONFIG_GCOV_PROFILE_ALL=y\n",
			err: `prepare: the kernel has CONFIG_GCOV_PROFILE_ALL and was built by gcc 15.2.0, and gcc-14, the nearest that this image has, would not fit it. To have it, build the image docker build -t cuda:forky --build-arg BASE=debian:forky-slim --build-arg COMPILERS="15" ..`,
		},
		{
			name: "none by its number", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: []string{"gcc"},
			err: `prepare: the kernel was built by gcc 15.2.0, and this image has no gcc by its number. To have it, build the image docker build -t cuda:forky --build-arg BASE=debian:forky-slim --build-arg COMPILERS="15" ..`,
		},
		{
			name: "clang", built: kernel.Compiler{Name: "clang", Major: 19, Version: "19.1.7"}, image: trixie,
			err: "prepare: the kernel was built by clang 19.1.7, and its modules must be too, but this image has only gcc. Build the modules where the kernel was built; CoreOS's and Flatcar's own kernels are gcc's.",
		},
		{
			name: "clang, by the config", config: "CONFIG_CC_IS_CLANG=y\n", image: trixie,
			err: "prepare: the kernel was built by clang, and its modules must be too, but this image has only gcc. Build the modules where the kernel was built; CoreOS's and Flatcar's own kernels are gcc's.",
		},
		{
			name: "shuffled structures", built: gcc13, image: trixie,
			config: "# CONFIG_RANDSTRUCT_NONE is not set\nCONFIG_RANDSTRUCT_FULL=y\nCONFIG_RANDSTRUCT=y\nCONFIG_GCC_PLUGIN_RANDSTRUCT=y\n",
			err:    "prepare: the kernel has CONFIG_RANDSTRUCT: its structures are shuffled by a seed that stayed with its build, and modules that do not know it would corrupt its memory. Build the modules where the kernel was built; CoreOS's and Flatcar's own kernels do without.",
		},
		{
			name: "shuffled structures, before 5.19", built: gcc13, image: trixie, config: "CONFIG_GCC_PLUGIN_RANDSTRUCT=y\n",
			err: "prepare: the kernel has CONFIG_GCC_PLUGIN_RANDSTRUCT: its structures are shuffled by a seed that stayed with its build, and modules that do not know it would corrupt its memory. Build the modules where the kernel was built; CoreOS's and Flatcar's own kernels do without.",
		},
		{
			name: "a gcc plugin", built: gcc13, image: trixie,
			config: "CONFIG_GCC_PLUGINS=y\nCONFIG_GCC_PLUGIN_STACKLEAK_VERBOSE=y\nCONFIG_GCC_PLUGIN_STACKLEAK=y\n",
			err:    "prepare: the kernel has CONFIG_GCC_PLUGIN_STACKLEAK: it was compiled with a plugin in gcc that this image does not have, and its modules would be compiled otherwise. Build the modules where the kernel was built; CoreOS's and Flatcar's own kernels do without.",
		},
		{
			name: "gcc plugins, but none in use", built: gcc13, image: trixie, want: "gcc-13",
			config: "CONFIG_HAVE_GCC_PLUGINS=y\nCONFIG_GCC_PLUGINS=y\n# CONFIG_GCC_PLUGIN_LATENT_ENTROPY is not set\nCONFIG_RANDSTRUCT_NONE=y\n",
		},
		{
			name: "gcov", built: gcc13, image: trixie, want: "gcc-13", config: "CONFIG_GCOV_PROFILE_ALL=y\n",
		},
		{
			name: "gcov, and another compiler", built: kernel.Compiler{Name: "gcc", Major: 11, Version: "11.4.0"}, image: trixie, config: "CONFIG_GCOV_PROFILE_ALL=y\n",
			err: `prepare: the kernel has CONFIG_GCOV_PROFILE_ALL and was built by gcc 11.4.0, and gcc-12, the nearest that this image has, would not fit it. To have it, build the image docker build -t cuda:bookworm --build-arg BASE=debian:bookworm-slim --build-arg COMPILERS="12 11" ..`,
		},
		{
			name: "not known", image: trixie, want: "gcc",
			warning: "nothing says which compiler built the kernel: gcc is this image's default",
		},
		{
			name: "not known, and none here",
			err:  "prepare: there is no gcc to build modules with: executable file not found in $PATH. Run builder in its own image, which has kbuild's tools.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ChooseCompiler(kernel.Target{Compiler: test.built, Config: kernel.Config{Text: []byte(test.config)}}, kernel.X86_64, has(test.image))
			if want := (Compiler{Command: test.want, Warning: test.warning}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if test.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != test.err || stage.ExitCode(err) != 13 {
				t.Errorf("error %v (exit code %d)\nwant %s (13)", err, stage.ExitCode(err), test.err)
			}
		})
	}
}

// A kernel whose tree this image cannot prepare is refused before anything is fetched for it.
func TestOldKernelsWantTheirImage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		release string
		image   []string
		refused bool
	}{
		{"4.19.78-coreos", []string{"gcc", "gcc-12", "gcc-13", "gcc-14"}, true},
		{"5.9.16", []string{"gcc", "gcc-11", "gcc-12"}, true},
		{"4.9.9-coreos-r1", []string{"gcc", "gcc-9", "gcc-10"}, false},
		{"4.9.9-coreos-r1", []string{"gcc", "gcc-10"}, false},
		{"5.10.1-flatcar", []string{"gcc", "gcc-12"}, false},
	} {
		release, err := kernel.ParseRelease(test.release)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ChooseCompiler(kernel.Target{Release: release, Compiler: kernel.Compiler{Name: "gcc", Major: 8, Version: "8.3.0"}}, kernel.X86_64, has(test.image))
		if !test.refused {
			if err != nil {
				t.Errorf("%s with %q: %v", test.release, test.image, err)
			}
			continue
		}
		want := "detect: kernel " + test.release + " is of a line before 5.10, whose own programs do not compile with this image's compilers and C library, all newer than Debian bullseye's. " +
			`Build the image for old kernels, docker build -t cuda:bullseye --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS="10 9" ., and run cuda:bullseye in the place of cuda.`
		if err == nil || err.Error() != want || stage.ExitCode(err) != 10 {
			t.Errorf("%s with %q: error %v (exit code %d), want\n%s (10)", test.release, test.image, err, stage.ExitCode(err), want)
		}
	}
}

// Old trees make programs that no module needs, and that this time's C library breaks.
func TestWithoutPrograms(t *testing.T) {
	t.Parallel()
	for full, want := range map[string][]string{
		"4.9.9-coreos-r1":  {"CONFIG_SECURITY_SELINUX=", "CONFIG_KEXEC_FILE="},
		"4.16.18-coreos":   {"CONFIG_SECURITY_SELINUX=", "CONFIG_KEXEC_FILE="},
		"4.19.78-coreos":   {"CONFIG_SECURITY_SELINUX="},
		"5.4.59-flatcar":   nil,
		"6.12.102-flatcar": nil,
	} {
		release, err := kernel.ParseRelease(full)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, withoutPrograms(release)); diff != "" {
			t.Errorf("%s: %s", full, diff)
		}
	}
}
