//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8sp/cuda/internal/docs"
	"github.com/k8sp/cuda/pkg/nextkernel/fluo"
)

const (
	fleetPage = "docs/fleet.md"
	podsPage  = "deploy/kubernetes/README.md"
)

// TestPages types what the pages for a cluster's people have them type, with the real
// kubectl, at the real API server: from nothing to a driver on each node, another driver node
// by node, and a node that failed. No kubelet runs, so what the pods do is left out: each is
// ready as soon as it is on its node.
func TestPages(t *testing.T) {
	p := startPlane(t)
	for _, name := range []string{"gpu-1", "gpu-2"} {
		p.node(name, map[string]any{"kubernetes.io/hostname": name, "nvidia.com/gpu.present": "true", "gpu-pods": "on"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	k := &kubelets{plane: p}
	go k.run(ctx)
	r := newOperator(p)

	t.Run("the nodes", func(t *testing.T) {
		r.types(t, docs.Block(t, fleetPage, "nodes"), nil)
		if got := k.drivers(t); len(got) != 2 {
			t.Errorf("the pods of the driver are %v", got)
		}
	})
	t.Run("alone", func(t *testing.T) {
		// What the other page begins with is the same, and there already; so is the namespace.
		r.types(t, docs.Block(t, podsPage, "apply"), nil)
	})
	t.Run("a cluster that builds", func(t *testing.T) {
		r.types(t, docs.Block(t, podsPage, "build"), strings.NewReplacer("https://github.com/k8sp/cuda//", r.checkout+"/", "?ref=main", "", "…", "--docker-server x --docker-username x --docker-password x"))
	})

	t.Run("another driver", func(t *testing.T) {
		plugin := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(devicePlugin), &plugin.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := p.admin.Resource(resource("apps", "daemonsets")).Namespace("default").Create(t.Context(), plugin, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		k.await(t, func() bool { return len(k.pods("default", "nvidia-device-plugin")) == 2 })
		before := k.drivers(t)
		// As step 5 says.
		r.edit(t, "BUILDER_DRIVER_VERSION=580.126.09", "BUILDER_DRIVER_VERSION=580.105.08\n      - BUILDER_REPLACE=true")
		r.types(t, docs.Block(t, podsPage, "updates"), nil)
		after := k.drivers(t)
		for _, node := range []string{"gpu-1", "gpu-2"} {
			was, is := before[node], after[node]
			if was.uid == "" || is.uid == "" || was.uid == is.uid || was.options == is.options {
				t.Errorf("%s had the pod %+v, and has %+v", node, was, is)
			}
			n, err := p.admin.Resource(resource("", "nodes")).Get(t.Context(), node, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if cordoned, _, _ := unstructured.NestedBool(n.Object, "spec", "unschedulable"); cordoned || n.GetLabels()["gpu-pods"] != "on" {
				t.Errorf("%s was left cordoned: %v, and has the labels %v", node, cordoned, n.GetLabels())
			}
		}
		if held := k.heldWhenGone(); len(held) > 0 {
			t.Errorf("the device plugin was there when the driver's pod went, on %q", held)
		}
		k.await(t, func() bool { return len(k.pods("default", "nvidia-device-plugin")) == 2 })
	})

	t.Run("the next reboot", func(t *testing.T) {
		n, err := p.admin.Resource(resource("", "nodes")).Get(t.Context(), "gpu-2", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		labels := n.GetLabels()
		labels[beforeReboot] = "true"
		n.SetLabels(labels)
		n.SetAnnotations(map[string]string{fluo.Annotation: "false: a driver is built"})
		if _, err := p.admin.Resource(resource("", "nodes")).Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		out := r.types(t, docs.Block(t, fleetPage, "waits"), nil)
		if got := strings.Fields(out); !slices.Equal(got, []string{"NODE", "NEXT", "gpu-2", "false:", "a", "driver", "is", "built"}) {
			t.Errorf("it says %q", out)
		}
	})

	t.Run("a node that failed", func(t *testing.T) {
		pod := k.drivers(t)["gpu-2"].name
		k.fail(pod, 16, "driver 580.105.08 for 6.12.103-flatcar cannot be pulled (not-pushed): there is no such artefact")
		k.await(t, func() bool {
			got, err := p.admin.Resource(resource("", "pods")).Namespace("cuda-driver").Get(ctx, pod, metav1.GetOptions{})
			return err == nil && strings.Contains(status(got), "not-pushed")
		})
		out := r.types(t, docs.Block(t, fleetPage, "failed"), strings.NewReplacer("POD", pod))
		for _, want := range []string{pod + " ", "Init:CrashLoopBackOff", "cannot be pulled (not-pushed): there is no such artefact"} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	})
}

// devicePlugin is a DaemonSet as NVIDIA's chart has it, as far as an update has to do with it.
const devicePlugin = `{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "nvidia-device-plugin"}, "spec": {
	"selector": {"matchLabels": {"app.kubernetes.io/name": "nvidia-device-plugin"}},
	"template": {"metadata": {"labels": {"app.kubernetes.io/name": "nvidia-device-plugin"}}, "spec": {
		"nodeSelector": {"gpu-pods": "on"}, "containers": [{"name": "plugin", "image": "plugin"}]}}}}`

// operator is who follows the pages, in a folder of his own.
type operator struct {
	dir, bin, checkout, kubeconfig string
}

// newOperator has the files that the pages speak of, with the kustomization of the fleet's
// page: its components and bases are those of this checkout.
func newOperator(p *plane) *operator {
	p.Helper()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		p.Fatal(err)
	}
	r := &operator{dir: p.TempDir(), bin: p.bin, checkout: checkout, kubeconfig: filepath.Join(p.dir, "kubeconfig")}
	page, err := os.ReadFile(filepath.Join(checkout, fleetPage))
	if err != nil {
		p.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(apiVersion: kustomize.config.k8s.io/v1beta1\n.*?)```").FindSubmatch(page)
	if found == nil {
		p.Fatalf("%s has no kustomization", fleetPage)
	}
	relative, err := filepath.Rel(r.dir, checkout)
	if err != nil {
		p.Fatal(err)
	}
	text := regexp.MustCompile(`https://github.com/k8sp/cuda//(\S+)\?ref=main`).ReplaceAllString(string(found[1]), relative+"/$1")
	for name, text := range map[string]string{"kustomization.yaml": text, "cosign.pub": "a key\n", "ca.pem": "a certificate\n", "password": "a password\n"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			p.Fatal(err)
		}
	}
	return r
}

// edit changes the kustomization.
func (r *operator) edit(t *testing.T, from, to string) {
	t.Helper()
	file := filepath.Join(r.dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), from, to, 1)
	if edited == string(text) {
		t.Fatalf("the kustomization has no %s:\n%s", from, text)
	}
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
}

// types has bash run a block of a page, with this operator's names, and returns what it
// printed.
func (r *operator) types(t *testing.T, text string, names *strings.Replacer) string {
	t.Helper()
	if names != nil {
		text = names.Replace(text)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, &out, &out
	cmd.Env = append(os.Environ(), "PATH="+r.bin+":"+os.Getenv("PATH"), "KUBECONFIG="+r.kubeconfig, "HOME="+r.dir)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, out.String())
	}
	return out.String()
}

// kubelets stand in for a scheduler and the kubelets of all nodes: a pod that a DaemonSet
// has for a node gets there and is ready, and one that is deleted is gone.
type kubelets struct {
	*plane
	mu   sync.Mutex
	held []string        // nodes whose driver's pod went while something held the GPUs
	bad  map[string]bool // pods that are as fail has left them
}

func (k *kubelets) run(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := k.admin.Resource(resource("", "pods")).List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, pod := range list.Items {
				k.look(ctx, &pod)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *kubelets) look(ctx context.Context, pod *unstructured.Unstructured) {
	in := k.admin.Resource(resource("", "pods")).Namespace(pod.GetNamespace())
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	switch {
	case pod.GetDeletionTimestamp() != nil:
		if pod.GetLabels()["app.kubernetes.io/name"] == "cuda-driver" {
			k.noteHeld(node)
		}
		now := int64(0)
		_ = in.Delete(ctx, pod.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &now})
	case node == "":
		binding := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": pod.GetName()}, "target": map[string]any{"apiVersion": "v1", "kind": "Node", "name": meantFor(pod)}}}
		_, _ = in.Create(ctx, binding, metav1.CreateOptions{}, "binding")
	case phase != "Running" && !k.isBad(pod.GetName()):
		ready := map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)}
		_ = unstructured.SetNestedMap(pod.Object, map[string]any{"phase": "Running", "conditions": []any{ready}, "containerStatuses": []any{
			map[string]any{"name": "load", "image": "cuda", "imageID": "", "ready": true, "restartCount": int64(0), "state": map[string]any{"running": map[string]any{}}},
		}}, "status")
		_, _ = in.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
}

// meantFor is the node that a DaemonSet's controller has a pod for.
func meantFor(pod *unstructured.Unstructured) string {
	terms, _, _ := unstructured.NestedSlice(pod.Object, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	text, _ := json.Marshal(terms)
	if found := regexp.MustCompile(`"key":"metadata.name","operator":"In","values":\["([^"]+)"\]`).FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return ""
}

// fail has a pod's first container end so, as a kubelet reports it.
func (k *kubelets) fail(name string, code int64, said string) {
	k.Helper()
	k.mu.Lock()
	k.bad = map[string]bool{name: true}
	k.mu.Unlock()
	in := k.admin.Resource(resource("", "pods")).Namespace("cuda-driver")
	pod, err := in.Get(k.Context(), name, metav1.GetOptions{})
	if err != nil {
		k.Fatal(err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	_ = unstructured.SetNestedMap(pod.Object, map[string]any{
		"phase": "Pending", "conditions": []any{map[string]any{"type": "Ready", "status": "False", "lastTransitionTime": now}},
		"initContainerStatuses": []any{map[string]any{
			"name": "build", "image": "cuda", "imageID": "", "ready": false, "restartCount": int64(3), "state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff"}},
			"lastState": map[string]any{"terminated": map[string]any{"exitCode": code, "message": said, "startedAt": now, "finishedAt": now}},
		}},
		"containerStatuses": []any{map[string]any{"name": "load", "image": "cuda", "imageID": "", "ready": false, "restartCount": int64(0), "state": map[string]any{"waiting": map[string]any{"reason": "PodInitializing"}}}},
	}, "status")
	if _, err := in.UpdateStatus(k.Context(), pod, metav1.UpdateOptions{}); err != nil {
		k.Fatal(err)
	}
}

func (k *kubelets) isBad(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bad[name]
}

func (k *kubelets) noteHeld(node string) {
	if _, there := k.pods("default", "nvidia-device-plugin")[node]; there {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.held = append(k.held, node)
	}
}

func (k *kubelets) heldWhenGone() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.held)
}

func (k *kubelets) await(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that")
		}
	}
}

// onNode is a pod.
type onNode struct {
	name    string
	uid     types.UID
	options string // the ConfigMap that it names
}

// drivers are the driver's pods, by their nodes.
func (k *kubelets) drivers(t *testing.T) map[string]onNode {
	t.Helper()
	return k.pods("cuda-driver", "cuda-driver")
}

// pods are those of an application that are ready, by their nodes.
func (k *kubelets) pods(namespace, app string) map[string]onNode {
	list, err := k.admin.Resource(resource("", "pods")).Namespace(namespace).List(k.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + app})
	if err != nil {
		return nil
	}
	found := map[string]onNode{}
	for _, pod := range list.Items {
		node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
		if node == "" || pod.GetDeletionTimestamp() != nil || !strings.Contains(status(&pod), `"phase":"Running"`) {
			continue
		}
		spec, _ := json.Marshal(pod.Object["spec"])
		options := regexp.MustCompile(`"cuda-driver-[0-9a-z]+"`).Find(spec)
		found[node] = onNode{pod.GetName(), pod.GetUID(), string(options)}
	}
	return found
}

func status(pod *unstructured.Unstructured) string {
	text, _ := json.Marshal(pod.Object["status"])
	return string(text)
}
