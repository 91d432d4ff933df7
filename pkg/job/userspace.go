package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// libraries are the driver's user-space side as a run finds or leaves it.
type libraries struct {
	// root is what is published; its Dir is empty where nothing is.
	root userspace.Root
	// done says that nothing is to be laid out: it is there, or not wanted.
	done bool
}

// manifest is the path of what is published; "" where nothing is.
func (l libraries) manifest() string {
	if l.root.Dir == "" {
		return ""
	}
	return filepath.Join(l.root.Dir, userspace.ManifestFile)
}

// space is what a choice of them takes where it is still to be laid out.
func (l libraries) space(c userspace.Choice) share.Space {
	if l.done || c.Bytes == 0 {
		return share.Space{}
	}
	return share.Space{Bytes: uint64(c.Bytes), Files: 300}
}

// findLibraries takes what an earlier run laid out, where it is whole and of
// the same package and part.
func (p project) findLibraries(ctx context.Context) libraries {
	if p.UserSpace == userspace.None {
		return libraries{done: true}
	}
	log := zerolog.Ctx(ctx)
	root, m, err := userspace.Published(p.share, p.pkg.Version, p.ownTrust())
	switch {
	case errors.As(err, new(*publish.UntrustedError)):
		log.Info().Err(err).Msg("the driver's user-space side is not signed with this key, laying it out again")
	case errors.Is(err, fs.ErrNotExist):
		log.Debug().Err(err).Msg("the driver's user-space side is not laid out, or not whole")
	case err != nil:
		log.Warn().Err(err).Msg("the driver's user-space side is damaged, laying it out again")
	case p.Rebuild:
		log.Info().Msg("laying out the driver's user-space side again, as --rebuild asks")
	case p.hasNow(m.Absent):
		log.Info().Str("dir", root.Dir).Msg("the driver's user-space side lacks what the package has by now, laying it out again")
	case p.fabric.digest != "" && m.Fabric != p.fabric.digest:
		log.Info().Str("dir", root.Dir).Msg("the driver's user-space side lacks its fabric manager, laying it out again")
	case m.Package != p.digest || m.Part != p.part():
		log.Info().Str("dir", root.Dir).Str("part", m.Part).Msg("the driver's user-space side is of another package or part, laying it out again")
	default:
		p.sweep(ctx, root.Dir)
		return libraries{root: root, done: true}
	}
	return libraries{}
}

// hasNow says whether an unpacked package has any of these files.
func (p project) hasNow(files []string) bool {
	return p.pkg.Kind == cuda.Folder && slices.ContainsFunc(files, func(name string) bool {
		_, err := beneath.Lstat(filepath.Join(p.pkg.Path, filepath.FromSlash(name)))
		return err == nil
	})
}

func (p project) part() string { return cmp.Or(p.UserSpace, userspace.Compute) }

// chooseLibraries decides what to take of the package, and whether the share
// has space for it. The source stage asks for space for all that is still to come.
func (p project) chooseLibraries(ctx context.Context, c cuda.Contents) (userspace.Choice, error) {
	if p.libraries.done {
		return userspace.Choice{}, nil
	}
	if err := userspace.Ready(p.share, p.scratch, p.pkg.Version); err != nil {
		return userspace.Choice{}, err
	}
	chosen := userspace.Choose(ctx, c, p.part())
	if absent := chosen.Absent; len(absent) > 0 {
		zerolog.Ctx(ctx).Warn().Int("files", len(absent)).Str("first", absent[0]).
			Msg("the driver package lacks libraries or programs that it lists: containers will be without them")
	}
	return chosen, p.need(ctx, stage.Driver, p.libraries.space(chosen), "laying out the driver's libraries")
}

// inspecting is for modules that are there, with a user-space side that is not.
func (p project) inspecting() step[cuda.Package, unpacked] {
	return step[cuda.Package, unpacked]{
		stage: stage.Driver,
		plan:  func(context.Context) ([]string, error) { return nil, nil },
		do: func(ctx context.Context, pkg cuda.Package) (unpacked, error) {
			c, err := cuda.Inspect(ctx, pkg, filepath.Join(p.scratch, "inspect"))
			if err != nil {
				return unpacked{}, p.share.Explain(stage.Driver, err)
			}
			u := unpacked{pkg: pkg}
			u.toLayOut, err = p.chooseLibraries(ctx, c)
			return u, err
		},
	}
}

// layingOut publishes the user-space side of a driver, if there is a need to.
func (p project) layingOut() step[unpacked, libraries] {
	return step[unpacked, libraries]{stage: stage.Publish, plan: p.planLibraries, do: p.layOut}
}

// layingOutBeside is the same beside modules that are to be published.
func (p project) layingOutBeside() step[described, laidOut] {
	return step[described, laidOut]{
		stage: stage.Publish,
		plan:  p.planLibraries,
		do: func(ctx context.Context, d described) (laidOut, error) {
			l, err := p.layOut(ctx, d.unpacked)
			return laidOut{d, l}, err
		},
	}
}

// laidOut is the user-space side beside modules that are ready to be published.
type laidOut struct {
	described
	libraries libraries
}

func (p project) planLibraries(context.Context) ([]string, error) {
	if p.libraries.done {
		return nil, nil
	}
	says := fmt.Sprintf("the driver's user-space side (%s%s): %s", p.part(), p.fabric.says(), p.share.Driver(p.pkg.Version))
	return []string{says},
		userspace.Vacant(p.share, p.pkg.Version)
}

func (p project) layOut(ctx context.Context, u unpacked) (libraries, error) {
	if p.libraries.done {
		return p.libraries, nil
	}
	if err := p.lock.Check(); err != nil {
		return libraries{}, err
	}
	manager, err := p.unpackFabric(ctx)
	if err != nil {
		return libraries{}, err
	}
	root, err := userspace.Publish(ctx, userspace.Options{
		Share: p.share, Scratch: p.scratch, Package: u.pkg, Digest: p.digest, Choice: u.toLayOut, Sign: p.signManifest(),
		Fabric: manager, FabricDigest: p.fabric.digest,
	})
	if err == nil {
		p.saySigned(ctx, filepath.Join(root.Dir, userspace.ManifestFile))
	}
	return libraries{root: root, done: true}, err
}
