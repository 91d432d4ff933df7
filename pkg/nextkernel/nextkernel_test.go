package nextkernel

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/staged/stagedtest"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestMain(m *testing.M) {
	testkit.InMemory()
	os.Exit(m.Run())
}

// machine is a Flatcar host that is watched, and builds for its next kernel that end as the
// test says.
type machine struct {
	*testing.T
	dir, between, status string
	watch                WatchOptions
	mounts               atomic.Int32

	mu    sync.Mutex
	built []string // release and devices of each host that was built for
	ends  error
	// running is closed once a build begins, which then ends when hold is closed.
	running, hold chan struct{}
}

func newMachine(t *testing.T, change map[string]string) *machine {
	t.Helper()
	next := stagedtest.Kernel()
	m := &machine{T: t, between: t.TempDir()}
	m.status = filepath.Join(m.between, "for others", "next.json")
	if err := os.Mkdir(filepath.Dir(m.status), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, mount := stagedtest.Host(t, stagedtest.Files(t, next), change, stagedtest.Usr(next))
	m.dir = dir
	counted := func(device, to string) (func() error, error) {
		m.mounts.Add(1)
		return mount(device, to)
	}
	m.watch = WatchOptions{HostRoot: dir, Dir: m.between, Mount: counted, Pause: time.Millisecond}
	return m
}

// options have builds be made as the machine says.
func (m *machine) options() Options {
	return Options{Watch: m.watch, StatusFile: m.status, Retry: time.Hour, make: m.make}
}

func (m *machine) make(ctx context.Context, o job.Options) (job.Result, error) {
	root, err := kernel.OpenRootArchive(ctx, o.Host.Root, m.TempDir())
	if err != nil {
		return job.Result{}, err
	}
	target, err := kernel.Detect(ctx, root, kernel.DetectOptions{})
	if err != nil {
		return job.Result{}, err
	}
	m.mu.Lock()
	m.built = append(m.built, target.Release.Full)
	running, hold, ends := m.running, m.hold, m.ends
	m.mu.Unlock()
	if hold != nil {
		close(running)
		select {
		case <-hold:
		case <-ctx.Done():
			return job.Result{}, ctx.Err()
		}
	}
	return job.Result{Release: target.Release.Full, Driver: "580.126.09", ModuleType: "open", Manifest: "/opt/share/modules/x/manifest.json"}, ends
}

func (m *machine) builds() int { m.mu.Lock(); defer m.mu.Unlock(); return len(m.built) }

// stage stages another update than what was staged.
func (m *machine) stage(n int) {
	m.Helper()
	file, at := filepath.Join(m.dir, stagedtest.Mark), time.Now().Add(time.Duration(n)*time.Hour)
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Chtimes(file, at, at)); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) reset() {
	m.Helper()
	if err := os.Remove(filepath.Join(m.dir, stagedtest.Mark)); err != nil {
		m.Fatal(err)
	}
}

// start has somebody watch, and an agent work, until the test ends; stop returns when the
// watcher has ended.
func (m *machine) start() (a *Agent, stop func()) {
	m.Helper()
	ctx, cancel := context.WithCancel(m.Context())
	watching, end := context.WithCancel(ctx)
	a = NewAgent(m.options())
	var watcher, agent sync.WaitGroup
	watcher.Go(func() {
		if err := Watch(watching, m.watch); err != nil {
			m.Error(err)
		}
	})
	agent.Go(func() { a.Run(ctx) })
	m.Cleanup(func() { cancel(); watcher.Wait(); agent.Wait() })
	return a, func() { end(); watcher.Wait() }
}

// becomes asks until the answer is of a state.
func (m *machine) becomes(a *Agent, want State) Status {
	m.Helper()
	var s Status
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		ctx, cancel := context.WithDeadline(m.Context(), deadline)
		s = a.Answer(ctx)
		cancel()
		if s.State == want {
			return s
		}
	}
	m.Fatalf("it does not become %s: %+v", want, s)
	return s
}

// written is the status that others find on the host.
func (m *machine) written() (s Status) {
	m.Helper()
	text, err := os.ReadFile(m.status)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		m.Fatal(err)
	}
	return s
}

func TestOnce(t *testing.T) {
	t.Parallel()
	release := stagedtest.Kernel().Release
	failure := stage.New(stage.Build, "the driver does not compile", "take another")
	for name, tt := range map[string]struct {
		change map[string]string
		mount  error
		ends   error
		want   State
		says   string
		err    string
		builds int
	}{
		"a build":           {want: Ready, says: "driver 580.126.09 (open) is there for kernel " + release, builds: 1},
		"it fails":          {ends: failure, want: Failed, says: "the driver does not compile", err: "build: the driver does not compile", builds: 1},
		"nothing staged":    {change: map[string]string{stagedtest.Mark: ""}, want: None, says: "no update is staged"},
		"the same system":   {mount: unix.EEXIST, want: Ready, says: "the staged system is the one that runs"},
		"no right to mount": {mount: unix.EPERM, want: Failed, says: "cannot be mounted", err: "detect: the partition"},
		"no Flatcar":        {change: map[string]string{"proc/cmdline": "quiet"}, want: Failed, says: "does not name the partition of /usr", err: "detect: "},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, tt.change)
			m.ends = tt.ends
			if tt.mount != nil {
				m.watch.Mount = func(string, string) (func() error, error) { return nil, tt.mount }
			}
			got, err := Once(t.Context(), m.options())
			if got.State != tt.want || !strings.Contains(got.Says, tt.says) || m.builds() != tt.builds || got.Boot != stagedtest.Boot {
				t.Errorf("%+v after %d builds", got, m.builds())
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			if got != m.written() {
				t.Errorf("for others there is %+v", m.written())
			}
		})
	}
	m := newMachine(t, nil)
	o := m.options()
	o.StatusFile = "/absent/next.json"
	if _, err := Once(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--status") {
		t.Errorf("%v", err)
	}
}

// TestAgent follows a host through its updates: each is captured once and built for once,
// and what is said is of that one.
func TestAgent(t *testing.T) {
	t.Parallel()
	m := newMachine(t, map[string]string{stagedtest.Mark: ""})
	a, _ := m.start()
	if s := m.becomes(a, None); s.Boot != stagedtest.Boot || s.Update != "" {
		t.Errorf("%+v", s)
	}
	m.running, m.hold = make(chan struct{}), make(chan struct{})
	m.stage(1)
	if s := a.Answer(t.Context()); s.State != Working {
		t.Errorf("at once: %+v", s)
	}
	<-m.running
	first := m.becomes(a, Working)
	if first.Release != stagedtest.Kernel().Release || first.Version != "4593.2.5" || first.Slot != "b" {
		t.Errorf("%+v", first)
	}
	close(m.hold)
	if s := m.becomes(a, Ready); s.Update != first.Update || s.Driver != "580.126.09" || m.written() != s {
		t.Errorf("%+v, and for others %+v", s, m.written())
	}

	m.mu.Lock()
	m.hold, m.ends = nil, stage.New(stage.Driver, "no such driver", "name another")
	m.mu.Unlock()
	m.stage(2)
	s := m.becomes(a, Failed)
	if s.Update == first.Update || s.Says != "no such driver" || s.Next != "name another" || s.Stage != stage.Driver {
		t.Errorf("%+v", s)
	}
	if m.builds() != 2 || m.mounts.Load() != 2 {
		t.Errorf("%d builds, %d mounts", m.builds(), m.mounts.Load())
	}
	if left, err := filepath.Glob(filepath.Join(m.between, "*.tar")); err != nil || len(left) != 1 {
		t.Errorf("captures: %q, %v", left, err)
	}
}

// TestTakenBack: an update that was seen in a boot is what the next may bring, whatever
// becomes of its mark.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	a, stop := m.start()
	first := m.becomes(a, Ready)
	m.reset()
	for range 20 {
		if s := a.Answer(t.Context()); s != first {
			t.Errorf("%+v", s)
		}
	}
	// A watcher that is begun again knows it, too, and captures nothing anew.
	stop()
	go func() { _ = Watch(t.Context(), m.watch) }()
	if s := a.Answer(t.Context()); s != first || m.mounts.Load() != 1 {
		t.Errorf("%+v, %d mounts", s, m.mounts.Load())
	}
}

// TestNextBoot: what was seen in another boot counts for nothing, though the folder is still
// there.
func TestNextBoot(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	if _, err := os.Stat(m.between); err != nil {
		t.Fatal(err)
	}
	w, err := newWatcher(m.watch)
	if err == nil {
		err = w.look(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	const boot = "ffffffff-89ab-cdef-0123-456789abcdef"
	m.reset()
	if err := os.WriteFile(filepath.Join(m.dir, "proc/sys/kernel/random/boot_id"), []byte(boot+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := NewAgent(m.options())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	a.Run(ctx) // before anybody has looked in this boot
	if s := a.known(); s != (Status{}) || m.builds() != 0 {
		t.Errorf("%+v after %d builds", s, m.builds())
	}
	a, _ = m.start()
	if s := m.becomes(a, None); s.Boot != boot || m.builds() != 0 {
		t.Errorf("%+v after %d builds", s, m.builds())
	}
	if left, err := filepath.Glob(filepath.Join(m.between, "*.tar")); err != nil || len(left) != 0 {
		t.Errorf("captures: %q, %v", left, err)
	}
}

// TestAnswerIsNewerThanItsQuestion: what was seen before is no answer, and neither is a
// watcher that has died.
func TestAnswerIsNewerThanItsQuestion(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	a, stop := m.start()
	m.becomes(a, Ready)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if s := a.Answer(ctx); s.State != Unknown || !strings.Contains(s.Says, "nobody looks for updates of this host since ") {
		t.Errorf("%+v", s)
	}
	empty := NewAgent(Options{Watch: WatchOptions{Dir: t.TempDir()}})
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s := empty.Answer(ctx); s.State != Unknown || !strings.Contains(s.Says, "nobody has looked") {
		t.Errorf("%+v", s)
	}
}

// TestFailureIsTriedAgain when its time has come, and not before.
func TestFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	m.ends = errors.New("no network")
	o := m.options()
	o.Retry = time.Millisecond
	a := NewAgent(o)
	go func() { _ = Watch(t.Context(), m.watch) }()
	go a.Run(t.Context())
	m.becomes(a, Failed)
	for deadline := time.Now().Add(time.Minute); m.builds() < 3 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if m.builds() < 3 {
		t.Errorf("%d builds", m.builds())
	}
	m.mu.Lock()
	m.ends = nil
	m.mu.Unlock()
	m.becomes(a, Ready)
	if m.mounts.Load() != 1 {
		t.Errorf("%d mounts", m.mounts.Load())
	}
}

// TestCaptureIsTriedAgain after a minute: what the partition has does not get better from
// one second to the next.
func TestCaptureIsTriedAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	refused := true
	mount, tries := m.watch.Mount, 0
	m.watch.Mount = func(device, dir string) (func() error, error) {
		if tries++; refused {
			return nil, unix.EPERM
		}
		return mount(device, dir)
	}
	w, err := newWatcher(m.watch)
	if err != nil {
		t.Fatal(err)
	}
	look := func() State {
		t.Helper()
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.last.State
	}
	if a, b := look(), look(); a != Failed || b != Failed || tries != 1 {
		t.Errorf("%s, %s, %d tries", a, b, tries)
	}
	w.captured, refused = w.captured.Add(-again), false
	if s := look(); s != Working || tries != 2 {
		t.Errorf("%s, %d tries", s, tries)
	}
}

// TestStoppedWatch leaves nothing half done behind: the next one begins anew.
func TestStoppedWatch(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	mount := m.watch.Mount
	m.watch.Mount = func(device, dir string) (func() error, error) {
		cancel()
		return mount(device, dir)
	}
	if err := Watch(ctx, m.watch); err != nil {
		t.Error(err)
	}
	if s, _, err := readSighting(m.between); err != nil || s.State != Working || s.Capture != "" {
		t.Errorf("%+v, %v", s, err)
	}
	part := filepath.Join(m.between, "of-one-that-was-killed.tar.part")
	if err := os.WriteFile(part, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m.watch.Mount = mount
	a, _ := m.start()
	m.becomes(a, Ready)
	if _, err := os.Stat(part); err == nil {
		t.Errorf("%s is left", part)
	}
}

// TestWatchesNothing is an error, as somebody has to see to it.
func TestWatchesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	m.watch.Dir = "/absent"
	if err := Watch(t.Context(), m.watch); err == nil || !strings.Contains(err.Error(), "let builder write to /absent") && !strings.Contains(err.Error(), "Let builder write to /absent") {
		t.Errorf("%v", err)
	}
	m.watch.HostRoot = "/absent"
	if err := Watch(t.Context(), m.watch); err == nil || !strings.Contains(err.Error(), "--host-root") {
		t.Errorf("%v", err)
	}
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	a, _ := m.start()
	m.becomes(a, Ready)
	server := httptest.NewServer(a)
	defer server.Close()
	answer, err := http.Get(server.URL + Path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var s Status
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil || answer.StatusCode != http.StatusOK || s.State != Ready || s.Boot != stagedtest.Boot {
		t.Errorf("%s, %+v, %v", answer.Status, s, err)
	}
	for what, request := range map[string]*http.Request{
		"another path": httptest.NewRequest(http.MethodGet, "/", nil), "a change": httptest.NewRequest(http.MethodPost, Path, nil),
	} {
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, request); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	// Nobody looks, and more ask than are answered at once.
	lonely := NewAgent(Options{Watch: WatchOptions{Dir: t.TempDir()}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	if lonely.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, Path, nil)); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"unknown"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for range questions {
		lonely.asking <- struct{}{}
	}
	w = httptest.NewRecorder()
	if lonely.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Path, nil)); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "too many") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestStay is both halves and the answers in one process, as in a container that may do all.
func TestStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	o := m.options()
	o.Watch.Dir = ""
	if err := Stay(t.Context(), o, address); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("an address that is taken: %v", err)
	}
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Stay(ctx, o, address) }()
	for n := 0; ; n++ {
		var s Status
		answer, err := http.Get("http://" + address + Path)
		if err == nil {
			err = errors.Join(json.NewDecoder(answer.Body).Decode(&s), answer.Body.Close())
		}
		if s.State == Ready {
			break
		}
		if n == 1000 {
			t.Fatalf("%+v, %v", s, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// A watcher that cannot go on ends all of it.
	o.Watch.HostRoot = "/absent"
	if err := Stay(t.Context(), o, ""); err == nil || !strings.Contains(err.Error(), "--host-root") {
		t.Errorf("%v", err)
	}
}
