package modules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExpectOfPublished: firmware is expected of those modules alone of which the
// build had found all of it.
func TestExpectOfPublished(t *testing.T) {
	m := Manifest{
		Modules: []Entry{
			{Name: "found", Firmware: []string{"found.bin"}},
			{Name: "lacking", Firmware: []string{"lacking.bin"}},
			{Name: "unknown", Firmware: []string{"unknown.bin"}},
		},
		Checks: []Check{
			{Name: "firmware", Module: "found", Verdict: Passed},
			{Name: "firmware", Module: "lacking", Verdict: Failed},
			{Name: "vermagic", Module: "unknown", Verdict: Passed},
		},
	}
	if diff := cmp.Diff([]string{"found.bin"}, m.expect("", nil).Firmware); diff != "" {
		t.Error(diff)
	}
}
