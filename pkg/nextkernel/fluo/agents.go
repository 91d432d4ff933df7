package fluo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/k8sp/cuda/pkg/nextkernel"
)

// agents are those of the cluster: where each node's answers, and for which nodes one is
// meant.
type agents struct {
	meant     []labels.Selector // any of them
	addresses map[string]string // by node
	wrong     error             // why nobody can be asked
}

// agents reads the agents' DaemonSet and pods.
func (g gate) agents(ctx context.Context) (a agents, err error) {
	set, err := g.Client.Resource(daemonSets).Namespace(g.Namespace).Get(ctx, g.DaemonSet, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return agents{wrong: fmt.Errorf("there are no agents: no DaemonSet %s in the namespace %s", g.DaemonSet, g.Namespace)}, nil
	}
	if err != nil {
		return agents{}, err
	}
	a.addresses = map[string]string{}
	if a.meant, err = meantFor(set); err != nil {
		a.wrong = fmt.Errorf("for which nodes the DaemonSet %s is meant is not to be understood: %w", g.DaemonSet, err)
		return a, nil
	}
	own, _, err := unstructured.NestedStringMap(set.Object, "spec", "selector", "matchLabels")
	if err != nil {
		return agents{}, err
	}
	list, err := g.Client.Resource(pods).Namespace(g.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(own).String()})
	if err != nil {
		return agents{}, err
	}
	for _, pod := range list.Items {
		node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
		ip, _, _ := unstructured.NestedString(pod.Object, "status", "podIP")
		if pod.GetDeletionTimestamp() == nil && ip != "" {
			a.addresses[node] = net.JoinHostPort(ip, strconv.Itoa(g.Port))
		}
	}
	return a, nil
}

// meantFor are the labels of the nodes that get a pod of a DaemonSet, any of them: its pods'
// required affinity, as that in deploy/ is. What else can decide it is an error.
func meantFor(set *unstructured.Unstructured) (list []labels.Selector, err error) {
	spec := []string{"spec", "template", "spec"}
	if only, found, _ := unstructured.NestedStringMap(set.Object, append(spec, "nodeSelector")...); found {
		return nil, fmt.Errorf("it has a nodeSelector, %v, in the place of an affinity", only)
	}
	terms, found, err := unstructured.NestedSlice(set.Object, append(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")...)
	if err != nil || !found {
		return []labels.Selector{labels.Everything()}, err
	}
	for _, term := range terms {
		selector, err := selectorOf(term)
		if err != nil {
			return nil, err
		}
		if !selector.Empty() { // an empty term is of no node
			list = append(list, selector)
		}
	}
	return list, nil
}

// selectorOf are the labels that a term of a node's affinity asks for, all of them.
func selectorOf(term any) (labels.Selector, error) {
	var t struct {
		MatchExpressions []struct {
			Key      string
			Operator string
			Values   []string
		}
		MatchFields []any
	}
	text, err := json.Marshal(term)
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil || len(t.MatchFields) > 0 {
		return nil, fmt.Errorf("a term of its affinity is %s", text)
	}
	all := labels.NewSelector()
	for _, e := range t.MatchExpressions {
		r, err := labels.NewRequirement(e.Key, operators[e.Operator], e.Values)
		if err != nil {
			return nil, fmt.Errorf("a term of its affinity is %s: %w", text, err)
		}
		all = all.Add(*r)
	}
	return all, nil
}

// operators are those of a node's affinity.
var operators = map[string]selection.Operator{
	"In": selection.In, "NotIn": selection.NotIn, "Exists": selection.Exists, "DoesNotExist": selection.DoesNotExist, "Gt": selection.GreaterThan, "Lt": selection.LessThan,
}

// of is where a node's agent answers; "" of a node for which none is meant.
func (a agents) of(node unstructured.Unstructured) (address string, err error) {
	if a.wrong != nil {
		return "", a.wrong
	}
	if address := a.addresses[node.GetName()]; address != "" {
		return address, nil
	}
	if slices.ContainsFunc(a.meant, func(s labels.Selector) bool { return s.Matches(labels.Set(node.GetLabels())) }) {
		return "", errors.New("its agent is not there")
	}
	return "", nil
}

// asking reaches pods, which no proxy does.
var asking = http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask asks an agent how far its node's next kernel is. That nobody has looked there is an
// error.
func ask(ctx context.Context, address string) (s nextkernel.Status, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+nextkernel.Path, nil)
	if err != nil {
		return s, err
	}
	answer, err := asking.Do(request)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&s); err != nil {
		return s, fmt.Errorf("it answers %s, and in no words of an agent's", answer.Status)
	}
	if answer.StatusCode != http.StatusOK {
		return s, errors.New(s.Says)
	}
	return s, nil
}
