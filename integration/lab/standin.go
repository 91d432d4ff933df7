package lab

import (
	"context"
	"embed"
	"os"
	"path/filepath"
	"strings"
)

var (
	//go:embed scripts/standin.sh
	standinScript string
	//go:embed scripts/standin
	standinSources embed.FS
)

// StandinVersions are the versions in which there are stand-ins for a driver.
var StandinVersions = []string{"990.10", "990.20"}

// Standins makes modules that stand in for NVIDIA's on the host that
// [Lab.CoreOS] makes, and in the same image, and returns a folder that has them by
// [StandinVersions]: nvidia.ko and its siblings register the same devices, show
// themselves in /proc as NVIDIA's do and ask for the same firmware;
// standin_pci.ko is a PCI bus with a graphics card for them, and nouveau.ko
// takes it.
func (l *Lab) Standins(ctx context.Context) (string, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return "", err
	}
	recipe := from.recipe() + coreosTreeScript + coreosConfig + coreosCompiler + standinScript
	sources := map[string][]byte{}
	entries, err := standinSources.ReadDir("scripts/standin")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		content, err := standinSources.ReadFile("scripts/standin/" + e.Name())
		if err != nil {
			return "", err
		}
		sources[e.Name()] = content
		recipe += e.Name() + string(content)
	}
	return l.part(ctx, "standins", recipe, func(dir string) error {
		if err := l.MakeGCC15Image(ctx); err != nil {
			return err
		}
		scratch, err := os.MkdirTemp("", "k8sp-cuda-standin-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(scratch)
		config, folder := filepath.Join(scratch, "coreos.config"), filepath.Join(scratch, "standin")
		if err := writeFile(config, []byte(coreosConfig)); err != nil {
			return err
		}
		for name, content := range sources {
			if err := writeFile(filepath.Join(folder, name), content); err != nil {
				return err
			}
		}
		return container{
			image: GCC15Image,
			script: "compiler=" + coreosCompiler + "\nversions='" + strings.Join(StandinVersions, " ") + "'\n" +
				coreosTreeScript + standinScript,
			out:    dir,
			mounts: []string{from.Dir + ":/packages", config + ":/coreos.config", folder + ":/standin"},
		}.run(ctx)
	})
}
