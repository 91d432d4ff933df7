package cuda

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/cuda/conftest"
	"github.com/k8sp/cuda/pkg/kernel/askonce"
	"github.com/k8sp/cuda/pkg/stage"
)

// DefaultTimeout is the time limit of a build whose options name none. Five
// modules take a minute or two on two cores, so it only ends what hangs.
const DefaultTimeout = time.Hour

// BuildOptions are what [Build] builds against and with.
type BuildOptions struct {
	// Runner runs the installer; required.
	Runner command.Runner
	// Scratch is a folder for temporary files and for the modules; required,
	// and thrown away by the caller.
	Scratch string
	// LogFile is where the installer keeps its log; required. Its folder is
	// made, and an earlier log there replaced.
	LogFile string
	// Release is the kernel's, to the letter, as uname -r prints it there.
	Release string
	// SourceDir and OutputDir are the kernel's source tree and the output
	// tree prepared from it; they may be the same folder.
	SourceDir, OutputDir string
	// Linked are folders that links in those lead to.
	Linked []string
	// Reads are further folders that the programs of a tree need.
	Reads []string
	// Compiler is the C compiler, "gcc-12"; empty means cc.
	Compiler string
	// CrossCompile and Arch are kbuild's variables of these names where the kernel and the
	// driver are of another architecture than this machine: "aarch64-linux-gnu-", "arm64".
	// Kbuild is then run without the package's installer, which is a program for the other.
	// Elsewhere CrossCompile is empty, and Arch is not looked at.
	CrossCompile, Arch string
	// ModuleType is [Proprietary] or [Open], whichever the package has;
	// [Preference.Resolve] chooses. Required.
	ModuleType string
	// Exclude names modules to leave out, as [Leave] returns them.
	Exclude []string
	// AllowUndefined lets modules use symbols that OutputDir's Module.symvers
	// does not list; they are in Built.Undefined instead of failing the
	// build. It is for a list that is known to lack the kernel's own modules
	// that were not loaded when it was made.
	AllowUndefined bool
	// Answers are what is known of the driver's tests of this very kernel tree; the build
	// adds what it finds out. Nil has all of them asked, and keeps nothing.
	Answers *conftest.Answers
	// Debug keeps debugging information: modules seventeen times the size,
	// in a fifth more time.
	Debug bool
	// Jobs is how many compilers run at once; zero means one a processor.
	Jobs int
	// Timeout ends an installer that hangs; zero means [DefaultTimeout].
	Timeout time.Duration
	// StateDir is where the installer looks for the record of an installed
	// driver; empty means /var/lib/nvidia, the only folder that NVIDIA's own
	// installer looks into.
	StateDir string
	// Pair is the driver and the kernel as the table of known breaks has them, which
	// explains a build that fails. Newer is the driver version next to it that is
	// known to build; empty where none is.
	Pair  breaks.Pair
	Newer string
	// Patched says that patches of the user's were applied to the sources.
	Patched bool
	// Running is the release of the kernel that this program runs on; empty
	// means to ask it.
	Running string

	standin standin
}

func (o BuildOptions) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0) // follows a container's CPU quota
}

// Built is what a build left behind.
type Built struct {
	// Dir holds the modules, below BuildOptions.Scratch.
	Dir string
	// Files are the paths of the modules, in Dir, sorted.
	Files []string
	// InstallerFlags are the installer's arguments without the values that
	// belong to this machine, such as paths.
	InstallerFlags []string
	// WithoutInstaller says why the installer did not run; empty where it did.
	WithoutInstaller string
	// Undefined are the symbols that modpost found nowhere, sorted.
	Undefined []string
}

// writableHint is for what fails in the scratch folder.
const writableHint = "let the share's owner, as whom builder works there, read and write it, and run again"

// Build runs the package's nvidia-installer in its kernel-modules-only mode, or
// kbuild as that does where it cannot run here, and returns the modules that came out.
// Success is judged by them: the installer's exit status can be 0 with one missing. The
// error of a build that failed is a *stage.Error with the compiler's first error.
//
// The folder d.Dir is spent afterwards, since the modules are compiled in it.
func Build(ctx context.Context, d Driver, o BuildOptions) (Built, error) {
	limit := cmp.Or(o.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %s", errTimeout, limit))
	defer cancel()
	var known options
	var err error
	if !o.cross() {
		if known, err = queryOptions(ctx, d, o.Runner); err != nil {
			return Built{}, err
		}
	}
	place, err := makeFolders(o)
	if err == nil {
		o.standin = o.standIn(ctx, d, place)
		err = o.writeMakefile()
	}
	if err != nil {
		return Built{}, stage.Wrap(stage.Build, err, "the build's folders cannot be made", writableHint)
	}
	w := o.byKbuild(d)
	if !o.cross() {
		if w, err = o.byInstaller(known, d, place); err != nil {
			return Built{}, err
		}
	}

	printed, runErr := o.run(ctx, d, place, w)
	if files := (*command.FilesError)(nil); errors.As(runErr, &files) {
		return Built{}, stage.Wrap(stage.Build, files.Err,
			"the record of an installed driver, which nvidia-installer insists on, cannot be written", "run builder as root")
	}
	if err := command.CopyLeft(place.log(), o.LogFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Built{}, stage.Wrap(stage.Build, err, "the log of "+o.tool()+" cannot be kept", writableHint)
	}
	if errors.Is(runErr, context.Canceled) {
		return Built{}, runErr
	}
	o.learn(ctx, place)
	b := Built{InstallerFlags: w.flags, WithoutInstaller: w.why}
	if b.Dir, err = beneath.MkdirTemp(o.Scratch, "modules-"); err == nil {
		b.Files, err = gatherModules(w.leaves, b.Dir)
	}
	if err != nil {
		return Built{}, stage.Wrap(stage.Build, err, "the built modules cannot be gathered", writableHint)
	}
	if b.Files, err = drop(b.Files, o.Exclude); err != nil {
		return Built{}, stage.Wrap(stage.Build, err, "a module that was not asked for cannot be removed", writableHint)
	}
	log, err := readLog(o.LogFile)
	if err != nil {
		return Built{}, stage.Wrap(stage.Build, err, "the log of "+o.tool()+" cannot be read", writableHint)
	}
	b.Undefined = log.Undefined
	missing := missingModules(d.Modules(o.ModuleType), o.Exclude, b.Files)
	if runErr == nil && len(missing) == 0 {
		return b, nil
	}
	return Built{}, o.failure(d, runErr, missing, log, printed)
}

// work is what compiles the modules.
type work struct {
	// argv is its command, run in the folder dir.
	argv []string
	dir  string
	// files are those that it insists on, by their paths.
	files map[string][]byte
	// leaves is the folder in which, or below which, it leaves the modules.
	leaves string
	// flags and why are Built.InstallerFlags and Built.WithoutInstaller.
	flags []string
	why   string
}

// byInstaller is the work of the package's installer, which knows the options known.
func (o BuildOptions) byInstaller(known options, d Driver, place workplace) (work, error) {
	args, err := compose(known, d, o, place)
	if err != nil {
		return work{}, err
	}
	w := work{
		argv: installerArgs(known, d, o, args), dir: d.Dir, leaves: place.modules(),
		files: map[string][]byte{filepath.Join(o.stateDir(), "log"): installedRecord(d)},
	}
	for _, a := range args {
		w.flags = append(w.flags, a.record())
	}
	return w, nil
}

// queryOptions asks the installer which options it knows.
func queryOptions(ctx context.Context, d Driver, r command.Runner) (options, error) {
	var out tail
	out.limit = 1 << 20
	err := r.Run(ctx, command.Command{
		Args:   []string{d.Installer(), "--advanced-options"},
		Dir:    d.Dir,
		Env:    []string{"LC_ALL=C"},
		Reads:  []string{d.Dir},
		Output: &out,
	})
	var exit *command.ExitError
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errTimeout):
		return nil, stage.Wrap(stage.Build, context.Cause(ctx),
			fmt.Sprintf("the nvidia-installer of driver %s did not end by itself when it was asked for its options, and was stopped", d.Version),
			"get the driver package from NVIDIA again, or give it longer with --build-timeout")
	case errors.As(err, &exit):
		return nil, stage.Wrap(stage.Build, err,
			fmt.Sprintf("the nvidia-installer of driver %s does not list its options: %s", d.Version, out.lastLines(3)),
			"get the driver package from NVIDIA again")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return nil, stage.Wrap(stage.Build, err,
			fmt.Sprintf("the nvidia-installer of driver %s is not executable", d.Version),
			"check that its mode has x, that it is a program for this machine, and that the share is not mounted noexec")
	case err != nil:
		return nil, stage.Wrap(stage.Build, err,
			fmt.Sprintf("the nvidia-installer of driver %s cannot be started", d.Version), "get the driver package from NVIDIA again")
	}
	return parseOptions(strings.NewReader(out.String()))
}

// workplace is a folder that the installer leaves all in, beside the driver's.
type workplace string

func (w workplace) log() string     { return filepath.Join(string(w), "log") }
func (w workplace) modules() string { return filepath.Join(string(w), "modules") }
func (w workplace) temp() string    { return filepath.Join(string(w), "tmp") }
func (w workplace) notes() string   { return filepath.Join(string(w), "conftest") }

// makeFolders makes a fresh folder for what the installer leaves, and one for its log.
func makeFolders(o BuildOptions) (workplace, error) {
	place := workplace(filepath.Join(o.Scratch, "installer"))
	if err := beneath.RemoveAll(string(place)); err != nil {
		return "", err
	}
	for _, dir := range []string{string(place), place.modules(), place.temp(), place.notes()} {
		if err := beneath.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := beneath.MkdirAll(filepath.Dir(o.LogFile), 0o755); err != nil {
		return "", err
	}
	return place, beneath.RemoveAll(o.LogFile)
}

// installerArgs is the whole command.
//
// Installers before 550.40.07 cannot be told to leave the new modules alone:
// they load them as a test whenever --kernel-name is the running kernel's
// release, in a container too. Under a personality in which uname -r begins
// with 2.6 it never is. (The release of the modules comes from the tree.)
func installerArgs(known options, d Driver, o BuildOptions, args []argument) []string {
	var argv []string
	if !known[skipModuleLoad] && o.running() == o.Release {
		argv = append(argv, "setarch", "--uname-2.6")
	}
	argv = append(argv, d.Installer())
	for _, a := range args {
		argv = append(argv, a.String())
	}
	return argv
}

func (o BuildOptions) running() string {
	if o.Running != "" {
		return o.Running
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// stateDir is where nvidia-installer has its record of what is installed.
const stateDir = "/var/lib/nvidia"

func (o BuildOptions) stateDir() string { return cmp.Or(o.StateDir, stateDir) }

// Installable says, before the work, whether the installer's record can be written
// where it sees this process's own files. Its error is a [stage.Error] of the build
// stage.
func Installable() error { return installable(stateDir) }

func installable(dir string) error {
	restore, err := command.PutFiles(map[string][]byte{filepath.Join(dir, "log"): nil})
	if err == nil {
		restore()
		return nil
	}
	hint := "leave out --read-only, or add --tmpfs " + dir + " to docker run"
	if uid := os.Geteuid(); uid != 0 {
		return stage.Wrap(stage.Build, err, fmt.Sprintf("nvidia-installer insists on a record in %s, where user %d, as whom builder runs, may not write", dir, uid),
			"run the container as root (leave out --user), or "+hint)
	}
	return stage.Wrap(stage.Build, err, fmt.Sprintf("nvidia-installer insists on a record in %s, which cannot be written in this container", dir), hint)
}

// environment is what the build sees besides what every command does.
func (o BuildOptions) environment(d Driver) []string {
	// Assertions and warnings name their file, by its path in scratch.
	flags := "-ffile-prefix-map=" + d.Dir + "/="
	if !o.Debug {
		flags = "-g0 " + flags
	}
	env := []string{
		"LC_ALL=C",
		"MAKEFLAGS=" + o.makeFlags(),
		"MAKEFILES=" + o.makefile(),
		// The choice of the compiler was made, and explained, before.
		"IGNORE_CC_MISMATCH=1",
		"KCFLAGS=" + flags,
	}
	if o.Compiler != "" {
		env = append(env, "CC="+o.Compiler)
	}
	if o.AllowUndefined {
		env = append(env, "KBUILD_MODPOST_WARN=1")
	}
	return env
}

// makefile is what every make of the build reads first.
func (o BuildOptions) makefile() string { return filepath.Join(o.Scratch, "askonce.mk") }

func (o BuildOptions) writeMakefile() error {
	once, err := askonce.Makefile(o.SourceDir)
	if err != nil {
		return err
	}
	return beneath.WriteFile(o.makefile(), slices.Concat(once, []byte(conftest.LookOnce), o.standin.makefile), 0o644)
}

// makeFlags are what make takes as if it had been called with it. The flags of a
// make above us are none of its: that would lend its job slots to ours, or seem
// to. kbuild takes its compiler from a command line only, and not every package
// hands on what it has in its environment: Debian's does not.
func (o BuildOptions) makeFlags() string {
	if o.Compiler == "" {
		return ""
	}
	return strings.Join(append([]string{"-- CC=" + o.Compiler}, o.crossVariables()...), " ")
}

// errTimeout is the cause of a build's end by its own limit.
var errTimeout = errors.New("time limit reached")

// reads are what the build reads: both halves of the kernel's tree, and what links
// in them lead to.
func (o BuildOptions) reads() []string {
	trees := command.WithLinked(append(slices.Clone(o.Linked), o.SourceDir, o.OutputDir)...)
	return slices.Concat(trees, o.Reads, []string{o.makefile()}, o.standin.reads)
}

// run runs what compiles, and reports its progress from the log meanwhile. It
// returns the last lines that it printed, which are its errors.
func (o BuildOptions) run(ctx context.Context, d Driver, place workplace, w work) (printed string, err error) {
	var out tail
	output, err := o.output(place, w, &out)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	done := make(chan error, 1)
	zerolog.Ctx(ctx).Debug().Str("command", strings.Join(w.argv, " ")).Strs("environment", o.environment(d)).Msg("running " + o.tool())
	go func() {
		done <- o.Runner.Run(ctx, command.Command{
			Args: w.argv, Dir: w.dir, Env: append(o.environment(d), "TMPDIR="+place.temp()), Output: output,
			Reads: o.reads(), Writes: []string{d.Dir, string(place)}, Files: w.files,
		})
	}()
	left := o.steps(ctx, d)
	task := progress.Begin(ctx, "kernel modules", "steps", left.tests+left.objects)
	defer task.End()
	log := follower{path: place.log(), task: task, left: left, step: func(step string) { zerolog.Ctx(ctx).Debug().Msg(step) }}
	ticks := time.NewTicker(500 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			log.poll()
		case err := <-done:
			log.poll()
			if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
				err = context.Cause(ctx)
			}
			return out.lastLines(3), err
		}
	}
}

// steps are what make does for a driver: tests of the kernel's interfaces, and objects,
// of which each module has one for modpost's findings.
type steps struct{ tests, objects int64 }

// steps is how many there are by the package's own count, by which its installer draws
// its bar; the zero value where it has none.
func (o BuildOptions) steps(ctx context.Context, d Driver) steps {
	dir := filepath.Join(d.Dir, d.SourceDir(o.ModuleType))
	if _, err := beneath.Lstat(filepath.Join(dir, "count-lines.mk")); err != nil {
		return steps{}
	}
	var out tail
	err := o.Runner.Run(ctx, command.Command{
		Args: []string{"make", "--silent", "--file=count-lines.mk", "count", "SYSSRC=" + o.SourceDir, "SYSOUT=" + o.OutputDir,
			"NV_EXCLUDE_KERNEL_MODULES=" + o.excluded()},
		Dir: dir, Env: o.environment(d), Reads: append(o.reads(), d.Dir), Output: &out,
	})
	count := counted.FindStringSubmatch(out.String())
	if err != nil || count == nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("said", out.lastLines(1)).Msg("the package does not say how much there is to compile")
		return steps{}
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(count[i+1], 10, 32) // digits
	}
	return steps{tests: n[0], objects: n[1] + n[2]}
}

var counted = regexp.MustCompile(`conftests:(\d{1,6}) objects:(\d{1,6}) modules:(\d{1,6})`)

// hostModprobe is the complaint of an installer that does not find the program
// with which the kernel that it runs on would load a module, whatever it builds for.
var hostModprobe = regexp.MustCompile("reported by '/proc/sys/kernel/modprobe', `(/[^`]*)`, differs")

// killed is what compilers, shells and make say of a program that SIGKILL ended.
var killed = regexp.MustCompile(`\bKilled\b`)

// noMemoryKind is the kind of failure of a build for which there was not enough memory.
const noMemoryKind = "no-memory"

// explainCause says of a compiler's error what is known of it, and what to do.
func (o BuildOptions) explainCause(e *stage.Error, d Driver, cause string) {
	e.Reason = fmt.Sprintf("driver %s does not compile against kernel %s", d.Version, o.Release)
	switch b, known, ok := breaks.Explain(cause, o.Pair); {
	case known:
		e.Kind = breaks.Check
		e.Reason += fmt.Sprintf(", as is known of it: %s (Linux %s)", b.Says, b.Where())
	case ok:
		e.Reason += fmt.Sprintf(", which may have taken in a change of others: %s (Linux %s)", b.Says, b.Where())
	}
	do := "take a newer driver"
	if e.Kind != "" && o.Newer != "" {
		do = fmt.Sprintf("take driver %s, with --driver-version %[1]s", o.Newer)
	}
	patch := "patch it with --driver-patches"
	if o.Patched {
		patch = "patch it further"
	}
	e.Hint = fmt.Sprintf("%s, or %s; %s", do, patch, e.Hint)
}

// failure is the error of a build that failed, or that left modules out.
func (o BuildOptions) failure(d Driver, runErr error, missing []string, log findings, printed string) error {
	e := &stage.Error{Stage: stage.Build, Hint: "see " + o.LogFile}
	who := o.tool() + " " + d.Version
	why := cmp.Or(log.Cause, log.Complaint, printed)
	switch {
	case errors.Is(runErr, errTimeout):
		e.Reason = fmt.Sprintf("%s did not end by itself and was stopped (%v)", who, runErr)
		e.Hint += ", or give it longer with --build-timeout"
		why = "its last words were: " + cmp.Or(lastLogLines(o.LogFile, 3), printed, "none")
	case strings.Contains(log.Cause, noSpace):
		e.Reason = who + " ran out of disk space"
		e.Err, why = unix.ENOSPC, ""
	case killed.MatchString(log.Cause):
		e.Kind = noMemoryKind
		e.Reason = fmt.Sprintf("a compiler of driver %s was killed, as the kernel does where memory runs out", d.Version)
		e.Hint = "give the container more memory, or run fewer compilers at once with --jobs 1; " + e.Hint
	case runErr == nil:
		e.Reason = fmt.Sprintf("%s reported success, but did not build %s", who, strings.Join(missing, ", "))
	case log.Cause != "":
		o.explainCause(e, d, log.Cause)
	case hostModprobe.MatchString(log.Complaint):
		path := hostModprobe.FindStringSubmatch(log.Complaint)[1]
		e.Reason = fmt.Sprintf("nvidia-installer %s insists that this machine's modprobe, %s, is in this container too", d.Version, path)
		e.Hint, why = fmt.Sprintf("mount it, -v %[1]s:%[1]s:ro: it is only looked at", path), ""
	default:
		e.Reason = who + " failed"
		e.Err = runErr
	}
	if why != "" {
		// The scratch folder's name says nothing to the reader.
		e.Err = errors.New(strings.TrimRight(strings.ReplaceAll(why, d.Dir+"/", ""), "."))
	}
	return e
}
