package prepare

import (
	"fmt"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// A cross compiler is one for another architecture than that of the machine that it runs
// on. Its name says so: Debian's aarch64-linux-gnu-gcc-14 is gcc-14 for arm64, and its
// linker is aarch64-linux-gnu-ld. kbuild calls what such names begin with CROSS_COMPILE.

// crossPrefix is what Debian's have, and crossArg what the argument CROSS of the image's
// Dockerfile calls the architecture.
var (
	crossPrefix = map[kernel.Arch]string{kernel.X86_64: "x86_64-linux-gnu-", kernel.AArch64: "aarch64-linux-gnu-"}
	crossArg    = map[kernel.Arch]string{kernel.X86_64: "amd64", kernel.AArch64: "arm64"}
)

// prefixFor is what the names of the compilers for an architecture begin with in an image of
// another, or the same.
func prefixFor(arch, image kernel.Arch) string {
	if arch == image {
		return ""
	}
	return crossPrefix[arch]
}

// splitCross is kbuild's CROSS_COMPILE of a compiler, empty where that is no cross compiler,
// and the compiler of the same version for programs that run here.
func splitCross(compiler string) (prefix, native string) {
	i := strings.LastIndex(compiler, "gcc")
	if i < 1 || compiler[i-1] != '-' {
		return "", compiler
	}
	return compiler[:i], compiler[i:]
}

// compilesAs says whether the compiler is of the version that built a kernel.
func (o Options) compilesAs(built kernel.Compiler) bool {
	_, native := splitCross(o.Compiler)
	return native == commandOf(built.Major)
}

// crossArguments are make's for such a compiler; none for another.
func crossArguments(compiler string) []string {
	if prefix, _ := splitCross(compiler); prefix != "" {
		return []string{"CROSS_COMPILE=" + prefix}
	}
	return nil
}

// KbuildArch is kbuild's name for an architecture, "arm64"; empty where it is not known.
func KbuildArch(arch kernel.Arch) string { return kbuildArch[arch] }

// CrossCompile is what kbuild calls so of the tree's compiler: "aarch64-linux-gnu-", or
// nothing where modules for the tree are of the architecture of this machine.
func (t Tree) CrossCompile() string {
	prefix, _ := splitCross(t.Compiler)
	return prefix
}

// CheckArch refuses a kernel of another architecture than the image's, which goarch names
// (runtime.GOARCH), where the image has no cross compiler for it. Its error is a
// *stage.Error of the stage detect.
func CheckArch(t kernel.Target, goarch string, lookPath func(string) (string, error)) error {
	image := kernel.ArchOf(goarch)
	if image != "" && t.Arch == image {
		return nil
	}
	prefix := prefixFor(t.Arch, image)
	for _, major := range nearest(newestMajor) {
		if _, err := lookPath(prefix + commandOf(major)); prefix != "" && err == nil {
			return nil
		}
	}
	return stage.New(stage.Detect,
		fmt.Sprintf("the host's kernel is for %s and this image is for %s, without a compiler for the other", t.Arch, goarch),
		fmt.Sprintf("build the image with one, docker build -t cuda:%s --build-arg CROSS=%[1]s ., or on a machine of the host's architecture, %s", crossArg[t.Arch], t.Arch))
}
