package confine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
)

// Nobody is the user, and the group, that owns nothing.
const Nobody = 65534

// Runner runs commands confined. It may run several at once.
type Runner struct {
	uid, gid int
	without  map[string]bool
	handover handover

	mu      sync.Mutex
	decided bool
	rung    int // of rungs, the one that commands have, or are to begin with
	failed  []failure
}

// Without leaves a layer out that could be had: one of the constants that a [Gap]
// has.
func Without(layers ...string) func(*Runner) {
	return func(r *Runner) {
		for _, layer := range layers {
			r.without[layer] = true
		}
	}
}

// New runs commands as a user and group: those of the share's owner, so that
// commands can do there what the owner can; of those that are root's [Nobody] takes the
// place.
//
// Where this process may not become another user, as one that is not root, its
// own has to do.
func New(uid, gid int, options ...func(*Runner)) *Runner {
	if uid == 0 {
		uid = Nobody
	}
	if gid == 0 { // may read what is root's group's
		gid = Nobody
	}
	r := &Runner{uid: uid, gid: gid, without: map[string]bool{}}
	for _, o := range options {
		o(r)
	}
	return r
}

// rungs are the ways to confine, the best first. A /proc of its own may only be
// mounted where the container's is not covered in part, or by root.
var rungs = []rung{
	{User: true, Mounts: true},
	{Mounts: true},
	{User: true, Mounts: true, OuterProc: true},
	{},
}

// wanted says whether a rung may be tried.
func (r *Runner) wanted(g rung) bool {
	switch {
	case g.User && r.without[UserNamespace], g.Mounts && r.without[Namespaces], g.Mounts && !g.OuterProc && r.without[OwnProc]:
		return false
	case g.Mounts && !g.User:
		return capable(unix.CAP_SYS_ADMIN)
	}
	return true
}

// Report finds out what can be had for commands that read folders, such as the
// share, and tells of it. What can be had for these is what later commands have,
// or else they fail: whoever can bring a view to nothing gains nothing by it. An
// error is that not even the least can be had.
func (r *Runner) Report(ctx context.Context, reads ...string) (Report, error) {
	return r.descend(ctx, command.Command{Reads: reads}, "")
}

// setupError is that a rung could not be had.
type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// Run implements [command.Runner]. A command without arguments is not run, but
// all else is tried.
func (r *Runner) Run(ctx context.Context, c command.Command) error {
	path := ""
	if len(c.Args) > 0 {
		var err error
		if path, err = command.LookPath(c.Args[0]); err != nil {
			return fmt.Errorf("start %s: %w", c.Args[0], err)
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	for _, named := range slices.Concat(c.Reads, c.Writes) {
		if !filepath.IsAbs(named) {
			return fmt.Errorf("a program cannot be given %s: it is no absolute path", named)
		}
	}
	r.mu.Lock()
	decided, n := r.decided, r.rung
	r.mu.Unlock()
	if !decided {
		_, err := r.descend(ctx, c, path)
		return err
	}
	_, err := r.try(ctx, n, c, path)
	if setup := (*setupError)(nil); errors.As(err, &setup) {
		return fmt.Errorf("a program cannot be confined: %w", setup.err)
	}
	return err
}

// descend runs a command in the best way that can be had, which is then decided.
func (r *Runner) descend(ctx context.Context, c command.Command, path string) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var failures []error
	for n := r.rung; n < len(rungs); n++ {
		if !r.wanted(rungs[n]) {
			continue
		}
		p, err := r.try(ctx, n, c, path)
		var setup *setupError
		switch {
		case p != nil:
			r.decided, r.rung = true, n
			return r.report(p), err
		case !errors.As(err, &setup) || ctx.Err() != nil:
			return Report{}, err
		}
		failures = append(failures, fmt.Errorf("%s: %w", rungs[n], setup.err))
		r.failed = append(r.failed, failure{rungs[n], setup.err})
	}
	return Report{}, fmt.Errorf("a program cannot be confined: %w", errors.Join(failures...))
}

// failure is why a rung could not be had.
type failure struct {
	rung rung
	err  error
}

// why is the reason for the last of the rungs that were of a kind.
func (r *Runner) why(kind func(rung) bool) string {
	for _, f := range slices.Backward(r.failed) {
		if kind(f.rung) {
			return f.err.Error()
		}
	}
	return "not wanted"
}

// try runs a command in one way. It reports how that confined the command, if it
// was started.
func (r *Runner) try(ctx context.Context, n int, c command.Command, path string) (*process, error) {
	g := rungs[n]
	who := r.identity(g, c)
	if !g.Mounts {
		temp, err := os.MkdirTemp("", "confined-")
		if err == nil {
			defer os.RemoveAll(temp)
			c.Writes = append(slices.Clip(c.Writes), temp)
			c.Env = append([]string{"HOME=" + temp, "TMPDIR=" + temp}, c.Env...)
		}
	}
	handed, err := r.handover.hand(c.Writes, who.uid, who.gid)
	if errors.Is(err, unix.EPERM) && who.set {
		// A server that takes root for nobody, for example.
		who = ourselves("the share's files cannot be given to another user")
		handed, err = r.handover.hand(c.Writes, who.uid, who.gid)
	}
	if err != nil {
		return nil, fmt.Errorf("a program's folders cannot be given to it: %w", err)
	}
	defer handed.back()
	if !g.Mounts {
		restore, err := command.PutFiles(c.Files)
		if err != nil {
			return nil, err
		}
		defer restore()
	}
	s := spec{
		rung: g, UID: who.uid, GID: who.gid, SetIDs: who.set,
		Landlock: !r.without[Landlock], Seccomp: !r.without[Seccomp],
		Path: path, Args: c.Args, Env: environment(c), Dir: c.Dir,
		Reads: clean(c.Reads), Writes: clean(c.Writes), Files: c.Files,
	}
	if s.Dir == "" {
		s.Dir = "/"
	}
	if g.User {
		s.UID, s.GID = 0, 0
	}
	if g.OuterProc {
		s.Hide = processes()
	}
	p := &process{ctx: ctx, spec: s, who: who, output: c.Output}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p, p.end(c)
}

// report says how a command was confined.
func (r *Runner) report(p *process) Report {
	g, got := p.spec.rung, p.started
	report := Report{UID: p.who.uid, GID: p.who.gid, Isolated: g.Mounts, Landlock: got.Landlock}
	gap := func(missing bool, layer, why string) {
		if missing {
			report.Gaps = append(report.Gaps, Gap{layer, why})
		}
	}
	gap(!g.User, UserNamespace, r.why(func(g rung) bool { return g.User }))
	gap(!g.Mounts, Namespaces, r.why(func(g rung) bool { return g.Mounts }))
	gap(g.OuterProc, OwnProc, r.why(func(g rung) bool { return g.Mounts }))
	gap(p.who.why != "", OwnUser, p.who.why)
	gap(got.Landlock == 0, Landlock, got.NoLandlock)
	gap(got.NoSeccomp != "", Seccomp, got.NoSeccomp)
	return report
}

// identity is who a command runs as.
type identity struct {
	uid, gid int
	// set says that this process is another.
	set bool
	// why says why it is not the user that it should be.
	why string
}

func ourselves(why string) identity {
	return identity{uid: os.Geteuid(), gid: os.Getegid(), why: why}
}

func (r *Runner) identity(g rung, c command.Command) identity {
	switch {
	case os.Geteuid() == r.uid:
		return ourselves("")
	case os.Geteuid() != 0:
		return ourselves(fmt.Sprintf("builder is user %d", os.Geteuid()))
	case !capable(unix.CAP_SETUID) || !capable(unix.CAP_SETGID) || !capable(unix.CAP_CHOWN):
		return ourselves("this container lacks CAP_SETUID, CAP_SETGID or CAP_CHOWN")
	case !mapped("/proc/self/uid_map", r.uid) || !mapped("/proc/self/gid_map", r.gid):
		return ourselves(fmt.Sprintf("there is no user %d, or no group %d, in this container's user namespace", r.uid, r.gid))
	}
	if !g.Mounts {
		// Without a view the way there, and into it, is the container's.
		for _, path := range slices.Concat(c.Reads, c.Writes) {
			if barred := barred(path, r.uid, r.gid); barred != "" {
				return ourselves(fmt.Sprintf("user %d may not pass through %s", r.uid, barred))
			}
		}
	}
	return identity{uid: r.uid, gid: r.gid, set: true}
}

// mapped says whether a user namespace has an id: user_namespaces(7).
func mapped(file string, id int) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return true // a kernel without
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, count int
		if _, err := fmt.Sscan(line, &first, &outside, &count); err == nil && id >= first && id-first < count {
			return true
		}
	}
	return false
}

// barred is the first folder, of a path and those on the way to it, that a user without further
// groups may not pass through.
func barred(path string, uid, gid int) string {
	for dir := path; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			bit := uint32(0o001)
			switch {
			case int(st.Uid) == uid:
				bit = 0o100
			case int(st.Gid) == gid:
				bit = 0o010
			}
			if st.Mode&bit == 0 {
				return dir
			}
		}
		if dir == "/" || dir == "." {
			return ""
		}
	}
}

func clean(paths []string) []string {
	var list []string
	for _, path := range paths {
		list = append(list, filepath.Clean(path))
	}
	return list
}

// processes are those that /proc has now.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// defaultPath is PATH where builder itself has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is all that a command has of it.
func environment(c command.Command) []string {
	all := append([]string{"PATH=" + cmp.Or(os.Getenv("PATH"), defaultPath), "HOME=/tmp", "TMPDIR=/tmp", "LANG=C", "LC_ALL=C"}, c.Env...)
	// The C library finds the first of a name, and the last is meant.
	var env []string
	for n, entry := range all {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(all[n+1:], func(later string) bool { return strings.HasPrefix(later, name+"=") }) {
			env = append(env, entry)
		}
	}
	return env
}

// ambient are the capabilities that a helper has, in its own user namespace, to
// make a view: root of the container is nobody in there, whom a program would
// otherwise not give any to.
var ambient = []uintptr{
	unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SYS_CHROOT, unix.CAP_KILL,
	unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_CHOWN,
}

// helperEnvironment is all that the helper has of it: nothing, but in tests.
var helperEnvironment = []string{}

// process is a helper and its command.
type process struct {
	ctx    context.Context
	spec   spec
	who    identity
	output io.Writer

	cmd     *exec.Cmd
	started *held
	ended   *ended
	failed  *status
}

// run starts the helper and returns when it has ended. An error is that the
// command was not started.
func (p *process) run() error {
	control, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer tell.Close()
	said, say, err := os.Pipe()
	if err != nil {
		control.Close()
		return err
	}
	defer said.Close()
	p.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{helperName}, Env: helperEnvironment, Dir: "/",
		Stdout: p.output, Stderr: p.output, ExtraFiles: []*os.File{control, say},
		SysProcAttr: p.attributes(),
		// A grandchild that left the group may hold the output pipe open.
		WaitDelay: command.Grace,
	}
	err = p.cmd.Start()
	control.Close()
	say.Close()
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // this program's own is of no interest
		}
		return &setupError{fmt.Errorf("clone: %w", err)}
	}
	go func() { _ = json.NewEncoder(tell).Encode(p.spec) }()
	heard := make(chan struct{})
	go func() {
		p.listen(said)
		close(heard)
	}()
	p.wait(tell)
	<-heard
	switch {
	case p.failed != nil && p.failed.NotStarted:
		return fmt.Errorf("start %s: %w", p.spec.Args[0], &fs.PathError{Op: "exec", Path: p.spec.Path, Err: p.failed.Errno})
	case p.failed != nil && p.failed.BadFile:
		return &command.FilesError{Err: errors.New(p.failed.Failed)}
	case p.failed != nil:
		return &setupError{errors.New(p.failed.Failed)}
	case p.started == nil && p.ctx.Err() != nil:
		return p.ctx.Err()
	case p.started == nil:
		return &setupError{fmt.Errorf("the helper ended early: %s", p.cmd.ProcessState)}
	}
	return nil
}

func (p *process) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Cloneflags: p.spec.flags()}
	if !p.spec.User {
		return a
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: p.who.uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: p.who.gid, Size: 1}}
	a.GidMappingsEnableSetgroups = p.who.set
	if p.who.set {
		a.AmbientCaps = ambient
	}
	return a
}

// listen hears all that the helper says.
func (p *process) listen(said io.Reader) {
	for d := json.NewDecoder(said); ; {
		var s status
		if d.Decode(&s) != nil {
			return
		}
		switch {
		case s.Started != nil:
			p.started = s.Started
		case s.Ended != nil:
			p.ended = s.Ended
		case s.Failed != "":
			p.failed = &s
		}
	}
}

// wait waits for the helper's end, which it hastens when the context ends.
func (p *process) wait(tell io.Writer) {
	done := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(done)
	}()
	within := func(limit time.Duration) bool {
		select {
		case <-done:
			return true
		case <-time.After(limit):
			return false
		}
	}
	select {
	case <-done:
		return
	case <-p.ctx.Done():
	}
	_, _ = tell.Write([]byte{terminate})
	if within(command.Grace) {
		return
	}
	_, _ = tell.Write([]byte{kill})
	if within(command.Grace / 2) {
		return
	}
	_ = p.cmd.Process.Kill()
	<-done
}

// end is the error of a command that ran.
func (p *process) end(c command.Command) error {
	switch {
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case p.ended == nil:
		return &command.ExitError{Program: c.Args[0], Code: -1, State: "killed with all that it started"}
	case p.ended.Signal != 0:
		return &command.ExitError{Program: c.Args[0], Code: -1, State: "signal: " + syscall.Signal(p.ended.Signal).String()}
	case p.ended.Code != 0:
		return &command.ExitError{Program: c.Args[0], Code: p.ended.Code, State: "exit status " + strconv.Itoa(p.ended.Code)}
	}
	return nil
}
