package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/internal/decompress"
)

// pool is what a suite of Debian's offers, by its own index. A package that no
// suite of an image has is fetched by its place in the archive, so that apt never
// hears of a newer Debian.
type pool struct {
	mirror   mirror
	packages map[string]packaged
}

// packaged is a package's file in the archive.
type packaged struct{ path, sum string }

// readPool reads the index of a suite, which Debian has signed.
func readPool(ctx context.Context, suite string) (pool, error) {
	from, err := findMirror()
	if err != nil {
		return pool{}, err
	}
	release, err := signedRelease(ctx, from.main+"/dists/"+suite+"/InRelease")
	if err != nil {
		return pool{}, err
	}
	const index = "main/binary-amd64/Packages.xz"
	sum, err := releaseDigest(release, index)
	if err != nil {
		return pool{}, err
	}
	content, err := download(ctx, from.main+"/dists/"+suite+"/"+index, sum)
	if err != nil {
		return pool{}, err
	}
	text, _, err := decompress.Reader(bufio.NewReader(bytes.NewReader(content)))
	if err != nil {
		return pool{}, err
	}
	defer text.Close()
	packages, err := readPackages(text)
	return pool{from, packages}, err
}

// readPackages reads a Packages index. Of a package in more than one version the
// last counts.
func readPackages(index io.Reader) (map[string]packaged, error) {
	packages := map[string]packaged{}
	lines := bufio.NewScanner(index)
	lines.Buffer(nil, 1<<20)
	var name string
	var p packaged
	for lines.Scan() {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "Package":
			name, p = value, packaged{}
		case "Filename":
			p.path = value
		case "SHA256":
			p.sum = value
		}
		if name != "" && p.path != "" && p.sum != "" {
			packages[name] = p
		}
	}
	return packages, lines.Err()
}

// fetch leaves a package in a folder, under the name that it has in the archive.
func (p pool) fetch(ctx context.Context, name, dir string) error {
	found, ok := p.packages[name]
	if !ok {
		return fmt.Errorf("the mirror has no package %s", name)
	}
	content, err := download(ctx, p.mirror.main+"/"+found.path, found.sum)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(found.path)), content, 0o644)
}
