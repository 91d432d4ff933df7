package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

// TestQuotaIsHeeded holds the build to what makes Go's number of processors, and
// so the number of compilers, that of a container's CPU quota, of cgroup v1 or
// v2: no setting of the module's, or of an older Go's it would be built as, turns
// that off.
func TestQuotaIsHeeded(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test says nothing about how it was built")
	}
	for _, s := range info.Settings {
		if s.Key == "DefaultGODEBUG" && strings.Contains(s.Value, "containermaxprocs=0") {
			t.Errorf("built with DefaultGODEBUG=%s", s.Value)
		}
	}
}
