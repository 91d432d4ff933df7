package lab

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

//go:embed scripts/newest.sh
var newestScript string

// newestSuite is where Debian has kernels of lines that no release of its has.
const newestSuite = "trixie-backports"

// Newest makes the root of a host that runs Debian's own kernel of a line, "6.18",
// or the newest where that is "": its image, its config, and those of its modules
// that have to do with a display, and in usr/src and usr/lib the headers, where the mirror
// still has them: of the newest it does. Nothing leads there from its modules.
func (l *Lab) Newest(ctx context.Context, line string) (Host, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return Host{}, err
	}
	dir, err := l.part(ctx, "newest"+line, newestSuite+line+newestScript, func(dir string) error {
		packages, err := readPool(ctx, newestSuite)
		if err != nil {
			return err
		}
		release, err := packages.newestKernel(line)
		if err != nil {
			return err
		}
		debs, err := os.MkdirTemp(l.cache, ".newest-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(debs)
		base := strings.TrimSuffix(release, "-amd64")
		for _, name := range append(kernelPackages(release), "linux-headers-"+release, "linux-headers-"+base+"-common", "linux-kbuild-"+base) {
			if packages.packages[name] != (packaged{}) {
				if err := packages.fetch(ctx, name, debs); err != nil {
					return err
				}
			}
		}
		return container{
			image:  Image,
			script: "kernel=" + release + "\n" + newestScript,
			out:    dir,
			mounts: []string{debs + ":/packages"},
		}.run(ctx)
	})
	if err != nil {
		return Host{}, err
	}
	return readHost(dir)
}

// kernelPackages are the names of the packages that a kernel is in. Until 6.18 it was all
// in the first; of some later ones that names the others.
func kernelPackages(release string) (names []string) {
	for _, part := range []string{"linux-image-", "linux-binary-", "linux-base-", "linux-modules-"} {
		names = append(names, part+release)
	}
	return names
}

// newestKernel is the newest release of a line whose modules the pool has.
func (p pool) newestKernel(line string) (string, error) {
	if _, release := p.newest("linux-image-", line, isGeneric); release != "" {
		return release, nil
	}
	return "", fmt.Errorf("%s has no kernel of the line %q", newestSuite, line)
}

// newest is the package of the newest release of a line, of those whose names begin
// with prefix and go on with a release that is meant; empty where there is none.
func (p pool) newest(prefix, line string, meant func(release string) bool) (name, release string) {
	var newest [3]int
	for _, candidate := range slices.Sorted(maps.Keys(p.packages)) {
		full, ok := strings.CutPrefix(candidate, prefix)
		if !ok || !meant(full) {
			continue
		}
		r, err := kernel.ParseRelease(full)
		if err != nil || line != "" && !strings.HasPrefix(r.Version, line+".") {
			continue
		}
		major, minor, patch := r.Numbers()
		if numbers := [3]int{major, minor, patch}; slices.Compare(numbers[:], newest[:]) > 0 {
			name, release, newest = candidate, full, numbers
		}
	}
	return name, release
}

// isGeneric says whether a kernel's name is of the flavour for every PC:
// "6.18.15+deb13-amd64", not "…-cloud-amd64" nor "…-amd64-dbg".
func isGeneric(name string) bool {
	_, flavour, _ := strings.Cut(name, "-")
	return flavour == "amd64"
}
