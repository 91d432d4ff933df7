package source

import (
	"context"
	"fmt"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/hosttree"
	"github.com/k8sp/cuda/pkg/stage"
)

// hostTree returns the tree that the host has for building modules; its Rung is
// empty where it does not serve. It also says why. It reads a few files and
// runs a few small programs.
func (l *ladder) hostTree(ctx context.Context, t kernel.Target) (Tree, string) {
	if l.Ref != "" {
		return Tree{}, "--source-ref names another source"
	}
	if l.place != anyPlace {
		return Tree{}, "--source names another source"
	}
	if len(l.Patches) > 0 {
		return Tree{}, "--source-patches are for another source"
	}
	use, err := hosttree.Check(ctx, t, l.Runner)
	if use == hosttree.Unusable {
		return Tree{}, err.Error()
	}
	v, versionErr := readVersion(t.Tree.Source)
	if versionErr != nil {
		return Tree{}, versionErr.Error()
	}
	tree := Tree{Dir: t.Tree.Source, Rung: RungHostTree, Version: v.String(), Reused: true, ByLoader: use == hosttree.ByLoader}
	if tree.ByLoader {
		return tree, "is this kernel's own; its programs run by the host's own loader"
	}
	if use == hosttree.AsSource && !v.builds(t.Release) {
		return Tree{}, err.Error() + ", and what is prepared anew from it would be a " + v.String()
	}
	if use == hosttree.AsSource {
		tree.Rung = RungHostSource
		return tree, "is this kernel's own, but has to be prepared anew: " + err.Error()
	}
	return tree, "is this kernel's own"
}

// headerMounts show a build the tree that a distribution's headers are.
const headerMounts = "-v /lib/modules:/host/lib/modules:ro -v /usr/src:/host/usr/src:ro (Debian's also -v /usr/lib:/host/usr/lib:ro)"

// madeElsewhere is the error for a kernel of a distribution that keeps its
// release at x.y.0 while it follows the stable updates: no tag has its source,
// and what is prepared from the one it looks like, or from the one it was made
// of, calls itself by another release. Why says what is wrong with the host's
// own tree.
func madeElsewhere(t kernel.Target, why string) error {
	made, err := kernel.ParseRelease(t.Config.Version)
	if err != nil || made.Version == t.Release.Version {
		return nil // the config does not say, or says the same
	}
	return stage.New(stage.Source,
		fmt.Sprintf("kernel %s is its distribution's own build of %s, which no tag holds, and the tree that the distribution made for building modules does not serve: %s",
			t.Release, made, why),
		"install the distribution's kernel headers on the host and mount them, "+headerMounts)
}

// notUpstreams is the error for a kernel of a distribution that patches its kernels, where
// nothing but kernel.org's tag of that number would be built from and the tree that the
// distribution made for building modules can be installed. Whoever names a source has
// said so.
func (l *ladder) notUpstreams(t kernel.Target, why string) error {
	patched := t.Patched()
	if patched.Headers == "" || l.place != anyPlace || l.Ref != "" || l.Repository != "" || l.CloneURL != "" || len(l.Patches) > 0 {
		return nil
	}
	return stage.New(stage.Source,
		fmt.Sprintf("kernel %s is %s's, which carries patches of its own, and the tree that it made for building modules does not serve: %s", t.Release, patched.By, why),
		fmt.Sprintf("install %s on the host and mount it, %s; or name the distribution's own source with --source", patched.Headers, headerMounts))
}
