package prepare

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// plugin is a gcc plugin in use. Each adds to what gcc makes of the kernel's
// own headers and functions; those of a VERBOSE option only print.
var plugin = regexp.MustCompile(`(?m)^CONFIG_(GCC_PLUGIN_(\w+))=y\s*$`)

// refuse is the error for a kernel that no compiler of the image can build
// modules for, and nil for any other.
func refuse(t kernel.Target) error {
	const elsewhere = "build the modules where the kernel was built; CoreOS's and Flatcar's own kernels do without"
	if t.Compiler.Name == "clang" || t.Config.Bool("CC_IS_CLANG") {
		return stage.New(stage.Prepare,
			fmt.Sprintf("the kernel was built by %s, and its modules must be too, but this image has only gcc", strings.TrimSpace("clang "+t.Compiler.Version)),
			"build the modules where the kernel was built; CoreOS's and Flatcar's own kernels are gcc's")
	}
	for _, option := range []string{"RANDSTRUCT", "GCC_PLUGIN_RANDSTRUCT"} { // since 5.19, and before
		if t.Config.Bool(option) {
			return stage.New(stage.Prepare,
				fmt.Sprintf("the kernel has CONFIG_%s: its structures are shuffled by a seed that stayed with its build, and modules that do not know it would corrupt its memory", option),
				elsewhere)
		}
	}
	for _, m := range plugin.FindAllSubmatch(t.Config.Text, -1) {
		if name := string(m[1]); !bytes.HasSuffix(m[2], []byte("_VERBOSE")) {
			return stage.New(stage.Prepare,
				fmt.Sprintf("the kernel has CONFIG_%s: it was compiled with a plugin in gcc that this image does not have, and its modules would be compiled otherwise", name),
				elsewhere)
		}
	}
	return nil
}

// needsSameMajor is an option of the config that ties modules to the major
// version of the kernel's compiler; "" where there is none. That of gcov does
// because a module hands the kernel counters in its own compiler's layout,
// which kernel/gcov/gcc_4_7.c knows for the kernel's compiler only.
func needsSameMajor(c kernel.Config) string {
	if c.Bool("GCOV_PROFILE_ALL") {
		return "GCOV_PROFILE_ALL"
	}
	return ""
}
