package hosttree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
)

// What kbuild and the driver cannot do without, of either half.
var (
	generated = []string{
		"include/config/auto.conf", "include/generated/autoconf.h", "include/generated/utsrelease.h",
		"scripts/basic/fixdep", "scripts/mod/modpost",
	}
	headers = []string{"Makefile", "include/linux/kernel.h", "scripts/Kbuild.include"}
)

// buildable are files of a source by which a tree can be prepared anew. The
// header packages of Debian and Ubuntu lack some; Fedora's, and build folders
// beside a whole source, have them.
var buildable = []string{
	"Kconfig", "init/Kconfig", "scripts/basic/fixdep.c", "scripts/kconfig/conf.c", "scripts/mod/modpost.c", "kernel/bounds.c",
}

// programs are what kbuild may run of a tree for a module.
var programs = []string{
	"scripts/basic/fixdep", "scripts/mod/modpost", "scripts/genksyms/genksyms", "scripts/recordmcount",
	"scripts/gendwarfksyms/gendwarfksyms",
	"tools/objtool/objtool",
}

// Use is what a host's tree serves for.
type Use int

// Unusable trees serve for nothing; those to [Link] are as good as built here, some
// of them with the host's own loader for their programs; those to [Copy] are a source,
// whose programs must be built anew because they do not run on this system.
const (
	Unusable Use = iota
	AsItIs
	ByLoader
	AsSource
)

// Check says what the target's host tree serves for here. Its error says, in a
// clause, why it is no better than that; it is nil for AsItIs and ByLoader. The tree's own
// programs are run, which do nothing without arguments.
func Check(ctx context.Context, t kernel.Target, r command.Runner) (Use, error) {
	if t.Tree.Build == "" {
		return Unusable, errors.New("the host has none, or it is not mounted")
	}
	if err := checkTree(t); err != nil {
		return Unusable, err
	}
	err := checkPrograms(ctx, t.Tree, r, nil)
	if err == nil {
		return AsItIs, nil
	}
	if loader := t.Tree.Loader; loader.Path != "" && ctx.Err() == nil && checkPrograms(ctx, t.Tree, r, by(loader)) == nil {
		return ByLoader, nil
	}
	switch {
	case ctx.Err() != nil:
		return Unusable, ctx.Err()
	case missing(t.Tree.Source, buildable) == "":
		return AsSource, err
	}
	return Unusable, fmt.Errorf("%w, and the source to build it anew is not there", err)
}

// checkTree compares the tree with the kernel that it should be of.
func checkTree(t kernel.Target) error {
	name := missing(t.Tree.Build, generated)
	if name == "" {
		name = missing(t.Tree.Source, headers)
	}
	if name != "" {
		return fmt.Errorf("it has no %s, or only a link that leads nowhere here", name)
	}
	release, err := releaseOf(t.Tree.Build)
	if err != nil {
		return err
	}
	if release != t.Release.Full {
		return fmt.Errorf("it is the tree of kernel %s", release)
	}
	config, err := readFile(t.Tree.Build, "include/config/auto.conf")
	if err != nil {
		return err
	}
	if changes := drift.Compare(t.Config.Text, config); len(changes) > 0 {
		return fmt.Errorf("its config is not the kernel's: %s, the first of %d", changes[0], len(changes))
	}
	return nil
}

// missing is the first of the files that is not in dir; "" where all are.
func missing(dir string, names []string) string {
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

var utsRelease = regexp.MustCompile(`(?m)^#define UTS_RELEASE "([^"]+)"`)

// releaseOf is what the tree writes into a module's vermagic. Debian's differ
// from their include/config/kernel.release.
func releaseOf(build string) (string, error) {
	text, err := readFile(build, "include/generated/utsrelease.h")
	if err != nil {
		return "", err
	}
	m := utsRelease.FindSubmatch(text)
	if m == nil {
		return "", errors.New("its include/generated/utsrelease.h defines no UTS_RELEASE")
	}
	return string(m[1]), nil
}

// fileLimit is far above a config's size, the largest file that is read.
const fileLimit = 4 << 20

func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fileLimit))
}

// ofLoader are the words of ld.so for a program of another system. It ends with
// a status like any that the program may end with itself.
var ofLoader = regexp.MustCompile("error while loading shared libraries|version `[^']+' not found")

// by is the beginning of a command that runs a program by a loader: ld.so(8).
func by(l kernel.Loader) []string {
	return []string{l.Path, "--library-path", strings.Join(l.Libraries, ":")}
}

// checkPrograms runs those of the programs that are there, as they are or by a loader.
func checkPrograms(ctx context.Context, tree kernel.HostTree, r command.Runner, loader []string) error {
	reads := command.WithLinked(tree.Folders()...)
	if loader != nil {
		reads = append(reads, tree.Loader.Folders()...)
	}
	for _, name := range programs {
		program := filepath.Join(tree.Build, name)
		if _, err := os.Stat(program); err != nil {
			continue
		}
		out := bytes.Buffer{}
		// In an empty place: modpost writes where it is.
		err := r.Run(ctx, command.Command{Args: append(loader[:len(loader):len(loader)], program), Dir: "/", Env: []string{"LC_ALL=C"}, Reads: reads, Output: &out})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var exit *command.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("its %s does not run here: %w", name, reason(err))
		}
		if line, _, _ := strings.Cut(out.String(), "\n"); ofLoader.MatchString(line) {
			return fmt.Errorf("its %s does not run here: %s", name, strings.TrimPrefix(line, program+": "))
		}
	}
	return nil
}

// reason is why a program could not be started, without the program's name.
func reason(err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno // ENOENT is its loader's
	}
	return err
}
