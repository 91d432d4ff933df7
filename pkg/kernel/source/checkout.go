package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-git/go-billy/v5/osfs"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

// fetch checks a ref out in scratch and puts it in place of what is in the
// ladder's folder once it is whole and the right version.
func (l *ladder) fetch(ctx context.Context, f found) (Tree, error) {
	work, err := os.MkdirTemp(l.scratch, "source-")
	if err != nil {
		return Tree{}, l.cannot("make a scratch folder for", f, err)
	}
	defer os.RemoveAll(work)
	zerolog.Ctx(ctx).Info().Str("ref", f.ref).Str("url", l.clone).Msg("checking out the kernel source")

	dir := filepath.Join(work, "tree")
	commit, err := l.checkOut(ctx, dir, f)
	if ctx.Err() != nil {
		return Tree{}, ctx.Err()
	}
	if err != nil {
		return Tree{}, l.cannot("check out", f, err)
	}
	v, err := readVersion(dir)
	if err != nil {
		return Tree{}, l.cannot("use", f, err)
	}
	if !v.builds(l.release) {
		return Tree{}, stage.New(stage.Source,
			fmt.Sprintf("%s of %s is the source of %s, not of kernel %s: its Makefile says so",
				f.ref, l.repository, v, l.release.Full),
			"name the right tag or branch with --source-ref")
	}
	tree := Tree{Dir: l.dir, Rung: l.rungOf(f.ref), Repository: l.repository, Ref: f.ref, Commit: commit, Version: v.String()}
	if err := writeRecord(dir, record{Tree: tree, URL: l.clone}); err != nil {
		return Tree{}, l.cannot("check out", f, err)
	}
	if err := replace(l.dir, dir, filepath.Join(work, "old")); err != nil {
		return Tree{}, l.cannot("put in place", f, err)
	}
	return tree, nil
}

// checkOut makes a repository at dir with the ref's commit, and no other, in
// it and in its working tree, and returns the commit.
func (l *ladder) checkOut(ctx context.Context, dir string, f found) (string, error) {
	tree := &contextFS{osfs.New(dir), ctx}
	dot := &contextFS{osfs.New(filepath.Join(dir, git.GitDirName)), ctx}
	repo, err := git.Init(filesystem.NewStorage(dot, cache.NewObjectLRUDefault()), tree)
	if err != nil {
		return "", err
	}
	if err := l.configure(repo); err != nil {
		return "", err
	}
	// The same name on both sides: a reader of .git sees what was asked for.
	spec := config.RefSpec("+" + f.ref + ":" + f.ref)
	err = repo.FetchContext(ctx, &git.FetchOptions{
		RefSpecs: []config.RefSpec{spec}, Depth: 1, Tags: git.NoTags, Auth: l.auth, Progress: l.Progress,
	})
	if err != nil {
		return "", err
	}
	ref, err := repo.Reference(plumbing.ReferenceName(f.ref), true)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(f.ref, tags) && ref.Hash() != f.hash {
		// A branch may have moved since; a tag that differs is another source.
		return "", fmt.Errorf("%s has it at %s and the API at %s", l.clone, ref.Hash(), f.hash)
	}
	commit, err := peel(repo, ref.Hash())
	if err != nil {
		return "", err
	}
	worktree, err := repo.Worktree()
	if err != nil {
		return "", err
	}
	return commit.String(), worktree.Checkout(&git.CheckoutOptions{Hash: commit, Force: true})
}

// configure names the remote and lifts the protection of NTFS, which refuses
// a kernel: it has a file aux.c, and NTFS reserves that name.
func (l *ladder) configure(repo *git.Repository) error {
	c, err := repo.Config()
	if err != nil {
		return err
	}
	c.Core.ProtectNTFS = config.OptBoolFalse
	c.Remotes[git.DefaultRemoteName] = &config.RemoteConfig{Name: git.DefaultRemoteName, URLs: []string{l.clone}}
	return repo.SetConfig(c)
}

// peel is the commit that an object stands for: itself, or what a tag, or a
// tag of a tag, is of.
func peel(repo *git.Repository, hash plumbing.Hash) (plumbing.Hash, error) {
	for {
		tag, err := repo.TagObject(hash)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			break
		}
		if err != nil {
			return plumbing.ZeroHash, err
		}
		hash = tag.Target
	}
	commit, err := object.GetCommit(repo.Storer, hash)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("%s is not a commit: %w", hash, err)
	}
	return commit.Hash, nil
}

// cannot is the error for a ref that exists and could not be used.
func (l *ladder) cannot(do string, f found, err error) error {
	hint := "check the network and the URL, and run again: nothing half done is kept"
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		hint = fmt.Sprintf("free %.1f GB on the disk that holds %s and run again", float64(FullSize)/1e9, l.dir)
	case errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS):
		hint = "make " + filepath.Dir(l.dir) + " writable for the user that builder runs as"
	}
	return stage.Wrap(stage.Source, err, fmt.Sprintf("cannot %s %s of %s from %s", do, f.ref, l.repository, l.clone), hint)
}
