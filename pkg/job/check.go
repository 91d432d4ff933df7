package job

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/crcs"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/probe"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/kernel/types"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// checked are modules that would do, on the user's terms.
type checked struct {
	compiled
	mods   []modules.Module
	types  *types.Record // what they were compiled with; nil where that is not known
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
			says := []string{strings.Join(rules, ", ")}
			if p.wantsSourceCRCs() {
				says = append(says, modules.SourceCRCsCheck+" compiles what of the whole source exports the modules' imports: some 200 files, "+
					about(200*crcs.PerFile/p.jobs())+" here")
			}
			return says, nil
		},
		do: p.check,
	}
}

func (p project) check(ctx context.Context, in compiled) (checked, error) {
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
	expect := modules.Expect{
		Modules: in.driver.Modules(in.moduleType), Excluded: p.exclude, Firmware: in.driver.Firmware(), Debug: p.Debug,
		Source: sourceInfo(in.source).With(p.target.Config.From), Loader: in.loader,
	}
	if expect.Types, expect.TypesUnknown, err = p.compiledWith(ctx, in, mods); err != nil {
		return checked{}, err
	}
	if expect.SourceCRCs, expect.SourceCRCsUnknown, err = p.sourceCRCs(ctx, in, mods); err != nil {
		return checked{}, err
	}
	found := modules.Gate(mods, p.target, expect)
	vouched := sourceCheck(p.target, in.source, found)
	if p.typesSeen() { // else the stage prepare has said it
		warnOfSource(ctx, vouched)
	}
	checks := slices.Concat(p.vouched, in.foreseen, vouched, driftCheck(in.tree), found)
	return checked{in, mods, expect.Types, checks}, modules.Judge(checks, p.policy())
}

// compiledWith finds out what the modules were compiled with; where that cannot be had
// it says why.
func (p project) compiledWith(ctx context.Context, in compiled, mods []modules.Module) (*types.Record, string, error) {
	record, err := probe.Types(ctx, probe.Options{
		Runner: p.Runner, Target: p.target, Tree: in.tree, Scratch: p.scratch,
		Objects: filepath.Join(in.driver.Dir, in.driver.SourceDir(in.moduleType)), Imports: modules.Imported(mods),
	})
	var unknown *probe.UnknownError
	switch {
	case errors.As(err, &unknown):
		zerolog.Ctx(ctx).Info().Str("why", unknown.Reason).Msg("what the modules were compiled with is not known, and is not held against the kernel's types")
		return nil, unknown.Reason, nil
	case err != nil && ctx.Err() != nil:
		return nil, "", ctx.Err()
	case err != nil:
		return nil, "", stage.Wrap(stage.Check, err, "what the modules were compiled with cannot be found out", "look at the cause, and run again")
	}
	return record, "", nil
}

// SourceCheck is the name of the check that the source is the kernel's, as --allow takes
// it. It is made where something vouches for the source, and of kernels whose distribution
// is known to patch them.
const SourceCheck = "source"

// sourceCheck says what vouches for the source: that it is the distribution's, or
// findings of the gate.
func sourceCheck(t kernel.Target, tree source.Tree, found []modules.Check) []modules.Check {
	by := t.Patched().By
	patches := "the kernel is " + by + "'s, which carries patches of its own"
	c := modules.Check{Name: SourceCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	switch {
	case by != "" && typesFailed(found):
		c.Verdict, c.Detail = modules.NotCheckable, patches+", and layout or prototypes say that the source is not that kernel's"
	case by != "" && (tree.Rung == source.RungHostTree || tree.Rung == source.RungHostSource):
		c.Detail = "the tree is " + by + "'s own for this kernel"
	case typesPassed(found):
		c.Detail = "layout and prototypes vouch for it: by the kernel's own type information nothing of what the modules were compiled with is otherwise there"
		if by != "" {
			c.Detail = patches + ", and " + c.Detail
		}
	case by == "":
		return nil
	case tree.Rung == source.RungUpstream && len(tree.Patches) == 0:
		c.Verdict, c.Detail = modules.NotCheckable, patches+", and the source is kernel.org's of that number: nothing says that they change no structure which the modules use"
	default:
		c.Verdict, c.Detail = modules.NotCheckable, patches+", and only who named the source says that it has them"
	}
	return []modules.Check{c}
}

func typesFailed(found []modules.Check) bool {
	return slices.ContainsFunc(found, func(c modules.Check) bool { return modules.OfTypes(c.Name) && c.Verdict == modules.Failed })
}

// warnOfSource says where nothing vouches for the source of a patched kernel.
func warnOfSource(ctx context.Context, vouched []modules.Check) {
	for _, c := range vouched {
		if c.Verdict != modules.Passed {
			zerolog.Ctx(ctx).Warn().Str("check", c.Name).Msg(c.Detail)
		}
	}
}

// typesPassed says whether the source's types are the kernel's, by its own.
func typesPassed(found []modules.Check) bool {
	passed := map[string]bool{}
	for _, c := range found {
		passed[c.Name] = c.Verdict == modules.Passed
	}
	return passed[modules.LayoutCheck] && passed[modules.PrototypesCheck]
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
