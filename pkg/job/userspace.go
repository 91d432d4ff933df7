package job

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// userSpace is the driver's user-space side as a run finds and leaves it.
type userSpace struct {
	// root is what is published; its Dir is empty where nothing is.
	root userspace.Root
	// done says that nothing is to be laid out: it is there, or not wanted.
	done bool
	// choice is what to lay out otherwise.
	choice userspace.Choice
}

// manifest is the path of what is published; "" where nothing is.
func (u userSpace) manifest() string {
	if u.root.Dir == "" {
		return ""
	}
	return filepath.Join(u.root.Dir, userspace.ManifestFile)
}

// space is what is still to be laid out.
func (u userSpace) space() share.Space {
	if u.done || u.choice.Bytes == 0 {
		return share.Space{}
	}
	return share.Space{Bytes: uint64(u.choice.Bytes), Files: 300}
}

// findUserSpace takes what an earlier run laid out, where it is whole and of
// the same package and part.
func (b *build) findUserSpace(ctx context.Context) {
	if b.UserSpace == userspace.None {
		b.user.done = true
		return
	}
	log := zerolog.Ctx(ctx)
	root, m, err := userspace.Published(b.share, b.pkg.Version)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Debug().Err(err).Msg("the driver's user-space side is not laid out, or not whole")
	case err != nil:
		log.Warn().Err(err).Msg("the driver's user-space side is damaged, laying it out again")
	case m.Package != b.pkgDigest || m.Part != b.part():
		log.Info().Str("dir", root.Dir).Str("part", m.Part).Msg("the driver's user-space side is of another package or part, laying it out again")
	default:
		b.user = userSpace{root: root, done: true}
	}
}

func (b *build) part() string {
	if b.UserSpace == "" {
		return userspace.Compute
	}
	return b.UserSpace
}

// chooseUserSpace decides what to take of the package, and whether the share
// has room for it. The source stage asks for room for all that is still to come.
func (b *build) chooseUserSpace(ctx context.Context, c cuda.Contents) error {
	if b.user.done {
		return nil
	}
	if err := userspace.Ready(b.share, b.scratch, b.pkg.Version); err != nil {
		return err
	}
	b.user.choice = userspace.Choose(ctx, c, b.part())
	if absent := b.user.choice.Absent; len(absent) > 0 {
		zerolog.Ctx(ctx).Warn().Int("files", len(absent)).Str("first", absent[0]).
			Msg("the driver package lacks libraries or programs that it lists: containers will be without them")
	}
	return b.needs(ctx, stage.Driver, b.user.space(), "laying out the driver's libraries")
}

// inspectDriver is for modules that are there, with a user-space side that is
// not.
func (b *build) inspectDriver(ctx context.Context) error {
	c, err := cuda.Inspect(ctx, b.pkg, filepath.Join(b.scratch, "inspect"))
	if err != nil {
		return b.share.Explain(stage.Driver, err)
	}
	return b.chooseUserSpace(ctx, c)
}

// layOut publishes the user-space side, if there is a need to.
func (b *build) layOut(ctx context.Context) error {
	if b.user.done {
		return nil
	}
	var err error
	b.user.root, err = userspace.Publish(ctx, userspace.Options{
		Share: b.share, Scratch: b.scratch, Package: b.pkg, Digest: b.pkgDigest, Choice: b.user.choice,
	})
	return err
}
