package confine_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/confine"
)

// share is the owner of the share that the tests' commands run for.
const share = 1000

func TestMain(m *testing.M) {
	if text := os.Getenv("ATTACK"); text != "" {
		attack(text)
		return
	}
	if without, killed := os.LookupEnv("KILLED"); killed {
		c := sh(lingering(os.Getenv("MARK"))+" echo ready; sleep 60", os.Stdout)
		_ = confine.New(share, share, confine.Without(strings.Split(without, ",")...)).Run(context.Background(), c)
		return
	}
	os.Exit(m.Run())
}

// lingering leaves shells that ignore SIGTERM, one of which leaves its group, with a
// mark in their arguments.
func lingering(mark string) string {
	return `: ` + mark + `; trap "" TERM; setsid sh -c ': ` + mark + `; trap "" TERM; sleep 61' & sleep 60 &`
}

// ways are the ways to confine that tests force.
var ways = []struct {
	name    string
	without []string
}{
	{"all that there is", nil},
	{"no user namespace", []string{confine.UserNamespace}},
	{"no proc of its own", []string{confine.OwnProc}},
	{"no namespaces", []string{confine.UserNamespace, confine.Namespaces}},
	{"no Landlock", []string{confine.Landlock}},
	{"no seccomp", []string{confine.Seccomp}},
	{"neither namespaces nor Landlock", []string{confine.UserNamespace, confine.Namespaces, confine.Landlock}},
}

// targets are what an attacker goes for.
type targets struct {
	Parent                               int
	Key, Shadow, Open, Outside, In, Dir  string
	Socket, Address, Abstract, Setuid    string
	Readable, Written, Kept, Environment string
}

// attack is the program that is run: it tries everything, and prints what it
// could do.
func attack(text string) {
	var on targets
	if err := json.Unmarshal([]byte(text), &on); err != nil {
		panic(err)
	}
	could := map[string]string{}
	try := func(name string, err error) {
		could[name] = "done"
		if err != nil {
			could[name] = err.Error()
		}
	}
	read := func(name, path string) {
		_, err := os.ReadFile(path)
		try(name, err)
	}
	syscalls := func(name string, trap, a, b, c uintptr) {
		_, _, errno := syscall.Syscall(trap, a, b, c)
		if errno == 0 {
			try(name, nil)
			return
		}
		try(name, errno)
	}
	could["uid"] = fmt.Sprint(os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid())
	could["environment"] = strings.Join(os.Environ(), " ")
	var fds []string
	for fd := 3; fd < 256; fd++ {
		if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && !strings.HasPrefix(link, "anon_inode:") && !strings.HasPrefix(link, "/sys/fs/cgroup") && link != "/proc" {
			fds = append(fds, link)
		}
	}
	could["descriptors"] = strings.Join(fds, " ")
	text2, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text2)) {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd", "NoNewPrivs", "Uid"}, name) {
			could[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	read("named file", on.Readable)
	try("write what is the command's", os.WriteFile(on.Written, []byte("written"), 0o644))
	try("make a folder", os.MkdirAll(filepath.Join(filepath.Dir(on.Written), "a/b"), 0o755))
	try("a FIFO", unix.Mkfifo(filepath.Join(filepath.Dir(on.Written), "fifo"), 0o600))
	try("write to its own folders", os.WriteFile("/var/log/own", nil, 0o644))
	try("chown", os.Chown(on.Written, 12345, 12345))

	read("init's environment", "/proc/1/environ")
	read("builder's environment", fmt.Sprintf("/proc/%d/environ", on.Parent))
	read("builder's memory", fmt.Sprintf("/proc/%d/mem", on.Parent))
	read("builder's root", fmt.Sprintf("/proc/%d/root/%s", on.Parent, on.Open))
	read("helper's root", fmt.Sprintf("/proc/%d/root/%s", os.Getppid(), on.Open))
	read("key", on.Key)
	read("shadow", on.Shadow)
	read("a file that anybody may read", on.Open)
	try("write elsewhere", os.WriteFile(on.Outside, nil, 0o644))
	try("write to what is named to read", os.WriteFile(on.Kept, []byte("changed"), 0o644))
	try("write to the system", os.WriteFile("/usr/bin/here", nil, 0o755))
	_, err := net.Dial("unix", on.Socket)
	try("unix socket", err)
	_, err = net.Dial("unix", on.Abstract)
	try("abstract socket", err)
	_, err = net.Dial("tcp", on.Address)
	try("TCP", err)
	try("mount", unix.Mount("tmpfs", on.Dir, "tmpfs", 0, ""))
	try("chroot", unix.Chroot(on.Dir))
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	try("namespace", startIn(unix.CLONE_NEWUSER))
	try("ptrace", unix.PtraceAttach(on.Parent))
	try("ptrace of the helper", unix.PtraceAttach(os.Getppid()))
	read("helper's memory", fmt.Sprintf("/proc/%d/mem", os.Getppid()))
	try("kill", unix.Kill(on.Parent, unix.SIGWINCH))
	// It succeeds and does nothing.
	_ = unix.Mknod(filepath.Join(filepath.Dir(on.Written), "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0)))
	syscalls("key ring", unix.SYS_KEYCTL, 0, 0xfffffffd, 0)
	syscalls("io_uring", unix.SYS_IO_URING_SETUP, 1, 0, 0)
	syscalls("BPF", unix.SYS_BPF, 0, 0, 0)
	syscalls("perf", unix.SYS_PERF_EVENT_OPEN, 0, 0, 0)
	syscalls("modules", unix.SYS_DELETE_MODULE, 0, 0, 0)
	syscalls("userfaultfd", unix.SYS_USERFAULTFD, 1, 0, 0)
	could["setuid"] = setuid(on.Setuid)
	_ = json.NewEncoder(os.Stdout).Encode(could)
}

// startIn starts a program in a new namespace.
func startIn(flag uintptr) error {
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: flag}})
	if err == nil {
		_, err = syscall.Wait4(pid, nil, 0, nil)
	}
	return err
}

// setuid runs a setuid program and returns whose it is, as the kernel knows it.
func setuid(program string) string {
	r, w, err := os.Pipe()
	if err != nil {
		return err.Error()
	}
	pid, err := syscall.ForkExec(program, []string{program, "^Uid", "/proc/self/status"}, &syscall.ProcAttr{Files: []uintptr{0, w.Fd(), 2}})
	w.Close()
	if err != nil {
		return err.Error()
	}
	said, _ := io.ReadAll(r)
	_, _ = syscall.Wait4(pid, nil, 0, nil)
	return strings.Join(strings.Fields(string(said)), " ")
}

// setup makes what an attacker goes for.
func setup(t *testing.T) (targets, command.Command) {
	t.Helper()
	dir := t.TempDir()
	on := targets{
		Parent: os.Getpid(),
		Key:    filepath.Join(dir, "key.pem"), Shadow: filepath.Join(dir, "host/etc/shadow"), Open: filepath.Join(dir, "open"),
		Outside: filepath.Join(dir, "outside"), In: filepath.Join(dir, "in"), Dir: filepath.Join(dir, "out"),
		Socket: filepath.Join(dir, "docker.sock"), Abstract: "@confine-test-" + strconv.Itoa(os.Getpid()),
		Setuid:   filepath.Join(dir, "in/setuid"),
		Readable: filepath.Join(dir, "in/file"), Kept: filepath.Join(dir, "in/kept"), Written: filepath.Join(dir, "out/file"),
	}
	for path, mode := range map[string]os.FileMode{on.Key: 0o600, on.Shadow: 0o600, on.Open: 0o644, on.Readable: 0o644, on.Kept: 0o644} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(on.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A folder like that of a test is root's alone to pass through.
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/bin/grep")
	if err == nil {
		err = os.WriteFile(on.Setuid, program, 0o755)
	}
	if err == nil {
		err = os.Chmod(on.Setuid, 0o755|os.ModeSetuid)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{on.Socket, on.Abstract} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	if err := os.Chmod(on.Socket, 0o777); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	on.Address = l.Addr().String()
	text, err := json.Marshal(on)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test's program is where only root may pass.
	copied := filepath.Join(on.In, "attacker")
	program, err = os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(copied, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return on, command.Command{
		Args: []string{copied}, Env: []string{"ATTACK=" + string(text), confine.Quickly},
		Reads: []string{on.In}, Writes: []string{on.Dir},
	}
}

// TestAttack runs a program that tries to get at everything, each layer left out
// once: the others hold.
func TestAttack(t *testing.T) {
	t.Setenv("BUILDER_GITHUB_TOKEN", "secret") // what is inherited
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			on, c := setup(t)
			var out bytes.Buffer
			c.Output = &out
			r := confine.New(share, share, confine.Without(way.without...))
			if err := r.Run(t.Context(), c); err != nil {
				t.Fatalf("%v\n%s", err, out.Bytes())
			}
			report, err := r.Report(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("as %d:%d, isolated %v, Landlock %d; %s", report.UID, report.GID, report.Isolated, report.Landlock, report)
			could := map[string]string{}
			if err := json.Unmarshal(out.Bytes(), &could); err != nil {
				t.Fatalf("%v\n%s", err, out.Bytes())
			}
			judge(t, on, report, could, slices.Contains(way.without, confine.Seccomp))
			checkShare(t, on, report)
		})
	}
}

// judge holds what an attacker could do against what it may.
func judge(t *testing.T, on targets, report confine.Report, could map[string]string, noSeccomp bool) {
	t.Helper()
	for name, want := range map[string]string{
		"uid": "0 0 0 0", "descriptors": "", "NoNewPrivs": "1",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
		"named file": "done", "write what is the command's": "done", "make a folder": "done", "a FIFO": "done",
	} {
		if noSeccomp && name == "uid" && strings.Contains(report.String(), "no "+confine.UserNamespace) {
			continue // nothing else makes it root
		}
		if could[name] != want {
			t.Errorf("%s: %q, want %q", name, could[name], want)
		}
	}
	if os.Geteuid() == 0 && could["CapBnd"] != "0000000000000000" {
		t.Errorf("bounding set %s", could["CapBnd"])
	}
	if os.Geteuid() == 0 && report.UID != share && !strings.Contains(report.String(), "no "+confine.OwnUser+" (") {
		t.Errorf("ran as user %d", report.UID)
	}
	if strings.Contains(could["environment"], "secret") || !strings.HasPrefix(could["environment"], "PATH=") {
		t.Errorf("environment: %s", could["environment"])
	}
	if strings.Contains(could["setuid"], " 0 ") && could["Uid"] != "0 0 0 0" {
		t.Errorf("a setuid program ran as %s", could["setuid"])
	}
	held := report.Isolated || report.Landlock > 0
	other := report.UID != os.Geteuid()
	mayNot := map[string]bool{
		"init's environment": other && !report.Isolated, "builder's environment": report.Isolated || other || held,
		"builder's memory": true, "builder's root": report.Isolated || other || held, "helper's root": true, "helper's memory": true,
		"key": held || other, "shadow": held || other, "a file that anybody may read": held,
		"write elsewhere": !report.Isolated && (held || other), "write to what is named to read": held || other, "write to the system": held || other,
		"unix socket": !noSeccomp || report.Isolated, "abstract socket": true, "TCP": true, "mount": true, "chroot": true,
		"unshare": !noSeccomp, "namespace": !noSeccomp, "ptrace": true, "ptrace of the helper": true,
		"kill":     report.Isolated || other || report.Landlock >= 6,
		"key ring": !noSeccomp, "io_uring": !noSeccomp, "BPF": !noSeccomp, "perf": !noSeccomp, "modules": true, "userfaultfd": !noSeccomp,
	}
	for _, name := range slices.Sorted(maps.Keys(mayNot)) {
		if mayNot[name] && (could[name] == "done" || could[name] == "") {
			t.Errorf("it could: %s", name)
		}
	}
	if !noSeccomp {
		for _, name := range []string{"unshare", "namespace", "ptrace", "key ring", "io_uring", "BPF", "perf", "modules", "userfaultfd", "mount", "chroot"} {
			if !strings.Contains(could[name], "operation not permitted") {
				t.Errorf("%s: %s", name, could[name])
			}
		}
		if could["chown"] != "done" {
			t.Errorf("chown: %s", could["chown"])
		}
	}
}

// planted are files that an attacker tries to leave.
var planted = []string{"/usr/bin/here", "/var/log/own"}

// checkShare looks at what an attacker left.
func checkShare(t *testing.T, on targets, report confine.Report) {
	t.Helper()
	if !report.Isolated && report.Landlock == 0 && report.UID == os.Geteuid() {
		for _, path := range planted {
			_ = os.Remove(path)
		}
		return // nothing holds a user's own program back from the user's files
	}
	if text, err := os.ReadFile(on.Kept); err != nil || string(text) != "content" {
		t.Errorf("%s has %q: %v", on.Kept, text, err)
	}
	if text, err := os.ReadFile(on.Written); err != nil || string(text) != "written" {
		t.Errorf("%s has %q: %v", on.Written, text, err)
	}
	var st unix.Stat_t
	for _, path := range []string{on.Dir, on.Written, filepath.Join(on.Dir, "a/b"), filepath.Join(on.Dir, "fifo")} {
		if err := unix.Lstat(path, &st); err != nil || int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
			t.Errorf("%s is user %d's, group %d's: %v", path, st.Uid, st.Gid, err)
		}
	}
	if err := unix.Lstat(filepath.Join(on.Dir, "disk"), &st); !errors.Is(err, unix.ENOENT) {
		t.Errorf("there is a device: %v", err)
	}
	for _, path := range append(planted, on.Outside) {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

// sh is a command of the shell's.
func sh(script string, out io.Writer) command.Command {
	return command.Command{Args: []string{"sh", "-c", script}, Output: out}
}

func TestRunner(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := confine.New(share, share, confine.Without(way.without...))
			var out bytes.Buffer
			c := sh(`pwd; echo "$GREETING$TMPDIR"; echo err >&2; cat /dev/stdin; exit 3`, &out)
			c.Env = []string{"GREETING=hello", "TMPDIR=/elsewhere"}
			err := r.Run(t.Context(), c)
			var exit *command.ExitError
			if !errors.As(err, &exit) || exit.Code != 3 || exit.Program != "sh" || exit.State != "exit status 3" {
				t.Errorf("error %v, want exit status 3 of sh", err)
			}
			if got, want := out.String(), "/\nhello/elsewhere\nerr\n"; got != want {
				t.Errorf("output %q, want %q", got, want)
			}
			err = r.Run(t.Context(), sh("kill -SEGV $$", nil))
			if !errors.As(err, &exit) || exit.Code != -1 || exit.State != "signal: segmentation fault" {
				t.Errorf("error %v, want a signal", err)
			}
			if err := r.Run(t.Context(), command.Command{Args: []string{"no-such-program"}}); !errors.Is(err, command.ErrNotFound) {
				t.Errorf("error %v, want ErrNotFound", err)
			}
			dir := t.TempDir()
			script := filepath.Join(dir, "script")
			if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := r.Run(t.Context(), command.Command{Args: []string{script}, Reads: []string{dir}}); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("error %v, want one that is ErrNotExist", err)
			}
			if err := r.Run(t.Context(), command.Command{Args: []string{"true"}, Reads: []string{"relative"}}); err == nil {
				t.Error("a relative path was taken")
			}
		})
	}
}

// TestFiles: what a command finds where it looks for it is not left there.
func TestFiles(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := confine.New(share, share, confine.Without(way.without...))
			dir := filepath.Join(t.TempDir(), "state")
			for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
				_ = os.Chmod(up, 0o755)
			}
			path := filepath.Join(dir, "log")
			var out bytes.Buffer
			c := sh("cat "+path, &out)
			c.Files = map[string][]byte{path: []byte("535.261.03\n")}
			if err := r.Run(t.Context(), c); err != nil || out.String() != "535.261.03\n" {
				t.Errorf("%v: %s", err, out.String())
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

// TestEnd cancels a program that ignores SIGTERM, has a child, and one that has
// left its group: nothing of it is left, well inside the five seconds that a
// canceled job has. What such a one leaves when it ends by itself ends, too.
func TestEnd(t *testing.T) {
	for _, way := range ways {
		for _, script := range []string{
			` echo ready; while :; do sleep 60; done`,
			` sleep 0.2; echo ready`,
		} {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel()
				r := confine.New(share, share, confine.Without(way.without...))
				mark := fmt.Sprintf("mark-%d-%d", os.Getpid(), time.Now().UnixNano())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := make(chan struct{}, 1)
				done := make(chan error, 1)
				go func() {
					c := sh(lingering(mark)+script, writer(func(p []byte) {
						if bytes.Contains(p, []byte("ready")) {
							began <- struct{}{}
						}
					}))
					done <- r.Run(ctx, c)
				}()
				select {
				case <-began:
				case <-time.After(time.Minute):
					t.Fatal("the program did not start")
				}
				time.Sleep(50 * time.Millisecond)
				cancel()
				select {
				case err := <-done:
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("error %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("Run did not return within 20 s of the cancel")
				}
				for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
					left := marked(mark)
					if len(left) == 0 {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("processes are left: %v", left)
					}
				}
			})
		}
	}
}

// TestKilled: what runs ends with a builder that is killed.
func TestKilled(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			mark := fmt.Sprintf("mark-%d-%d", os.Getpid(), time.Now().UnixNano())
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			builder := exec.Command(self)
			builder.Env = append(os.Environ(), "KILLED="+strings.Join(way.without, ","), "MARK="+mark)
			out, err := builder.StdoutPipe()
			if err == nil {
				err = builder.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatalf("it says %q: %v", line, err)
			}
			for deadline := time.Now().Add(20 * time.Second); len(marked(mark)) < 2; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%v run, want two shells", marked(mark))
				}
			}
			if err := builder.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = builder.Wait() // killed
			for deadline := time.Now().Add(20 * time.Second); len(marked(mark)) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("processes are left: %v", marked(mark))
				}
			}
		})
	}
}

// marked are the processes with a mark in their arguments.
func marked(mark string) []string {
	var list []string
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(mark)) {
			list = append(list, path)
		}
	}
	return list
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestBarred: a share that only root may pass into is worked in by a user who
// cannot, where there is a view of it, and else by root without its privileges.
func TestBarred(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			on, c := setup(t)
			dir := filepath.Dir(on.Dir)
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			r := confine.New(share, share, confine.Without(way.without...))
			// What runs before says nothing of it.
			if err := r.Run(t.Context(), command.Command{Args: []string{"true"}}); err != nil {
				t.Fatal(err)
			}
			report, err := r.Report(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if set := report.UID == share; os.Geteuid() == 0 && report.Isolated && !set && !strings.Contains(report.String(), "no "+confine.OwnUser) {
				t.Errorf("ran as user %d, %s", report.UID, report)
			}
			if !report.Isolated && report.UID != os.Geteuid() {
				t.Errorf("ran as user %d, who may not pass", report.UID)
			}
			var out bytes.Buffer
			c.Output = &out
			if err := r.Run(t.Context(), c); err != nil {
				t.Fatalf("%v\n%s", err, out.Bytes())
			}
			could := map[string]string{}
			if err := json.Unmarshal(out.Bytes(), &could); err != nil {
				t.Fatal(err)
			}
			judge(t, on, report, could, slices.Contains(way.without, confine.Seccomp))
			checkShare(t, on, report)
		})
	}
}

// TestNoDescent: what could be had is not done without because of a command.
func TestNoDescent(t *testing.T) {
	r := confine.New(share, share)
	report, err := r.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	err = r.Run(t.Context(), command.Command{Args: []string{"true"}, Reads: []string{missing}})
	if report.Isolated && (err == nil || !strings.Contains(err.Error(), missing)) {
		t.Errorf("error %v, want one of what is missing", err)
	}
}
