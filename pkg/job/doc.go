// Package job is the build from end to end: detect, driver, source, prepare,
// build, check and publish, in that order, on one share.
//
// Each stage's work is in the package that knows its subject (pkg/kernel,
// pkg/cuda, pkg/modules); this one hands the result of each to the next,
// decides whether a rerun has anything to do, and brackets every stage in the
// log with its name and the time it took. Begin with [Build]. What becomes of the
// modules on a host is pkg/node's.
package job
