// Command gogit clones a repository as go-git does it by itself, at depth 1 and
// with everything checked out: what the benchmark holds builder's memory
// against. It is a program of its own so that its memory is its own.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: gogit URL TAG DIR")
		os.Exit(2)
	}
	if err := clone(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "gogit:", err)
		os.Exit(1)
	}
}

func clone(ctx context.Context, url, tag, dir string) error {
	repository, err := git.PlainCloneContext(ctx, dir, false, &git.CloneOptions{
		URL: url, ReferenceName: plumbing.NewTagReferenceName(tag), SingleBranch: true,
		Depth: 1, Tags: git.NoTags, NoCheckout: true,
	})
	if err != nil {
		return err
	}
	// NTFS reserves the name of a kernel's aux.c, which go-git then refuses
	// everywhere unless it is told not to.
	conf, err := repository.Config()
	if err != nil {
		return err
	}
	conf.Raw.SetOption("core", "", "protectNTFS", "false")
	if err := repository.SetConfig(conf); err != nil {
		return err
	}
	head, err := repository.Head()
	if err != nil {
		return err
	}
	tree, err := repository.Worktree()
	if err != nil {
		return err
	}
	return tree.Reset(&git.ResetOptions{Commit: head.Hash(), Mode: git.HardReset})
}
