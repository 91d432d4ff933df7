package modules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	t.Parallel()
	checks := []Check{
		{Name: "elf", Module: "nvidia", Verdict: Passed}, {Name: "elf", Module: "nvidia_uvm", Verdict: Passed}, {Name: "vermagic", Module: "nvidia", Verdict: Passed},
		{Name: "sample", Verdict: NotCheckable, Detail: "none of the host's own modules is to be seen: " + mountModules},
		{Name: "depends", Verdict: NotCheckable, Detail: "it depends on modules that are not to be seen: drm: " + mountModules},
		{Name: "crcs", Verdict: NotCheckable, Detail: noExports},
		{Name: "driver-digest", Verdict: NotCheckable, Detail: "nobody pinned it"},
		{Name: "compiler", Verdict: Failed, Detail: "it is older"},
	}
	var got []string
	for _, g := range Summarize(checks) {
		got = append(got, g.String())
	}
	want := []string{
		"passed: 3 findings of 2 checks",
		"failed: 1, of compiler",
		"not checkable: 2, of depends, sample; to have them: mount the host's /lib/modules at /host/lib/modules",
		"not checkable: 1, of driver-digest",
		"not checkable: 1, of crcs; to have them: mount the host's /boot at /host/boot, or name a kernel image",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Summarize(nil); len(got) > 0 {
		t.Errorf("of nothing: %v", got)
	}
}
