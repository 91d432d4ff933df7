package testkit

import "runtime"

// Allocated is how many bytes are allocated while f runs, also those that are
// free again when it returns: for tests of readers that a file may try to exhaust.
// It is right where nothing else runs.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
