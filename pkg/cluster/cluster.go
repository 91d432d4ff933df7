// Package cluster is what builder asks of a Kubernetes cluster that it runs in a pod of.
//
// [Build] has the cluster build what a node misses, once for all nodes: by
// a Job that is named after what it builds. The API server lets exactly one of a name
// exist, and so decides who builds; nobody waits for another node. Whoever misses the same
// waits for the Job's result where it leaves it, and if the Job fails is told why in the
// Job's own sentence.
//
// The Job is made of a manifest that the cluster's owner gives: image, resources, namespace
// and options of its builder are theirs. What is added is its name, and the arguments that
// say what to build.
//
// [Events] tell whoever looks at the pod what stands in its way, with the word that the log
// and docs/kinds.md have for it.
//
// Sources: Kubernetes' API conventions on names and AlreadyExists; batch/v1 on a Job's
// conditions; core/v1 on what a container leaves as its termination message, and on events.
package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/k8sp/cuda/pkg/stage"
)

// Options say how a cluster builds.
type Options struct {
	// Template is the file of the Job's manifest, in YAML or JSON.
	Template string
	// Wait is for how long to wait for a Job; zero means an hour.
	Wait time.Duration
	// Pause is about how long to wait between two looks; zero means five seconds. It
	// grows to six times that.
	Pause time.Duration
	// Client reaches the API server; nil is the account of the pod that this runs in.
	Client dynamic.Interface
}

// Request is what to build.
type Request struct {
	// Name is the Job's: the same for all that ask for the same, and for nothing else.
	Name string
	// Key is what it stands for, for people: an annotation of the Job.
	Key string
	// Args are builder's in the Job's first container.
	Args []string
}

// FailedKind is the kind of failure of a Job that did not bring what it was to, and did not
// say why.
const FailedKind = "job"

func failed(reason, hint string) error {
	return &stage.Error{Stage: stage.Publish, Kind: FailedKind, Reason: reason, Hint: hint}
}

// KeyAnnotation is where a Job says what it builds.
const KeyAnnotation = "cuda.k8sp.github.io/key"

var (
	jobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
)

// Build has a Job build what is requested, unless there is one of its name, and waits until
// ready says that its result is there. Errors are of the stage that failed in the Job, or of
// the publish stage.
func Build(ctx context.Context, o Options, r Request, ready func(context.Context) (bool, error)) error {
	template, err := o.template(r)
	if err != nil {
		return err
	}
	client := o.Client
	if client == nil {
		if client, err = OwnClient(); err != nil {
			return stage.Wrap(stage.Usage, err, "no Job can be made", "run builder in a pod with a service account, or leave out --build-job")
		}
	}
	w := waiting{Options: o, Request: r, jobs: client.Resource(jobs).Namespace(template.GetNamespace()), pods: client.Resource(pods).Namespace(template.GetNamespace()), template: template}
	limit, cancel := context.WithTimeout(ctx, cmp.Or(o.Wait, time.Hour))
	defer cancel()
	err = w.wait(limit, ready)
	if limit.Err() != nil && ctx.Err() == nil {
		return failed(fmt.Sprintf("the Job %s has not brought what this node needs in %s", r.Name, cmp.Or(o.Wait, time.Hour)), "look at the Job (kubectl describe), and wait for longer with --build-job-wait")
	}
	return err
}

// OwnClient reaches the API server as the account of the pod that this runs in.
func OwnClient() (dynamic.Interface, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	config.WarningHandler = rest.NoWarnings{} // it would write into the log as it likes
	return dynamic.NewForConfig(config)
}

// template is the Job as it is to be made.
func (o Options) template(r Request) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(o.Template)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the Job's manifest cannot be read", "name its file with --build-job")
	}
	wrong := func(what string) error {
		return stage.New(stage.Usage, fmt.Sprintf("%s cannot be the manifest of a Job that builds: %s", o.Template, what), "correct it: deploy/kubernetes/jobs has one")
	}
	var job unstructured.Unstructured
	if err := yaml.Unmarshal(text, &job.Object); err != nil || job.Object == nil {
		return nil, wrong("it is neither YAML nor JSON of one object")
	}
	if job.GetAPIVersion() != "batch/v1" || job.GetKind() != "Job" {
		return nil, wrong(fmt.Sprintf("it is a %s %s, and no batch/v1 Job", job.GetAPIVersion(), job.GetKind()))
	}
	if job.GetNamespace() == "" {
		return nil, wrong("it names no namespace")
	}
	containers, found, err := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
	if err != nil || !found || len(containers) == 0 {
		return nil, wrong("it has no container")
	}
	first, ok := containers[0].(map[string]any)
	if !ok {
		return nil, wrong("its container is none")
	}
	var args []any
	for _, arg := range r.Args {
		args = append(args, arg)
	}
	first["args"] = args
	if err := unstructured.SetNestedSlice(job.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		return nil, wrong(err.Error())
	}
	job.SetName(r.Name)
	annotations := job.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[KeyAnnotation] = r.Key
	job.SetAnnotations(annotations)
	return &job, nil
}

// waiting is one node's wait for a Job.
type waiting struct {
	Options
	Request
	jobs, pods dynamic.ResourceInterface
	template   *unstructured.Unstructured
}

// Of a Job that has ended well, whose result is not there, as many looks are taken, as a
// registry may be slow to show it; so often in a row the API server may fail; and so often
// forbid what it has to allow, as it does for a moment when it has begun and does not know
// its roles yet.
const (
	looks     = 3
	patience  = 20
	forgiving = 5
)

func (w waiting) wait(ctx context.Context, ready func(context.Context) (bool, error)) error {
	log := zerolog.Ctx(ctx)
	pause, ended, failures := cmp.Or(w.Pause, 5*time.Second), 0, 0
	most := 6 * pause
	said := ""
	for {
		there, err := ready(ctx)
		if err != nil || there {
			return err
		}
		state, err := w.look(ctx)
		switch {
		case err != nil && failures < tolerated(err):
			failures++
			log.Warn().Err(err).Str("job", w.Name).Msg("the API server does not answer as it should; looking again")
		case err != nil:
			return w.explain(err)
		case state == "ended":
			if ended++; ended > looks {
				return failed(fmt.Sprintf("the Job %s has ended well, and what it was to leave is not there", w.Name), "look at its log; its options have to name the same registry and driver")
			}
		default:
			failures = 0
		}
		if err == nil && state != said {
			said = state
			log.Info().Str("job", w.template.GetNamespace()+"/"+w.Name).Str("key", w.Key).Msg("a Job builds what this node needs: " + state)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)): // nodes that began together do not stay so
		}
		pause = min(pause*3/2, most)
	}
}

// tolerated is how often in a row an error of the API server's is waited out: it restarts, or
// has too much to do.
func tolerated(err error) int {
	answered, ours := errors.As(err, new(apierrors.APIStatus)), errors.As(err, new(*stage.Error))
	switch {
	case ours:
		return 0
	case apierrors.IsForbidden(err):
		return forgiving
	case !answered, apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsTimeout(err):
		return patience
	}
	return 0
}

// overQuota says whether a Job cannot be made since the namespace has as many as it may, which
// others' end will change. Of many nodes that make the same at once, the server counts each
// until it knows that they are one.
func overQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// explain is what an error of the API server's means to people.
func (w waiting) explain(err error) error {
	if failure := (*stage.Error)(nil); errors.As(err, &failure) {
		return failure
	}
	hint := "look at the cluster's state, and at the manifest that --build-job names"
	switch {
	case apierrors.IsForbidden(err):
		hint = "let the pod's service account create, get, list and watch Jobs and get and list pods in that namespace, and the namespace's quota and policy allow the Job: deploy/kubernetes/jobs does"
	case apierrors.IsNotFound(err):
		hint = "make the namespace that the manifest names"
	}
	return stage.OfKind(FailedKind, stage.Wrap(stage.Publish, err, fmt.Sprintf("the Job %s cannot be made, or looked at", w.Name), hint))
}

// look makes the Job where there is none, and says how it is, in words of which "ended" is
// that it has ended well. One that failed is an error.
func (w waiting) look(ctx context.Context) (state string, err error) {
	job, err := w.jobs.Get(ctx, w.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = w.jobs.Create(ctx, w.template, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err):
			return "another node has made it", nil
		case overQuota(err):
			return "the quota of its namespace is used up, and it waits for others to end", nil
		}
		return "made", err
	}
	if err != nil {
		return "", err
	}
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["status"] != "True" {
			continue
		}
		switch c["type"] {
		case "Complete":
			return "ended", nil
		case "Failed":
			return "", w.failed(ctx, fmt.Sprint(c["message"]))
		}
	}
	if active, _, _ := unstructured.NestedInt64(job.Object, "status", "active"); active > 0 {
		return "it runs", nil
	}
	return "it waits for a node", nil
}

// failed is why a Job has failed: what its builder said last, or else what Kubernetes says.
func (w waiting) failed(ctx context.Context, reason string) error {
	hint := fmt.Sprintf("correct the cause, and delete the Job (kubectl --namespace %s delete job %s), which otherwise is tried again when Kubernetes has removed it", w.template.GetNamespace(), w.Name)
	list, err := w.pods.List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + w.Name})
	if err == nil {
		slices.SortFunc(list.Items, func(a, b unstructured.Unstructured) int {
			return b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time)
		})
		for _, pod := range list.Items {
			if said := lastWords(pod); said != nil {
				said.Hint = strings.TrimPrefix(said.Hint+"; then "+hint, "; then ")
				return said
			}
		}
	}
	return failed(fmt.Sprintf("the Job %s, which was to build what this node needs, has failed: %s", w.Name, reason), hint)
}

// lastWords are what a pod's builder said of its failure; nil of one that said nothing.
func lastWords(pod unstructured.Unstructured) *stage.Error {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, s := range statuses {
		s, _ := s.(map[string]any)
		message, _, _ := unstructured.NestedString(s, "state", "terminated", "message")
		code, _, _ := unstructured.NestedInt64(s, "state", "terminated", "exitCode")
		if code == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(message), "\n")
		// Its log in JSON, of which the last line says why; or whatever it is.
		last := lines[len(lines)-1]
		var said struct{ Message, Next, Kind string }
		if json.Unmarshal([]byte(last), &said) != nil || said.Message == "" {
			said.Message, said.Next = last, ""
		}
		if said.Message == "" {
			continue
		}
		return &stage.Error{Stage: stage.OfExitCode(int(code)), Kind: said.Kind, Reason: "the Job that builds for this node has failed: " + said.Message, Hint: said.Next}
	}
	return nil
}
