package job

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// checked are modules that would do, on the user's terms.
type checked struct {
	compiled
	mods   []modules.Module
	checks []modules.Check
}

// checking holds the modules against the kernel that must load them.
func (p project) checking() step[compiled, checked] {
	return step[compiled, checked]{
		stage: stage.Check,
		plan: func(context.Context) ([]string, error) {
			var rules []string
			for _, r := range modules.Rules() {
				rules = append(rules, r.Name)
			}
			return []string{strings.Join(rules, ", ")}, nil
		},
		do: func(_ context.Context, in compiled) (checked, error) { return p.check(in) },
	}
}

func (p project) check(in compiled) (checked, error) {
	mods, err := modules.ReadAll(in.built.Files)
	if err != nil {
		return checked{}, stage.Wrap(stage.Check, err, "the built modules cannot be read", "look at the cause, and run again")
	}
	if p.signer != nil {
		if mods, err = modules.Authenticate(mods, p.signer.Certificate()); err != nil {
			return checked{}, stage.Wrap(stage.Check, err, "the signatures cannot be verified", "look at the cause, and run again")
		}
	}
	if err := modules.CheckRead(mods, p.target); err != nil {
		return checked{}, err
	}
	checks := slices.Concat(p.vouched, in.foreseen, sourceCheck(p.target, in.source), driftCheck(in.tree), modules.Gate(mods, p.target, modules.Expect{
		Modules: in.driver.Modules(in.moduleType), Excluded: p.exclude, Firmware: in.driver.Firmware(), Debug: p.Debug,
	}))
	return checked{in, mods, checks}, modules.Judge(checks, p.policy())
}

// SourceCheck is the name of the check that the source is the kernel's, as --allow takes
// it. It is made of kernels whose distribution is known to patch them.
const SourceCheck = "source"

// sourceCheck says what vouches for the source of such a kernel.
func sourceCheck(t kernel.Target, tree source.Tree) []modules.Check {
	by := t.Patched().By
	if by == "" {
		return nil
	}
	c := modules.Check{Name: SourceCheck, Kind: modules.PolicyCheck, Verdict: modules.NotCheckable}
	switch tree.Rung {
	case source.RungHostTree, source.RungHostSource:
		c.Verdict, c.Detail = modules.Passed, "the tree is "+by+"'s own for this kernel"
	case source.RungUpstream:
		c.Detail = fmt.Sprintf("the kernel is %s's, which carries patches of its own, and the source is kernel.org's of that number: nothing says that they change no structure which the modules use", by)
	default:
		c.Detail = fmt.Sprintf("the kernel is %s's, which carries patches of its own, and only who named the source says that it has them", by)
	}
	return []modules.Check{c}
}

// driftCheck is the finding of the prepare stage, for the manifest. That stage
// stops at drift, so what there is of it was let pass.
func driftCheck(tree prepare.Tree) []modules.Check {
	c := modules.Check{Name: prepare.DriftCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	var changes []string
	for _, change := range tree.Drift {
		changes = append(changes, change.String())
	}
	switch {
	case len(changes) == 0 && tree.WithoutRust:
		c.Detail = "the kernel has Rust (CONFIG_RUST=y) and the tree has not, of which modules in C see nothing"
	case len(changes) > 0:
		c.Verdict, c.Detail = modules.Failed, "kbuild changed the host's config: "+strings.Join(changes, "; ")
	}
	return []modules.Check{c}
}
