package fluo

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/k8sp/cuda/pkg/nextkernel"
)

const boot = "01234567-89ab-cdef-0123-456789abcdef"

// gpu is the label of nodes for which agents are meant.
const gpu = "nvidia.com/gpu.present"

type objects = map[string]any

func node(name string, labels, annotations objects) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: objects{
		"apiVersion": "v1", "kind": "Node", "metadata": objects{"name": name, "resourceVersion": "7", "labels": labels, "annotations": annotations},
		"status": objects{"nodeInfo": objects{"bootID": boot}},
	}}
}

func agentOn(node string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: objects{
		"apiVersion": "v1", "kind": "Pod", "metadata": objects{"name": "of-" + node, "namespace": "cuda-driver", "labels": objects{"app": "agent"}},
		"spec": objects{"nodeName": node}, "status": objects{"podIP": "10.0.0.9"},
	}}
}

func daemonSet(spec objects) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: objects{
		"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": objects{"name": "cuda-next-kernel", "namespace": "cuda-driver"},
		"spec": objects{"selector": objects{"matchLabels": objects{"app": "agent"}}, "template": objects{"spec": spec}},
	}}
}

func affinity(terms ...any) objects {
	return objects{"affinity": objects{"nodeAffinity": objects{"requiredDuringSchedulingIgnoredDuringExecution": objects{"nodeSelectorTerms": terms}}}}
}

func expression(key, operator string, values ...any) objects {
	return objects{"matchExpressions": []any{objects{"key": key, "operator": operator, "values": values}}}
}

// clusterOf has nodes and agents, in memory.
func clusterOf(things ...runtime.Object) *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		nodes: "NodeList", pods: "PodList", daemonSets: "DaemonSetList",
	}, things...)
}

// annotation is that of a node; "-" is none.
func annotation(t *testing.T, client *fake.FakeDynamicClient, name string) string {
	t.Helper()
	n, err := client.Resource(nodes).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value, ok := n.GetAnnotations()[Annotation]
	if !ok {
		return "-"
	}
	return value
}

// TestVerdicts: a node is let go by what its agent says, and by nothing else.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	meant := affinity(expression(gpu, "In", "true"))
	said := func(state nextkernel.State, says string) nextkernel.Status {
		return nextkernel.Status{State: state, Boot: boot, Says: says}
	}
	for name, tt := range map[string]struct {
		labels, annotations objects
		answer              nextkernel.Status
		fails               error
		noAgent             bool
		spec                objects
		noSet               bool
		want                string
	}{
		"ready":                       {answer: said(nextkernel.Ready, "it is there"), want: "true"},
		"at work":                     {answer: said(nextkernel.Working, "a driver for kernel 6.12.103-flatcar is\nbuilt"), want: "false: a driver for kernel 6.12.103-flatcar is built"},
		"failed":                      {answer: said(nextkernel.Failed, "the driver does not compile"), want: "false: the driver does not compile"},
		"nobody looks":                {fails: errors.New("nobody looks for updates of this host"), want: "false: its agent does not answer: nobody looks for updates of this host"},
		"a reboot for another reason": {answer: said(nextkernel.None, "no update"), want: "true"},
		"one of an update, which its agent does not see": {annotations: objects{status: needsReboot}, answer: said(nextkernel.None, "no update"),
			want: "false: the update operator wants to reboot it for an update, and its agent sees none that is staged"},
		"one of an update that is idle by now":   {annotations: objects{status: "UPDATE_STATUS_IDLE"}, answer: said(nextkernel.None, "no update"), want: "true"},
		"of another boot":                        {answer: nextkernel.Status{State: nextkernel.Ready, Boot: "another"}, want: "false: who answers for it is in boot another, and the node is in boot " + boot},
		"no agent, though one is meant":          {noAgent: true, want: "false: its agent is not there"},
		"no agent, and none is meant":            {labels: objects{gpu: "false"}, noAgent: true, want: "true"},
		"an agent of a node that lost its label": {labels: objects{gpu: "false"}, answer: said(nextkernel.Failed, "no"), want: "false: no"},
		"a second term":                          {labels: objects{"pci": "x"}, spec: affinity(expression(gpu, "In", "true"), expression("pci", "Exists")), noAgent: true, want: "false: its agent is not there"},
		"an empty term":                          {labels: objects{}, spec: affinity(objects{}), noAgent: true, want: "true"},
		"meant for all":                          {labels: objects{}, spec: objects{}, noAgent: true, want: "false: its agent is not there"},
		"meant by something else":                {noAgent: true, spec: objects{"nodeSelector": objects{"x": "y"}}, want: "false: for which nodes the DaemonSet cuda-next-kernel is meant is not to be understood: it has a nodeSelector, map[x:y], in the place of an affinity"},
		"meant by fields":                        {noAgent: true, spec: affinity(objects{"matchFields": []any{objects{"key": "metadata.name"}}}), want: `false: for which nodes the DaemonSet cuda-next-kernel is meant is not to be understood: a term of its affinity is {"matchFields":[{"key":"metadata.name"}]}`},
		"meant by an unknown operator":           {noAgent: true, spec: affinity(expression(gpu, "Like", "true")), want: `false: for which nodes the DaemonSet cuda-next-kernel is meant is not to be understood: a term of its affinity is {"matchExpressions":[{"key":"nvidia.com/gpu.present","operator":"Like","values":["true"]}]}: operator: Unsupported value: ""`},
		"no agents at all":                       {noSet: true, want: "false: there are no agents: no DaemonSet cuda-next-kernel in the namespace cuda-driver"},
		"its owner says so":                      {annotations: objects{Override: "true"}, answer: said(nextkernel.Failed, "no"), want: "true"},
		"its owner says something else":          {annotations: objects{Override: "yes"}, answer: said(nextkernel.Failed, "no"), want: "false: no"},
		"it was ready, and is not":               {annotations: objects{Annotation: "true"}, answer: said(nextkernel.Working, "anew"), want: "false: anew"},
		"it was not ready, and is":               {annotations: objects{Annotation: "false: anew"}, answer: said(nextkernel.Ready, ""), want: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labels := objects{beforeReboot: "true", gpu: "true"}
			if tt.labels != nil {
				labels = tt.labels
				labels[beforeReboot] = "true"
			}
			if tt.annotations == nil {
				tt.annotations = objects{}
			}
			if tt.spec == nil {
				tt.spec = meant
			}
			all := []runtime.Object{node("n", labels, tt.annotations), node("other", objects{gpu: "true"}, objects{})}
			if !tt.noAgent {
				all = append(all, agentOn("n"))
			}
			if !tt.noSet {
				all = append(all, daemonSet(tt.spec))
			}
			client := clusterOf(all...)
			g := gate{Options{Namespace: "cuda-driver", DaemonSet: "cuda-next-kernel", Port: 9711, Client: client, ask: func(_ context.Context, address string) (nextkernel.Status, error) {
				if address != "10.0.0.9:9711" {
					t.Errorf("%s is asked", address)
				}
				return tt.answer, tt.fails
			}}}
			if err := g.round(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := annotation(t, client, "n"); !strings.HasPrefix(got, tt.want) || tt.want == "true" && got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if got := annotation(t, client, "other"); got != "-" {
				t.Errorf("a node that does not wait has %q", got)
			}
			writes := func() (n int) {
				for _, a := range client.Actions() {
					if a.GetVerb() == "patch" {
						n++
					}
				}
				return n
			}
			before := writes()
			if err := g.round(t.Context()); err != nil || writes() != before {
				t.Errorf("it is written %d times in place of %d, %v", writes(), before, err)
			}
		})
	}
}

// TestPatchIsOfTheNodeThatWasRead: it names the version of the node, so that the server
// refuses it for another; and it changes one annotation.
func TestPatchIsOfTheNodeThatWasRead(t *testing.T) {
	t.Parallel()
	client := clusterOf(node("n", objects{beforeReboot: "true"}, objects{"others": "x"}), daemonSet(affinity(expression(gpu, "In", "true"))))
	var patch string
	conflict := true
	client.PrependReactor("patch", "nodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch = string(a.(clienttesting.PatchAction).GetPatch())
		if conflict {
			return true, nil, apierrors.NewConflict(nodes.GroupResource(), "n", errors.New("the object has been modified"))
		}
		return false, nil, nil
	})
	g := gate{Options{Namespace: "cuda-driver", DaemonSet: "cuda-next-kernel", Client: client, ask: ask}}
	if err := g.round(t.Context()); err != nil || annotation(t, client, "n") != "-" {
		t.Errorf("%v", err)
	}
	if want := `{"metadata":{"annotations":{"cuda.k8sp.github.io/next-kernel-ready":"true"},"resourceVersion":"7"}}`; patch != want {
		t.Errorf("%s", patch)
	}
	conflict = false
	if err := g.round(t.Context()); err != nil || annotation(t, client, "n") != "true" {
		t.Errorf("%v", err)
	}
}

// TestAsk asks as agents answer.
func TestAsk(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code int
		text string
		says string
	}{
		"an answer":    {http.StatusOK, `{"state":"ready","boot":"b","says":"x"}`, ""},
		"nobody looks": {http.StatusServiceUnavailable, `{"state":"unknown","says":"nobody looks"}`, "nobody looks"},
		"no agent":     {http.StatusOK, "<html>", "it answers 200 OK, and in no words of an agent's"},
		"overload":     {http.StatusServiceUnavailable, "too many questions at once\n", "it answers 503 Service Unavailable"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != nextkernel.Path {
				t.Errorf("%s is asked for", r.URL.Path)
			}
			w.WriteHeader(tt.code)
			_, _ = w.Write([]byte(tt.text))
		}))
		s, err := ask(t.Context(), server.Listener.Addr().String())
		if tt.says == "" && (err != nil || s.State != nextkernel.Ready) || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		server.Close()
	}
	if _, err := ask(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("nobody answers there")
	}
}

// TestGate goes on where the API server fails, follows nodes as they come, and ends with the
// context.
func TestGate(t *testing.T) {
	t.Parallel()
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(nextkernel.Status{State: nextkernel.Ready, Boot: boot})
	}))
	defer agent.Close()
	ip, port, err := net.SplitHostPort(agent.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	pod := agentOn("n")
	_ = unstructured.SetNestedField(pod.Object, ip, "status", "podIP")
	client := clusterOf(node("n", objects{gpu: "true"}, objects{}), pod, daemonSet(affinity(expression(gpu, "In", "true"))))
	var mu sync.Mutex
	failures := 0
	client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if failures++; failures < 3 {
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	number, _ := strconv.Atoi(port)
	var log strings.Builder
	ctx, cancel := context.WithCancel(zerolog.New(zerolog.SyncWriter(&log)).WithContext(t.Context()))
	ended := make(chan error)
	go func() {
		ended <- Gate(ctx, Options{Namespace: "cuda-driver", DaemonSet: "cuda-next-kernel", Port: number, Pause: time.Millisecond, Client: client})
	}()
	time.Sleep(20 * time.Millisecond)
	if got := annotation(t, client, "n"); got != "-" {
		t.Errorf("before anybody waits: %q", got)
	}
	n := node("n", objects{gpu: "true", beforeReboot: "true"}, objects{})
	if _, err := client.Resource(nodes).Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if annotation(t, client, "n") == "true" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := annotation(t, client, "n"); got != "true" {
		t.Errorf("%q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "connection refused") != 2 {
		t.Errorf("%s", log.String())
	}
	if err := Gate(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "there is no API server to reach") {
		t.Errorf("outside of a cluster: %v", err)
	}
}
