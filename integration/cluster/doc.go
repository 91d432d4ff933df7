// Package cluster holds deploy/'s manifests, and package cluster of builder's, to a real
// Kubernetes: its API server with its Job and DaemonSet controllers, Pod Security and quotas;
// and for TestKubelet its scheduler and a node with kubelet, containerd and runc, in a
// container. The other tests have no kubelet: how pods end they write in its place, as it
// reports that. `make test-cluster` runs them, as all of it takes a quarter of an hour to build.
package cluster
