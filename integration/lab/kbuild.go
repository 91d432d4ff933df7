package lab

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
)

//go:embed scripts/kbuild.Dockerfile
var kbuildDockerfile string

var (
	//go:embed scripts/linux-source.sh
	linuxSourceScript string
	//go:embed scripts/unpack-source.sh
	unpackSourceScript string
)

// Kbuild is a Debian release with what builds kernels there.
type Kbuild struct {
	lab   *Lab
	image string
}

// Kbuild makes the image of a Debian release, such as "bookworm".
func (l *Lab) Kbuild(ctx context.Context, suite string) (Kbuild, error) {
	k := Kbuild{lab: l, image: "k8sp-cuda-kbuild:" + suite}
	return k, l.debianWith(ctx, suite, k.image, kbuildDockerfile)
}

// Source returns the path of a kernel's source, the tar that a package of the
// release such as "linux-source-6.1" has, zstd'ed. Its members are below one
// folder.
func (k Kbuild) Source(ctx context.Context, name string) (string, error) {
	recipe := k.image + " " + name + "\n" + linuxSourceScript + unpackSourceScript
	dir, err := k.lab.part(ctx, name, recipe, func(dir string) error {
		return container{image: k.image, script: "package=" + name + "\n" + linuxSourceScript + unpackSourceScript, out: dir}.run(ctx)
	})
	return filepath.Join(dir, "linux.tar.zst"), err
}

// NewestSource is [Kbuild.Source] of the newest kernel that Debian has the source of
// for a release of its, and the line that it is of, "7.3".
func (k Kbuild) NewestSource(ctx context.Context) (archive, line string, err error) {
	packages, err := readPool(ctx, newestSuite)
	if err != nil {
		return "", "", err
	}
	const prefix = "linux-source-"
	name, line := packages.newest(prefix, "", func(string) bool { return true })
	if name == "" {
		return "", "", fmt.Errorf("%s has no %s", newestSuite, prefix)
	}
	recipe := k.image + " " + packages.packages[name].sum + "\n" + unpackSourceScript
	dir, err := k.lab.part(ctx, "newest-source", recipe, func(dir string) error {
		if err := packages.fetch(ctx, name, dir); err != nil {
			return err
		}
		return container{image: k.image, script: unpackSourceScript, out: dir}.run(ctx)
	})
	return filepath.Join(dir, "linux.tar.zst"), line, err
}

// Run runs a bash script in the folder out, which is /out there, with further
// folders mounted for reading: "/machine:/container".
func (k Kbuild) Run(ctx context.Context, script, out string, mounts ...string) error {
	return container{image: k.image, script: script, out: out, mounts: mounts}.run(ctx)
}
