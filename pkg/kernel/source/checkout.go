package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/stage"
)

// fetch checks a ref out in place of what is in the ladder's folder. Where the
// share folds case and cannot hold what is needed, the tree goes to a folder of
// this machine's, which in a container is gone with it.
func (l *ladder) fetch(ctx context.Context, f found) (Tree, error) {
	tree, err := l.fetchTo(ctx, f)
	var folds *partial.FoldsError
	if !errors.As(err, &folds) {
		return tree, err
	}
	zerolog.Ctx(ctx).Warn().Err(folds).Msg("the kernel source does not fit the share, and is checked out for this run only")
	if l.scratch, err = beneath.MkdirTemp("", "linux-"); err != nil {
		return Tree{}, l.cannot("make a scratch folder for", f, err)
	}
	l.dir = filepath.Join(l.scratch, "linux")
	return l.fetchTo(ctx, f)
}

// fetchTo checks a ref out in scratch and puts it in place of what is in the
// ladder's folder once it is whole and the right version.
func (l *ladder) fetchTo(ctx context.Context, f found) (Tree, error) {
	work, err := beneath.MkdirTemp(l.scratch, "source-")
	if err != nil {
		return Tree{}, l.cannot("make a scratch folder for", f, err)
	}
	defer beneath.RemoveAll(work)
	zerolog.Ctx(ctx).Info().Str("ref", f.ref).Str("url", l.clone).Msg("checking out the kernel source")

	dir := filepath.Join(work, "tree")
	got, err := l.checkOut(ctx, dir, f)
	if ctx.Err() != nil {
		return Tree{}, ctx.Err()
	}
	if err != nil {
		return Tree{}, l.cannot("check out", f, err)
	}
	commit := got.Commit.String()
	if l.Commit != "" && commit != l.Commit {
		return Tree{}, stage.New(stage.Source,
			fmt.Sprintf("%s of %s is commit %s, not %s as --source-commit asks for", f.ref, l.repository, commit, l.Commit),
			"find out why the ref was moved before you build from it")
	}
	zerolog.Ctx(ctx).Info().Str("commit", commit).Int("files", got.Files).Int("of", got.All).Msg("checked out the kernel source")
	if err := l.patch(dir); err != nil {
		return Tree{}, l.cannotPatch(f, err)
	}
	return l.put(dir, filepath.Join(work, "old"), f,
		Tree{Dir: l.dir, Rung: l.rungOf(f.ref), Repository: l.repository, Ref: f.ref, Commit: commit, Patches: l.patchesOf()})
}

// cannotPatch is the error for a source that could not be patched.
func (l *ladder) cannotPatch(f found, err error) error {
	if errors.As(err, new(*stage.Error)) {
		return err // it names the patch
	}
	return l.cannot("patch", f, err)
}

// put puts a tree at dir in the place of what is in the ladder's folder, which
// goes to old, if it is of the right version.
func (l *ladder) put(dir, old string, f found, tree Tree) (Tree, error) {
	v, err := readVersion(dir)
	if err != nil {
		return Tree{}, l.cannot("use", f, err)
	}
	if !v.builds(l.release) {
		return Tree{}, stage.New(stage.Source,
			fmt.Sprintf("%s of %s is the source of %s, not of kernel %s: its Makefile says so",
				f.ref, cmp.Or(l.repository, l.clone), v, l.release.Full),
			"name the right tag or branch with --source-ref")
	}
	tree.Version = v.String()
	flush := l.flush
	if flush == nil {
		flush = flushAll
	}
	if err := settle(dir, record{Tree: tree, URL: l.clone}, flush); err != nil {
		return Tree{}, l.cannot("check out", f, err)
	}
	if err := replace(l.dir, dir, old); err != nil {
		return Tree{}, l.cannot("put in place", f, err)
	}
	return tree, nil
}

// checkOut makes a repository at dir with the ref's commit, and no other, in
// it and the files that are needed, or all, in its working tree. Objects of the
// tree that it will replace serve again; where those turn out to be damaged it
// begins anew without.
func (l *ladder) checkOut(ctx context.Context, dir string, f found) (partial.Result, error) {
	o := l.fetchOptions()
	o.Want, o.Ref, o.Dir = f.hash, f.ref, dir
	o.Pinned = strings.HasPrefix(f.ref, tags)
	if !l.Full {
		o.Choose, o.Patterns, o.Spare = l.wants, l.needs.Patterns(l.patched...), l.needs.Spare
	}
	if r, err := readRecord(l.dir); err == nil && !r.Unsettled {
		o.Earlier = l.dir
	}
	r, err := partial.Checkout(ctx, o)
	if err == nil || ctx.Err() != nil || o.Earlier == "" || partial.Temporary(err) {
		return r, err
	}
	zerolog.Ctx(ctx).Warn().Err(err).Msg("the tree that is there is of no use for the new one")
	if err := beneath.RemoveAll(dir); err != nil {
		return r, err
	}
	o.Earlier = ""
	return partial.Checkout(ctx, o)
}

// fetchOptions are what every exchange with the git server has in common.
func (l *ladder) fetchOptions() partial.Options {
	return partial.Options{URL: l.clone, Auth: l.auth, Stall: l.Stall, Pause: l.Pause}
}

// cannot is the error for a ref that exists and could not be used.
func (l *ladder) cannot(do string, f found, err error) error {
	hint := "look at what is there, and run again: nothing half done is kept"
	if isURL(l.clone) {
		hint = retry.Hint(err, "check the network and the URL, and run again: nothing half done is kept")
	}
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		hint = fmt.Sprintf("free %.1f GB on the disk that holds %s and run again", float64(l.size())/1e9, l.dir)
	case errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS):
		hint = "make " + filepath.Dir(l.dir) + " writable for the user that builder runs as"
	case errors.Is(err, io.ErrUnexpectedEOF) && !isURL(l.clone):
		hint = "fetch it again, and whole: it is cut short"
	}
	return stage.Wrap(stage.Source, err, fmt.Sprintf("cannot %s %s of %s from %s", do, f.ref, cmp.Or(l.repository, "a kernel"), l.clone), hint)
}

// needSpace is an error where the caller has none for it.
func (l *ladder) needSpace() error {
	if l.Space == nil {
		return nil
	}
	if l.Full {
		return l.Space(FullSize, FullFiles)
	}
	return l.Space(Size, Files)
}

// size is about how much disk the checkout takes.
func (l *ladder) size() uint64 {
	if l.Full {
		return FullSize
	}
	return Size
}
