package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"k8s.io/client-go/dynamic"

	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

// events tell the cluster that this runs in a pod of why a command has failed, and whether a
// driver is ready. All of it is in the log, too: that they cannot be told is no failure.
type events struct {
	// client reaches the API server; nil is the account of the pod.
	client dynamic.Interface

	asked bool // --events
	to    *cluster.Events
	// state is that of the driver, once there is one.
	state string
}

func (e *events) flag(flags *pflag.FlagSet) {
	flags.BoolVar(&e.asked, "events", false, "in a pod: tell Kubernetes by an event of the pod's why this has failed, by the environment's POD_NAMESPACE, POD_NAME and POD_UID and the pod's account")
}

// begin finds out whom to tell, where that is asked for.
func (e *events) begin(ctx context.Context, environ []string) {
	if !e.asked {
		return
	}
	is := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		is[name] = value
	}
	var err error
	e.to, err = cluster.NewEvents(cluster.Pod{Namespace: is["POD_NAMESPACE"], Name: is["POD_NAME"], UID: is["POD_UID"], Node: is["NODE_NAME"]}, e.client)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str(nextField, "give the pod an account and the environment that deploy/kubernetes/events does, or leave out --events").Msg("no event will tell Kubernetes what stands in the way")
	}
}

// failed tells why a command has failed, but for an interrupt.
func (e *events) failed(log zerolog.Logger, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	e.post(log, warning(err))
}

// warning is an event of a failure.
func warning(err error) cluster.Event {
	event := cluster.Event{Warning: true, Reason: stage.KindOf(err), Says: err.Error()}
	var failure *stage.Error
	if errors.As(err, &failure) {
		event.Action, event.Says, event.Do = string(failure.Stage), failure.Sentence(), failure.Hint
	}
	return event
}

// changed tells that a driver is ready, or is not any more. How it is to begin with is for
// [events.failed] to tell, or as it should be.
func (e *events) changed(ctx context.Context, s node.Status) {
	before := e.state
	e.state = s.State
	if before == "" || before == s.State {
		return
	}
	event := cluster.Event{Reason: s.State, Action: string(stage.Load), Says: fmt.Sprintf("driver %s is ready; before it was not: %s", s.Driver, before)}
	if s.Err != nil {
		event = warning(s.Err)
	}
	e.post(*zerolog.Ctx(ctx), event)
}

func (e *events) post(log zerolog.Logger, event cluster.Event) {
	if e.to == nil {
		return
	}
	if err := e.to.Post(context.Background(), event); err != nil {
		log.Warn().Err(err).Str("kind", event.Reason).Msg("no event tells Kubernetes of this")
	}
}
