package job

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// publishing leaves the modules in the share.
func (p project) publishing() step[laidOut, Result] {
	return step[laidOut, Result]{
		stage: stage.Publish,
		plan: func(context.Context) ([]string, error) {
			return []string{p.share.Result(p.target.Release.Full, p.pkg.Version)},
				modules.Vacant(p.share, p.target.Release.Full, p.pkg.Version)
		},
		do: p.publish,
	}
}

func (p project) publish(ctx context.Context, in laidOut) (Result, error) {
	if err := p.lock.Check(); err != nil {
		return Result{}, err
	}
	manifest, err := p.describe(in.checked)
	if err != nil {
		return Result{}, err
	}
	if err := p.needToPublish(ctx, manifest); err != nil {
		return Result{}, err
	}
	manifest.Indexes, err = modules.Index(ctx, modules.IndexOptions{
		Runner: p.Runner, Scratch: p.scratch, Dir: in.built.Dir, Release: p.target.Release.Full, Modules: manifest.Modules,
	})
	if err != nil {
		return Result{}, err
	}
	var firmware map[string]string
	manifest.Firmware, firmware, err = modules.DescribeFirmware(in.driver.FirmwareFiles())
	if err != nil {
		return Result{}, stage.Wrap(stage.Publish, err, "the driver's firmware cannot be read", "look at the cause, and run again")
	}
	path, err := modules.Publish(ctx, modules.PublishOptions{
		Share: p.share, Scratch: p.scratch, Dir: in.built.Dir, Firmware: firmware, Exports: p.target.Exports, Manifest: manifest,
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
	result := resultOf(path, manifest, false)
	result.UserSpace = in.libraries.manifest()
	return result, nil
}

// describe is the manifest of what was built.
func (p project) describe(in checked) (modules.Manifest, error) {
	entries, err := modules.Entries(in.mods, p.target)
	if err != nil {
		return modules.Manifest{}, stage.Wrap(stage.Check, err, "the modules have no load order", "report this as a bug, with the installer's log")
	}
	return modules.Manifest{
		Inputs: p.inputs,
		Target: modules.DescribeTarget(p.target),
		Source: modules.SourceInfo{Rung: in.source.Rung, Repository: in.source.Repository, Ref: in.source.Ref, Commit: in.source.Commit},
		Driver: modules.DriverInfo{Version: in.driver.Version, ModuleType: in.moduleType, Digest: in.driver.Digest},
		Build: modules.BuildInfo{
			Builder: p.Builder, Compiler: in.tree.CompilerVersion, InstallerFlags: in.built.InstallerFlags, SignedBy: p.signedBy(),
		},
		Modules: entries, Checks: in.checks, Overridden: modules.Overridden(in.checks, p.policy()),
	}, nil
}
