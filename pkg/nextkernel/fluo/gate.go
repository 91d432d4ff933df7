package fluo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/nextkernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Annotation is what the operator has to wait for: it is "true", or "false: " and why.
const Annotation = "cuda.k8sp.github.io/next-kernel-ready"

// Override is the annotation by which a node's owner has it reboot, "true", whatever its next
// kernel has.
const Override = "cuda.k8sp.github.io/reboot-anyway"

// Of the operator's: the label of nodes that it waits for, and its annotation with
// update_engine's status.
const (
	beforeReboot = "flatcar-linux-update.v1.flatcar-linux.net/before-reboot"
	status       = "flatcar-linux-update.v1.flatcar-linux.net/status"
	needsReboot  = "UPDATE_STATUS_UPDATED_NEED_REBOOT"
)

var (
	nodes      = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	pods       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
)

// Options say whom a gate asks.
type Options struct {
	// Namespace and DaemonSet are the agents', and Port is where they answer.
	Namespace, DaemonSet string
	Port                 int
	// Pause is how long to wait between two rounds; zero means ten seconds. The operator
	// looks every thirty.
	Pause time.Duration
	// Client reaches the API server; nil is the account of the pod that this runs in.
	Client dynamic.Interface

	// ask is a question to an agent, but in tests.
	ask func(ctx context.Context, address string) (nextkernel.Status, error)
}

// Gate annotates nodes that wait for a reboot until the context ends. What fails is logged,
// and tried again with the next round: a node waits meanwhile. Its error is that there is no
// API server to reach.
func Gate(ctx context.Context, o Options) error {
	if o.Client == nil {
		client, err := cluster.OwnClient()
		if err != nil {
			return stage.Wrap(stage.Usage, err, "there is no API server to reach", "run this in a pod with a service account: deploy/kubernetes/fluo")
		}
		o.Client = client
	}
	if o.ask == nil {
		o.ask = ask
	}
	g := gate{o}
	tick := time.NewTicker(cmp.Or(o.Pause, 10*time.Second))
	defer tick.Stop()
	for {
		if err := g.round(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Error().Err(err).Str("next", "let its account list and patch nodes, and list pods and get DaemonSets in the agents' namespace: deploy/kubernetes/fluo does").
				Msg("the nodes that wait for a reboot are not to be seen; looking again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

type gate struct{ Options }

// round answers every node that waits.
func (g gate) round(ctx context.Context) error {
	list, err := g.Client.Resource(nodes).List(ctx, metav1.ListOptions{LabelSelector: beforeReboot + "=true"})
	if err != nil || len(list.Items) == 0 {
		return err
	}
	agents, err := g.agents(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for _, node := range list.Items {
		all.Go(func() {
			if err := g.annotate(ctx, node, g.verdict(ctx, agents, node)); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Str("node", node.GetName()).Msg("the node is not annotated; looking again")
			}
		})
	}
	all.Wait()
	return nil
}

// verdict is the annotation that a node gets.
func (g gate) verdict(ctx context.Context, agents agents, node unstructured.Unstructured) string {
	if node.GetAnnotations()[Override] == "true" {
		return "true"
	}
	address, err := agents.of(node)
	switch {
	case err != nil:
		return holds(err.Error())
	case address == "":
		return "true" // none is meant for it
	}
	said, err := g.ask(ctx, address)
	boot, _, _ := unstructured.NestedString(node.Object, "status", "nodeInfo", "bootID")
	switch {
	case err != nil:
		return holds("its agent does not answer: " + err.Error())
	case said.Boot != boot:
		return holds(fmt.Sprintf("who answers for it is in boot %s, and the node is in boot %s", said.Boot, boot))
	case said.State == nextkernel.Ready:
		return "true"
	case said.State == nextkernel.None && node.GetAnnotations()[status] != needsReboot:
		return "true"
	case said.State == nextkernel.None:
		return holds("the update operator wants to reboot it for an update, and its agent sees none that is staged")
	}
	return holds(said.Says)
}

// holds is the annotation of a node that has to wait.
func holds(why string) string {
	const most = 500
	return "false: " + strings.Join(strings.Fields(why[:min(len(why), most)]), " ")
}

// annotate has a node be annotated as it was read, where it is not.
func (g gate) annotate(ctx context.Context, node unstructured.Unstructured, value string) error {
	if node.GetAnnotations()[Annotation] == value {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": node.GetResourceVersion(), "annotations": map[string]string{Annotation: value},
	}})
	if err != nil {
		return err
	}
	_, err = g.Client.Resource(nodes).Patch(ctx, node.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // it is another by now
	}
	if err == nil {
		zerolog.Ctx(ctx).Info().Str("node", node.GetName()).Str("annotation", value).Msg("answered a node that waits for its reboot")
	}
	return err
}
