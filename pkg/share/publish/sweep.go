package publish

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share"
)

// Unnamed lists, sorted, the names of what [Folder.Publish] left in the folder
// dir and no link leads to: results that others replaced, and links that a crash
// left half made. Links count that are in dir, and those given by their targets.
func Unnamed(dir string, links ...string) ([]string, error) {
	entries, err := beneath.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	links = append(slices.Clone(links), Targets(dir, entries)...)
	var list []string
	for _, e := range entries {
		if ours(e) && !slices.ContainsFunc(links, func(target string) bool { return passes(target, e.Name()) }) {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// Targets are what the links among a folder's entries name, but for those that
// a crash left half made.
func Targets(dir string, entries []fs.DirEntry) []string {
	var list []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || share.LinkOf(e.Name()) != "" {
			continue
		}
		if target, err := beneath.Readlink(filepath.Join(dir, e.Name())); err == nil {
			list = append(list, target)
		}
	}
	return list
}

// ours says whether Publish may have made an entry: a folder with its content's
// digest in its name, or a link on its way.
func ours(e fs.DirEntry) bool {
	return share.LinkOf(e.Name()) != "" && (e.IsDir() || strings.Contains(e.Name(), ".tmp-"))
}

// passes says whether a path leads to an entry or through it. A link may have
// been made outside of the container, where the share is at another path, so
// only the name counts, which holds a digest.
func passes(path, name string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), name)
}

// Sweep removes what runs that died left of earlier results beside a published link:
// a build that finds its result there publishes nothing, and so removes none. The
// share's lock is held; scratch is a folder on its file system. What cannot be removed
// can go the next time, and is only told.
func Sweep(ctx context.Context, scratch, link string) {
	Folder{Scratch: scratch, Link: link}.sweep(ctx)
}

func (f Folder) sweep(ctx context.Context) {
	if err := f.removeUnnamed(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("an earlier result could not be removed")
	}
}

// removeUnnamed removes the content folders of this link that no link beside it names,
// and the links that a crash left half made.
func (f Folder) removeUnnamed(ctx context.Context) error {
	dir, base := filepath.Dir(f.Link), filepath.Base(f.Link)
	names, err := Unnamed(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if share.LinkOf(name) != base {
			continue
		}
		if err := f.step("remove " + name); err != nil {
			return err
		}
		path, trash := filepath.Join(dir, name), filepath.Join(f.Scratch, name)
		zerolog.Ctx(ctx).Debug().Str("path", path).Msg("removing an earlier result")
		// It goes at once, so that no crash leaves a part of it under its name.
		if err := beneath.Rename(path, trash); err != nil {
			return err
		}
		if err := f.step("empty " + name); err != nil {
			return err
		}
		if err := beneath.RemoveAll(trash); err != nil {
			return err
		}
	}
	return nil
}
