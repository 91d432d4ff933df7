package job

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
)

// What the prepare stage let pass is on record, and so is a kernel's Rust that
// the tree does without.
func TestDriftCheck(t *testing.T) {
	t.Parallel()
	changes := []drift.Change{{Name: "NR_CPUS", Was: "8", Is: "16"}}
	for name, test := range map[string]struct {
		tree    prepare.Tree
		verdict modules.Verdict
		detail  string
	}{
		"as it is":     {prepare.Tree{}, modules.Passed, ""},
		"without Rust": {prepare.Tree{WithoutRust: true}, modules.Passed, "the kernel has Rust (CONFIG_RUST=y) and the tree has not, of which modules in C see nothing"},
		"let pass":     {prepare.Tree{Drift: changes, WithoutRust: true}, modules.Failed, "kbuild changed the host's config: NR_CPUS is 8 on the host and 16 in the tree"},
	} {
		want := []modules.Check{{Name: prepare.DriftCheck, Kind: modules.PolicyCheck, Verdict: test.verdict, Detail: test.detail}}
		if diff := cmp.Diff(want, driftCheck(test.tree)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What vouches for the source of a kernel that its distribution patches is on record.
func TestSourceCheck(t *testing.T) {
	t.Parallel()
	of := func(release, id string) kernel.Target {
		r, err := kernel.ParseRelease(release)
		if err != nil {
			t.Fatal(err)
		}
		return kernel.Target{Release: r, Distribution: kernel.Distribution{ID: id}}
	}
	for _, tt := range []struct {
		target  kernel.Target
		rung    string
		types   modules.Verdict // of layout and prototypes
		verdict modules.Verdict // empty: there is no such finding
		says    string
	}{
		{of("6.12.102-flatcar", "flatcar"), source.RungUpstream, modules.Passed, modules.Passed, "layout and prototypes vouch for it"},
		{of("6.1.109", "bottlerocket"), source.RungUpstream, modules.Passed, modules.Passed, "Bottlerocket's, which carries patches of its own, and layout and prototypes vouch for it"},
		{of("6.1.109", "bottlerocket"), source.RungUpstream, modules.Failed, modules.NotCheckable, "layout or prototypes say that the source is not"},
		{of("6.12.118+deb13-amd64", "debian"), source.RungHostTree, modules.Failed, modules.NotCheckable, "layout or prototypes say that the source is not"},
		{of("6.12.102-flatcar", "flatcar"), source.RungUpstream, modules.NotCheckable, "", ""},
		{of("6.12.118+deb13-amd64", "debian"), source.RungHostTree, modules.NotCheckable, modules.Passed, "Debian's own"},
		{of("6.1.109", "bottlerocket"), source.RungUpstream, modules.NotCheckable, modules.NotCheckable, "Bottlerocket's, which carries patches"},
		{of("6.12.18-talos", ""), source.RungTarball, modules.NotCheckable, modules.NotCheckable, "only who named the source"},
	} {
		got := sourceCheck(tt.target, source.Tree{Rung: tt.rung}, []modules.Check{
			{Name: modules.LayoutCheck, Verdict: tt.types}, {Name: modules.PrototypesCheck, Verdict: tt.types},
		})
		switch {
		case tt.verdict == "":
			if len(got) > 0 {
				t.Errorf("%s: %v", tt.target.Release, got)
			}
		case len(got) != 1 || got[0].Verdict != tt.verdict || !strings.Contains(got[0].Detail, tt.says):
			t.Errorf("%s: %v", tt.target.Release, got)
		}
	}
}
