//go:build integration

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live/livetest"
)

// killedRun is what a process that is to be killed does: Load or, with Unload, that.
type killedRun struct {
	Share, Host, Own, CDIDir string
	Kernel                   string // the socket of its kernel
	Unload                   bool
}

func init() { testkit.Killable(killedRun.run) }

func (k killedRun) run() error {
	kernel, err := rpc.Dial("unix", k.Kernel)
	if err != nil {
		return err
	}
	o := LoadOptions{Share: k.Share, HostRoot: k.Host, OwnRoot: k.Own, CDIDir: k.CDIDir, Kernel: distantKernel{kernel}, files: drivenFiles{}}
	ctx := zerolog.New(os.Stdout).WithContext(context.Background())
	if k.Unload {
		_, err = Unload(ctx, o)
	} else {
		_, err = Load(ctx, o)
	}
	return err
}

// drivenFiles are device files as they are, of a driver that is not there to bring GPUs
// up as they are opened.
type drivenFiles struct{ hostFiles }

func (drivenFiles) Open(string, devices.File) error { return nil }

// distantKernel is one of another process, which ends what it was asked to do where
// who asked is killed, as a kernel does.
type distantKernel struct{ *rpc.Client }

func (k distantKernel) ask(what string, args ...string) error {
	var number unix.Errno
	if err := k.Call("kernel."+what, args, &number); err != nil || number == 0 {
		return err
	}
	return number
}

func (k distantKernel) Release() string { return testRelease }
func (k distantKernel) Insert(module *os.File, parameters string) error {
	return k.ask("Insert", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), module.Fd()), parameters)
}
func (k distantKernel) Try() error                        { return unix.EBADF }
func (k distantKernel) Remove(name string) error          { return k.ask("Remove", name) }
func (k distantKernel) Log() (string, error)              { return "", nil }
func (k distantKernel) Open(string, uint32, uint32) error { return nil }

// kernelServer is the other side of a distantKernel.
type kernelServer struct {
	kernel *livetest.Kernel
	socket string
	// called are the processes that may have asked for something.
	called sync.WaitGroup
}

func serve(t *testing.T, kernel *livetest.Kernel) *kernelServer {
	t.Helper()
	k := &kernelServer{kernel: kernel, socket: filepath.Join(t.TempDir(), "kernel")}
	server := rpc.NewServer()
	if err := server.RegisterName("kernel", &kernelCalls{kernel}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", k.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server.ServeConn(conn) // one process after the other
			k.called.Done()
		}
	}()
	return k
}

// kernelCalls are what a distantKernel asks for.
type kernelCalls struct{ kernel *livetest.Kernel }

// Insert is given the path of a module, and parameters.
func (k *kernelCalls) Insert(args []string, number *unix.Errno) error {
	module, err := os.Open(args[0])
	if err != nil {
		*number = unix.EBADF
		return nil
	}
	defer module.Close()
	errors.As(k.kernel.Insert(module, args[1]), number)
	return nil
}

// Remove is given the name of a module.
func (k *kernelCalls) Remove(args []string, number *unix.Errno) error {
	errors.As(k.kernel.Remove(args[0]), number)
	return nil
}

// everything is a picture of folders: each path, its mode, and what is there.
func everything(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var is unix.Stat_t
			if err := unix.Lstat(path, &is); err != nil {
				return err
			}
			content := ""
			switch {
			case e.Type()&fs.ModeSymlink != 0:
				content, err = os.Readlink(path)
			case e.Type().IsRegular():
				content = read(t, path)
			}
			if filepath.Base(path) == testBoot+".json" {
				content = recordOf(t, content)
			}
			seen[path] = fmt.Sprintf("%o %x of %d:%d %q", is.Mode, is.Rdev, is.Uid, is.Gid, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen
}

// recordOf is what a record has, in the order of the text: what a run that was killed
// did not come to, the next one does later.
func recordOf(t *testing.T, text string) string {
	t.Helper()
	entries, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, string(encodeChange(e.change)))
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "\n")
}

// loadParts are those of a load and of an unload in which they are killed, by what
// they say.
func loadParts() (ofLoad, ofUnload []*testkit.Part) {
	says := func(messages ...string) func(string) bool {
		return func(line string) bool {
			return slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(line, fmt.Sprintf("%q:%q", "message", m)) })
		}
	}
	ofLoad = []*testkit.Part{
		{Name: "load", Begins: says("started"), Ends: says("finished")},
		{Name: "load, from its first module on", Begins: says("loaded"), Ends: says("finished")},
		{Name: "load, from its last module on", Begins: func(line string) bool { return says("loaded")(line) && strings.Contains(line, `"nvidia_uvm"`) }, Ends: says("finished")},
		{Name: "load, from the device files on", Begins: says("device files"), Ends: says("finished")},
	}
	ofUnload = []*testkit.Part{
		{Name: "unload", Begins: says("started"), Ends: says("finished")},
		{Name: "unload, from its first module on", Begins: says("unloaded"), Ends: says("finished")},
		{Name: "unload, from its last module on", Begins: func(line string) bool { return says("unloaded")(line) && strings.Contains(line, `"nvidia"`) }, Ends: says("finished")},
	}
	return ofLoad, ofUnload
}

// A load or unload that dies at any moment leaves what the next one ends: a load in
// what an undisturbed one makes of the host, an unload in what it was.
func TestSoakKilledLoad(t *testing.T) {
	const kills = 420
	m := newMachine(t)
	cdiDir := filepath.Join(t.TempDir(), "cdi")
	write(t, filepath.Join(cdiDir, "README"), "")
	m.mount(t, cdiDir, "ext4")
	if try := filepath.Join(t.TempDir(), "null"); unix.Mknod(try, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil {
		m.kernel.FilesMade = true
		m.mount(t, m.own+"/dev", "devtmpfs")
		write(t, filepath.Join(m.own, "dev/char/README"), "")
	} else {
		t.Log("no device files, which this user may not make")
	}
	server := serve(t, m.kernel)
	named := func(o *LoadOptions) { o.CDIDir, o.files = cdiDir, drivenFiles{} }
	picture := func() map[string]string { return everything(t, m.host, m.own, m.share, cdiDir) }
	// The kernel ends the path where it is written a byte that ends it.
	settle := func() { m.setFirmware(t, m.firmwarePath(t)) }
	// do loads or unloads, undisturbed.
	isLoaded := false
	do := func(unload bool, when string) {
		t.Helper()
		var err error
		if unload {
			_, err = Unload(m.context(t), m.options(named))
		} else {
			_, err = Load(m.context(t), m.options(named))
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", when, err, m.said(err))
		}
		isLoaded = !unload
		settle()
	}
	do(false, "at first")
	loaded := picture()
	do(true, "at first")
	unloaded := picture()
	check := func(when string) {
		t.Helper()
		want := unloaded
		if isLoaded {
			want = loaded
		}
		if diff := cmp.Diff(want, picture()); diff != "" {
			t.Fatalf("%s (-undisturbed +got):\n%s", when, diff)
		}
	}
	killer := testkit.Killer{Random: testkit.Random(t, 12)}
	ofLoad, ofUnload := loadParts()
	all := slices.Concat(ofLoad, ofUnload)
	for i := 0; killer.Kills < kills; i++ {
		if i == 10*kills {
			t.Fatalf("%d of %d runs were killed where they were to be, want %d", killer.Kills, i, kills)
		}
		part := all[killer.Kills%len(all)]
		run := killedRun{m.share, m.host, m.own, cdiDir, server.socket, slices.Contains(ofUnload, part)}
		if isLoaded != run.Unload {
			do(!run.Unload, "before kill")
		}
		server.called.Add(1)
		after, _ := killer.RunPart(t, run, part)
		server.called.Wait()
		settle()
		when := fmt.Sprintf("kill %d, %s after the begin of %s", killer.Kills, after, part.Name)
		first := killer.Random.IntN(2) == 0
		for _, unload := range []bool{first, !first} {
			do(unload, "after "+when)
			check(map[bool]string{false: "the load after ", true: "the unload after "}[unload] + when)
		}
	}
	for _, part := range all {
		t.Logf("%3d kills in %-35s which takes %s", part.Kills, part.Name, part.Took)
	}
}
