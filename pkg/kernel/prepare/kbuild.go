package prepare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/cause"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/askonce"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// kbuildArch is kbuild's name for an architecture.
var kbuildArch = map[kernel.Arch]string{
	kernel.X86_64:  "x86_64",
	kernel.AArch64: "arm64",
}

// environment keeps this machine out of what is built: messages whose
// language package cause knows, nothing of a make or a build that called us, and
// no user, host or time in generated headers.
var environment = []string{
	"LC_ALL=C",
	"MAKEFLAGS=", "KCFLAGS=", "KBUILD_OUTPUT=",
	"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
	"KBUILD_BUILD_USER=builder",
	"KBUILD_BUILD_HOST=cuda",
}

// onceFile is what every make reads first, in the tree that is made: see
// package askonce. Its name is not one of kbuild's.
const onceFile = "askonce.mk"

// changing are the variables whose answer is not the same throughout: to make
// the file that has the release is a part of preparing.
var changing = []string{"KERNELRELEASE"}

// notMade are the goals of modules_prepare that no build against the tree runs,
// with nothing to do for them. resolve_btfids writes into vmlinux, and into
// modules where there is a vmlinux, which there never is; it and the library
// that it is made of are half of what there is to compile, and of the tree's size.
const notMade = "\ntools/bpf/resolve_btfids: ;\n"

// notNeeded are programs that old trees make before anything else and that no module is
// made with, by the option of the config that asks for each, which make then sees unset;
// compilers see it as it is.
var notNeeded = []struct {
	option       string
	major, minor int // the line from which on it is no trouble
}{
	// genheaders compares the C library's address families with those it knows
	// ("New address family defined"); 5.1 has it take the kernel's, as stable releases of
	// older lines do.
	{"SECURITY_SELINUX", 5, 1},
	// The code that kexec jumps to, of many files of arch/x86, until 4.16 a part of
	// archprepare.
	{"KEXEC_FILE", 4, 17},
}

// withoutPrograms are make's arguments that leave those out for a release.
func withoutPrograms(r kernel.Release) (args []string) {
	for _, p := range notNeeded {
		if !r.AtLeast(p.major, p.minor) {
			args = append(args, "CONFIG_"+p.option+"=")
		}
	}
	return args
}

// kbuild runs make in one kernel tree.
type kbuild struct {
	runner command.Runner
	args   []string
	env    []string
	// reads and writes are the source and the tree that is made of it.
	reads, writes []string
	log           io.WriteCloser
	// hint is what to do when make fails.
	hint string
}

func newKbuild(t kernel.Target, src source.Tree, out string, o Options) (*kbuild, error) {
	arch, ok := kbuildArch[t.Arch]
	if !ok {
		return nil, stage.New(stage.Prepare, fmt.Sprintf("kbuild's name for the architecture %q is not known", t.Arch), "build for a kernel of x86_64 or aarch64")
	}
	_, native := splitCross(o.Compiler)
	once, err := askonce.Makefile(src.Dir, changing...)
	if err == nil {
		err = beneath.WriteFile(filepath.Join(out, onceFile), append(once, notMade...), 0o644)
	}
	if err != nil {
		return nil, failed(err, "could not write what make reads first")
	}
	log, err := openLog(o.LogFile)
	if err != nil {
		return nil, failed(err, "could not open the log of make")
	}
	return &kbuild{
		runner: o.Runner,
		args: append([]string{
			"make", "-C", src.Dir, "O=" + out, "ARCH=" + arch,
			"CC=" + o.Compiler, "HOSTCC=" + native,
			// Set and empty keeps setlocalversion from looking at git's
			// state and adding a "+" to the release.
			"LOCALVERSION=",
			"-j" + strconv.Itoa(o.Jobs),
		}, append(crossArguments(o.Compiler), withoutPrograms(t.Release)...)...),
		// Questions to the compiler are answered in TMPDIR, and an answer
		// that cannot be had is no flag at all.
		env:    append(environment[:len(environment):len(environment)], "MAKEFILES="+filepath.Join(out, onceFile), "TMPDIR="+out),
		reads:  command.WithLinked(append(t.Tree.Folders(), src.Dir)...),
		writes: []string{out},
		log:    log,
		hint:   hint(src, o.LogFile),
	}, nil
}

func hint(src source.Tree, log string) string {
	var hints []string
	if log != "" {
		hints = append(hints, "read what make printed in "+log)
	}
	if src.Rung == source.RungHostSource {
		hints = append(hints, "take another source than the host's own tree with --source-ref")
	}
	return strings.Join(hints, ", or ")
}

// openLog makes the file and its folder; no name is a log that keeps nothing.
func openLog(name string) (io.WriteCloser, error) {
	if name == "" {
		return nopCloser{io.Discard}, nil
	}
	if err := beneath.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return beneath.Create(name, 0o644)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Close closes the log.
func (k *kbuild) Close() error { return k.log.Close() }

// Make makes one goal; its error says what went wrong first.
func (k *kbuild) Make(ctx context.Context, goal string) error {
	args := append(k.args[:len(k.args):len(k.args)], goal)
	task := progress.Begin(ctx, "kernel tree", "steps", 0)
	defer task.End()
	var said cause.Finder
	err := k.runner.Run(ctx, command.Command{
		Args:   args,
		Env:    k.env,
		Reads:  k.reads,
		Writes: k.writes,
		Output: io.MultiWriter(k.log, &said, task.Lines()),
	})
	if err == nil {
		return nil
	}
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return stage.Wrap(stage.Prepare, err, "could not run make "+goal,
			"run builder in its own image, which has kbuild's tools")
	}
	reason := "make " + goal + " failed"
	if line := said.Cause(); line != "" {
		reason += " (" + line + ")"
	}
	return stage.Wrap(stage.Prepare, err, reason, k.hint)
}
