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

// coreosCompiler is newer than all that the image under test has: what is built for
// the kernel there, and loaded into it, shows that an older compiler serves.
const coreosCompiler = "gcc-15"

// CoreOS makes the root of a CoreOS host that can be booted: a small kernel of
// the source in the git repository, with the modules and the signing key of its
// build. Where it is not in the cache, it is built in [GCC15Image], which has
// kbuild's programs.
func (l *Lab) CoreOS(ctx context.Context) (Host, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return Host{}, err
	}
	recipe := from.recipe() + coreosTreeScript + coreosScript + coreosConfig + coreosCompiler + osRelease
	dir, err := l.part(ctx, "coreos", recipe, func(dir string) error {
		if err := l.MakeGCC15Image(ctx); err != nil {
			return err
		}
		config := filepath.Join(dir, "fragment")
		if err := os.WriteFile(config, []byte(coreosConfig), 0o644); err != nil {
			return err
		}
		build := container{
			image:  GCC15Image,
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
