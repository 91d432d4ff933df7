package lab

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed scripts/packages.sh
var packagesScript string

// packages are the Debian packages that the other parts are made of, as files
// source.deb, nvidia.deb, nvidia-open.deb and firmware.deb of one folder, and
// those of the driver's user-space side in its folder user.
type packages struct {
	Dir string
	// Kernel is the release of the packaged kernel, "6.1.0-50-amd64".
	Kernel string
	// Source and Driver are the versions of the kernel's source and of the
	// driver's, "6.1.176-1" and "535.261.03-1".
	Source, Driver string
}

// recipe names the versions: a part made of others is another part.
func (p packages) recipe() string { return p.Kernel + " " + p.Source + " " + p.Driver + "\n" }

func (l *Lab) packages(ctx context.Context) (packages, error) {
	dir, err := l.part(ctx, "packages", packagesScript, func(dir string) error {
		return container{image: Image, script: packagesScript, out: dir}.run(ctx)
	})
	if err != nil {
		return packages{}, err
	}
	versions, err := readPairs(filepath.Join(dir, "versions"))
	return packages{Dir: dir, Kernel: versions["kernel"], Source: versions["source"], Driver: versions["driver"]}, err
}

// readPairs reads lines "KEY VALUE" that a script left.
func readPairs(name string) (map[string]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	pairs := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not a key and a value", name, lines.Text())
		}
		pairs[key] = value
	}
	return pairs, lines.Err()
}
