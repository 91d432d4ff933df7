// Package node is a published driver on a running host: brought into its kernel,
// and taken out again.
//
// [Load] finds out all that stands in the way before it changes anything, and
// tells it at once: each is a [Finding], whose sentences are [Refusals]. Then it
// puts the modules in, points the kernel at the GPU's firmware, makes the device
// files and writes a CDI specification. Each change is in a journal before it is
// made: a load that fails before all modules are in undoes its own, and [Unload]
// undoes all of them. One that fails later leaves the driver loaded, and the next
// goes on from there.
//
// The journal is kept where only the host's root writes, and of what it has no more is
// undone than Load can have done: the share, and so all that is in it, is somebody
// else's. Where it is said whose results are to be loaded (trust.go), nothing of the
// share is believed that these have not signed, and what is read again later than it was
// verified is copied to where only root writes.
//
// What the kernel has now, and the system calls by which that changes, is in
// pkg/node/live; the device files are in pkg/node/devices, and how containers get
// them in pkg/node/cdi. Begin with loader.bring and loader.takeBack.
package node
