//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/stage"
)

// nodes are as many agents as miss the same at once.
const nodes = 50

// TestCluster has a real API server take deploy/'s manifests, its Pod Security and RBAC
// included, and 50 agents with the account that these give have one Job built.
func TestCluster(t *testing.T) {
	p := startPlane(t)
	kubernetes, err := filepath.Abs("../../deploy/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	overlay := p.overlay("resources: [K/base, K/next-kernel]\ncomponents: [K/daemons, K/registry, K/jobs, K/nfd, K/metrics, K/events]\n")
	p.apply(kubernetes + "/build")
	p.apply(overlay)
	client := p.client(p.token("cuda-driver"))
	testOperators(p, kubernetes)

	pod := new(unstructured.Unstructured)
	t.Run("a node gets its pods", func(t *testing.T) {
		node := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "gpu-1", "labels": map[string]any{"nvidia.com/gpu.present": "true"}}}}
		if _, err := p.admin.Resource(resource("", "nodes")).Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			list, err := p.admin.Resource(resource("", "pods")).Namespace("cuda-driver").List(t.Context(), metav1.ListOptions{})
			if err == nil && len(list.Items) == 2 {
				*pod = list.Items[0]
				return // Pod Security let both be, the driver's and the next kernel's
			}
			if n == 300 {
				events, _ := p.admin.Resource(resource("", "events")).Namespace("cuda-driver").List(t.Context(), metav1.ListOptions{})
				t.Fatalf("there are %d: %v\n%v", len(list.Items), err, events)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})

	t.Run("what the account may not", func(t *testing.T) {
		pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"containers": []any{map[string]any{"name": "x", "image": "x"}}}}
		for name, try := range map[string]func(dynamic.Interface) error{
			"a pod": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("", "pods")).Namespace("cuda-build").Create(t.Context(), &unstructured.Unstructured{Object: pod}, metav1.CreateOptions{})
				return err
			},
			"its secrets": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("", "secrets")).Namespace("cuda-build").List(t.Context(), metav1.ListOptions{})
				return err
			},
			"a Job elsewhere": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("batch", "jobs")).Namespace("cuda-driver").List(t.Context(), metav1.ListOptions{})
				return err
			},
			"to delete a Job": func(c dynamic.Interface) error {
				return c.Resource(resource("batch", "jobs")).Namespace("cuda-build").Delete(t.Context(), "x", metav1.DeleteOptions{})
			},
			"to read events": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("", "events")).Namespace("cuda-driver").List(t.Context(), metav1.ListOptions{})
				return err
			},
			"to change one": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("", "events")).Namespace("cuda-driver").Patch(t.Context(), "x", types.MergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{})
				return err
			},
			"an event elsewhere": func(c dynamic.Interface) error {
				event := map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": "x"}, "involvedObject": map[string]any{"namespace": "cuda-build"}}
				_, err := c.Resource(resource("", "events")).Namespace("cuda-build").Create(t.Context(), &unstructured.Unstructured{Object: event}, metav1.CreateOptions{})
				return err
			},
			"nodes": func(c dynamic.Interface) error {
				_, err := c.Resource(resource("", "nodes")).List(t.Context(), metav1.ListOptions{})
				return err
			},
		} {
			if err := try(client); !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v, want it forbidden", name, err)
			}
		}
		// Nor may anybody have a pod there that has a right on its node.
		spec := pod["spec"].(map[string]any)
		spec["volumes"] = []any{map[string]any{"name": "root", "hostPath": map[string]any{"path": "/"}}}
		if _, err := p.admin.Resource(resource("", "pods")).Namespace("cuda-build").Create(t.Context(), &unstructured.Unstructured{Object: pod}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "baseline`) {
			t.Errorf("%v", err)
		}
	})

	t.Run("events of a pod, each once", func(t *testing.T) {
		of := cluster.Pod{Namespace: pod.GetNamespace(), Name: pod.GetName(), UID: string(pod.GetUID()), Node: "gpu-1"}
		events, err := cluster.NewEvents(of, client)
		if err != nil {
			t.Fatal(err)
		}
		told := []cluster.Event{
			{Warning: true, Reason: "in-use", Action: "load", Says: "driver 570 is in use", Do: "stop what uses it"},
			{Reason: "ready", Action: "load", Says: "driver 580.126.09 is ready; before it was not: in-use"},
		}
		for range 3 {
			for _, e := range told {
				if err := events.Post(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		}
		// As kubectl describe asks for them.
		list, err := p.admin.Resource(resource("", "events")).Namespace(of.Namespace).List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + of.Name + ",involvedObject.namespace=" + of.Namespace + ",involvedObject.uid=" + of.UID,
		})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, e := range list.Items {
			if from, _, _ := unstructured.NestedString(e.Object, "source", "component"); from == "cuda-builder" {
				got[fmt.Sprintf("%s %s: %s", e.Object["type"], e.Object["reason"], e.Object["message"])]++
			}
		}
		want := map[string]int{"Warning in-use: driver 570 is in use. Stop what uses it.": 1, "Normal ready: driver 580.126.09 is ready; before it was not: in-use": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("of %d events (-want +got):\n%s", len(list.Items), diff)
		}
	})

	options := cluster.Options{Template: kubernetes + "/jobs/job.yaml", Client: client, Pause: 200 * time.Millisecond, Wait: 5 * time.Minute}
	// agents have as many ask for the same, and returns what came of it.
	agents := func(t *testing.T, name string, ready func(context.Context) (bool, error)) (all [nodes]error) {
		var group sync.WaitGroup
		for i := range all {
			group.Go(func() {
				all[i] = cluster.Build(t.Context(), options, cluster.Request{Name: name, Key: "registry.example.com/cuda:" + name, Args: []string{"build", "--push"}}, ready)
			})
		}
		group.Wait()
		return all
	}
	jobs := func(t *testing.T) (names []string) {
		list, err := p.admin.Resource(resource("batch", "jobs")).Namespace("cuda-build").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range list.Items {
			names = append(names, j.GetName())
		}
		return names
	}

	t.Run("one builds for all, though the API server restarts and the Job is deleted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var built atomic.Int32
		var restarted, first sync.Once
		go p.kubelet(ctx, "cuda-build", func(pod *unstructured.Unstructured) (int64, string) {
			gone := false
			first.Do(func() { // somebody deletes the first Job while it runs
				gone = true
				background := metav1.DeletePropagationBackground
				if err := p.admin.Resource(resource("batch", "jobs")).Namespace("cuda-build").Delete(ctx, "one", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
					t.Error(err)
				}
			})
			if gone {
				return 1, "killed"
			}
			restarted.Do(func() { p.stopServer(); p.startServer() })
			built.Add(1)
			return 0, ""
		})
		for i, err := range agents(t, "one", func(context.Context) (bool, error) { return built.Load() > 0, nil }) {
			if err != nil {
				t.Errorf("agent %d: %v", i, err)
			}
		}
		if n := built.Load(); n != 1 {
			t.Errorf("%d were built", n)
		}
		if names := jobs(t); len(names) != 1 {
			t.Errorf("the Jobs are %q", names)
		}
	})

	t.Run("why it failed reaches all", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.kubelet(ctx, "cuda-build", func(*unstructured.Unstructured) (int64, string) {
			return 14, `{"level":"error","stage":"build","exit":14,"next":"take another driver","message":"the driver does not compile"}`
		})
		for i, err := range agents(t, "two", func(context.Context) (bool, error) { return false, nil }) {
			var failure *stage.Error
			if !errors.As(err, &failure) || failure.Stage != stage.Build || !strings.Contains(failure.Reason, "the driver does not compile") || !strings.Contains(failure.Hint, "take another driver") {
				t.Errorf("agent %d: %v", i, err)
			}
		}
	})

	t.Run("a manifest that Pod Security refuses", func(t *testing.T) {
		text, err := os.ReadFile(options.Template)
		if err != nil {
			t.Fatal(err)
		}
		wrong := options
		wrong.Template = filepath.Join(t.TempDir(), "job.yaml")
		if err := os.WriteFile(wrong.Template, []byte(strings.Replace(string(text), "emptyDir: { sizeLimit: 8Gi }", "hostPath: { path: / }", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		wrong.Wait = 5 * time.Second
		err = cluster.Build(t.Context(), wrong, cluster.Request{Name: "three", Key: "three"}, func(context.Context) (bool, error) { return false, nil })
		if err == nil || !strings.Contains(err.Error(), "Look at the Job") {
			t.Errorf("%v", err)
		}
	})
}
