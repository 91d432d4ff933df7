// Package nextkernel holds package nextkernel of builder's to real disks: partitioned as
// Flatcar's, with the file systems that Flatcar has had, in a machine whose kernel tells of
// them as a host's does, and in containers with the rights that documents and manifests
// give.
package nextkernel
