package job

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// pair is the driver, in a form of its modules, and the kernel, as the table of known
// breaks looks at them.
func (s site) pair(what setting, version, form string) (breaks.Pair, error) {
	without, err := cuda.Leave(s.Modules, s.Exclude)
	return breaks.Pair{Kernel: breaks.Of(what.target), Driver: version, Form: form, Without: without}, err
}

// nearest is the version next to a pair's that is known to build, runs this host's GPUs
// and is published: some of the table are only tags of the sources. It is empty where
// there is none.
func nearest(what setting, p breaks.Pair) string {
	gpus := cuda.GPUs(what.target.PCI)
	return breaks.Nearest(p, cuda.KnownVersions(what.target.Arch), func(version string) bool {
		return cuda.KnownDigest(what.target.Arch, version) != "" && !slices.ContainsFunc(gpus, func(gpu kernel.PCIDevice) bool { return cuda.Serves(p.Form, version, gpu) != "" })
	})
}

// foresee looks up what is known to stand in the way of the chosen driver, in a form of
// its modules. It is an error unless that is allowed, then it is on record; or the
// driver is patched, of which the table knows nothing.
func (s site) foresee(ctx context.Context, what setting, c choice, form string) (foreseen []modules.Check, err error) {
	p, err := s.pair(what, c.pkg.Version, form)
	if err != nil {
		return nil, err
	}
	found := breaks.Find(p)
	if len(found) == 0 {
		return nil, nil
	}
	refusal := s.broken(what, p, c, found)
	switch {
	case slices.Contains(s.Allow, breaks.Check):
		zerolog.Ctx(ctx).Warn().Str("check", breaks.Check).Msg(refusal.Reason + "; trying all the same")
		return []modules.Check{{Name: breaks.Check, Kind: modules.PolicyCheck, Verdict: modules.Failed, Detail: refusal.Reason}}, nil
	case len(s.patches) > 0:
		zerolog.Ctx(ctx).Warn().Str("check", breaks.Check).Msg(refusal.Reason + "; patched it may be another matter")
		return nil, nil
	}
	return nil, refusal
}

// foreseeFirst is [site.foresee] for a driver of which only the name is known. Where
// something of that version is published for this kernel, the error waits, as choice's
// refusal: that may serve, and then nothing is compiled.
func (s site) foreseeFirst(ctx context.Context, what setting, c choice) (choice, error) {
	var err error
	c.foreseen, err = s.foresee(ctx, what, c, c.preference.Type)
	if err == nil {
		return c, nil
	}
	if _, absent := beneath.Lstat(s.share.Result(what.target.Release.Full, c.pkg.Version)); absent != nil {
		return choice{}, err
	}
	c.refusal = err
	return c, nil
}

// broken is the error for a pair that is known not to compile.
func (s site) broken(what setting, p breaks.Pair, c choice, found []breaks.Break) *stage.Error {
	var clauses []string
	for _, b := range found {
		clauses = append(clauses, fmt.Sprintf("%s (Linux %s)", b.Says, b.Where()))
	}
	var hints []string
	if version := nearest(what, p); version != "" {
		hints = append(hints, fmt.Sprintf("take driver %s, with --driver-version %[1]s", version))
	}
	if other := cuda.OtherForm(p.Form); p.Form == c.preference.Type && !c.preference.Required && len(breaks.Find(inForm(p, other))) == 0 {
		hints = append(hints, fmt.Sprintf("build its %s modules with --module-type %[1]s", other))
	}
	hints = append(hints, "patch it with --driver-patches", "try all the same with --allow "+breaks.Check)
	return &stage.Error{
		Stage: stage.Driver, Kind: breaks.Check,
		Reason: fmt.Sprintf("the %s modules of driver %s are known not to compile against kernel %s: %s", p.Form, p.Driver, what.target.Release, strings.Join(clauses, "; ")),
		Hint:   strings.Join(hints, ", or "),
	}
}

func inForm(p breaks.Pair, form string) breaks.Pair {
	p.Form = form
	return p
}
