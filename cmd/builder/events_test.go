package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

// told is an event as the API server has it.
type told struct {
	Metadata       struct{ Name, Namespace string }
	InvolvedObject struct{ Kind, Namespace, Name, UID string }
	Type           string
	Reason         string
	Message        string
	Action         string
	FirstTimestamp time.Time
	Source         struct{ Component, Host string }
}

// apiServer keeps events as one does: by their names, each once.
type apiServer struct {
	mu    sync.Mutex
	list  []told
	tries int
	// answer, where it is set, is given in place of what is asked for.
	answer func(w http.ResponseWriter, r *http.Request)
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.answer != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		s.answer(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	var e told
	if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/cuda-driver/events" || json.NewDecoder(r.Body).Decode(&e) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if slices.ContainsFunc(s.list, func(other told) bool { return other.Metadata.Name == e.Metadata.Name }) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`)
		return
	}
	s.list = append(s.list, e)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprint(w, `{"kind":"Event","apiVersion":"v1","metadata":{"name":"x"}}`)
}

// events are those that it has, in the order in which it was told.
func (s *apiServer) events() []told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *apiServer) client(t *testing.T) dynamic.Interface {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// aPod is what the component of deploy/kubernetes gives a container.
var aPod = []string{"BUILDER_EVENTS=true", "POD_NAMESPACE=cuda-driver", "POD_NAME=cuda-driver-x7k2p", "POD_UID=0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0", "NODE_NAME=gpu-1"}

// TestEvents: why a command has failed is told once, in the log's words; and whatever becomes
// of that, the command ends as it would.
func TestEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	remove(t, filepath.Join(f.share, "cuda"))
	ask := func(t *testing.T, s *apiServer, environ []string, args ...string) outcome {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), defaults{build: f.options(), events: &events{client: s.client(t)}}, args, append(slices.Clone(f.environ), environ...), &stdout, &stderr)
		o := outcome{code, stdout.String(), stderr.String()}
		if last := lastLine(o.stderr); code != 11 || !strings.Contains(last, `"kind":"no-driver"`) {
			t.Errorf("exit code %d\n%s", code, o.stderr)
		}
		return o
	}
	const untold = "no event tells Kubernetes of this"
	t.Run("told", func(t *testing.T) {
		t.Parallel()
		s := &apiServer{}
		for range 3 { // as a pod does that is started anew
			if o := ask(t, s, aPod, "build"); strings.Contains(o.stderr, untold) {
				t.Error(o.stderr)
			}
		}
		list := s.events()
		if len(list) != 1 || s.tries != 3 {
			t.Fatalf("%d tries, %+v", s.tries, list)
		}
		got := list[0]
		if !strings.HasPrefix(got.Message, "no NVIDIA driver package is in ") || !strings.Contains(got.Message, ". Put NVIDIA-Linux-") || time.Since(got.FirstTimestamp) > time.Hour || !strings.HasPrefix(got.Metadata.Name, "cuda-driver-x7k2p.") {
			t.Errorf("%+v", got)
		}
		want := told{Type: "Warning", Reason: "no-driver", Action: "driver"}
		want.Metadata, want.Message, want.FirstTimestamp = got.Metadata, got.Message, got.FirstTimestamp
		want.InvolvedObject.Kind, want.InvolvedObject.Namespace, want.InvolvedObject.Name, want.InvolvedObject.UID = "Pod", "cuda-driver", "cuda-driver-x7k2p", "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
		want.Source.Component, want.Source.Host = "cuda-builder", "gpu-1"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("not asked for", func(t *testing.T) {
		t.Parallel()
		s := &apiServer{}
		if ask(t, s, aPod[1:]); s.tries > 0 {
			t.Errorf("%d tries", s.tries)
		}
	})
	t.Run("no pod", func(t *testing.T) {
		t.Parallel()
		s := &apiServer{}
		o := ask(t, s, aPod[:3])
		if s.tries > 0 || !strings.Contains(o.stderr, "what this pod is called is not known") || !strings.Contains(o.stderr, "leave out --events") {
			t.Errorf("%d tries\n%s", s.tries, o.stderr)
		}
	})
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"garbage":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"overrun": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			o := ask(t, &apiServer{answer: answer}, aPod)
			if took := time.Since(began); !strings.Contains(o.stderr, untold) || took > 20*time.Second {
				t.Errorf("after %s\n%s", took, o.stderr)
			}
		})
	}
}

// TestEventsOfLoads: a refusal is told; a check, which has the same environment, tells nothing.
func TestEventsOfLoads(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.gpu(t, "0x2330")
	f.build(t)
	n := f.machine(t)
	s := &apiServer{}
	n.environ = append(n.environ, aPod...)
	n.events = s.client(t)
	if o := n.run(t, "load", "--check"); o.code != 17 || s.tries > 0 {
		t.Errorf("%d tries of %+v", s.tries, o)
	}
	if o := n.run(t, "load", "--driver-version", "1.2.3"); o.code != 17 {
		t.Errorf("%+v", o)
	}
	list := s.events()
	if len(list) != 1 || list[0].Type != "Warning" || list[0].Reason != "no-version" || list[0].Action != "load" {
		t.Fatalf("%+v", list)
	}
}

// TestEventsOfStates: while somebody stays, each change of a driver's state is told, and how it
// is to begin with is not.
func TestEventsOfStates(t *testing.T) {
	t.Parallel()
	s := &apiServer{}
	e := &events{client: s.client(t), asked: true}
	e.begin(t.Context(), aPod)
	lost := &stage.Error{Stage: stage.Load, Kind: "gpu-failed", Reason: "the GPU x does not work", Hint: "start the host again"}
	ready := node.Status{State: node.StateReady, Driver: "580.126.09"}
	for _, status := range []node.Status{ready, ready, {State: "gpu-failed", Err: lost}, {State: "gpu-failed", Err: lost}, ready, {State: "gpu-failed", Err: lost}} {
		e.changed(t.Context(), status)
	}
	var got []string
	for _, told := range s.events() {
		got = append(got, told.Type+" "+told.Reason+": "+told.Message)
	}
	want := []string{"Warning gpu-failed: the GPU x does not work. Start the host again.", "Normal ready: driver 580.126.09 is ready; before it was not: gpu-failed"}
	if diff := cmp.Diff(want, got); diff != "" || s.tries != 3 {
		t.Errorf("%d tries (-want +got):\n%s", s.tries, diff)
	}
	// A fault with other words each time.
	for n := range 100 {
		e.changed(t.Context(), ready)
		e.changed(t.Context(), node.Status{State: "fabric-manager", Err: stage.New(stage.Load, fmt.Sprintf("it said %d", n), "")})
	}
	if s.tries > 15 {
		t.Errorf("%d tries", s.tries)
	}
}
