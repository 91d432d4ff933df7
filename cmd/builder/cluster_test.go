package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

var (
	jobsResource = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
)

// aCluster is client-go's own stand-in of an API server, in memory, with run in the place
// of its Job controller: it is given the Job's arguments, and its answer is how the Job's
// pod ended.
func aCluster(t *testing.T, run func(args []string) (code int, said string)) (client *fake.FakeDynamicClient, made func() int) {
	t.Helper()
	client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{jobsResource: "JobList", podsResource: "PodList"})
	watch, err := client.Resource(jobsResource).Namespace("cuda-build").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	count := 0
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); watch.Stop(); running.Wait() })
	running.Go(func() {
		for event := range watch.ResultChan() {
			job, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type != "ADDED" {
				continue
			}
			mu.Lock()
			count++
			mu.Unlock()
			containers, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
			var args []string
			for _, a := range containers[0].(map[string]any)["args"].([]any) {
				args = append(args, a.(string))
			}
			code, said := run(args)
			condition := map[string]any{"type": "Complete", "status": "True"}
			if code != 0 {
				condition = map[string]any{"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
				pod := &unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": job.GetName() + "-x", "namespace": job.GetNamespace(), "labels": map[string]any{"job-name": job.GetName()}},
					"status": map[string]any{"containerStatuses": []any{map[string]any{"state": map[string]any{"terminated": map[string]any{"exitCode": int64(code), "message": said}}}}},
				}}
				if _, err := client.Resource(podsResource).Namespace(job.GetNamespace()).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
			job = job.DeepCopy()
			_ = unstructured.SetNestedSlice(job.Object, []any{condition}, "status", "conditions")
			if _, err := client.Resource(jobsResource).Namespace(job.GetNamespace()).Update(ctx, job, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
	return client, func() int { mu.Lock(); defer mu.Unlock(); return count }
}

// jobManifest is the manifest that deploy/ has.
const jobManifest = "../../deploy/kubernetes/jobs/job.yaml"

// nodes are as many hosts of the fixture's kernel, each with a share in which there is
// nothing.
func (f *fixture) nodes(t *testing.T, n int) (list []*fixture) {
	t.Helper()
	for range n {
		node := *f
		node.emptyShare(t)
		list = append(list, &node)
	}
	return list
}

// TestNodesBuildOnce has nodes that miss the same have one Job build it, from a capture, on
// a machine that has neither their kernel nor a GPU; none of them builds.
func TestNodesBuildOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	worker := *f // the share with the driver package is the Job's
	worker.environ = slices.DeleteFunc(slices.Clone(f.environ), func(pair string) bool { return strings.HasPrefix(pair, "BUILDER_HOST_ROOT=") })
	var asked []string
	client, made := aCluster(t, func(args []string) (int, string) {
		asked = args
		o := worker.run(t, args...)
		if o.code != 0 {
			t.Errorf("the Job's builder ended with %d\n%s", o.code, o.stderr)
		}
		return o.code, o.stderr
	})
	f.cluster = client
	nodes := f.nodes(t, 8)
	args := []string{"--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share"}
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() {
			o := node.run(t, append(slices.Clone(args), node.share)...)
			if o.code != 0 || strings.Contains(o.stderr, `"stage":"build"`) || !strings.Contains(o.stderr, "what was built elsewhere serves") {
				t.Errorf("%d\n%s", o.code, o.stderr)
			}
		})
	}
	all.Wait()
	if n := made(); n != 1 {
		t.Errorf("%d Jobs were made", n)
	}
	if !slices.Contains(asked, "--push") || !slices.Contains(asked, "--registry="+repository) {
		t.Errorf("the Job's arguments are %q", asked)
	}
	// A capture that somebody has put where another's was.
	for _, arg := range asked {
		if capture, ok := strings.CutPrefix(arg, "--host-capture="); ok {
			at, err := name.NewRepository(repository)
			if err != nil {
				t.Fatal(err)
			}
			image, err := remote.Image(at.Tag(capture))
			if err == nil {
				err = remote.Write(at.Tag("capture-of-another"), image)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if o := worker.run(t, "build", "--registry", repository, "--host-capture", "capture-of-another", "--driver-version", fixtureDriver); o.code != 10 || !strings.Contains(o.stderr, "is of another kernel than its tag says") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	// What a node has already it asks nobody to build, also where the registry has lost it.
	node := nodes[0]
	node.writeDriver(t, fixtureDriver)
	if o := node.run(t, append([]string{"--registry", aRegistry(t, nil)}, append(slices.Clone(args[2:]), node.share)...)...); o.code != 0 || !strings.Contains(o.stderr, "no Job is asked to build") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if n := made(); n != 1 {
		t.Errorf("%d Jobs were made", n)
	}
	// Its modules of the other form do not serve, and it would have to compile.
	failing, made := aCluster(t, func(args []string) (int, string) { asked = args; return 14, "" })
	node.cluster = failing
	if o := node.run(t, append([]string{"--registry", aRegistry(t, nil), "--module-type", "open"}, append(slices.Clone(args[2:]), node.share)...)...); o.code == 0 || made() != 1 || !slices.Contains(asked, "--module-type=open") {
		t.Errorf("%d, %d Jobs, asked for %q\n%s", o.code, made(), asked, o.stderr)
	}
}

// TestRegistryThatIsDown has a node wait for a registry that restarts, and build in no case
// what it would have had from there.
func TestRegistryThatIsDown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var refuses atomic.Int32 // as many requests, then all
	var status atomic.Int32
	repository := aRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refuses.Add(-1) >= 0 {
				w.WriteHeader(int(status.Load()))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	worker := *f
	worker.environ = slices.DeleteFunc(slices.Clone(f.environ), func(pair string) bool { return strings.HasPrefix(pair, "BUILDER_HOST_ROOT=") })
	client, made := aCluster(t, func(args []string) (int, string) {
		o := worker.run(t, args...)
		return o.code, o.stderr
	})
	f.cluster = client
	for _, tt := range []struct {
		name   string
		status int
		count  int32
		wait   time.Duration
		code   int
		says   string
	}{
		{"it has no place for us", http.StatusForbidden, 1 << 30, time.Minute, 16, "say who you are there"},
		{"it does not come back", http.StatusServiceUnavailable, 1 << 30, 100 * time.Millisecond, 16, "the registry does not answer; looking again"},
		{"it restarts", http.StatusServiceUnavailable, 40, time.Minute, 0, "what was built elsewhere serves"},
	} {
		status.Store(int32(tt.status))
		refuses.Store(tt.count)
		node := f.nodes(t, 1)[0]
		node.writeDriver(t, fixtureDriver) // it could
		o := waits(tt.wait, tt.says, func(wait string) outcome {
			return node.run(t, "--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share", node.share, "--build-job-wait", wait)
		})
		if o.code != tt.code || !strings.Contains(o.stderr, tt.says) || strings.Contains(o.stderr, `"stage":"build"`) {
			t.Errorf("%s: %d, want %d and %q\n%s", tt.name, o.code, tt.code, tt.says, o.stderr)
		}
	}
	if n := made(); n != 1 {
		t.Errorf("%d Jobs were made", n)
	}
}

// TestJobThatFails has its own sentence reach every node, with its exit code.
func TestJobThatFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	said := "building\n" + `{"level":"error","stage":"driver","exit":11,"kind":"known-break","next":"take 580.126.09","message":"driver 535 does not compile"}`
	client, made := aCluster(t, func([]string) (int, string) { return 11, said })
	f.cluster = client
	for _, node := range f.nodes(t, 2) {
		empty := node.results(t)
		o := node.run(t, "--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share", node.share)
		for _, want := range []string{"driver 535 does not compile", "take 580.126.09; then correct the cause, and delete the Job", `"kind":"known-break"`} {
			if o.code != 11 || !strings.Contains(o.stderr, want) {
				t.Errorf("%d, want %q\n%s", o.code, want, o.stderr)
			}
		}
		if node.results(t) != empty {
			t.Errorf("it left\n%s", node.results(t))
		}
	}
	if n := made(); n != 1 {
		t.Errorf("%d Jobs were made", n)
	}
}

// waits has a run wait for a Job no longer than it needs to come to what it is to say: on a
// busy machine that is longer.
func waits(wait time.Duration, says string, run func(wait string) outcome) (o outcome) {
	for {
		o = run(wait.String())
		if wait >= time.Minute || strings.Contains(o.stderr, says) {
			return o
		}
		wait *= 2
	}
}

// TestJobsThatCannotBe are refused, each in a sentence, and what passes is waited for.
func TestJobsThatCannotBe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	client, _ := aCluster(t, func([]string) (int, string) { return 0, "" }) // and pushes nothing
	f.cluster = client
	manifest := func(text string) string {
		file := filepath.Join(t.TempDir(), "job.yaml")
		write(t, file, 0o644, text)
		return file
	}
	good := read(t, jobManifest)
	run := func(job string, more ...string) outcome {
		node := f.nodes(t, 1)[0]
		return node.run(t, append([]string{"--registry", repository, "--driver-version", fixtureDriver, "--build-job", job, "--share", node.share}, more...)...)
	}
	for _, tt := range []struct {
		name, job string
		more      []string
		code      int
		says      string
	}{
		{"no file", "/absent", nil, 2, "manifest cannot be read"},
		{"no YAML", manifest("\t"), nil, 2, "neither YAML nor JSON"},
		{"no Job", manifest(strings.Replace(good, "kind: Job", "kind: CronJob", 1)), nil, 2, "no batch/v1 Job"},
		{"no namespace", manifest(strings.Replace(good, "namespace:", "name:", 1)), nil, 2, "it names no namespace"},
		{"no container", manifest("apiVersion: batch/v1\nkind: Job\nmetadata: {namespace: x}\n"), nil, 2, "no container"},
		{"no registry", jobManifest, []string{"--registry", ""}, 2, "none is named"},
		{"nothing comes of it", jobManifest, nil, 16, "has ended well, and what it was to leave is not there"},
	} {
		if o := run(tt.job, tt.more...); o.code != tt.code || !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: %d, want %d and %q\n%s", tt.name, o.code, tt.code, tt.says, o.stderr)
		}
	}
	full, _ := aCluster(t, func([]string) (int, string) { return 0, "" })
	full.PrependReactor("create", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(jobsResource.GroupResource(), "cuda-build-x", errors.New("exceeded quota: cuda-build, requested: count/jobs.batch=1"))
	})
	f.cluster = full
	const used = "the quota of its namespace is used up"
	if o := waits(100*time.Millisecond, used, func(wait string) outcome { return run(jobManifest, "--build-job-wait", wait) }); o.code != 16 || !strings.Contains(o.stderr, used) || !strings.Contains(o.stderr, "has not brought what this node needs in ") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	f.cluster = client
	client.PrependReactor("get", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(jobsResource.GroupResource(), "cuda-build-x", errors.New("no"))
	})
	if o := run(jobManifest); o.code != 16 || !strings.Contains(o.stderr, "let the pod's service account create") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	client.PrependReactor("get", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, os.ErrDeadlineExceeded })
	if o := run(jobManifest, "--build-job-wait", (50 * time.Millisecond).String()); o.code != 16 || !strings.Contains(o.stderr, "has not brought what this node needs in 50ms") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestJobForAnImage: where an image was named, the capture that a Job builds for is of that
// kernel, and not of the one that the node runs.
func TestJobForAnImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	image := filepath.Join(t.TempDir(), "vmlinuz-b")
	write(t, image, 0o644, fixtureImage(t))
	worker := *f
	worker.environ = slices.DeleteFunc(slices.Clone(f.environ), func(pair string) bool { return strings.HasPrefix(pair, "BUILDER_HOST_ROOT=") })
	client, made := aCluster(t, func(args []string) (int, string) {
		o := worker.run(t, args...)
		return o.code, o.stderr
	})
	f.cluster = client
	node := f.nodes(t, 1)[0]
	node.host = filepath.Join(t.TempDir(), "host")
	write(t, filepath.Join(node.host, "proc/version"), 0o644, strings.ReplaceAll(fixtureBanner, fixtureRelease, "6.1.191-coreos-r1"))
	o := node.run(t, "--registry", repository, "--driver-version", fixtureDriver, "--build-job", jobManifest, "--share", node.share, "--host-root", node.host, "--kernel-image", image)
	if o.code != 0 || made() != 1 || !strings.Contains(o.stdout, "modules/"+fixtureRelease+"/"+fixtureDriver) {
		t.Errorf("%d, %d Jobs\n%s", o.code, made(), o.stderr)
	}
}
