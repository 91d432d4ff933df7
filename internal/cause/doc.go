// Package cause finds, in what make and the programs that it runs print, the
// line that says why a build failed. It is seldom the last: make goes on with
// other targets, waits for the programs that still run, and ends with a line of
// its own for each folder that it leaves.
package cause
