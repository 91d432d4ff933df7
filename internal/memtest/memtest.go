// Package memtest measures what a reader takes of memory, for tests of readers
// that a file may try to exhaust.
package memtest

import "runtime"

// Allocated is how many bytes are allocated while f runs, also those that are
// free again when it returns. It is right where nothing else runs.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
