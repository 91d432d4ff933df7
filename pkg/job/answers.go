package job

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/conftest"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/modules"
)

// Answers to a driver's tests of a kernel are noted among the driver's own programs, and
// what those of another driver ask is compiled by them. So a package has a say in the
// answers for all only where somebody vouches for it, and nobody has patched it. Any
// other finds these, and keeps its own for itself.

// known are the answers to the driver's tests of a tree that earlier builds left.
func (p project) known(ctx context.Context, tree prepare.Tree) conftest.Set {
	known := conftest.Set{}
	for _, file := range []conftest.File{p.answersForAll(tree), p.ownAnswers(tree)} {
		answers, err := file.Read()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			zerolog.Ctx(ctx).Debug().Err(err).Str("file", file.Path).Msg("no answers to drivers' tests are known")
		}
		maps.Copy(known, answers)
	}
	return known
}

// keep keeps what a build used and found out, which is of use to later ones only.
func (p project) keep(ctx context.Context, tree prepare.Tree, answers conftest.Answers) {
	file := p.ownAnswers(tree)
	if p.trusted() {
		file = p.answersForAll(tree)
	}
	err := p.share.MkdirAll(p.share.Answers())
	if err == nil {
		err = file.Add(answers)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("file", file.Path).Msg("answers to the driver's tests cannot be kept, and the next build asks again")
	}
}

func (p project) answersForAll(tree prepare.Tree) conftest.File {
	return p.answersOf(tree.Headers)
}

func (p project) ownAnswers(tree prepare.Tree) conftest.File {
	return p.answersOf(tree.Headers, p.digest, p.patches.String())
}

// answersOf is the file of the answers that depend on these.
func (p project) answersOf(on ...string) conftest.File {
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(on, " "))))
	return conftest.File{Path: p.share.AnswersOf(p.target.Release.Full, digest), Of: digest}
}

// trusted says whether the package is one that somebody vouches for, as it was made.
func (p project) trusted() bool {
	return len(p.patches) == 0 && slices.ContainsFunc(p.vouched, func(c modules.Check) bool {
		return c.Name == cuda.DigestCheck && c.Verdict == modules.Passed
	})
}
