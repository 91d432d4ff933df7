package testkit

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryFolder is where Linux has a file system in memory.
const memoryFolder = "/dev/shm"

// enoughMemory is far above what the tests of a package leave lying at once, and
// what a build wants to find free, in bytes.
const enoughMemory = 4 << 30

// InMemory is for TestMain, or an init: it has the tests' folders be in memory, where there is
// such a place with space for them. What the program publishes or writes down is
// flushed to the disk, which takes most of the time of tests that do so.
func InMemory() {
	var st unix.Statfs_t
	if err := unix.Statfs(memoryFolder, &st); err != nil || st.Bavail*uint64(st.Bsize) < enoughMemory || unix.Access(memoryFolder, unix.W_OK) != nil {
		return
	}
	_ = os.Setenv("TMPDIR", memoryFolder) // it is a name without a NUL
}

// PlainTemp is a folder of the test's, as [testing.T.TempDir] makes one, but with
// nothing of the test's name in its path: make and the shell take some of the
// characters of such names for their own.
func PlainTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
