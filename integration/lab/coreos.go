package lab

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
)

var (
	//go:embed scripts/coreos-tree.sh
	coreosTreeScript string
	//go:embed scripts/coreos.sh
	coreosScript string
	//go:embed scripts/coreos.config
	coreosConfig string
)

// coreosCompiler is a compiler of the image cuda that the kernel's line has
// seen in its time.
const coreosCompiler = "gcc-12"

// CoreOS makes the root of a CoreOS host that can be booted: a small kernel of
// the source in the git repository, with the modules and the signing key of its
// build. The image is one that has kbuild's programs and compilers, such as
// cuda.
func (l *Lab) CoreOS(ctx context.Context, image string) (Host, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return Host{}, err
	}
	from, err := l.packages(ctx)
	if err != nil {
		return Host{}, err
	}
	recipe := from.recipe() + coreosTreeScript + coreosScript + coreosConfig + coreosCompiler + osRelease
	dir, err := l.part(ctx, "coreos", recipe, func(dir string) error {
		config := filepath.Join(dir, "fragment")
		if err := os.WriteFile(config, []byte(coreosConfig), 0o644); err != nil {
			return err
		}
		build := container{
			image:  image,
			script: "compiler=" + coreosCompiler + "\n" + coreosTreeScript + coreosScript,
			out:    dir,
			mounts: []string{from.Dir + ":/packages", config + ":/coreos.config"},
		}
		if err := build.run(ctx); err != nil {
			return err
		}
		if err := os.Remove(config); err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, "etc/os-release"), []byte(osRelease))
	})
	if err != nil {
		return Host{}, err
	}
	return readHost(dir)
}
