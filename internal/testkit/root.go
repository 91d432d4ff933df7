package testkit

import (
	"os"
	"testing"
)

// NeedRoot skips a test of what only root can do. In CI, which is root, nothing is
// skipped: there it fails.
func NeedRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("this test has to run as root")
	default:
		t.Skip("only root can do this")
	}
}
