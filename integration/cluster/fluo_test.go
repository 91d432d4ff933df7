//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8sp/cuda/pkg/nextkernel"
	"github.com/k8sp/cuda/pkg/nextkernel/fluo"
)

// FLUO's names (its pkg/constants).
const (
	prefix       = "flatcar-linux-update.v1.flatcar-linux.net/"
	beforeReboot = prefix + "before-reboot"
	rebootNeeded = prefix + "reboot-needed"
	rebootOK     = prefix + "reboot-ok"
	inProgress   = prefix + "reboot-in-progress"
	engineStatus = prefix + "status"
)

const bootID = "01234567-89ab-cdef-0123-456789abcdef"

// TestRebootGate has the update operator reboot nodes: one with a GPU, once its agent says that
// the next kernel has a driver, and one without at once. The gate's account, as deploy/ makes
// it, can do that and nothing else. UPDATE_OPERATOR names the program of the real operator,
// which is in no registry that tests reach; without it the test does what it does.
func TestRebootGate(t *testing.T) {
	p := startPlane(t)
	p.apply(p.overlay("resources: [K/base, K/next-kernel, K/fluo]\ncomponents: [K/registry, K/jobs]\n"))
	// The operator does not survive a node without any label, which none is.
	for name, labels := range map[string]map[string]any{"gpu-1": {"nvidia.com/gpu.present": "true"}, "cpu-1": {"kubernetes.io/os": "linux"}} {
		p.node(name, labels)
	}

	var mu sync.Mutex
	says := nextkernel.Status{State: nextkernel.None, Boot: bootID}
	say := func(state nextkernel.State, what string) {
		mu.Lock()
		defer mu.Unlock()
		says.State, says.Says = state, what
	}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(says)
	}))
	defer agent.Close()
	ip, port, _ := strings.Cut(agent.Listener.Addr().String(), ":")
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	p.agent("gpu-1", ip)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := p.client(p.token("cuda-reboot-gate"))
	go func() {
		_ = fluo.Gate(ctx, fluo.Options{Namespace: "cuda-driver", DaemonSet: "cuda-next-kernel", Port: number, Pause: 200 * time.Millisecond, Client: client})
	}()
	if program := os.Getenv("UPDATE_OPERATOR"); program != "" {
		p.realOperator(program)
	} else {
		go p.operator(ctx)
	}

	t.Run("a node waits for its driver", func(t *testing.T) {
		say(nextkernel.Working, "a driver is built")
		p.annotate("gpu-1", map[string]any{rebootNeeded: "true", engineStatus: "UPDATE_STATUS_UPDATED_NEED_REBOOT"})
		p.await(t, "gpu-1", fluo.Annotation, "false: a driver is built")
		say(nextkernel.None, "no update")
		p.await(t, "gpu-1", fluo.Annotation, "false: the update operator wants to reboot it for an update, and its agent sees none that is staged")
		say(nextkernel.Failed, "the driver does not compile")
		p.await(t, "gpu-1", fluo.Annotation, "false: the driver does not compile")
		if got := p.annotations(t, "gpu-1")[rebootOK]; got == "true" {
			t.Error("it may reboot")
		}
		say(nextkernel.Ready, "")
		p.await(t, "gpu-1", rebootOK, "true")
		if got, there := p.annotations(t, "gpu-1")[fluo.Annotation]; there {
			t.Errorf("the next reboot finds %q", got)
		}
	})
	t.Run("one without a GPU does not", func(t *testing.T) {
		p.annotate("gpu-1", map[string]any{rebootNeeded: "false", inProgress: "false"}) // it has rebooted
		p.annotate("cpu-1", map[string]any{rebootNeeded: "true"})
		p.await(t, "cpu-1", rebootOK, "true")
	})
	t.Run("what its account may not", func(t *testing.T) {
		nodes := client.Resource(resource("", "nodes"))
		patch := func(text string, subresources ...string) error {
			_, err := nodes.Patch(t.Context(), "gpu-1", types.MergePatchType, []byte(text), metav1.PatchOptions{}, subresources...)
			return err
		}
		if err := patch(`{"metadata":{"annotations":{"` + fluo.Annotation + `":"true"}}}`); err != nil {
			t.Errorf("what it is for: %v", err)
		}
		for what, err := range map[string]error{
			"a label":            patch(`{"metadata":{"labels":{"x":"y"}}}`),
			"to remove a label":  patch(`{"metadata":{"labels":{"nvidia.com/gpu.present":null}}}`),
			"another annotation": patch(`{"metadata":{"annotations":{"` + rebootOK + `":"another"}}}`),
			"to remove one":      patch(`{"metadata":{"annotations":{"` + rebootNeeded + `":null}}}`),
			"the override":       patch(`{"metadata":{"annotations":{"` + fluo.Override + `":"true"}}}`),
			"a taint":            patch(`{"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}}`),
			"to cordon it":       patch(`{"spec":{"unschedulable":true}}`),
			"a finalizer":        patch(`{"metadata":{"finalizers":["example.com/x"]}}`),
		} {
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'cuda-reboot-gate'") {
				t.Errorf("%s: %v, want it denied by its policy", what, err)
			}
		}
		in := func(group, name, namespace string) error {
			_, err := client.Resource(resource(group, name)).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			return err
		}
		_, created := nodes.Create(t.Context(), nodeObject("x", nil), metav1.CreateOptions{})
		for what, err := range map[string]error{
			"a node's status":       patch(`{"status":{"capacity":{"x":"1"}}}`, "status"),
			"to delete a node":      nodes.Delete(t.Context(), "cpu-1", metav1.DeleteOptions{}),
			"to make one":           created,
			"its secrets":           in("", "secrets", "cuda-driver"),
			"others' pods":          in("", "pods", "kube-system"),
			"all DaemonSets":        in("apps", "daemonsets", "cuda-driver"),
			"the namespace of Jobs": in("batch", "jobs", "cuda-build"),
			"to delete the agents":  client.Resource(resource("apps", "daemonsets")).Namespace("cuda-driver").Delete(t.Context(), "cuda-next-kernel", metav1.DeleteOptions{}),
		} {
			if !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v, want it forbidden", what, err)
			}
		}
		// Whoever else may change nodes is not held by its policy.
		p.annotate("cpu-1", map[string]any{"x": "y"})
	})
}

func nodeObject(name string, labels map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name, "labels": labels}}}
}

// node makes a node in a boot of its own.
func (p *plane) node(name string, labels map[string]any) {
	p.Helper()
	in := p.admin.Resource(resource("", "nodes"))
	made, err := in.Create(p.Context(), nodeObject(name, labels), metav1.CreateOptions{})
	if err == nil {
		_ = unstructured.SetNestedField(made.Object, bootID, "status", "nodeInfo", "bootID")
		_, err = in.UpdateStatus(p.Context(), made, metav1.UpdateOptions{})
	}
	if err != nil {
		p.Fatal(err)
	}
}

// agent waits for the agents' pod that is meant for a node, and has it be there, as a
// scheduler and a kubelet do.
func (p *plane) agent(node, ip string) {
	p.Helper()
	in := p.admin.Resource(resource("", "pods")).Namespace("cuda-driver")
	for {
		list, err := in.List(p.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=cuda-next-kernel"})
		if err != nil {
			p.Fatal(err)
		}
		if len(list.Items) == 0 {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		name := list.Items[0].GetName()
		binding := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": name}, "target": map[string]any{"apiVersion": "v1", "kind": "Node", "name": node}}}
		if _, err := in.Create(p.Context(), binding, metav1.CreateOptions{}, "binding"); err != nil {
			p.Fatal(err)
		}
		pod, err := in.Get(p.Context(), name, metav1.GetOptions{})
		if err == nil {
			_ = unstructured.SetNestedMap(pod.Object, map[string]any{"phase": "Running", "podIP": ip, "podIPs": []any{map[string]any{"ip": ip}}}, "status")
			_, err = in.UpdateStatus(p.Context(), pod, metav1.UpdateOptions{})
		}
		if err != nil {
			p.Fatal(err)
		}
		return
	}
}

// annotate does what FLUO's agent does with a node.
func (p *plane) annotate(node string, annotations map[string]any) {
	p.Helper()
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err == nil {
		_, err = p.admin.Resource(resource("", "nodes")).Patch(p.Context(), node, types.MergePatchType, text, metav1.PatchOptions{})
	}
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) annotations(t *testing.T, node string) map[string]string {
	t.Helper()
	n, err := p.admin.Resource(resource("", "nodes")).Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n.GetAnnotations()
}

// await returns when a node's annotation is as it should be.
func (p *plane) await(t *testing.T, node, annotation, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = p.annotations(t, node)[annotation]; got == want {
			return
		}
	}
	t.Fatalf("%s has %s=%q, want %q", node, annotation, got, want)
}

// realOperator runs FLUO's own.
func (p *plane) realOperator(program string) {
	p.Helper()
	log, err := os.Create(filepath.Join(p.dir, "update-operator.log"))
	if err != nil {
		p.Fatal(err)
	}
	cmd := exec.Command(program, "--kubeconfig="+p.dir+"/kubeconfig", "--before-reboot-annotations="+fluo.Annotation, "-v=4")
	cmd.Env = append(os.Environ(), "POD_NAMESPACE=default")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		stop(cmd)
		if text, err := os.ReadFile(log.Name()); err == nil {
			p.Logf("the operator says:\n%s", text)
		}
		_ = log.Close()
	})
}

// operator does with nodes what FLUO's does in its loop (its pkg/operator/operator.go:
// checkBeforeReboot, then markBeforeReboot), each node for itself.
func (p *plane) operator(ctx context.Context) {
	in := p.admin.Resource(resource("", "nodes"))
	for ctx.Err() == nil {
		list, err := in.List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, node := range list.Items {
				labels, annotations := node.GetLabels(), node.GetAnnotations()
				if labels == nil {
					labels = map[string]string{}
				}
				switch {
				case labels[beforeReboot] == "true" && annotations[fluo.Annotation] == "true":
					delete(labels, beforeReboot)
					delete(annotations, fluo.Annotation)
					annotations[rebootOK] = "true"
				case labels[beforeReboot] != "true" && annotations[rebootNeeded] == "true" && annotations[rebootOK] != "true":
					delete(annotations, fluo.Annotation)
					labels[beforeReboot] = "true"
				default:
					continue
				}
				node.SetLabels(labels)
				node.SetAnnotations(annotations)
				_, _ = in.Update(ctx, &node, metav1.UpdateOptions{}) // of another than was read it fails, and is done again
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
