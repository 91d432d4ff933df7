package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
)

// linkName is the name of the link to the user-space side of the driver that is loaded
// on this host, in folders of the host's own: what lies in a share may be of many hosts,
// with a driver each. It leads there by the host's paths.
const linkName = "driver"

// operatorRun is where NVIDIA's GPU Operator and its container toolkit look for a
// driver's root.
const operatorRun = "run/nvidia"

// sweptLinks are [loader.links], without what a run that was killed left beside them.
func (l *loader) sweptLinks(ctx context.Context) (own, operators string) {
	own, operators = l.links()
	for _, path := range []string{own, operators} {
		if path != "" {
			l.sweep(ctx, func() error { return atomicfile.Sweep(path) })
		}
	}
	return own, operators
}

// links are the paths of the link: in /run/cuda, and in /run/nvidia where that is
// mounted.
func (l *loader) links() (own, operators string) {
	if l.journal.place.file != "" {
		own = filepath.Join(filepath.Dir(l.journal.place.file), linkName)
	}
	if dir := filepath.Join(l.own.Dir(), operatorRun); l.access.isMount(dir) {
		operators = filepath.Join(dir, linkName)
	}
	return own, operators
}

// link has the links lead to a folder of the host's. What is there that load has not
// made is left alone. That one cannot be made is only said.
func (l *loader) link(ctx context.Context, to string) {
	own, operators := l.sweptLinks(ctx)
	if own == "" || to == "/" {
		return
	}
	before, _ := os.Readlink(own) // not there: nothing was before
	for _, path := range []string{own, operators} {
		if path == "" || !mayLink(path, before, to) {
			continue
		}
		if err := atomicfile.Symlink(to, path); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("link", path).Msg("no link to the driver's user-space side")
			continue
		}
		if path == own {
			l.result.Link = path
		}
	}
	if l.result.Link != "" {
		l.linkShare(ctx)
	}
}

// linkShare has the share's link lead to the host's own, which is the same for every host
// of the share, so it stays. What somebody else has there is left alone, and a share that
// is only read does without.
func (l *loader) linkShare(ctx context.Context) {
	path := l.share.CurrentDriver()
	_, err := beneath.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = atomicfile.Symlink(filepath.Join(runDir, linkName), path)
	}
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("link", path).Msg("no link in the share to the driver's user-space side")
	}
}

// mayLink says whether nothing is in a link's place, or a link that load has made.
func mayLink(path string, targets ...string) bool {
	target, err := os.Readlink(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, t := range targets {
		if t != "" && target == t {
			return true
		}
	}
	return filepath.Base(filepath.Dir(path)) == filepath.Base(runDir) // our own folder
}

// unlink removes the links.
func (l *loader) unlink(ctx context.Context) {
	own, operators := l.sweptLinks(ctx)
	if own == "" {
		return
	}
	before, err := os.Readlink(own)
	if err != nil {
		return
	}
	for _, path := range []string{operators, own} {
		if path == "" || !mayLink(path, before) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			zerolog.Ctx(ctx).Warn().Err(err).Str("link", path).Msg("this link to the driver's user-space side stays")
		}
	}
}
