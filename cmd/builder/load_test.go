package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/dynamic"

	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/node/live/livetest"
)

// machine is a fixture whose driver was built, on a host that can load it.
type machine struct {
	*fixture
	kernel *livetest.Kernel
	own    string
	// events are told to this API server; nil is that of a pod.
	events dynamic.Interface
}

// machine is a machine with a copy of the fixture's share and host.
func (f *fixture) machine(t *testing.T) *machine {
	t.Helper()
	top := t.TempDir()
	n := &machine{fixture: &fixture{share: filepath.Join(top, "share"), host: filepath.Join(top, "host"), state: f.state}, own: filepath.Join(top, "own")}
	n.environ = []string{"BUILDER_SHARE=" + n.share, "BUILDER_HOST_ROOT=" + n.host, "BUILDER_LOG_FORMAT=json"}
	for to, from := range map[string]string{n.share + "/modules": f.share + "/modules", n.share + "/driver": f.share + "/driver", n.host: f.host} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	n.kernel = livetest.New(t, n.host, fixtureRelease)
	for name, text := range map[string]string{
		"proc/self/status":    "Name:\tbuilder\nCapEff:\t000001ffffffffff\n",
		"proc/self/uid_map":   "         0          0 4294967295\n",
		"proc/self/mountinfo": "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n31 25 8:9 " + n.share + " " + n.share + " rw - ext4 /dev/sda9 rw\n",
		"dev/null":            "",
		"sys/module/firmware_class/parameters/path": "",
	} {
		write(t, filepath.Join(n.own, name), 0o644, text)
	}
	write(t, filepath.Join(n.host, "proc/1/mountinfo"), 0o644, "25 1 8:9 / / rw - ext4 /dev/sda9 rw\n")
	// The driver's drm needs the kernel's.
	tree := filepath.Join(n.host, "lib/modules", fixtureRelease)
	write(t, filepath.Join(tree, "modules.dep"), 0o644, "")
	write(t, filepath.Join(tree, "modules.builtin"), 0o644, "kernel/drivers/gpu/drm/drm.ko\nkernel/drivers/gpu/drm/drm_kms_helper.ko\nkernel/drivers/acpi/video.ko\n")
	return n
}

// run runs a command on the node.
func (n *machine) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), n.defaults(), args, n.environ, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func (n *machine) defaults() defaults {
	return defaults{
		build:  n.options(),
		load:   node.LoadOptions{Kernel: n.kernel, OwnRoot: n.own},
		events: &events{client: n.events},
	}
}

// TestLoad is the commands load and unload: their options, what they print and
// how they end. What they do is pkg/node's, whose tests have it.
func TestLoad(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.gpu(t, "0x2330")
	f.build(t)
	for name, test := range map[string]func(*testing.T, *machine){
		"text": loadText, "json": loadJSON, "options": loadOptions, "stay": loadStays, "metrics": loadShowsMetrics, "refused": loadRefused, "usage": loadUsage,
	} {
		t.Run(name, func(t *testing.T) { test(t, f.machine(t)) })
	}
}

func loadText(t *testing.T, n *machine) {
	for _, tt := range []struct{ command, out, says string }{
		{"load", fixtureDriver + "\n", "loaded"}, {"load", fixtureDriver + "\n", "loaded already"},
		{"unload", fixtureDriver + "\n", "unloaded"}, {"unload", "", "nothing to undo"},
	} {
		if o := n.run(t, tt.command); o.code != 0 || o.stdout != tt.out || !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: %+v", tt.command, o)
		}
	}
}

func loadJSON(t *testing.T, n *machine) {
	for _, tt := range []struct {
		command string
		want    map[string]any
	}{
		{"load", map[string]any{
			"state": "loaded", "driver": fixtureDriver, "release": fixtureRelease,
			"manifest": filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver, "manifest.json"),
			"modules":  []any{"nvidia", "nvidia_modeset", "nvidia_drm", "nvidia_uvm"}, "in_tree": []any{},
			"firmware": filepath.Join(n.share, "modules", fixtureRelease, fixtureDriver, "firmware"),
			"dev":      filepath.Join(n.own, "dev"), "nodes": []any{"nvidia-modeset", "nvidia0", "nvidiactl"},
			"gpus":       []any{map[string]any{"address": "0000:65:00.0", "id": "10de:2330", "state": "untried", "says": "its device file is not there"}},
			"user_space": filepath.Join(n.share, "driver", fixtureDriver), "cdi": filepath.Join(n.share, "cdi/nvidia.com-gpu.json"),
		}},
		{"unload", map[string]any{
			"driver": fixtureDriver, "modules": []any{"nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia"}, "in_tree": []any{},
			"firmware": "", "nodes": []any{},
		}},
	} {
		o := n.run(t, tt.command, "--output", "json")
		var got map[string]any
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil || o.code != 0 {
			t.Fatalf("%s: %v: %+v", tt.command, err, o)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.command, diff)
		}
	}
}

// loadOptions has each option be heard.
func loadOptions(t *testing.T, n *machine) {
	dev, cdi := t.TempDir(), t.TempDir()
	n.kernel.Have("nvidia", "550.1", "")
	if err := os.RemoveAll(filepath.Join(n.host, "sys/bus/pci")); err != nil {
		t.Fatal(err)
	}
	options := []string{
		"load", "--output", "json", "--driver-version", fixtureDriver, "--modules", "nvidia-uvm", "--parameters", "nvidia.NVreg_RegistryDwords=a",
		"--replace", "--host-share", "/srv/share", "--dev", dev, "--cdi-dir", cdi, "--try-without-device",
	}
	o := n.run(t, options...)
	var got node.LoadResult
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil || o.code != 0 {
		t.Fatalf("%v: %+v", err, o)
	}
	if got.Driver != fixtureDriver || got.Dev != dev || filepath.Dir(got.CDI) != cdi || !strings.HasPrefix(got.Firmware, "/srv/share/") {
		t.Errorf("%+v", got)
	}
	if want := []string{"-nvidia", "+nvidia NVreg_RegistryDwords=a", "+nvidia_uvm"}; !slices.Equal(n.kernel.Calls, want) {
		t.Errorf("%q, want %q", n.kernel.Calls, want)
	}
	if o := n.run(t, "load", "--check"); o.code != 17 || !strings.Contains(o.stderr, "nvidiactl") {
		t.Errorf("%+v", o)
	}
}

// stopper stops a command as soon as it prints its result.
type stopper struct {
	bytes.Buffer
	stop func()
}

func (s *stopper) Write(text []byte) (int, error) {
	defer s.stop()
	return s.Buffer.Write(text)
}

func loadStays(t *testing.T, n *machine) {
	ctx, stop := context.WithCancel(t.Context())
	out := &stopper{stop: stop}
	var stderr bytes.Buffer
	code := run(ctx, n.defaults(), []string{"load", "--stay"}, n.environ, out, &stderr)
	if code != 0 || strings.TrimSpace(out.String()) != fixtureDriver || !strings.Contains(stderr.String(), "staying until stopped") {
		t.Errorf("exit code %d, stdout %q\n%s", code, out.String(), stderr.String())
	}
	if slices.ContainsFunc(n.kernel.Calls, func(call string) bool { return strings.HasPrefix(call, "-") }) {
		t.Errorf("%q", n.kernel.Calls)
	}
}

// stays runs a load that stays until end is called, which returns how it ended.
func (n *machine) stays(t *testing.T, args ...string) (log *lockedBuffer, end func() int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	log = &lockedBuffer{}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, n.defaults(), append([]string{"load", "--stay"}, args...), n.environ, io.Discard, log)
	}()
	t.Cleanup(stop)
	return log, func() int { stop(); return <-code }
}

// lockedBuffer is a log that is read as it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await is what a pattern's group finds in the log, once it is there.
func (b *lockedBuffer) await(t *testing.T, pattern string) string {
	t.Helper()
	for range 1000 {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(b.String()); found != nil {
			return found[len(found)-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log has no %s:\n%s", pattern, b.String())
	return ""
}

// loadShowsMetrics of what it knows, and loads nothing where it cannot.
func loadShowsMetrics(t *testing.T, n *machine) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if o := n.run(t, "load", "--stay", "--metrics", taken.Addr().String()); o.code != 17 || !strings.Contains(o.stderr, `"kind":"metrics"`) || len(n.kernel.Calls) > 0 {
		t.Errorf("%+v, and %q", o, n.kernel.Calls)
	}
	for _, args := range [][]string{{"load", "--metrics", ":0"}, {"load", "--check", "--metrics", ":0"}, {"load", "--stay", "--metrics", "0"}} {
		if o := n.run(t, args...); o.code != 2 || !strings.Contains(o.stderr, "--metrics") || len(n.kernel.Calls) > 0 {
			t.Errorf("%q: %+v, and %q", args, o, n.kernel.Calls)
		}
	}
	log, end := n.stays(t, "--metrics", "127.0.0.1:0")
	at := log.await(t, `"at":"(http://127.0.0.1:\d+/metrics)"`)
	log.await(t, "staying until stopped")
	answer, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	for _, want := range []string{
		"cuda_builder_info{version=", `cuda_driver_state{state="ready"} 1`, `cuda_driver_info{form="proprietary",kernel_release="` + fixtureRelease + `",version="` + fixtureDriver + `"} 1`,
		"cuda_driver_gpus_expected 1\n", "cuda_driver_gpus_up 0\n", `cuda_driver_findings{verdict="failed"} 0`, "\ncuda_driver_last_load_duration_seconds ",
	} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("there is no %s, %v:\n%s", want, err, text)
		}
	}
	// A probe has the environment of who stays.
	probe := *n
	probe.fixture = &fixture{environ: append(slices.Clone(n.environ), "BUILDER_METRICS=:0")}
	if o := probe.run(t, "load", "--check"); o.code == 2 {
		t.Errorf("%+v", o)
	}
	if code := end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, log)
	}
	// Another test's server may have the port by now.
	if answer, err := http.Get(at); err == nil {
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err == nil && strings.Contains(string(text), "cuda_builder_info") {
			t.Error("it answers all the same")
		}
	}
}

// loadRefused has people and programs be told why, by both commands.
func loadRefused(t *testing.T, n *machine) {
	n.kernel.Refuse["nvidia"] = unix.ENOEXEC
	n.kernel.Says["nvidia"] = "<4>[1.0] nvidia: frobnicated\n<4>[1.1] nvidia: twice\n"
	refused := node.Refused.Of("nvidia", "ENOEXEC (exec format error)")
	refused.Do = "build again for this very kernel, from a mount of the host (-v /:/host:ro): these modules are not of it"
	n.fails(t, "load", failed{Failures: []node.Finding{refused}, Log: []string{"nvidia: frobnicated", "nvidia: twice"}})
	clear(n.kernel.Refuse)
	n.run(t, "load")
	n.kernel.Hold("nvidia", "gdrdrv")
	n.fails(t, "unload", failed{Failures: []node.Finding{node.InUse.Of(fixtureDriver, "the module gdrdrv")}})
}

// fails expects a command to fail.
func (n *machine) fails(t *testing.T, command string, want failed) {
	t.Helper()
	o := n.run(t, command, "--output", "json")
	if o.code != 17 {
		t.Errorf("%s: exit code %d, want 17\n%s", command, o.code, o.stderr)
	}
	var got failed
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatalf("%s: %v: %s%s", command, err, o.stdout, o.stderr)
	}
	want.Kind = want.Failures[0].Name
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", command, diff)
	}
	why := want.Failures[0]
	for _, part := range []string{`"kind":"` + why.Name + `"`, why.Says, `"next":"` + why.Do + `"`} {
		if !strings.Contains(o.stderr, part) {
			t.Errorf("%s does not say %q:\n%s", command, part, o.stderr)
		}
	}
	if text := n.run(t, command); text.code != 17 || text.stdout != "" {
		t.Errorf("%s: %+v", command, text)
	}
}

// loadUsage has what no load can make sense of.
func loadUsage(t *testing.T, n *machine) {
	for _, args := range [][]string{
		{"load", "extra"}, {"load", "--modules", "frobnicator"}, {"load", "--parameters", "nvidia"},
		{"load", "--parameters", "nvidia.NoSuch=1"}, {"load", "--parameters", "frob.X=1"}, {"unload", "extra"}, {"load", "--share", "/nowhere"},
		{"load", "--dev", "/nowhere"},
	} {
		if o := n.run(t, args...); o.code != 2 {
			t.Errorf("%q: exit code %d, want 2\n%s", args, o.code, o.stderr)
		}
	}
}
