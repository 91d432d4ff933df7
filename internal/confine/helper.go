package confine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// init is where the helper begins, and ends.
func init() {
	if len(os.Args) != 1 || os.Args[0] != helperName {
		return
	}
	syscall.Exit(help()) // a test's program has more to do at an end of its own
}

// The helper's exit statuses say nothing that its status pipe does not.
const (
	helped = 0
	failed = 1
)

// helper is the process that a command is started by.
type helper struct {
	spec
	status *json.Encoder

	mu      sync.Mutex
	command int // its process; 0 before it is started
}

// help is all of the helper. Its threads are not all alike: the command is
// started by one that has locked itself in, which the others have not.
func help() int {
	// Whatever was open where builder was started is not the command's.
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		closeOnExec()
	}
	control := bufio.NewReader(os.NewFile(controlFD, "control"))
	h := &helper{status: json.NewEncoder(os.NewFile(statusFD, "status"))}
	// The spec is a line: what follows it is not the decoder's.
	line, err := control.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &h.spec)
	}
	if err != nil {
		return failed
	}
	// What ends the builder that we are one process group with must leave it to
	// tell us. (Not ignored: the command would inherit that.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	go h.obey(control)

	code := make(chan int)
	go func() {
		runtime.LockOSThread() // for good
		code <- h.run()
	}()
	return <-code
}

// closeOnExec is close_range's work where it is not there, before Linux 5.11.
func closeOnExec() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// obey does as builder says, and ends with it.
func (h *helper) obey(control io.ByteReader) {
	for {
		word, err := control.ReadByte()
		h.mu.Lock()
		switch {
		case err == nil && word == terminate:
			if h.command > 0 {
				_ = unix.Kill(-h.command, unix.SIGTERM)
			}
		default:
			if h.Mounts {
				syscall.Exit(failed) // with which the process namespace ends
			}
			if h.command > 0 {
				_ = unix.Kill(-h.command, unix.SIGKILL)
			}
			killChildren()
			if err != nil { // builder is gone, and nobody waits for us
				for killChildren() > 0 {
					time.Sleep(time.Millisecond) // run reaps them
				}
				syscall.Exit(failed)
			}
		}
		h.mu.Unlock()
	}
}

// failure says why nothing was run.
func (h *helper) failure(what string, err error) int {
	s := status{Failed: what + ": " + err.Error()}
	errors.As(err, &s.Errno)
	_ = h.status.Encode(s)
	return failed
}

// run makes the command's world, on a thread of its own, starts it, and waits.
func (h *helper) run() int {
	unix.Umask(0)
	var got held
	if h.Mounts {
		_ = unix.Sethostname([]byte("cuda"))
		make := func(f func() error) error { return f() }
		if h.User && h.SetIDs {
			w, err := newWorker(func() error { return setIDs(h.UID, h.GID) })
			if err != nil {
				return h.failure("user", err)
			}
			make = w.do
		}
		v := view{spec: h.spec, make: make}
		if err := v.build(); err != nil {
			return h.failure("view", err)
		}
	} else {
		// What the command leaves behind is ours to end.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	unix.Umask(0o022)
	// Its memory has what the command must not have.
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	rules, err := h.rules(&got)
	if err != nil {
		return h.failure("Landlock", err)
	}
	if err := renounce(h.UID, h.GID, h.SetIDs); err != nil {
		return h.failure("user", err)
	}
	// Other threads of this process may more than this one, and what may look
	// into the one may into the others.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return h.failure("prctl", err)
	}
	if rules != nil {
		if err := rules.restrict(); err != nil {
			return h.failure("Landlock", err)
		}
	}
	if h.Seccomp {
		if err := install(filter(!h.User && h.UID != 0)); err != nil {
			got.NoSeccomp = err.Error()
		}
	} else {
		got.NoSeccomp = "not wanted"
	}
	if h.Path == "" {
		_ = h.status.Encode(status{Started: &got})
		_ = h.status.Encode(status{Ended: &ended{}})
		return helped
	}
	return h.start(got)
}

// rules are those of Landlock; nil where the kernel has none.
func (h *helper) rules(got *held) (*ruleset, error) {
	if !h.Landlock {
		got.NoLandlock = "not wanted"
		return nil, nil
	}
	abi, err := landlockABI()
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS):
		got.NoLandlock = "the kernel does not have it"
		return nil, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		got.NoLandlock = "it is off in the kernel"
		return nil, nil
	default:
		got.NoLandlock = err.Error() // a filter of the container's
		return nil, nil
	}
	r, err := newRuleset(abi)
	if err != nil {
		return nil, err
	}
	got.Landlock = abi
	for path, access := range h.accesses() {
		if err := r.allow(path, access); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return r, nil
}

// accesses are what Landlock allows, by path.
func (h *helper) accesses() map[string]uint64 {
	allowed := map[string]uint64{}
	add := func(access uint64, paths ...string) {
		for _, path := range paths {
			allowed[path] |= access
		}
	}
	if h.Mounts {
		add(mayRead, "/")
		add(mayRead|mayWrite, own...)
	} else {
		add(mayRead, system...)
		add(mayRead, "/proc")
	}
	for path := range h.Files {
		dir := path[:strings.LastIndex(path, "/")+1]
		add(mayRead, dir)
		if h.Mounts {
			add(mayWrite, dir)
		}
	}
	add(unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_WRITE_FILE|unix.LANDLOCK_ACCESS_FS_TRUNCATE|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, devices...)
	add(mayRead, h.Reads...)
	add(mayRead|mayWrite, h.Writes...)
	return allowed
}

// start starts the command and waits for its end, and for that of all that it
// has started.
func (h *helper) start(got held) int {
	h.mu.Lock()
	pid, err := syscall.ForkExec(h.Path, h.Args, &syscall.ProcAttr{
		Dir: h.Dir, Env: h.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL},
	})
	if err == nil {
		h.command = pid
	}
	h.mu.Unlock()
	if err != nil {
		s := status{Failed: err.Error(), NotStarted: true}
		errors.As(err, &s.Errno)
		_ = h.status.Encode(s)
		return failed
	}
	_ = h.status.Encode(status{Started: &got})
	end := h.reap(pid)
	if !h.Mounts {
		h.sweep()
	}
	_ = h.status.Encode(status{Ended: end})
	return helped
}

// reap waits for the command's end, and meanwhile for those of processes that
// were left to us.
func (h *helper) reap(command int) *ended {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return &ended{Code: -1}
		case pid == command && ws.Signaled():
			return &ended{Code: -1, Signal: int(ws.Signal())}
		case pid == command && ws.Exited():
			return &ended{Code: ws.ExitStatus()}
		}
	}
}

// sweep ends what the command has left behind.
func (h *helper) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.command = 0
	for {
		killChildren()
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return // there is none
		}
	}
}

// killChildren kills this process's children, and says how many there are. Theirs
// become ours, in turn.
func killChildren() int {
	list := children()
	for _, pid := range list {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return len(list)
}

func children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// After the name, which may have anything in it: state and parent.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			list = append(list, pid)
		}
	}
	return list
}
