package job

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// Step is what one stage of a build would do.
type Step struct {
	Stage stage.Name `json:"stage"`
	// Does is a sentence for people.
	Does string `json:"does"`
}

// Plan says what each stage of [Build] would do, and from where. It writes
// nothing, waits for nobody, and asks the network only for the names of refs and
// for a kernel image that the share does not have.
// The first stage that would fail ends it with that stage's error.
func Plan(ctx context.Context, o Options) ([]Step, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return nil, err
	}
	b, err := newBuild(o, s, true)
	if err != nil {
		return nil, err
	}
	if err := b.detect(ctx, ""); err != nil {
		return nil, err
	}
	t := b.target
	steps := []Step{{stage.Detect, fmt.Sprintf("kernel %s (%s); config from %s, %d symbols from %s", t.Release, t.Arch, t.Config.From, len(t.Exports.Symbols), t.Exports.From)}}

	if err := b.chooseDriver(ctx); err != nil {
		return nil, err
	}
	steps = append(steps, Step{stage.Driver, fmt.Sprintf("driver %s from %s; %s modules: %s", b.pkg.Version, b.whence(), b.preference.Type, b.preference.Why)})
	result, err := b.published(ctx)
	if err != nil {
		return nil, err
	}
	b.findUserSpace(ctx)
	if !result.Reused || !b.user.done {
		if err := b.mayNeedDriver(); err != nil {
			return nil, err
		}
	}
	layOut := Step{stage.Publish, fmt.Sprintf("the driver's user-space side (%s): %s", b.part(), filepath.Join(s.Drivers(), b.pkg.Version))}
	if result.Reused {
		steps = append(steps, Step{stage.Publish, "nothing: " + result.Manifest + " is already what would be built"})
		if !b.user.done {
			steps = append(steps, layOut)
		}
		return steps, nil
	}

	found, err := source.Find(ctx, t, withDir(b.Source, s))
	if err != nil {
		return nil, err
	}
	for _, r := range found.Steps {
		steps = append(steps, Step{stage.Source, fmt.Sprintf("%s: %s %s", r.Rung, r.Where, r.Reason)})
	}
	var rules []string
	for _, r := range modules.Rules() {
		rules = append(rules, r.Name)
	}
	steps = append(steps,
		Step{stage.Prepare, fmt.Sprintf("an output tree beneath %s, with %s", s.Prepared(), b.compiler.Command)},
		Step{stage.Build, fmt.Sprintf("nvidia-installer --kernel-module-only of %s, %s modules%s%s", b.pkg.Name(), b.preference.Type, b.without(), b.signs())},
		Step{stage.Check, strings.Join(rules, ", ")},
	)
	if !b.user.done {
		steps = append(steps, layOut)
	}
	return append(steps, Step{stage.Publish, filepath.Join(s.Modules(), t.Release.Full, b.pkg.Version)}), nil
}

func withDir(o source.Options, s *share.Share) source.Options {
	o.Dir = s.Linux()
	return o
}

// without says of a plan's build which modules it leaves out.
func (b *build) without() string {
	if len(b.exclude) == 0 {
		return ""
	}
	return " without " + strings.Join(b.exclude, ", ")
}

// signs says of a plan's build what becomes of its modules.
func (b *build) signs() string {
	if b.signer == nil {
		return ""
	}
	return ", signed with key " + b.signer.KeyID()
}
