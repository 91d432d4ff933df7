package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// PruneOptions say what [Prune] does.
type PruneOptions struct {
	// Share is the folder that builds were made in.
	Share string
	// Remove removes what can be made again; without it, that is only listed.
	Remove bool
	// NoWait refuses, instead of waiting, while a build holds the share.
	NoWait bool
}

// Pruned is what a share holds that can be made again.
type Pruned struct {
	// Removed says that the items are gone, and not only listed.
	Removed bool `json:"removed"`
	// Bytes is the disk that they take, or took, together.
	Bytes uint64 `json:"bytes"`
	Items []Item `json:"items"`
	// Kept are those that are not builder's to remove.
	Kept []Kept `json:"kept"`
}

// Item is a file or folder that builder made and can make again.
type Item struct {
	Path string `json:"path"` // in the share
	What string `json:"what"` // for people
	// Bytes is the disk that its removal gives back.
	Bytes uint64 `json:"bytes"`
}

// Kept is an item that stays, and why.
type Kept struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Prune lists what of a share can be made again, and removes it where that is
// asked for: the kernel's source, prepared trees, caches, results that others
// replaced, and what runs that died left behind. Published results, driver
// packages and logs stay, as does all that builder did not make or that somebody
// worked in, and whatever a link leads to that is not in the share.
//
// It holds the share's lock. An item goes whole or not at all, whenever it is
// interrupted: it is moved to where the next run clears up, and then removed.
func Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return Pruned{}, err
	}
	// Its lock, and what it moves away, would be where the link leads.
	if info, err := os.Lstat(s.Private()); err == nil && !info.IsDir() {
		return Pruned{}, stage.New(stage.Usage, s.Private()+" is a link, and what it leads to is not builder's to clear up",
			"remove what is there yourself while nothing runs, or put a folder in the link's place")
	}
	lock, err := s.Lock(ctx, share.LockOptions{NoWait: o.NoWait})
	if err != nil {
		return Pruned{}, err
	}
	p := &pruning{share: s, result: Pruned{Items: []Item{}, Kept: []Kept{}}}
	err = p.run(ctx, lock, o.Remove)
	err = errors.Join(err, lock.Unlock())
	if ctx.Err() != nil {
		return p.result, ctx.Err()
	}
	return p.result, stage.Wrap(stage.Publish, err, "not all of the share could be cleared up", "look at the cause, and run again")
}

// pruning is one run of Prune.
type pruning struct {
	share  *share.Share
	usage  share.Usage
	result Pruned
}

func (p *pruning) run(ctx context.Context, lock *share.Lock, remove bool) error {
	if err := p.list(ctx); err != nil || !remove {
		return err
	}
	// This clears what runs that died left there.
	trash, err := lock.Scratch()
	if err != nil {
		return err
	}
	listed := p.result.Items
	p.result = Pruned{Items: []Item{}, Kept: p.result.Kept, Removed: true}
	var failed []error
	for i, item := range listed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.remove(item, filepath.Join(trash, strconv.Itoa(i))); err != nil {
			failed = append(failed, err)
			continue
		}
		p.result.Items = append(p.result.Items, item)
		p.result.Bytes += item.Bytes
		zerolog.Ctx(ctx).Debug().Str("path", item.Path).Uint64("bytes", item.Bytes).Msg("removed")
	}
	return errors.Join(failed...)
}

// remove removes an item at once for whoever looks for it at its place.
func (p *pruning) remove(item Item, trash string) error {
	path := filepath.Join(p.share.Dir(), item.Path)
	if path == p.share.Scratch() {
		return nil // it is empty by now, and this run's
	}
	if err := os.Rename(path, trash); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

func (p *pruning) keep(path, why string) {
	p.result.Kept = append(p.result.Kept, Kept{Path: path, Why: why})
}

// list finds the items, the largest kinds first.
func (p *pruning) list(ctx context.Context) error {
	if err := p.listSource(); err != nil {
		return err
	}
	if err := p.listPrivate(ctx); err != nil {
		return err
	}
	superseded, err := p.supersededModules()
	if err != nil {
		return err
	}
	libraries, err := p.supersededLibraries()
	if err != nil {
		return err
	}
	superseded = append(superseded, libraries...)
	for _, path := range superseded {
		if err := p.add(path, "a result that another replaced"); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruning) supersededModules() ([]string, error) {
	if ours, err := p.ours(p.share.Modules()); err != nil || !ours {
		return nil, err
	}
	return modules.Superseded(p.share)
}

func (p *pruning) supersededLibraries() ([]string, error) {
	if ours, err := p.ours(p.share.Drivers()); err != nil || !ours {
		return nil, err
	}
	names, err := publish.Unnamed(p.share.Drivers())
	for i, name := range names {
		names[i] = filepath.Join(p.share.Drivers(), name)
	}
	return names, err
}

func (p *pruning) listSource() error {
	why, err := source.Occupied(p.share.Linux())
	if err != nil {
		return err
	}
	if why != "" {
		p.keep(filepath.Base(p.share.Linux()), why)
		return nil
	}
	if entries, err := os.ReadDir(p.share.Linux()); err != nil || len(entries) == 0 {
		return nil // none, or an empty folder of the user's
	}
	return p.add(p.share.Linux(), "the kernel's source, fetched again when a build needs it")
}

// listPrivate lists caches one by one, and prepared trees each on its own.
func (p *pruning) listPrivate(ctx context.Context) error {
	if ours, err := p.ours(p.share.Prepared()); err != nil {
		return err
	} else if ours {
		trees, err := os.ReadDir(p.share.Prepared())
		if err != nil {
			return err
		}
		for _, tree := range trees {
			if err := ctx.Err(); err != nil {
				return err
			}
			path := filepath.Join(p.share.Prepared(), tree.Name())
			if ours, err := p.ours(path); err != nil {
				return err
			} else if !ours {
				continue
			}
			if err := p.add(path, "a kernel tree to build against, prepared again in seconds"); err != nil {
				return err
			}
		}
	}
	for _, cache := range []struct{ path, what string }{
		{p.share.Scratch(), "what a run that was stopped left behind"},
		{p.share.Downloads(), "driver packages and kernel images, downloaded again when needed"},
		{p.share.Exports(), "what modules of hosts export, read again from them"},
		{p.share.Digests(), "digests of driver packages, read again from them"},
	} {
		if ours, err := p.ours(cache.path); err != nil {
			return err
		} else if !ours {
			continue
		}
		if err := p.add(cache.path, cache.what); err != nil {
			return err
		}
	}
	return nil
}

// ours says whether a folder is there. A link to one is somebody else's, as is
// all that it leads to, and so is a file.
func (p *pruning) ours(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return true, nil
	}
	path, err := filepath.Rel(p.share.Dir(), dir)
	p.keep(path, "is not a folder of builder's")
	return false, err
}

// add adds an item.
func (p *pruning) add(path, what string) error {
	bytes, err := p.usage.Add(path)
	if err != nil {
		return fmt.Errorf("how much disk %s takes: %w", path, err)
	}
	relative, err := filepath.Rel(p.share.Dir(), path)
	p.result.Items = append(p.result.Items, Item{Path: relative, What: what, Bytes: bytes})
	p.result.Bytes += bytes
	return err
}
