package source

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/k8sp/cuda/pkg/kernel"
)

const (
	tags  = "refs/tags/"
	heads = "refs/heads/"

	coreos  = "coreos"
	flatcar = "flatcar"

	coreosRepository = "coreos/linux"
	// stableRepository is the mirror of kernel.org's stable tree on GitHub.
	stableRepository = "gregkh/linux"
)

// Candidates are the full names of the refs under which the source of a
// release may be found, the likeliest first. coreos/linux holds, for example,
// v4.7.3-coreos-r2, v4.7.3-coreos, a branch coreos/v3.17.2 (whose kernels call
// themselves 3.17.2+) and plain v4.0.5; the release 4.9.0-... may be there as
// v4.9. The upstream tag comes last: for a CoreOS kernel it lacks CoreOS's
// patches. Flatcar has no tags of its own and builds from upstream's.
func Candidates(r kernel.Release) []string {
	var refs []string
	add := func(ref string) {
		// A release may hold what a ref may not: 5.10.0~rc3.
		if !slices.Contains(refs, ref) && plumbing.ReferenceName(ref).Validate() == nil {
			refs = append(refs, ref)
		}
	}
	suffix := strings.TrimPrefix(r.Full, r.Version)
	if r.Flavour != flatcar {
		for _, v := range spellings(r.Version) {
			if suffix != "" {
				add(tags + "v" + v + suffix)
			}
			if r.Flavour == coreos {
				add(tags + "v" + v + "-coreos")
			}
			if r.Flavour == coreos || r.Plus {
				add(heads + "coreos/v" + v)
			}
		}
	}
	add(upstreamTag(r))
	return refs
}

// upstreamTag is the ref of the kernel.org release that r is based on.
func upstreamTag(r kernel.Release) string {
	v := spellings(r.Version)
	tag := tags + "v" + v[len(v)-1]
	if r.Candidate > 0 {
		tag += "-rc" + strconv.Itoa(r.Candidate)
	}
	return tag
}

// spellings are a version as uname has it, and then as tags have it: what
// calls itself 4.9.0 is tagged v4.9.
func spellings(version string) []string {
	short, zero := strings.CutSuffix(version, ".0")
	if !zero || !strings.Contains(short, ".") {
		return []string{version}
	}
	return []string{version, short}
}

// repositoryOf is where a target's distribution keeps its kernel. The release
// decides before os-release does: Flatcar's first kernels were CoreOS's.
func repositoryOf(t kernel.Target) string {
	if t.Release.Flavour == coreos || t.Release.Flavour == "" && t.Distribution.ID == coreos {
		return coreosRepository
	}
	return stableRepository
}
