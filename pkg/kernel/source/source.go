package source

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/patch"
	"github.com/k8sp/cuda/pkg/stage"
)

// About how much disk, in bytes, a checkout of a current kernel takes, measured
// on 6.1, with git's packs. While one tree replaces another both are there.
const (
	// Size is that of the files that a build needs.
	Size = 180_000_000
	// FullSize is that of the whole tree.
	FullSize = 1_800_000_000
)

// About how many files and folders those are.
const (
	Files     = 12_000
	FullFiles = 85_000
)

// The rungs of the ladder, in order.
const (
	// RungHostTree is the tree that the host itself has for building modules.
	// It has no repository, ref or commit, and Tree.Dir is the host's.
	RungHostTree = "host-tree"
	// RungHostSource is the same where its programs do not run here, and are
	// built anew from the sources that it has of them.
	RungHostSource = "host-source"
	// RungTree is the tree that an earlier run left.
	RungTree = "tree"
	// RungTag is a ref of the distribution's own for the release.
	RungTag = "tag"
	// RungLocal is a folder that the user named, used as it is. Its commit is
	// a digest of what a build needs of it, and its ref the folder's name.
	RungLocal = "local-tree"
	// RungTarball is a tarball that the user named. Its commit is its SHA-256,
	// and its ref the file's name.
	RungTarball = "tarball"
	// RungUpstream is the kernel.org tag of the version that the release is
	// based on. For Flatcar it is the source but for a few small patches; for
	// CoreOS it lacks CoreOS's.
	RungUpstream = "upstream-tag"
)

// Options say where source comes from and goes to. Only Dir is required.
type Options struct {
	// Dir is where the tree goes: SHARE/linux. What is there already is
	// reused, or replaced if this package put it there and nobody changed
	// it; anything else is left alone and refused.
	Dir string
	// Scratch is an existing folder on the file system of Dir, in which the
	// checkout grows. Empty means the folder that holds Dir.
	Scratch string
	// Repository is "owner/name"; empty means the distribution's.
	Repository string
	// APIURL is the base of GitHub's API; for GitHub Enterprise it is
	// https://HOST/api/v3/. Empty means https://api.github.com/.
	APIURL string
	// CloneURL is the repository's own URL. Empty means the one on the host
	// that APIURL belongs to. Where it is given and APIURL is not, as for a
	// mirror on a plain git server, refs are looked up there too.
	CloneURL string
	// Ref is a tag or a branch to use instead of those that the release
	// suggests; one that begins with refs/ is taken as it is.
	Ref string
	// From is where the source is to come from instead: a folder with a
	// kernel's tree, used as it is; a git repository, bare or not; or a tarball
	// as kernel.org has them. The last two may be URLs.
	From string
	// SHA256 is a tarball's digest, in hexadecimal; one from a server is
	// refused without.
	SHA256 string
	// Offline refuses to ask the network for anything.
	Offline bool
	// Commit is the commit that the source has to be, all 40 hexadecimal
	// digits; empty means any.
	Commit string
	// Full checks out the whole tree, not only what a build needs.
	Full bool
	// Patches are applied to what is checked out: what a distribution adds to the tag
	// that its kernels are built from. The host's own tree does not serve then.
	Patches patch.Set
	// Stall is how long a git server may be silent; zero means a minute.
	Stall time.Duration
	// Token raises GitHub's rate limit and opens private repositories. It is
	// sent to the API's host and, over HTTPS or to the API's very host, to
	// the git server that belongs to it, and nowhere else.
	Token string
	// Space is for [Checkout] and [Complete].
	Space Space
	// Runner runs the programs of the host's own tree, to see whether they run
	// here; required where the host has one.
	Runner command.Runner
	// HTTPClient talks to the API. Nil means one with a timeout of 30 s.
	HTTPClient *http.Client
	// Pause is how long to wait before the second try of what a network or a
	// server failed at for the moment; it doubles with each after that. Zero
	// means a second.
	Pause time.Duration

	// flush is [flushAll], where it is not nil, for the test of a power cut.
	flush func(dir string) error
}

// Tree is a checked out kernel source.
type Tree struct {
	// Dir is the top of the tree.
	Dir string `json:"-"`
	// Rung says how the source was found; it does not change when the tree
	// is reused later.
	Rung string `json:"rung"`
	// Repository is "owner/name", Ref the full name of the ref in it, and
	// Commit the commit that the ref stood for, in hex.
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	Commit     string `json:"commit"`
	// Version is what the tree's Makefile says: "4.7.3-coreos".
	Version string `json:"version"`
	// Patches are those that were applied to it, in their order.
	Patches []Patch `json:"patches,omitempty"`
	// Reused is true for a tree that was there already.
	Reused bool `json:"-"`
	// ByLoader says of a host's own tree that its programs run by the host's loader.
	ByLoader bool `json:"-"`
}

// Patch is a file of patches.
type Patch struct {
	// Name is the file's, SHA256 its digest in hexadecimal.
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Identity is a name for what the tree holds: its commit, and what it was patched with.
func (t Tree) Identity() string {
	id := t.Commit
	for _, p := range t.Patches {
		id += "+" + p.SHA256
	}
	return id
}

// Step is what one rung of the ladder has.
type Step struct {
	// Rung is one of the Rung constants.
	Rung string `json:"rung"`
	// Where is the folder, or the repository and ref.
	Where string `json:"where"`
	// Serves says that the rung has the source; there is one such step at
	// most, the last.
	Serves bool `json:"serves"`
	// Reason says why the rung serves or was passed over.
	Reason string `json:"reason"`
}

// Found is where the source of a target's kernel is.
type Found struct {
	// Steps are the rungs that were looked at, in order.
	Steps []Step
	// take leaves the source there.
	take func(context.Context, Space) (Tree, error)
}

// Space is asked before anything is fetched, with how many bytes of disk and how
// many files that will take; its error ends the checkout. Nil does not ask.
type Space func(bytes, files uint64) error

// Take leaves the source that was found in the folder that it was to go to,
// unless it is there or the host's own tree serves: then there is nothing to
// check out. Its errors are of stage source.
func (f Found) Take(ctx context.Context, space Space) (Tree, error) { return f.take(ctx, space) }

// there is for a source that is there already.
func (f Found) there(tree Tree, step Step) Found {
	f.Steps = append(f.Steps, step)
	f.take = func(context.Context, Space) (Tree, error) { return tree, nil }
	return f
}

// Find looks for the source of the target's kernel and writes nothing. It asks the
// network only for the names of refs, and where the source is there only whether its tag is
// still the same, which it warns of. Its
// errors are of stage source, or usage for options that make no sense; the
// steps so far are returned with one.
func Find(ctx context.Context, t kernel.Target, o Options) (Found, error) {
	var found Found
	l, err := newLadder(t, o)
	if err != nil {
		return found, err
	}
	if l.place == treePlace {
		tree, err := l.localTree()
		if err != nil {
			return found, err
		}
		return found.there(tree, Step{RungLocal, l.From, true, "is the source of " + tree.Version}), nil
	}
	tree, why := l.hostTree(ctx, t)
	if ctx.Err() != nil {
		return found, ctx.Err()
	}
	zerolog.Ctx(ctx).Info().Bool("serves", tree.Rung != "").Msg("the host's own build tree: " + why)
	host := Step{cmp.Or(tree.Rung, RungHostTree), "lib/modules/" + t.Release.Full + "/build", tree.Rung != "", why}
	if tree.Rung != "" {
		return found.there(tree, host), nil
	}
	found.Steps = append(found.Steps, host)
	if err := madeElsewhere(t, why); err != nil {
		return found, err
	}
	if err := l.notUpstreams(t, why); err != nil {
		return found, err
	}
	tree, passed := l.reuse()
	if passed == "" {
		l.warnIfMoved(ctx, tree)
		return found.there(tree, Step{RungTree, l.dir, true, fmt.Sprintf("holds %s of %s", tree.Ref, tree.Repository)}), nil
	}
	zerolog.Ctx(ctx).Debug().Str("rung", RungTree).Msg(passed)
	found.Steps = append(found.Steps, Step{RungTree, l.dir, false, passed})
	if err := l.checkVacant(); err != nil {
		return found, err
	}
	if err := l.mayAsk(passed); err != nil {
		return found, err
	}
	return l.findElsewhere(ctx, found)
}

// findElsewhere looks for a source that has to be fetched.
func (l *ladder) findElsewhere(ctx context.Context, so Found) (Found, error) {
	if l.place == tarballPlace {
		so.Steps = append(so.Steps, Step{RungTarball, l.clone, true, "would be unpacked"})
		so.take = l.withSpace(l.fetchTarball)
		return so, nil
	}
	f, err := l.find(ctx)
	if err != nil {
		return so, err
	}
	rung := l.rungOf(f.ref)
	if rung == RungUpstream && len(l.refs) > 1 {
		so.Steps = append(so.Steps, Step{RungTag, l.repository, false, "has none of " + names(l.refs[:len(l.refs)-1])})
	}
	if rung == RungUpstream && l.repository == coreosRepository && len(l.Patches) == 0 {
		zerolog.Ctx(ctx).Warn().Str("ref", f.ref).
			Msg("only the upstream tag is there: this source lacks CoreOS's patches")
	}
	so.Steps = append(so.Steps, Step{rung, l.repository + " " + f.ref, true, "exists; would be checked out from " + l.clone})
	so.take = l.withSpace(func(ctx context.Context) (Tree, error) { return l.fetch(ctx, f) })
	return so, nil
}

// withSpace fetches where there is space for it.
func (l *ladder) withSpace(fetch func(context.Context) (Tree, error)) func(context.Context, Space) (Tree, error) {
	return func(ctx context.Context, space Space) (Tree, error) {
		l.Space = space
		if err := l.needSpace(); err != nil {
			return Tree{}, err
		}
		return fetch(ctx)
	}
}

// Checkout is [Find] and [Found.Take].
func Checkout(ctx context.Context, t kernel.Target, o Options) (Tree, error) {
	found, err := Find(ctx, t, o)
	if err != nil {
		return Tree{}, err
	}
	return found.Take(ctx, o.Space)
}

// mayAsk is an error where the source is not there, and only the network has it.
func (l *ladder) mayAsk(why string) error {
	if !l.Offline || l.here() {
		return nil
	}
	return stage.New(stage.Source,
		fmt.Sprintf("the source of kernel %s is not in %s (%s), and --offline forbids to fetch it", l.release.Full, l.dir, why),
		"run once without --offline, or name a folder, a bare repository or a tarball with --source")
}

// names lists refs as a person would: "tag v4.7.3, branch coreos/v4.7.3".
func names(refs []string) string {
	said := make([]string, len(refs))
	for i, ref := range refs {
		switch {
		case strings.HasPrefix(ref, tags):
			said[i] = "tag " + strings.TrimPrefix(ref, tags)
		case strings.HasPrefix(ref, heads):
			said[i] = "branch " + strings.TrimPrefix(ref, heads)
		default:
			said[i] = ref
		}
	}
	return strings.Join(said, ", ")
}

func usage(format string, args ...any) error {
	return stage.New(stage.Usage, fmt.Sprintf(format, args...), "see builder build --help")
}
