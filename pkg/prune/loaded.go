package prune

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// hostBoot is this host, and since when it runs, in the words of the kernel's.
// Either is empty where the host does not say.
type hostBoot struct{ host, boot string }

func findBoot(ctx context.Context, hostRoot string) (hostBoot, error) {
	root, err := kernel.FindRoot(hostRoot, kernel.HostMount)
	if err != nil {
		return hostBoot{}, stage.Wrap(stage.Detect, err, "the host root cannot be opened", "name a folder that is this host's root with --host-root")
	}
	boot, err := kernel.BootID(root)
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("no boot of this host is known to be over")
	}
	return hostBoot{kernel.HostID(root), boot}, nil
}

// listLoaded lists the records of what load changed: those of this host's boots
// that are over are of no use, as what they tell of was over with them.
func (p *pruning) listLoaded(context.Context) error {
	folders, err := p.entries(p.share.Loaded())
	if err != nil {
		return err
	}
	for _, path := range folders {
		place, err := p.place(path)
		if err != nil {
			return err
		}
		switch place.Kind {
		case share.Folder:
			err = p.listRecords(path)
		case share.Stranger:
			err = p.keep(path, stranger)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listRecords lists those of a host.
func (p *pruning) listRecords(dir string) error {
	paths, err := p.entries(dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		place, err := p.place(path)
		if err == nil {
			err = p.listRecord(path, place)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pruning) listRecord(path string, place share.Place) error {
	switch place.Kind {
	case share.Stranger:
		return p.keep(path, stranger)
	case share.Record:
	default:
		return nil // half written, or of a system's own: no record
	}
	if why, err := p.needed(path, place); err != nil || why != "" {
		if err != nil {
			return err
		}
		return p.keep(path, why)
	}
	return p.add(path, "what load did on this host before it was started again")
}

// needed says why a record, or its lock, cannot go, or is "".
func (p *pruning) needed(path string, of share.Place) (why string, err error) {
	switch {
	case of.Boot == p.boot.boot: // whatever an earlier run saw of the host
		return "is of this host as it runs now: unload needs it", nil
	case of.Host == "":
		return "is of a host that says nothing of itself, and whether that boot is over is not to be seen here", nil
	case p.boot.host == "" || p.boot.boot == "":
		return "may be this host's, which does not say who it is and since when it runs", nil
	case of.Host != p.boot.host:
		return "is another host's, and whether that boot is over is not to be seen here", nil
	}
	if info, err := beneath.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return "is not a file of builder's", err
	}
	busy, err := p.share.Busy(p.share.LoadLock(of.Host, of.Boot))
	if busy {
		why = "is held by a run of builder"
	}
	return why, err
}
