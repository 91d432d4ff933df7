package cuda

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/makeself"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/stage"
)

// Contents are what is in a package.
type Contents struct {
	// Manifest is the package's own.
	Manifest Manifest
	// Sizes are the bytes of its files, by path. What is listed and not there
	// is not in it.
	Sizes map[string]int64
}

// Contents are those of the package that the driver was unpacked from.
func (d Driver) Contents() Contents { return Contents{d.Manifest, d.Sizes} }

// Inspect finds out what is in a package without unpacking more of it than its
// manifest, into the folder scratch, which is made and removed again. Errors
// are of the driver stage.
func Inspect(ctx context.Context, p Package, scratch string) (Contents, error) {
	c, err := inspect(ctx, p, scratch)
	if err == nil && c.Manifest.Version != p.Version {
		err = mismatch{"version", p.Version, c.Manifest.Version}
	}
	if err != nil {
		return Contents{}, explain(p, err)
	}
	return c, nil
}

func inspect(ctx context.Context, p Package, scratch string) (c Contents, err error) {
	dir := p.Path
	if p.Kind != Folder {
		dir = scratch
		defer func() { err = errors.Join(err, beneath.RemoveAll(scratch)) }()
		if err := beneath.MkdirAll(scratch, 0o755); err != nil {
			return Contents{}, err
		}
		c.Sizes = map[string]int64{}
		err := readRun(p, func(archive *makeself.Archive) error {
			return extract(ctx, archive, scratch, untar.Options{
				Want: func(name string) bool { return name == manifestName },
				Seen: func(name string, size int64) { c.Sizes[name] = size },
			})
		})
		if err != nil {
			return Contents{}, err
		}
	}
	root := beneath.Dir(dir)
	if c.Manifest, err = readManifest(root); err == nil && p.Kind == Folder {
		c.Sizes = folderSizes(p, c.Manifest)
	}
	return c, err
}

// folderSizes are the sizes of what the manifest lists and the folder has.
func folderSizes(p Package, m Manifest) map[string]int64 {
	root := beneath.Dir(p.Path)
	sizes := map[string]int64{}
	for _, f := range m.Files {
		if info, err := root.Stat(f.Path); err == nil && info.Mode().IsRegular() {
			sizes[f.Path] = info.Size()
		}
	}
	return sizes
}

// Members copies files of a package, by their paths in it, into the folder dst,
// which is made, and returns where each is. Errors are of the driver stage.
func Members(ctx context.Context, p Package, dst string, names []string) (map[string]string, error) {
	if err := beneath.MkdirAll(dst, 0o755); err != nil {
		return nil, stage.Wrap(stage.Driver, err, "cannot make a folder to unpack the driver into", spaceHint)
	}
	var err error
	if p.Kind == Folder {
		err = copyMembers(ctx, p, dst, names)
	} else {
		err = readRun(p, func(archive *makeself.Archive) error {
			return extract(ctx, archive, dst, untar.Options{Want: func(name string) bool { return slices.Contains(names, name) }})
		})
	}
	if err != nil {
		return nil, explain(p, err)
	}
	paths := map[string]string{}
	for _, name := range names {
		path := filepath.Join(dst, filepath.FromSlash(name))
		if info, err := beneath.Lstat(path); err != nil {
			return nil, explain(p, err)
		} else if !info.Mode().IsRegular() {
			return nil, explain(p, fmt.Errorf("%s is not a plain file: %w", name, fs.ErrInvalid))
		}
		paths[name] = path
	}
	return paths, nil
}

// copyMembers copies files of an unpacked package. A link in somebody's folder
// must not have root read what is elsewhere.
func copyMembers(ctx context.Context, p Package, dst string, names []string) error {
	from := beneath.Dir(p.Path)
	to := beneath.Dir(dst)
	for _, name := range names {
		if err := copyFile(ctx, from, to, name); err != nil {
			return err
		}
	}
	return nil
}
