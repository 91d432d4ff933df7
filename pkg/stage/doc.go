// Package stage names the stages of the job and the one error type that leaves it.
//
// The job runs detect, driver, source, prepare, build, check and publish in
// that order; load comes later, on a node. The log, the error a user reads and
// the exit code a script sees all use the names and numbers of this package,
// so a failure can be traced from any one of them to the others. A function
// anywhere below cmd that knows what went wrong returns an [Error]; callers
// wrap it with %w and cmd finds it again with errors.As.
package stage
