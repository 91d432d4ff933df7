// Package cluster holds deploy/'s manifests, and package cluster of builder's, to a real
// Kubernetes API server with its Job and DaemonSet controllers, Pod Security and quotas. No
// kubelet runs there: how pods end is written by the tests in its place, as a kubelet
// reports it. `make test-cluster` runs it, as it takes ten minutes to build.
package cluster
