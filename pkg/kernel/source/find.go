package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/stage"
)

// found is a ref that exists, and the object that it names: a commit, or an
// annotated tag of one.
type found struct {
	ref  string
	hash plumbing.Hash
}

// errNoRef is the answer that none of the refs exists.
var errNoRef = errors.New("no such ref")

// find is the first of the ladder's refs that exists. The API is asked first:
// one small request instead of a list of every ref. Where it does not answer
// the git server is asked instead, which knows no rate limit.
func (l *ladder) find(ctx context.Context) (found, error) {
	var apiErr error
	if l.api != nil {
		var f found
		if f, apiErr = l.findByAPI(ctx); apiErr == nil {
			return f, nil
		}
		if errors.Is(apiErr, errNoRef) {
			return found{}, l.noRef(l.api.String())
		}
		if ctx.Err() != nil {
			return found{}, ctx.Err()
		}
	}
	f, gitErr := l.findByGit(ctx)
	switch {
	case ctx.Err() != nil:
		return found{}, ctx.Err()
	case errors.Is(gitErr, errNoRef):
		return found{}, l.noRef(l.clone)
	case gitErr != nil:
		return found{}, l.unreachable(apiErr, gitErr)
	case apiErr != nil:
		zerolog.Ctx(ctx).Warn().Err(apiErr).Str("ref", f.ref).Msg("found the ref by asking " + l.clone + " instead")
	}
	return f, nil
}

// findByGit asks the git server for all its refs, as git ls-remote does.
func (l *ladder) findByGit(ctx context.Context) (found, error) {
	refs, err := partial.Refs(ctx, l.fetchOptions())
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return found{}, errNoRef
	}
	if err != nil {
		return found{}, err
	}
	for _, ref := range l.refs {
		if hash, ok := refs[ref]; ok && !hash.IsZero() {
			return found{ref: ref, hash: hash}, nil
		}
	}
	return found{}, errNoRef
}

// noRef is the error for a release that the repository does not know.
func (l *ladder) noRef(asked string) error {
	reason := fmt.Sprintf("%s holds no source for kernel %s: %s has none of %s",
		l.repository, l.release.Full, asked, names(l.refs))
	return stage.New(stage.Source, reason,
		"name the tag or branch with --source-ref, or another repository with --github-repository (a private one needs --github-token)")
}

// unreachable is the error for look-ups that nobody answered.
func (l *ladder) unreachable(apiErr, gitErr error) error {
	gitErr = fmt.Errorf("%s: %w", l.clone, gitErr)
	reason := fmt.Sprintf("cannot look up the source of kernel %s in %s", l.release.Full, l.repository)
	if apiErr == nil {
		return stage.Wrap(stage.Source, gitErr, reason, retry.Hint(gitErr, "check the network and the URL"))
	}
	hint := retry.Hint(errors.Join(apiErr, gitErr), "check the network, and the URLs if this is a mirror or GitHub Enterprise")
	if limit := (*rateLimit)(nil); errors.As(apiErr, &limit) {
		hint = "wait until then, or raise the limit with --github-token"
	}
	return stage.Wrap(stage.Source, fmt.Errorf("%w; and %w", apiErr, gitErr), reason, hint)
}
