package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
)

// undoing is a journal on its way back, the newest change first.
type undoing struct {
	*loader
	// result is what was undone.
	result *UnloadResult
	// fresh says that what is being undone is of this run.
	fresh bool
	// left are the changes that are not, of those that were looked at.
	left []entry
}

// leaves says whether a later change of a kind was left.
func leaves[C change](u *undoing) bool {
	return slices.ContainsFunc(u.left, func(e entry) bool { return is[C](e.change) })
}

// errTold is a change that is left as a later one of its kind is, of which it was
// told why.
var errTold = errors.New("left for the same reason")

// undo undoes those changes of the journal that are chosen, the newest first, and
// forgets them. It returns what is left of them, for people, each thing once.
func (l *loader) undo(ctx context.Context, result *UnloadResult, chosen func(entry) bool) (left []string) {
	u := undoing{loader: l, result: result}
	var stay []entry
	for _, e := range slices.Backward(l.journal.entries) {
		if chosen(e) {
			u.fresh = e.fresh
			err := e.undo(ctx, &u)
			if err == nil {
				continue
			}
			u.left = append(u.left, e)
			if says := sentence(err); !errors.Is(err, errTold) && !slices.Contains(left, says) {
				left = append(left, says)
			}
		}
		stay = append(stay, e)
	}
	slices.Reverse(stay)
	l.journal.entries = stay
	return left
}

// rollBack undoes what this run has changed. What cannot be stays in the journal,
// for an unload.
func (l *loader) rollBack(ctx context.Context) {
	var result UnloadResult
	for _, says := range l.undo(ctx, &result, func(e entry) bool { return e.fresh }) {
		zerolog.Ctx(ctx).Warn().Str("left", says).Msg("not all could be undone after the failure; builder unload tries again")
	}
	l.journal.keep(ctx)
}

// undo takes the module out.
func (c driverModule) undo(_ context.Context, u *undoing) error {
	err := u.Kernel.Remove(c.Name)
	switch {
	case err == nil:
		u.result.Modules = append(u.result.Modules, c.Name)
	case !errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the module %s is loaded (%w)", c.Name, err)
	}
	return nil
}

// undo takes the module out, but not where it has found another use since. What
// uses it may be a module of the driver that is left.
func (c inTreeModule) undo(ctx context.Context, u *undoing) error {
	err := u.Kernel.Remove(c.Name)
	switch {
	case err == nil:
		u.result.InTree = append(u.result.InTree, c.Name)
	case errors.Is(err, unix.ENOENT):
	case errors.Is(err, unix.EPERM), leaves[driverModule](u):
		return fmt.Errorf("the kernel's own module %s is loaded (%w)", c.Name, err)
	default:
		zerolog.Ctx(ctx).Info().Err(err).Str("module", c.Name).Msg("a module of the kernel's own stays loaded")
	}
	return nil
}

// undo has the kernel look for firmware where it did before, unless somebody has
// set that since.
func (c firmwarePath) undo(ctx context.Context, u *undoing) error {
	if leaves[firmwarePath](u) {
		return errTold
	}
	log := zerolog.Ctx(ctx)
	now := live.ReadFirmware(u.host, u.own)
	if now.Path != c.Path {
		log.Info().Str("path", now.Path).Msg("somebody else has set the kernel's search path for firmware; it stays")
		return nil
	}
	before := c.Before
	if !u.fresh {
		before = u.firmwareBefore(before)
	}
	if err := now.Set(before); err != nil {
		return fmt.Errorf("the kernel looks for firmware in %s (%w)", now.Path, err)
	}
	if before != c.Before {
		log.Warn().Str("path", before).Str("before", c.Before).
			Msg("the kernel looks for firmware where it did when it was started: that root alone can write to the folder of before is not to be seen")
		return nil
	}
	log.Info().Str("path", before).Msg("the kernel looks for firmware where it did before")
	return nil
}

// undo removes the file from the host's /dev, wherever that is mounted now.
func (c deviceFile) undo(ctx context.Context, u *undoing) error {
	dirs := []string{c.Dev, u.Dev}
	at := slices.IndexFunc(dirs, u.access.isHosts)
	if at < 0 {
		return errors.New("device files are in the host's /dev, which is not mounted in this container")
	}
	u.sweep(ctx, func() error { return u.files.Sweep(dirs[at], []devices.File{c.File}) })
	removed, err := u.files.Remove(ctx, dirs[at], []devices.File{c.File})
	for _, f := range removed {
		u.result.Files = append(u.result.Files, f.Path)
	}
	if err != nil && leaves[deviceFile](u) {
		return errTold
	}
	return err
}

// undo leaves it.
func (c unknownChange) undo(context.Context, *undoing) error { return errors.New(c.why) }

// undo removes the specification.
func (c cdiFolder) undo(ctx context.Context, u *undoing) error {
	dir := c.Dir
	if dir == cdiInShare {
		dir = u.share.CDI()
	}
	if c.Mounted && !u.access.onMount(dir) {
		return fmt.Errorf("a CDI specification is in %s, which is not mounted in this container", dir)
	}
	u.sweepSpec(ctx, dir)
	if err := cdi.Remove(dir); err != nil {
		return err
	}
	zerolog.Ctx(ctx).Debug().Str("dir", dir).Msg("the CDI specification is removed")
	return nil
}
