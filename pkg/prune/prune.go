package prune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options say what [Run] does.
type Options struct {
	// Share is the folder that builds were made in.
	Share string
	// Remove removes what can go; without it, that is only listed.
	Remove bool
	// Selected are published results that go, too: of all drivers, where it has only a release,
	// or for all kernels, where it has only a version. The zero value selects none.
	Selected modules.Driver
	// Loaded says which driver the running kernel has, and whether it has one: it stays. One that
	// has no version is not known, and may be any for this kernel. It is asked once nobody else
	// changes the share; nil has none.
	Loaded func() (d modules.Driver, has bool)
	// NoWait refuses, instead of waiting, while a build holds the share.
	NoWait bool
	// Wait is for how long to wait for it; zero means [share.DefaultWait].
	Wait time.Duration
}

// Result is what a share holds that can go.
type Result struct {
	// Removed says that the items are gone, and not only listed.
	Removed bool `json:"removed"`
	// Bytes is the disk that they take, or took, together.
	Bytes uint64 `json:"bytes"`
	Items []Item `json:"items"`
	// Kept are those that are not builder's to remove, and caches that are worth their disk.
	Kept []Kept `json:"kept"`
}

// Item is a file or folder that builder made, and can make again or needs no more.
type Item struct {
	Path string `json:"path"` // in the share
	What string `json:"what"` // for people
	// Bytes is the disk that its removal gives back.
	Bytes uint64 `json:"bytes"`
	// content is what goes after the path, which leads to it.
	content string
}

// Kept is an item that stays, and why.
type Kept struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Run lists what of a share can be made again or is of no use any more, and
// removes it where that is asked for: the kernel's source, prepared trees, caches,
// results that others replaced, what runs that died left behind, and records that
// earlier builders kept of loads, which nothing obeys. Published results stay that are not
// selected, and so do the user's driver packages, logs, and answers about kernels that there are
// modules for, as does all that builder did not make or that somebody worked in, and whatever a
// link leads to that is not in the share.
//
// It holds the share's lock. An item goes whole or not at all, whenever it is
// interrupted: it is moved to where the next run clears up, and then removed.
func Run(ctx context.Context, o Options) (Result, error) {
	s, err := share.Open(o.Share)
	if err != nil {
		return Result{}, err
	}
	lock, err := s.Lock(ctx, share.LockOptions{NoWait: o.NoWait, Wait: o.Wait})
	if err != nil {
		return Result{}, err
	}
	p := &pruning{share: s, lock: lock, selected: o.Selected, result: Result{Items: []Item{}, Kept: []Kept{}}}
	if o.Loaded != nil {
		if d, has := o.Loaded(); has {
			p.loaded = &d
		}
	}
	err = p.run(ctx, o.Remove)
	err = errors.Join(err, lock.Unlock())
	if ctx.Err() != nil {
		return p.result, ctx.Err()
	}
	if errors.As(err, new(*stage.Error)) {
		return p.result, err
	}
	return p.result, stage.Wrap(stage.Publish, err, "not all of the share could be cleared up", "look at the cause, and run again")
}

// pruning is one run of Run.
type pruning struct {
	share    *share.Share
	lock     *share.Lock
	selected modules.Driver
	loaded   *modules.Driver // nil where none is
	// used are the drivers' versions of which modules stay, and served the kernels' releases
	// for which some do; nil where nothing is selected.
	used, served map[string]bool
	usage        share.Usage
	result       Result
}

func (p *pruning) run(ctx context.Context, remove bool) error {
	if err := p.list(ctx); err != nil || !remove {
		return err
	}
	// This clears what runs that died left there.
	trash, err := p.lock.Scratch()
	if err != nil {
		return err
	}
	listed := p.result.Items
	p.result = Result{Items: []Item{}, Kept: p.result.Kept, Removed: true}
	var failed []error
	for i, item := range listed {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := p.remove(filepath.Join(p.share.Dir(), item.Path), filepath.Join(trash, strconv.Itoa(i)))
		if err == nil && item.content != "" {
			err = p.remove(item.content, filepath.Join(trash, strconv.Itoa(i)+"-content"))
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		p.result.Items = append(p.result.Items, item)
		p.result.Bytes += item.Bytes
		zerolog.Ctx(ctx).Debug().Str("path", item.Path).Uint64("bytes", item.Bytes).Msg("removed")
	}
	return errors.Join(append(failed, p.removeEmpty())...)
}

// remove removes what is at a path at once for whoever looks for it there.
func (p *pruning) remove(path, trash string) error {
	if path == p.share.Scratch() {
		return nil // it is empty by now, and this run's
	}
	err := beneath.Rename(path, trash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a run that died has not, and has removed it itself
	}
	if err != nil {
		return err
	}
	return beneath.RemoveAll(trash)
}

// keep lists what stays.
func (p *pruning) keep(path, why string) error {
	name, err := p.name(path)
	p.result.Kept = append(p.result.Kept, Kept{Path: name, Why: why})
	return err
}

// add lists an item.
func (p *pruning) add(path, what string) error {
	bytes, err := p.usage.Add(path)
	if err != nil {
		return fmt.Errorf("how much disk %s takes: %w", path, err)
	}
	name, err := p.name(path)
	p.result.Items = append(p.result.Items, Item{Path: name, What: what, Bytes: bytes})
	p.result.Bytes += bytes
	return err
}

// name is a path as it is in the share.
func (p *pruning) name(path string) (string, error) { return filepath.Rel(p.share.Dir(), path) }

// place is what the share has at a path.
func (p *pruning) place(path string) (share.Place, error) {
	name, err := p.name(path)
	return share.Identify(filepath.ToSlash(name)), err
}
