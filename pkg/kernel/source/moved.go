package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-github/v60/github"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/source/partial"
)

// movedTimeout is how long the answer is waited for whether a tag was moved: a build that
// has its source needs nothing of the network.
const movedTimeout = 10 * time.Second

// warnIfMoved says so where the tag that a tree was checked out from is another object by
// now: a tag names one source for good, so that somebody has changed what the kernel is
// built from, or the tree is not what the kernel was built from.
func (l *ladder) warnIfMoved(ctx context.Context, tree Tree) {
	if l.Offline || l.place == tarballPlace || !strings.HasPrefix(tree.Ref, tags) {
		return
	}
	was, err := partial.ReadRef(l.dir, tree.Ref)
	if err != nil {
		return
	}
	asked, cancel := context.WithTimeout(ctx, movedTimeout)
	defer cancel()
	is, err := l.ask(asked, tree.Ref)
	switch {
	case err != nil:
		zerolog.Ctx(ctx).Debug().Err(err).Str("ref", tree.Ref).Msg("whether the tag was moved is not known")
	case is != was:
		zerolog.Ctx(ctx).Warn().Str("ref", tree.Ref).Str("was", was.String()).Str("is", is.String()).
			Msg(fmt.Sprintf("the tag was moved since the source was checked out, which is built from as it is: remove %s to take what the tag is now, or say which commit it has to be with --source-commit", l.dir))
	}
}

// ask is the object that a ref is, by the API or else the git server, asked once.
func (l *ladder) ask(ctx context.Context, ref string) (plumbing.Hash, error) {
	if l.api == nil {
		o := l.fetchOptions()
		o.Once = true
		refs, err := partial.Refs(ctx, o)
		if hash, ok := refs[ref]; ok || err != nil {
			return hash, err
		}
		return plumbing.ZeroHash, errNoRef
	}
	client := github.NewClient(l.httpClient())
	client.BaseURL = l.api
	patience := time.Duration(0)
	answer, _, err := l.getRef(ctx, client, ref, &patience)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if answer.GetRef() != ref {
		return plumbing.ZeroHash, errNoRef
	}
	return plumbing.NewHash(answer.GetObject().GetSHA()), nil
}
