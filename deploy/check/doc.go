// Package check holds what deploy/ has against the tools that will read it:
// butane's own translator, kustomize, Kubernetes' own types, and the builder
// that the units and manifests run. It is a module of its own, so that none of
// these are builder's dependencies.
//
// What needs a container, systemd-analyze and a host to run the script on, is in
// integration/deploy.
package check
