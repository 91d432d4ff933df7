// Package job is the build from end to end: detect, driver, source, prepare,
// build, check and publish, in that order, on one share.
//
// Each stage's work is in the package that knows its subject (pkg/kernel,
// pkg/cuda, pkg/modules); this one hands the result of each to the next. A build is
// a list of steps (step.go), a file a stage: all are planned before the first is
// done, and a dry run ends there. Whether what is published serves already is
// decided in reuse.go, and of the driver's libraries in userspace.go. Begin with
// [Build], and project.make.
//
// What a host says of itself comes from a [Host], which `capture` and `verify` have
// in common with a build. What becomes of the modules on a host is pkg/node's.
package job
