package prune

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// stranger is why what nobody knows stays.
const stranger = "is not builder's"

// list finds the items: those that were asked for, and then the largest kinds first.
func (p *pruning) list(ctx context.Context) error {
	for _, list := range []func(context.Context) error{
		p.listSelected, p.listSource, p.listPrepared, p.listCaches, p.listAnswers, p.listSuperseded, p.listLeftovers, p.listStrangers,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := list(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruning) listSource(context.Context) error {
	why, err := source.Occupied(p.share.Linux())
	if err != nil {
		return err
	}
	if why != "" {
		return p.keep(p.share.Linux(), why)
	}
	if entries, err := beneath.ReadDir(p.share.Linux()); err != nil || len(entries) == 0 {
		return nil // none, or an empty folder of the user's
	}
	return p.add(p.share.Linux(), "the kernel's source, fetched again when a build needs it")
}

// listPrepared lists prepared trees each on its own.
func (p *pruning) listPrepared(ctx context.Context) error {
	trees, err := p.entries(p.share.Prepared())
	for _, tree := range trees {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.addCache(tree, "a kernel tree to build against, prepared again in seconds"); err != nil {
			return err
		}
	}
	return err
}

func (p *pruning) listCaches(context.Context) error {
	for _, cache := range []struct{ path, what string }{
		{p.share.Scratch(), "what a run that was stopped left behind"},
		{p.share.Downloads(), "driver packages and kernel images, downloaded again when needed"},
		{p.share.Exports(), "what modules of hosts export, read again from them"},
		{p.share.Digests(), "digests of driver packages, read again from them"},
		{p.share.Loaded(), "what earlier builders recorded of loads, which nothing obeys"},
	} {
		if err := p.addCache(cache.path, cache.what); err != nil {
			return err
		}
	}
	return nil
}

// listAnswers lists the answers to drivers' tests of kernels that the share has no modules
// for. For the others the next driver is a matter of time, and 30 KB of them halve that
// build.
func (p *pruning) listAnswers(context.Context) error {
	paths, err := p.entries(p.share.Answers())
	if err != nil || len(paths) == 0 {
		return err
	}
	built, err := modules.Releases(p.share)
	if err != nil {
		return err
	}
	for _, path := range paths {
		place, err := p.place(path)
		if err != nil {
			return err
		}
		release := share.ReleaseOfAnswers(path)
		if place.Kind == share.Cache && slices.Contains(built, release) && (p.served == nil || p.served[release]) {
			if err := p.keep(path, "halves the build of the next driver for this kernel, which there are modules for"); err != nil {
				return err
			}
			continue
		}
		if err := p.addKnown(path, "answers to drivers' tests of a kernel that there are no modules for, asked again in a minute"); err != nil {
			return err
		}
	}
	return nil
}

// addCache lists a folder of builder's, if it is there, without what is in it of
// somebody else's.
func (p *pruning) addCache(dir, what string) error {
	if ours, err := p.ours(dir); err != nil || !ours {
		return err
	}
	return p.addKnown(dir, what)
}

// addKnown lists what is at a path whole where all of it is builder's, and else
// what of it is.
func (p *pruning) addKnown(path, what string) error {
	place, err := p.place(path)
	if err != nil {
		return err
	}
	if place.Kind == share.Stranger {
		return p.keep(path, stranger)
	}
	if known, err := p.allKnown(path); err != nil {
		return err
	} else if known {
		return p.add(path, what)
	}
	entries, err := beneath.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, p.addKnown(filepath.Join(path, e.Name()), what))
	}
	return err
}

// allKnown says whether nothing in a path is a stranger.
func (p *pruning) allKnown(path string) (bool, error) {
	known := true
	err := beneath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		place, err := p.place(name)
		switch {
		case err != nil:
			return err
		case place.Kind == share.Stranger:
			known = false
			return fs.SkipAll
		case place.Whole && e.IsDir():
			return fs.SkipDir
		}
		return nil
	})
	return known, err
}

func (p *pruning) listSuperseded(context.Context) error {
	superseded, err := p.supersededModules()
	if err != nil {
		return err
	}
	libraries, err := p.supersededLibraries()
	if err != nil {
		return err
	}
	for _, path := range append(superseded, libraries...) {
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

func (p *pruning) listLeftovers(context.Context) error {
	paths, err := p.lock.Leftovers()
	for _, path := range paths {
		if err := p.add(path, "what a run that was stopped left behind"); err != nil {
			return err
		}
	}
	return err
}

// listStrangers lists what only builder should have put there, and did not.
func (p *pruning) listStrangers(context.Context) error {
	for _, dir := range []string{p.share.Private(), p.share.Logs()} {
		paths, err := p.entries(dir)
		if err != nil {
			return err
		}
		for _, path := range paths {
			place, err := p.place(path)
			if err == nil && place.Kind == share.Stranger {
				err = p.keep(path, stranger)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// entries are the paths of what is in a folder of builder's, if it is there.
func (p *pruning) entries(dir string) ([]string, error) {
	if ours, err := p.ours(dir); err != nil || !ours {
		return nil, err
	}
	entries, err := beneath.ReadDir(dir)
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, err
}

// ours says whether a folder is there. A link to one is somebody else's, as is
// all that it leads to, and so is a file.
func (p *pruning) ours(dir string) (bool, error) {
	info, err := beneath.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return true, nil
	}
	return false, p.keep(dir, "is not a folder of builder's")
}
