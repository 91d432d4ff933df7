// Package kernel knows the kernel that modules are built for.
//
// A host is a root directory ([Root]): the running system, the same mounted
// at /host, or a folder or tar captured from a node. [Detect] reads it once
// and returns a [Target], plain data that every later stage is handed. The
// packages beneath this one use a Target: pkg/kernel/source finds and checks
// out the kernel source that it was built from, and pkg/kernel/prepare turns
// that source into a tree that modules build against.
package kernel
