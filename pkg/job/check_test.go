package job

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
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
