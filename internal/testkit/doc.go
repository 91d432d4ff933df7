// Package testkit helps tests: [WriteTree] makes a folder of small files, [InMemory]
// has folders be where nothing waits for a disk, [Golden] holds bytes against those
// that are kept, [Allocated] measures memory, and [Killer] kills a process of the
// test's own at random moments.
package testkit
