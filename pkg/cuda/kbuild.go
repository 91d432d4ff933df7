package cuda

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
)

// cross says whether the driver is of another architecture than this machine.
func (o BuildOptions) cross() bool { return o.CrossCompile != "" }

// tool is what compiles the modules, for people.
func (o BuildOptions) tool() string {
	if o.cross() {
		return "kbuild of driver"
	}
	return "nvidia-installer"
}

// crossVariables are what make takes for another architecture: kbuild's own, and those by
// which a driver's makefile hands this machine's linker and objdump on.
func (o BuildOptions) crossVariables() []string {
	if !o.cross() {
		return nil
	}
	return []string{"ARCH=" + o.Arch, "CROSS_COMPILE=" + o.CrossCompile, "LD=" + o.CrossCompile + "ld", "OBJDUMP=" + o.CrossCompile + "objdump"}
}

// byKbuild is the work of kbuild, called as an installer calls it: make in the folder of
// the modules' sources, which goes on after an error to say them all. (NVIDIA publishes that
// of its nvidia-installer, run_make of kernel.c.)
func (o BuildOptions) byKbuild(d Driver) work {
	folder := d.SourceDir(o.ModuleType)
	return work{
		argv: []string{
			"make", "-k", "-j" + strconv.Itoa(o.jobs()), "modules",
			"NV_EXCLUDE_KERNEL_MODULES=" + o.excluded(), "SYSSRC=" + o.SourceDir, "SYSOUT=" + o.OutputDir,
		},
		dir:    filepath.Join(d.Dir, folder),
		leaves: filepath.Join(d.Dir, folder),
		why:    fmt.Sprintf("the package's nvidia-installer is a program for %s, and did not run: kbuild was called in %s as it does", d.Arch, folder),
	}
}

// excluded are the modules that kbuild leaves out: by an installer not all that could be.
func (o BuildOptions) excluded() string {
	if o.cross() {
		return strings.Join(o.Exclude, " ")
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(o.Exclude), compiledAnyway), " ")
}

// output receives what is printed, of which out keeps the end. An installer writes a log; of
// kbuild it is made here, in the same form.
func (o BuildOptions) output(place workplace, w work, out *tail) (io.WriteCloser, error) {
	if !o.cross() {
		return printed{Writer: out}, nil
	}
	file, err := beneath.Create(place.log(), 0o644)
	if err != nil {
		return nil, err
	}
	log := &indenter{w: file}
	if _, err := fmt.Fprintf(file, "%sBuilding kernel modules\n%sexecuting: '%s'...\n", stepPrefix, outputPrefix, strings.Join(w.argv, " ")); err != nil {
		_ = file.Close()
		return nil, err
	}
	return printed{io.MultiWriter(out, log), file}, nil
}

// printed is where output goes, and what is to be closed at its end.
type printed struct {
	io.Writer
	file io.Closer
}

func (p printed) Close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// indenter indents every line as an installer's log does what commands print.
type indenter struct {
	w      io.Writer
	inside bool // the last write ended inside a line
}

// Write implements io.Writer.
func (n *indenter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if !n.inside {
			line = outputPrefix + line
		}
		if _, err := io.WriteString(n.w, line); err != nil {
			return 0, err
		}
		n.inside = !strings.HasSuffix(line, "\n")
	}
	return len(p), nil
}
