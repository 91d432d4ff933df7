package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Pod is the one that this process runs in, as Kubernetes' downward API tells it.
type Pod struct {
	Namespace, Name, UID string
	// Node is the one that it runs on; it may be empty.
	Node string
}

// Event is something that befell a pod, as kubectl describe shows it among the pod's.
type Event struct {
	// Warning is one of what is wrong; another is one of what is right.
	Warning bool
	// Reason is the one word for it, and Action what was being done, a stage.
	Reason, Action string
	// Says is a clause, and Do what to do next, in the imperative; it may be empty.
	Says, Do string
}

// Events tell the cluster of a pod. They need the right to create events in its namespace,
// and no other.
type Events struct {
	pod    Pod
	client dynamic.Interface
	// limit is how many may be told: words that differ each time would be many.
	limit *rate.Limiter
}

var events = schema.GroupVersionResource{Version: "v1", Resource: "events"}

// The name of who reports, and for how long the API server is waited for: what is told is
// in the log all the same.
const (
	reporter    = "cuda-builder"
	eventWithin = 3 * time.Second
)

// So many events may be told at once, and one more after each pause.
const (
	eventsAtOnce = 10
	eventsPause  = 5 * time.Minute
)

// NewEvents are those of a pod. A nil client is the account of the pod.
func NewEvents(pod Pod, client dynamic.Interface) (*Events, error) {
	if pod.Namespace == "" || pod.Name == "" || pod.UID == "" {
		return nil, errors.New("what this pod is called is not known")
	}
	if client == nil {
		var err error
		if client, err = OwnClient(); err != nil {
			return nil, err
		}
	}
	return &Events{pod, client, rate.NewLimiter(rate.Every(eventsPause), eventsAtOnce)}, nil
}

// Post has the cluster know of an event. One that it knows is not told again, for as long as
// the cluster keeps it (an hour, by default): its name is that of the pod, and stands for the
// words. So a pod that is started anew and anew is one event, and no right to change one is
// needed.
func (e *Events) Post(ctx context.Context, event Event) error {
	if !e.limit.Allow() {
		return fmt.Errorf("there were %d of late, and no more than one in %s is told", eventsAtOnce, eventsPause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventWithin)
	defer cancel()
	_, err := e.client.Resource(events).Namespace(e.pod.Namespace).Create(ctx, e.object(event, time.Now()), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// object is an event of core/v1.
func (e *Events) object(event Event, now time.Time) *unstructured.Unstructured {
	at := now.UTC().Format(time.RFC3339)
	kind, message := "Normal", event.message()
	if event.Warning {
		kind = "Warning"
	}
	source := map[string]any{"component": reporter}
	if e.pod.Node != "" {
		source["host"] = e.pod.Node
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": e.name(event.Reason, message), "namespace": e.pod.Namespace},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "namespace": e.pod.Namespace, "name": e.pod.Name, "uid": e.pod.UID},
		"type":           kind, "reason": event.Reason, "message": message, "action": event.Action, "count": int64(1), "firstTimestamp": at, "lastTimestamp": at,
		"source": source, "reportingComponent": reporter, "reportingInstance": e.pod.Name,
	}}
}

// name is the same for the same words of the same pod, and for no others. It is not longer
// than a name may be.
func (e *Events) name(reason, message string) string {
	sum := sha256.Sum256([]byte(e.pod.UID + "\x00" + reason + "\x00" + message))
	return strings.TrimRight(e.pod.Name[:min(len(e.pod.Name), 200)], ".-") + "." + hex.EncodeToString(sum[:])[:16]
}

// maxMessage is what Kubernetes takes of an event's message (events.k8s.io/v1), and maxDo as
// much of it as what to do next has at least.
const maxMessage, maxDo = 1024, 400

// userinfo is what may be secret of a URL.
var userinfo = regexp.MustCompile(`://[^/\s]*@`)

// message is what was found and what to do next, as a stage's error says it.
func (e Event) message() string {
	do := ""
	if e.Do != "" {
		first, n := utf8.DecodeRuneInString(e.Do)
		do = ". " + string(unicode.ToUpper(first)) + e.Do[n:] + "."
	}
	do = shortened(userinfo.ReplaceAllString(do, "://"), maxDo)
	return shortened(userinfo.ReplaceAllString(e.Says, "://"), maxMessage-len(do)) + do
}

// shortened is a text of so many bytes at most, in UTF-8.
func shortened(text string, most int) string {
	const more = "…"
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(more)], "") + more
}
