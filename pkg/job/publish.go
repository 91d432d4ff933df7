package job

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// published is the result of an earlier run, where it is whole and was made
// from the same inputs; the zero value where there is none. Its error is of
// the check stage, where that result would not do on this run's terms.
func (b *build) published(ctx context.Context) (Result, error) {
	log := zerolog.Ctx(ctx)
	m, path, err := modules.Published(b.share, b.target.Release.Full, b.pkg.Version)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, nil
	case err != nil:
		log.Warn().Err(err).Msg("an earlier result is damaged, building again")
		return Result{}, nil
	case m.Inputs != b.inputs:
		log.Info().Str("manifest", path).Msg("an earlier result was made from other inputs, building again")
		return Result{}, nil
	}
	// The same inputs would give the same findings. Only drift is not the
	// check stage's to stop at: prepare does, before any compile.
	drifted := func(c modules.Check) bool { return c.Name == prepare.DriftCheck && c.Verdict == modules.Failed }
	if !b.allowsDrift() && slices.ContainsFunc(m.Checks, drifted) {
		log.Info().Str("manifest", path).Msg("an earlier result was accepted on other terms, building again")
		return Result{}, nil
	}
	if err := modules.Judge(m.Checks, b.policy()); err != nil {
		return Result{}, err
	}
	log.Info().Str("manifest", path).Int("modules", len(m.Modules)).
		Msg("nothing has changed and every digest is right: the modules are already there, nothing to build")
	return resultOf(path, m, true), nil
}

// driftCheck is the finding of the prepare stage, for the manifest. That stage
// stops at drift, so what there is of it was let pass.
func driftCheck(let []drift.Change) []modules.Check {
	c := modules.Check{Name: prepare.DriftCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	var changes []string
	for _, change := range let {
		changes = append(changes, change.String())
	}
	if len(changes) > 0 {
		c.Verdict, c.Detail = modules.Failed, "kbuild changed the host's config: "+strings.Join(changes, "; ")
	}
	return []modules.Check{c}
}

func (b *build) publish(ctx context.Context) (Result, error) {
	manifest, err := b.describe()
	if err != nil {
		return Result{}, err
	}
	if err := b.roomToPublish(ctx, manifest); err != nil {
		return Result{}, err
	}
	manifest.Indexes, err = modules.Index(ctx, modules.IndexOptions{
		Runner: b.Runner, Scratch: b.scratch, Dir: b.built.Dir, Release: b.target.Release.Full, Modules: manifest.Modules,
	})
	if err != nil {
		return Result{}, err
	}
	var firmware map[string]string
	manifest.Firmware, firmware, err = modules.DescribeFirmware(b.driver.FirmwareFiles())
	if err != nil {
		return Result{}, stage.Wrap(stage.Publish, err, "the driver's firmware cannot be read", "check the share")
	}
	path, err := modules.Publish(ctx, modules.PublishOptions{
		Share: b.share, Scratch: b.scratch, Dir: b.built.Dir, Firmware: firmware, Manifest: manifest,
	})
	if err != nil {
		return Result{}, err
	}
	for _, m := range manifest.Modules {
		zerolog.Ctx(ctx).Info().Str("name", m.Name).Int64("bytes", m.Size).Str("vermagic", m.Vermagic).Msg("module")
	}
	for _, f := range manifest.Firmware {
		zerolog.Ctx(ctx).Info().Str("file", f.Name).Int64("bytes", f.Size).Msg("firmware")
	}
	return resultOf(path, manifest, false), nil
}

// describe is the manifest of what was built.
func (b *build) describe() (modules.Manifest, error) {
	entries, err := modules.Entries(b.mods, b.target)
	if err != nil {
		return modules.Manifest{}, stage.Wrap(stage.Check, err, "the modules have no load order", "report this as a bug, with the installer's log")
	}
	return modules.Manifest{
		Inputs: b.inputs,
		Target: modules.DescribeTarget(b.target),
		Source: modules.SourceInfo{Rung: b.source.Rung, Repository: b.source.Repository, Ref: b.source.Ref, Commit: b.source.Commit},
		Driver: modules.DriverInfo{Version: b.driver.Version, ModuleType: b.moduleType, Digest: b.driver.Digest},
		Build: modules.BuildInfo{
			Builder: b.Builder, Compiler: b.prepared.CompilerVersion, InstallerFlags: b.built.InstallerFlags, SignedBy: b.signedBy(),
		},
		Modules: entries, Checks: b.checks, Overridden: modules.Overridden(b.checks, b.policy()),
	}, nil
}
