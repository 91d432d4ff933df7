package prepare

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

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
			warning: "the kernel was built by gcc 9.3.0, which this image does not have: gcc-12 is the nearest (to have it, build the image with --build-arg COMPILERS=\"9\", on a --build-arg BASE whose Debian has it)",
		},
		{
			name: "the nearest older", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: trixie, want: "gcc-14",
			warning: "the kernel was built by gcc 15.2.0, which this image does not have: gcc-14 is the nearest (to have it, build the image with --build-arg COMPILERS=\"15\", on a --build-arg BASE whose Debian has it)",
		},
		{
			name: "newer before older", built: kernel.Compiler{Name: "gcc", Major: 12, Version: "12.2.0"}, image: []string{"gcc-11", "gcc-14"}, want: "gcc-14",
			warning: "the kernel was built by gcc 12.2.0, which this image does not have: gcc-14 is the nearest (to have it, build the image with --build-arg COMPILERS=\"12\", on a --build-arg BASE whose Debian has it)",
		},
		{
			name: "older, and gcov", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: trixie, config: "CONFIG_GCOV_PROFILE_ALL=y\n",
			err: `prepare: the kernel has CONFIG_GCOV_PROFILE_ALL and was built by gcc 15.2.0, and gcc-14, the nearest that this image has, would not fit it. Build the image with --build-arg COMPILERS="15", on a --build-arg BASE whose Debian has it.`,
		},
		{
			name: "none by its number", built: kernel.Compiler{Name: "gcc", Major: 15, Version: "15.2.0"}, image: []string{"gcc"},
			err: `prepare: the kernel was built by gcc 15.2.0, and this image has no gcc by its number. Build the image with --build-arg COMPILERS="15", on a --build-arg BASE whose Debian has it.`,
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
			err: `prepare: the kernel has CONFIG_GCOV_PROFILE_ALL and was built by gcc 11.4.0, and gcc-12, the nearest that this image has, would not fit it. Build the image with --build-arg COMPILERS="11", on a --build-arg BASE whose Debian has it.`,
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
			got, err := ChooseCompiler(kernel.Target{Compiler: test.built, Config: kernel.Config{Text: []byte(test.config)}}, func(name string) (string, error) {
				if !slices.Contains(test.image, name) {
					return "", exec.ErrNotFound
				}
				return "/usr/bin/" + name, nil
			})
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
