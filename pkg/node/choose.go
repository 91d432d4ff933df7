package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// choose finds the published driver to load, or why there is none.
func (l *loader) choose(ctx context.Context) ([]Finding, error) {
	versions, err := modules.Versions(l.share, l.release)
	if err != nil {
		return nil, stage.Wrap(stage.Load, err, "the share's modules cannot be listed", "make the share readable")
	}
	slices.SortFunc(versions, cuda.CompareVersions)
	l.version = l.DriverVersion // for what is not there to be named as it was asked for
	for _, version := range slices.Backward(versions) {
		if l.grants(version) {
			l.version = version
			break
		}
	}
	loaded := l.state.Version()
	provider := l.provider()
	published := slices.Contains(versions, l.version)
	asked := l.Replace || l.DriverVersion != ""
	switch {
	case loaded != "" && loaded != l.version && provider != "" && (l.version != "" || !asked):
		if asked {
			return nil, refuse([]Finding{HostDriver.Of(loaded, provider, l.version)}, nil)
		}
		l.leaveAlone(ctx, loaded, provider)
		return nil, nil
	case loaded != "" && !published && l.grants(loaded):
		l.leaveAlone(ctx, loaded, provider)
		return nil, nil
	case !published && l.DriverVersion != "" && len(versions) > 0:
		return []Finding{NoVersion.Of(l.version, l.release, strings.Join(versions, ", "))}, nil
	case !published:
		releases, err := modules.Releases(l.share)
		if err != nil {
			return nil, stage.Wrap(stage.Load, err, "the share's modules cannot be listed", "make the share readable")
		}
		return []Finding{NotBuilt.Of(l.release, cmp.Or(strings.Join(releases, ", "), "none at all"))}, nil
	}
	if l.found, err = modules.Find(l.share, l.release, l.version, l.trust); err != nil {
		if errors.As(err, new(*publish.UntrustedError)) {
			return []Finding{Untrusted.Of(err.Error())}, nil
		}
		if errors.As(err, new(*publish.SchemaError)) {
			return []Finding{Foreign.Of(err.Error())}, nil
		}
		return []Finding{Damaged.Of(err.Error())}, nil
	}
	if l.trust != nil {
		zerolog.Ctx(ctx).Info().Str("manifest", l.found.Path()).Msg("signed by somebody who is trusted")
	}
	l.result.Manifest, l.result.Driver = filepath.Join(l.found.Link, modules.ManifestFile), l.version
	return nil, nil
}

// grants says whether a driver is one that was asked for.
func (l *loader) grants(version string) bool {
	if wish, is := cuda.ParseWish(l.DriverVersion); is {
		return wish.Grants(cuda.ReleaseOf(version))
	}
	return l.DriverVersion == "" || l.DriverVersion == version
}

// damaged is why the modules that were chosen cannot be loaded after all.
func (l *loader) damaged(err error) Finding {
	if l.found.Replaced() {
		return Anew.Of()
	}
	return Damaged.Of(err.Error())
}

// leaveAlone makes of a driver that is not the share's the result.
func (l *loader) leaveAlone(ctx context.Context, loaded, provider string) {
	l.result.State, l.result.Driver, l.result.By = LeftAlone, loaded, provider
	l.result.Manifest, l.result.LeftOut = "", nil
	zerolog.Ctx(ctx).Info().Str("driver", loaded).Str("by", cmp.Or(provider, "not builder")).
		Msg("a driver is loaded that is not the share's; it is left as it is")
}

// provider is who else than builder brought the driver that is loaded, as far
// as that is known.
func (l *loader) provider() string {
	loaded := l.state.Version()
	if loaded != "" && loaded == l.journal.driver() {
		return ""
	}
	return broughtBy(l.host, loaded)
}

// peermem gives InfiniBand's modules the GPUs' memory. Those of the kernel's own have
// nothing to take it by, only NVIDIA's (MLNX_OFED, DOCA) have: with the others its init
// fails, and GPUDirect RDMA goes by dma-buf.
const peermem = "nvidia_peermem"

// The modules that CUDA needs, and those that it can do without.
var (
	required = []string{live.Main, "nvidia_uvm"}
	optional = []string{"nvidia_modeset", "nvidia_drm", peermem}
)

// mayLack says whether a load is a success without a module: CUDA can do
// without it, and nobody has asked for it.
func (l *loader) mayLack(name string) bool {
	return len(l.Modules) == 0 && slices.Contains(optional, name)
}

// chosen are the modules to load, in load order: those that were asked for and
// their siblings, or all, nvidia-peermem only where InfiniBand's modules are loaded.
func (l *loader) chosen() ([]modules.Entry, error) {
	entries := map[string]modules.Entry{}
	var have []string
	for _, e := range l.found.Manifest.Modules {
		entries[e.Name] = e
		have = append(have, e.Name)
	}
	want := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if !want[name] {
			want[name] = true
			for _, sibling := range entries[name].Siblings {
				add(sibling)
			}
		}
	}
	for _, name := range l.Modules {
		name = strings.ReplaceAll(strings.TrimSuffix(name, ".ko"), "-", "_")
		if !slices.Contains(have, name) {
			return nil, stage.New(stage.Usage, fmt.Sprintf("--modules names %s, and the published ones are %s", name, strings.Join(have, ", ")), "name some of these")
		}
		add(name)
	}
	if len(l.Modules) == 0 {
		for _, name := range have {
			if name != peermem || l.state.Has("ib_core") {
				add(name)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(l.found.Manifest.Modules), func(e modules.Entry) bool { return !want[e.Name] }), nil
}

// missing are the modules that are wanted and not loaded. Those that nobody
// asked for and that CUDA can do without are none where they are all that a
// driver lacks: the load that left them out was a success, and so is this one.
func (l *loader) missing(ctx context.Context) []modules.Entry {
	missing := slices.DeleteFunc(slices.Clone(l.wanted), func(e modules.Entry) bool { return l.state.Has(e.Name) })
	if len(missing) == 0 || slices.ContainsFunc(missing, func(e modules.Entry) bool { return !l.mayLack(e.Name) }) {
		return missing
	}
	l.result.LeftOut = append(l.result.LeftOut, names(missing)...)
	zerolog.Ctx(ctx).Info().Strs("modules", l.result.LeftOut).Msg("not loaded, and CUDA can do without them; --modules asks for them")
	return nil
}

func names(entries []modules.Entry) []string {
	var list []string
	for _, e := range entries {
		list = append(list, e.Name)
	}
	return list
}

// compare holds what is loaded against what is published, and says whether the
// one has to go for the other. What the host's own driver is, is left alone.
func (l *loader) compare(ctx context.Context, missing bool) (replace bool, err error) {
	loaded := l.state.Version()
	var found Finding
	switch {
	case loaded == "":
		return false, nil
	case loaded != l.version:
		use := ""
		if held := l.held(); held != "" {
			use = "; it is in use: " + held
		}
		found = OtherVersion.Of(loaded, l.version, use)
	case l.otherBuild():
		if provider := l.provider(); provider != "" {
			if l.Replace {
				return false, refuse([]Finding{HostDriver.Of(loaded, provider, "the share's build of it")}, nil)
			}
			l.leaveAlone(ctx, loaded, provider)
			return false, nil
		}
		found = OtherBuild.Of(loaded)
		if !missing && !l.Replace && !l.Check {
			zerolog.Ctx(ctx).Warn().Msg(found.Says)
			return false, nil
		}
	default:
		return false, nil
	}
	if !l.Replace || l.Check {
		return false, refuse([]Finding{found}, nil)
	}
	return true, nil
}

// otherBuild says whether a module that is loaded is none of the published
// ones: by the linker's identifier of the build where both have one, else by
// the digest of the sources.
func (l *loader) otherBuild() bool {
	for _, e := range l.wanted {
		if there, ok := l.state.Loaded[e.Name]; ok && isAnother(there, filepath.Join(l.found.Dir, e.File)) {
			return true
		}
	}
	return false
}

// isAnother says whether a module that is loaded is another build than the one in a
// file.
func isAnother(there live.Module, path string) bool {
	if id := live.FileBuildID(path); id != "" && there.BuildID != "" {
		return id != there.BuildID
	}
	m, err := modules.Read(path)
	return err == nil && m.SrcVersion != "" && there.SrcVersion != "" && m.SrcVersion != there.SrcVersion
}

// held says who uses the driver that is loaded.
func (l *loader) held() string {
	users, complete := live.Users(l.host, l.own)
	return live.Held(l.state.Driver(), users, complete)
}
