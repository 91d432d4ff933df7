package job

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// described are modules with all that is published beside them.
type described struct {
	checked
	manifest modules.Manifest
	firmware map[string]string // where each of the manifest's files is
}

// describing makes what is published beside the modules.
func (p project) describing() step[checked, described] {
	return step[checked, described]{
		stage: stage.Publish,
		plan:  func(context.Context) ([]string, error) { return nil, nil },
		do: func(ctx context.Context, in checked) (d described, err error) {
			d.checked = in
			// What is published shall not need space of its own.
			if err := in.driver.RemoveSources(); err != nil {
				return described{}, stage.Wrap(stage.Publish, err, "the sources of the modules, which are built, cannot be removed", "let the share's owner, as whom builder works there, write to it")
			}
			if d.manifest, err = p.describe(in); err != nil {
				return described{}, err
			}
			d.manifest.Indexes, err = modules.Index(ctx, modules.IndexOptions{
				Runner: p.Runner, Scratch: p.scratch, Dir: in.built.Dir, Release: p.target.Release.Full, Modules: d.manifest.Modules,
			})
			if err != nil {
				return described{}, err
			}
			d.manifest.Firmware, d.firmware, err = modules.DescribeFirmware(in.driver.FirmwareFiles())
			if err != nil {
				return described{}, stage.Wrap(stage.Publish, err, "the driver's firmware cannot be read", "look at the cause, and run again")
			}
			return d, p.needToPublish(ctx, d.manifest, p.libraries.space(in.toLayOut))
		},
	}
}

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
	path, err := modules.Publish(ctx, modules.PublishOptions{
		Share: p.share, Scratch: p.scratch, Dir: in.built.Dir, Firmware: in.firmware, Exports: p.target.Exports, Types: in.types, Manifest: in.manifest,
		Sign: p.signManifest(),
	})
	if err != nil {
		return Result{}, err
	}
	for _, m := range in.manifest.Modules {
		zerolog.Ctx(ctx).Info().Str("name", m.Name).Int64("bytes", m.Size).Str("vermagic", m.Vermagic).Msg("module")
	}
	for _, f := range in.manifest.Firmware {
		zerolog.Ctx(ctx).Info().Str("file", f.Name).Int64("bytes", f.Size).Msg("firmware")
	}
	p.saySigned(ctx, path)
	result := resultOf(path, in.manifest, false)
	result.UserSpace = in.libraries.manifest()
	return result, nil
}

// describePatches are the user's patches, for the manifest.
func (s site) describePatches() (list []modules.PatchInfo) {
	for _, p := range s.patches {
		list = append(list, modules.PatchInfo{Name: p.Name, SHA256: p.SHA256})
	}
	return list
}

func sourceInfo(t source.Tree) modules.SourceInfo {
	info := modules.SourceInfo{Rung: t.Rung, Repository: t.Repository, Ref: t.Ref, Commit: t.Commit}
	for _, p := range t.Patches {
		info.Patches = append(info.Patches, modules.PatchInfo{Name: p.Name, SHA256: p.SHA256})
	}
	return info
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
		Source: sourceInfo(in.source),
		Driver: modules.DriverInfo{Version: in.driver.Version, ModuleType: in.moduleType, Digest: in.driver.Digest, Chosen: p.chosen, Patches: p.describePatches()},
		Build: modules.BuildInfo{
			Builder: p.Builder, Compiler: in.tree.CompilerVersion, InstallerFlags: in.built.InstallerFlags,
			WithoutInstaller: in.built.WithoutInstaller, SignedBy: p.signedBy(),
			Relocations: in.relocated(), Loader: in.loader,
		},
		Modules: entries, InTree: modules.InTreeOf(entries, p.target), Checks: in.checks, Overridden: modules.Overridden(in.checks, p.policy()),
	}, nil
}
