package prepare

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// newestMajor and oldestMajor bound the search for another compiler. Before gcc 5 no
// Debian that can be had has one.
const newestMajor, oldestMajor = 30, 5

// Compiler is the compiler that a target's modules are built with.
type Compiler struct {
	// Command is the program, "gcc-12", or "aarch64-linux-gnu-gcc-12" for a kernel of
	// another architecture.
	Command string
	// Warning says why it is not the one that built the kernel; empty when
	// it is.
	Warning string
}

// ChooseCompiler picks the compiler for a target's modules: the major version
// that built the kernel, else the nearest newer one, since a kernel's headers
// and config are made for what its compiler could do and newer ones can do
// all of it, else the nearest older one: what that cannot do that the kernel's config
// asks for, preparing finds as drift of the config, or by a trial where the tree is the
// host's own. Image is the architecture of the image: for a kernel of another it has to
// have cross compilers, of which the same is asked. A kernel whose config ties modules to
// its compiler is refused. lookPath is exec.LookPath, or a test's. Its error is a
// *stage.Error of the stage prepare.
func ChooseCompiler(t kernel.Target, image kernel.Arch, lookPath func(string) (string, error)) (Compiler, error) {
	if err := refuse(t); err != nil {
		return Compiler{}, err
	}
	if err := refuseOld(t, lookPath); err != nil {
		return Compiler{}, err
	}
	built, prefix := t.Compiler, prefixFor(t.Arch, image)
	if built.Major == 0 {
		return defaultCompiler(prefix, lookPath)
	}
	hint := anotherImage(built.Major, t.Arch, prefix)
	for _, major := range nearest(built.Major) {
		name := prefix + commandOf(major)
		if _, err := lookPath(name); err != nil {
			continue
		}
		if major == built.Major {
			return Compiler{Command: name}, nil
		}
		if option := needsSameMajor(t.Config); option != "" {
			return Compiler{}, stage.New(stage.Prepare,
				fmt.Sprintf("the kernel has CONFIG_%s and was built by gcc %s, and %s, the nearest that this image has, would not fit it", option, built.Version, name),
				hint)
		}
		return Compiler{Command: name, Warning: fmt.Sprintf(
			"the kernel was built by gcc %s, which this image does not have: %s is the nearest (%s)", built.Version, name, hint)}, nil
	}
	return Compiler{}, stage.New(stage.Prepare,
		fmt.Sprintf("the kernel was built by gcc %s, and this image has no gcc by its number", built.Version), hint)
}

// nearest are the major versions of compilers in the order in which they are tried.
func nearest(built int) (majors []int) {
	for major := built; major <= newestMajor; major++ {
		majors = append(majors, major)
	}
	for major := min(built, newestMajor+1) - 1; major >= oldestMajor; major-- {
		majors = append(majors, major)
	}
	return majors
}

// commandOf is the program that is gcc of a major version, as Debian names it.
func commandOf(major int) string { return "gcc-" + strconv.Itoa(major) }

// An image is what one on a release of Debian is built by.
type image struct{ tag, base, compilers string }

// builtBy is the command that builds it, with more arguments.
func (i image) builtBy(more string) string {
	return fmt.Sprintf(`docker build -t cuda:%s --build-arg BASE=debian:%s-slim --build-arg COMPILERS="%s"%s .`, i.tag, i.base, i.compilers, more)
}

// oldImage has the oldest compilers and C library that a Debian release to be had has.
var oldImage = image{"bullseye", "bullseye", "10 9"}

// images have the compilers, by their major versions, that a release of Debian has.
var images = map[int]image{
	9: oldImage, 10: oldImage,
	11: {"bookworm", "bookworm", "12 11"},
	12: {"trixie", "trixie", "14 13 12"}, 13: {"trixie", "trixie", "14 13 12"}, 14: {"trixie", "trixie", "14 13 12"},
	15: {"forky", "forky", "15"},
}

// anotherImage says how to have a compiler for an architecture, a cross compiler where its
// name has a prefix, or that there is none to be had.
func anotherImage(major int, arch kernel.Arch, prefix string) string {
	i, ok := images[major]
	if !ok {
		return fmt.Sprintf("no release of Debian that can be had has gcc %d", major)
	}
	cross := ""
	if prefix != "" {
		cross = " --build-arg CROSS=" + crossArg[arch]
	}
	return "to have it, build the image " + i.builtBy(cross)
}

// newestForOld is the newest compiler that lines before 5.10 were built with here, of
// Debian bullseye.
const newestForOld = 10

// refuseOld refuses a kernel whose own programs, which modules are built with, do not
// compile in this image: newer compilers and C libraries than its time's do not take
// them (strlcpy declared twice, a warning of objtool's that is an error).
func refuseOld(t kernel.Target, lookPath func(string) (string, error)) error {
	if t.Release.Full == "" || t.Release.AtLeast(5, 10) {
		return nil
	}
	for major := newestForOld; major >= oldestMajor; major-- {
		if _, err := lookPath(commandOf(major)); err == nil {
			return nil
		}
	}
	return &stage.Error{Stage: stage.Detect, Kind: "old-kernel",
		Reason: fmt.Sprintf("kernel %s is of a line before 5.10, whose own programs do not compile with this image's compilers and C library, all newer than Debian bullseye's", t.Release),
		Hint:   "build the image for old kernels, " + oldImage.builtBy("") + ", and run cuda:" + oldImage.tag + " in the place of cuda"}
}

// defaultCompiler serves a kernel that does not say what built it.
func defaultCompiler(prefix string, lookPath func(string) (string, error)) (Compiler, error) {
	name := prefix + "gcc"
	if _, err := lookPath(name); err != nil {
		return Compiler{}, stage.Wrap(stage.Prepare, err, "there is no "+name+" to build modules with",
			"run builder in its own image, which has kbuild's tools")
	}
	return Compiler{Command: name, Warning: "nothing says which compiler built the kernel: " + name + " is this image's default"}, nil
}

// CompilerVersion is the first line of what the compiler says of itself,
// with its distribution's revision. It is part of what a tree is made from:
// another image may have another gcc by the same name.
func CompilerVersion(ctx context.Context, r command.Runner, compiler string) (string, error) {
	var out bytes.Buffer
	err := r.Run(ctx, command.Command{Args: []string{compiler, "--version"}, Env: []string{"LC_ALL=C"}, Output: &out})
	if err != nil {
		return "", stage.Wrap(stage.Prepare, err, "could not run the compiler",
			"run builder in its own image, which has kbuild's tools")
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	return strings.TrimSpace(line), nil
}
