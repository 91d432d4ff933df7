package modules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/share/publish"
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

// What the source said of an old kernel's loader is on record, for that kernel alone.
func TestLoaderIsOnRecord(t *testing.T) {
	s, o := shelf(t)
	o.Manifest.Target.Release = "4.14.67-coreos"
	o.Manifest.Build.Loader = &loader.Loader{Relocations: []string{"R_X86_64_32", "R_X86_64_32S", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32", "R_X86_64_PLT32"}, WantsZeros: true}
	mustPublish(t, o)
	dir, err := publish.Led(s.Result(o.Manifest.Target.Release, o.Manifest.Driver.Version))
	if err != nil {
		t.Fatal(err)
	}
	for release, want := range map[string]Verdict{"4.14.67-coreos": Passed, "4.14.66-coreos": NotCheckable} {
		kernel := target(t)
		at(t, &kernel, release)
		checks, err := Verify(dir, kernel, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, c := range checks {
			if c.Name != "relocations" {
				continue
			}
			if seen++; c.Verdict != want {
				t.Errorf("%s: %s, want %s", release, c, want)
			}
		}
		if seen != len(allFour) {
			t.Errorf("%s: %d findings", release, seen)
		}
	}
}
