package job

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// When NVIDIA's fabric manager is laid out beside a driver's libraries.
const (
	// FabricAuto lays it out where the host has NVSwitches, or its archive is in the
	// share's cuda/; a host that has them and a server that does not serve is warned of.
	FabricAuto   = "auto"
	FabricAlways = "always"
	FabricNever  = "never"
)

// checkFabric refuses words that make no sense.
func (o Options) checkFabric() error {
	switch {
	case !slices.Contains([]string{"", FabricAuto, FabricAlways, FabricNever}, o.FabricManager):
		return stage.New(stage.Usage, "--fabric-manager is none of auto, always, never", "name one of them")
	case o.FabricManager == FabricAlways && o.UserSpace == userspace.None:
		return stage.New(stage.Usage, "--fabric-manager always has nowhere to go with --user-space none", "leave out one of the two")
	}
	return nil
}

// fabricManager is the archive of NVIDIA's fabric manager that is to be laid out; its
// fields are empty where none is, and digest alone where it would have to be downloaded
// first.
type fabricManager struct {
	file, digest string
	toFetch      bool
}

// says is what a plan says of it.
func (f fabricManager) says() string {
	switch {
	case f.toFetch:
		return ", with NVIDIA's fabric manager, to be downloaded"
	case f.file != "":
		return ", with NVIDIA's fabric manager"
	}
	return ""
}

// findFabric decides on the fabric manager, and has its archive be there.
func (p project) findFabric(ctx context.Context) (fabricManager, error) {
	if p.FabricManager == FabricNever || p.UserSpace == userspace.None {
		return fabricManager{}, nil
	}
	given := fabric.Find(p.target.Arch, p.pkg.Version, p.share.CUDA())
	switches := fabric.Of(nil, p.target.PCI)
	if given == "" && p.FabricManager != FabricAlways && !switches.Managed() {
		return fabricManager{}, nil
	}
	if given == "" {
		given = fabric.Find(p.target.Arch, p.pkg.Version, p.share.Downloads())
	}
	if given == "" && p.dry {
		return fabricManager{toFetch: true}, nil
	}
	if given == "" {
		fetched, err := p.fetchFabric(ctx)
		var failure *stage.Error
		if errors.As(err, &failure) && failure.Stage != stage.Usage && p.FabricManager != FabricAlways && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("next", failure.Hint).
				Msgf("this host has %s, and CUDA fails there with error 802 unless NVIDIA's fabric manager runs, which is not laid out", switches)
			return fabricManager{}, nil
		}
		if err != nil {
			return fabricManager{}, err
		}
		given = fetched
	}
	sum, _, err := publish.DigestFile(given)
	if err != nil {
		return fabricManager{}, stage.Wrap(stage.Driver, err, "the archive of the fabric manager cannot be read", "make the share readable")
	}
	return fabricManager{file: given, digest: "sha256:" + sum}, nil
}

// fetchFabric downloads the archive.
func (p project) fetchFabric(ctx context.Context) (string, error) {
	if p.Offline {
		return "", stage.New(stage.Driver, "NVIDIA's fabric manager of driver "+p.pkg.Version+" is not in the share, and --offline forbids to download it",
			"put its archive into the share's cuda/, or do without with --fabric-manager never")
	}
	return fabric.Fetch(ctx, p.target.Arch, p.pkg.Version, fabric.FetchOptions{Dir: p.share.Downloads(), BaseURL: p.RedistBaseURL, Pause: p.Pause})
}

// unpackFabric unpacks the archive into scratch; none where there is none.
func (p project) unpackFabric(ctx context.Context) ([]fabric.File, error) {
	if p.fabric.file == "" {
		return nil, nil
	}
	return fabric.Unpack(ctx, p.fabric.file, filepath.Join(p.scratch, "fabricmanager"), p.target.Arch, p.pkg.Version)
}

// fabricServes refuses what an artefact has of a driver's user-space side where it is without
// the fabric manager that was asked for, and warns where this host needs one.
func (s site) fabricServes(ctx context.Context, a registry.Artefact, t kernel.Target, m userspace.Manifest) error {
	const again = "build with --fabric-manager always where it is pushed from"
	switch switches := fabric.Of(nil, t.PCI); {
	case m.Fabric != "" || s.FabricManager == FabricNever:
	case s.FabricManager == FabricAlways:
		return stage.New(stage.Publish, a.Reference+" is without NVIDIA's fabric manager, which --fabric-manager always asks for", again)
	case switches.Managed():
		zerolog.Ctx(ctx).Warn().Str("from", a.Reference).Str("next", again).
			Msgf("this host has %s, and CUDA fails there with error 802 unless NVIDIA's fabric manager runs, which is not in the artefact", switches)
	}
	return nil
}
