package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/k8sp/cuda/pkg/kernel/staged/stagedtest"
	"github.com/k8sp/cuda/pkg/nextkernel"
)

// flatcar makes a host whose next boot brings the fixture's kernel; it runs another.
func (f *fixture) flatcar(t *testing.T, change map[string]string) (root string) {
	t.Helper()
	files := stagedtest.Files(t, fixtureKernel)
	files["proc/version"] = strings.ReplaceAll(fixtureBanner, fixtureRelease, "6.1.191-coreos-r1") + "\n"
	root, f.mount = stagedtest.Host(t, files, change, stagedtest.Usr(fixtureKernel))
	return root
}

// TestNext builds for the kernel that the next boot brings, and after that boot there is
// nothing to build.
func TestNext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	root := f.flatcar(t, nil)
	o := f.run(t, "next", "--host-root", root)
	if want := filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json") + "\n"; o.code != 0 || o.stdout != want {
		t.Fatalf("%d %q\n%s", o.code, o.stdout, o.stderr)
	}
	if again := f.run(t, "next", "--host-root", root, "--output", "json"); again.code != 0 || !strings.Contains(again.stdout, `"state": "ready"`) || !strings.Contains(again.stderr, "nothing to build") {
		t.Errorf("%d\n%s\n%s", again.code, again.stdout, again.stderr)
	}
	if booted := f.run(t); booted.code != 0 || booted.stdout != o.stdout || !strings.Contains(booted.stderr, "nothing to build") {
		t.Errorf("after the boot: %d\n%s", booted.code, booted.stderr)
	}
}

// TestNextWithNothingToDo changes nothing.
func TestNextWithNothingToDo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.results(t)
	o := f.run(t, "next", "--host-root", f.flatcar(t, map[string]string{stagedtest.Mark: ""}))
	if o.code != 0 || o.stdout != "" || !strings.Contains(o.stderr, "nothing to do: no update is staged") || f.results(t) != before {
		t.Errorf("%d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
}

// TestNextByAJob has the cluster build for the next kernel from a capture of it.
func TestNextByAJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	worker := *f
	worker.environ = slices.DeleteFunc(slices.Clone(f.environ), func(pair string) bool { return strings.HasPrefix(pair, "BUILDER_HOST_ROOT=") })
	client, made := aCluster(t, func(args []string) (int, string) {
		o := worker.run(t, args...)
		return o.code, o.stderr
	})
	f.cluster = client
	node := f.nodes(t, 1)[0]
	o := node.run(t, "next", "--host-root", node.flatcar(t, nil), "--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share", node.share)
	if o.code != 0 || made() != 1 || strings.Contains(o.stderr, `"stage":"build"`) {
		t.Errorf("%d, %d Jobs\n%s", o.code, made(), o.stderr)
	}
	// The node that has booted that kernel asks for the same.
	other := f.nodes(t, 1)[0]
	if o := other.run(t, "--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share", other.share); o.code != 0 || made() != 1 {
		t.Errorf("after the boot: %d, %d Jobs\n%s", o.code, made(), o.stderr)
	}
}

// TestNextThatFails ends with the code of the stage that failed, and says so in JSON, too.
func TestNextThatFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, trusted := signManifest("rsa")
	for name, tt := range map[string]struct {
		change map[string]string
		args   []string
		code   int
		says   string
	}{
		"no Flatcar":           {change: map[string]string{"proc/cmdline": "quiet"}, code: 10, says: "does not name the partition of /usr"},
		"no driver":            {args: []string{"--share", t.TempDir()}, code: 11, says: "driver"},
		"nobody has signed it": {args: []string{"--trust", trusted}, code: 15, says: "there is no manifest.json.p7s beside it"},
		"nobody is trusted":    {args: []string{"--trust="}, code: 2, says: "--trust names no certificate"},
		"no stay":              {args: []string{"--listen", ":0"}, code: 2, says: "add --stay"},
		"a host is a kernel's": {args: []string{"--kernel-image", "/x"}, code: 2, says: "unknown flag: --kernel-image"},
	} {
		o := f.run(t, append([]string{"next", "--host-root", f.flatcar(t, tt.change), "--output", "json"}, tt.args...)...)
		if o.code != tt.code || !strings.Contains(lastLine(o.stderr), tt.says) {
			t.Errorf("%s: %d, want %d and %q\n%s", name, o.code, tt.code, tt.says, o.stderr)
		}
		if tt.code > 2 && !strings.Contains(o.stdout, `"state": "failed"`) {
			t.Errorf("%s:\n%s", name, o.stdout)
		}
	}
	if o := f.run(t, "next", "watch"); o.code != 2 || !strings.Contains(o.stderr, "name one folder") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestNextInTwo has one watch and the other build, as in the two containers of a pod.
func TestNextInTwo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	root, between := f.flatcar(t, nil), t.TempDir()
	status := filepath.Join(t.TempDir(), "next.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var both sync.WaitGroup
	var watched, built outcome
	both.Go(func() { watched = f.runContext(t, ctx, "next", "watch", between, "--host-root", root) })
	both.Go(func() {
		built = f.runContext(t, ctx, "next", "--stay", "--watched", between, "--listen", "127.0.0.1:0", "--status", status)
	})
	var s nextkernel.Status
	for n := 0; s.State != nextkernel.Ready && n < 3000; n++ {
		time.Sleep(10 * time.Millisecond)
		if text, err := os.ReadFile(status); err == nil {
			_ = json.Unmarshal(text, &s)
		}
	}
	cancel()
	both.Wait()
	if s.State != nextkernel.Ready || s.Release != fixtureRelease || watched.code != 0 || built.code != 0 {
		t.Errorf("%+v\n%d\n%s\n%d\n%s", s, watched.code, watched.stderr, built.code, built.stderr)
	}
}

// TestRebootGate outside of a cluster says what it lacks, and in one stays until it is
// stopped.
func TestRebootGate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if o := f.run(t, "reboot-gate"); o.code != 2 || !strings.Contains(lastLine(o.stderr), "there is no API server to reach") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	f.cluster = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "nodes"}: "NodeList", podsResource: "PodList",
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if o := f.runContext(t, ctx, "reboot-gate"); o.code != 0 || strings.Contains(o.stderr, "not to be seen") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}
