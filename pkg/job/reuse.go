package job

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/probe"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// recipe is raised by hand whenever builder would make something else of the same
// inputs. Builder's version is no input: most versions make the same.
const recipe = 2

// What a build was asked to make and what with, by the names that the manifest
// and the log have for it.
const (
	inputRecipe      = "recipe"
	inputPackage     = "driver package"
	inputPatches     = "driver patches"
	inputForm        = "module type"
	inputExclude     = "excluded modules"
	inputDebug       = "debugging information"
	inputCompiler    = "compiler"
	inputKey         = "signing key"
	inputCertificate = "signing certificate"
	inputSource      = "source"
	inputRepository  = "source repository"
	inputRef         = "source ref"
	inputCommit      = "source commit"
	inputChanges     = "source patches"
)

// listInputs are everything, beside the kernel, that decides what a build makes
// and that is known before it begins. Where a mirror is, how many compilers run at
// once, what vouches for the driver and which host is looked at changes nothing of
// what is made, and is not here.
func (p project) listInputs() (map[string]string, error) {
	from := p.Source
	from.Dir = p.share.Linux()
	local, err := source.Fingerprint(p.target, from)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		inputRecipe:      strconv.Itoa(recipe),
		inputPackage:     p.digest,
		inputPatches:     p.patches.String(),
		inputForm:        p.preference.Type, // as far as it is known before the package is unpacked
		inputExclude:     strings.Join(p.exclude, ","),
		inputDebug:       map[bool]string{true: "kept"}[p.Debug],
		inputCompiler:    p.compilerVersion, // another image may have another gcc-13
		inputKey:         p.signedBy(),
		inputCertificate: p.certificateDigest(), // its issuer and serial number are in each signature
		inputSource:      local,
		inputRepository:  source.Repository(p.target, p.Source),
		inputRef:         p.Source.Ref,
		inputCommit:      p.Source.Commit,
		inputChanges:     p.Source.Patches.String(),
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all, nil
}

// findEarlier is what an earlier run has published, where it serves: it is whole,
// this build would make the same, for the same kernel, and the gate, run now
// against this target, passes. It is the zero value where there is none, and why
// is in the log. Its error is of the check stage, where the same would come out
// again and would not do.
func (p project) findEarlier(ctx context.Context) (Result, error) {
	log := zerolog.Ctx(ctx)
	found, err := modules.Find(p.share, p.target.Release.Full, p.pkg.Version, p.ownTrust())
	unsigned := errors.As(err, new(*publish.UntrustedError))
	if unsigned {
		log.Info().Err(err).Msg("an earlier result is not signed with this key")
		if who := p.writers(); who != "" {
			log.Info().Str("why", who).Msg("whoever that is may have put anything in its place, so it is not signed as it is: building again")
			return Result{}, nil
		}
		found, err = modules.Find(p.share, p.target.Release.Full, p.pkg.Version, nil)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, nil
	case errors.As(err, new(*publish.SchemaError)):
		log.Info().Err(err).Msg("an earlier result is of another builder's format, building again")
		return Result{}, nil
	case err != nil:
		log.Warn().Err(err).Msg("an earlier result is damaged, building again")
		return Result{}, nil
	case p.Rebuild:
		log.Info().Str("manifest", found.Path()).Msg("building again, as --rebuild asks")
		return Result{}, nil
	}
	other, err := p.differences(found)
	if err != nil {
		log.Warn().Err(err).Msg("an earlier result is not to be compared, building again")
		return Result{}, nil
	}
	if len(other) > 0 {
		var clauses []string
		for _, d := range other {
			clauses = append(clauses, d.String())
		}
		log.Info().Str("manifest", found.Path()).Strs("differs", clauses).Msg("an earlier result was made from something else, building again")
		return Result{}, nil
	}
	serves, err := p.judgeEarlier(ctx, found)
	if err != nil || !serves {
		return Result{}, err
	}
	log.Info().Str("manifest", found.Path()).Int("modules", len(found.Manifest.Modules)).
		Msg("the modules are already there: every digest is right and this kernel would accept them, nothing to build")
	p.sweep(ctx, found.Link)
	result := resultOf(found.Path(), found.Manifest, true)
	if unsigned {
		result.unsigned = &found
	}
	return result, nil
}

// sweep removes what runs that died left beside a result that serves: to publish it
// would.
func (s site) sweep(ctx context.Context, link string) {
	if !s.dry && s.lock.Check() == nil {
		publish.Sweep(ctx, s.scratch, link)
	}
}

// differences are in what an earlier result is another than this build's, by the
// names of the inputs, the kernel's parts first.
func (p project) differences(found modules.Found) ([]modules.Difference, error) {
	list, err := found.Manifest.OtherKernel(found.Dir, p.target)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, inputs := range []map[string]string{found.Manifest.Inputs, p.inputs} {
		for name := range inputs {
			names[name] = true
		}
	}
	var others []modules.Difference
	for name := range names {
		was, is := found.Manifest.Inputs[name], p.inputs[name]
		if name == inputForm && p.preference.Required {
			was = found.Manifest.Driver.ModuleType // the package may have had only this one
		}
		if was != is {
			others = append(others, modules.Difference{What: name, Was: was, Is: is})
		}
	}
	slices.SortFunc(others, func(a, b modules.Difference) int { return strings.Compare(a.What, b.What) })
	return append(list, others...), nil
}

// packageRules are the checks that only the driver's package can answer:
// of a published result the recorded findings are the ones that count.
var packageRules = []string{"built", "firmware", "debug"}

// moreToKnow says what a build would find out of what an earlier one did not; "" where
// there is nothing.
func (p project) moreToKnow(m modules.Manifest) string {
	recorded := func(name string) (list []modules.Check) {
		return slices.DeleteFunc(slices.Clone(m.Checks), func(c modules.Check) bool { return c.Name != name })
	}
	if p.wantsSourceCRCs() && !slices.ContainsFunc(recorded(modules.SourceCRCsCheck), func(c modules.Check) bool { return c.Detail != modules.SourceCRCsNotAsked }) {
		return "an earlier result was not held against checksums of the source"
	}
	for _, c := range recorded(modules.LayoutCheck) {
		if _, err := p.lookPath()("pahole"); err == nil && c.Detail == probe.NoPahole {
			return "of an earlier result it is not known what it was compiled with, and here is a pahole to find out"
		}
	}
	return ""
}

// judgeEarlier holds an earlier result against the target as it is now, on this
// run's terms. What was found when it was made and would be found again is an
// error where it would not do: to build it again would end there too. What is
// allowed only now serves no load before it is on record, and is built again.
func (p project) judgeEarlier(ctx context.Context, found modules.Found) (serves bool, err error) {
	log := zerolog.Ctx(ctx).With().Str("manifest", found.Path()).Logger()
	m := found.Manifest
	drift := slices.DeleteFunc(slices.Clone(m.Checks), func(c modules.Check) bool { return c.Name != prepare.DriftCheck })
	// Only drift is not the check stage's to stop at: prepare does, before any
	// compile.
	if modules.Judge(drift, p.policy()) != nil {
		log.Info().Msg("an earlier result was accepted on other terms, building again")
		return false, nil
	}
	now, err := m.Gate(found.Dir, p.target, p.certificate())
	if errors.As(err, new(*modules.UnreadError)) {
		return false, err
	}
	if err != nil {
		log.Warn().Err(err).Msg("an earlier result cannot be held against this kernel, building again")
		return false, nil
	}
	if why := p.moreToKnow(m); why != "" {
		log.Info().Msg(why + ", building again")
		return false, nil
	}
	now = append(now, sourceCheck(p.target, source.Tree{Rung: m.Source.Rung}, now)...)
	ofPackage := func(c modules.Check) bool { return slices.Contains(packageRules, c.Name) }
	again := slices.Concat(p.vouched, slices.DeleteFunc(slices.Clone(m.Checks), func(c modules.Check) bool { return !ofPackage(c) }))
	var anew []modules.Check
	for _, c := range slices.DeleteFunc(now, ofPackage) {
		before := func(b modules.Check) bool { return b.Name == c.Name && b.Module == c.Module && b.Verdict == c.Verdict }
		if slices.ContainsFunc(m.Checks, before) || c.Verdict == modules.NotCheckable {
			again = append(again, c)
		} else {
			anew = append(anew, c)
		}
	}
	if err := modules.Judge(anew, p.policy()); err != nil {
		log.Warn().Err(err).Msg("an earlier result would not do for this kernel any more, building again")
		return false, nil
	}
	for _, name := range modules.Overridden(slices.Concat(again, anew), p.policy()) {
		if name != cuda.DigestCheck && name != breaks.Check && !slices.Contains(m.Overridden, name) {
			log.Info().Str("check", name).Msg("what is allowed now is not on record in an earlier result, building again")
			return false, nil
		}
	}
	return true, modules.Judge(again, p.policy())
}
