package userspace

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options say what to lay out and where.
type Options struct {
	// Share receives the root as driver/VERSION. Its lock is held.
	Share *share.Share
	// Scratch is a folder on the share's file system.
	Scratch string
	// Package is where the files are from, and Digest its digest.
	Package cuda.Package
	Digest  string
	// Choice is what to take of it.
	Choice Choice
	// Fabric is what of the fabric manager is to be laid out beside it, unpacked, and
	// FabricDigest the digest of its archive, sha256:HEX; both are empty where there is none.
	Fabric       []fabric.File
	FabricDigest string
	// Sign signs the manifest; nil leaves it unsigned.
	Sign publish.Sign
}

// Publish leaves a choice of a package's files in SHARE/driver/VERSION, all at
// once or not at all, with a link for each library's soname and a manifest.
// SHARE/driver/VERSION is a link to a folder named after its content
// ([publish.Folder]). An empty choice is published as well, but for [None]: so
// a later run knows that there is nothing. Errors are of the publish stage, or
// of the driver's where the package is at fault.
func Publish(ctx context.Context, o Options) (Root, error) {
	root, err := o.publish(ctx)
	return root, publish.Explain(ctx, o.Share, err, "the driver's user-space side could not be left in the share, where earlier results are as they were",
		"look at the cause, and run again, or do without it (--user-space none)")
}

func (o Options) publish(ctx context.Context) (Root, error) {
	link, err := location(o.Share, o.Package.Version)
	if err != nil {
		return Root{}, err
	}
	unpacked := filepath.Join(o.Scratch, "userspace")
	defer beneath.RemoveAll(unpacked)
	paths, err := cuda.Members(ctx, o.Package, unpacked, o.Choice.members())
	if err != nil {
		return Root{}, err
	}
	m := Manifest{
		Schema: SchemaVersion, Version: o.Package.Version, Package: o.Digest, Fabric: o.FabricDigest,
		Part: o.Choice.Part, Links: o.Choice.Links, Absent: o.Choice.Absent,
	}
	laid := o.Choice.from(paths, o.Fabric)
	for _, f := range laid {
		described, err := describe(f)
		if err != nil {
			return Root{}, err
		}
		m.Files = append(m.Files, described)
	}
	m.Links = withSonames(ctx, m.Links, o.Choice.Files, paths)
	folder := publish.Folder{Share: o.Share, Scratch: o.Scratch, Link: link, Index: ManifestFile, Sign: o.Sign}
	if folder.Text, err = m.Encode(); err != nil {
		return Root{}, err
	}
	if folder.Files, err = m.published(); err != nil {
		return Root{}, err
	}
	for i, f := range laid {
		if err := give(&folder.Files[i], f.From); err != nil {
			return Root{}, err
		}
	}
	if err := folder.Publish(ctx); err != nil {
		return Root{}, err
	}
	zerolog.Ctx(ctx).Info().Str("dir", link).Str("part", m.Part).Int("files", len(m.Files)).Int64("bytes", o.Choice.Bytes).Msg("the driver's user-space side")
	return rootOf(link, m), nil
}

// give says where a file is from. What was unpacked for us alone becomes what
// is published, without another copy.
func give(f *publish.File, from string) error {
	f.From, f.Twins = from, []string{from}
	return beneath.Chmod(from, f.Mode)
}

func (c Choice) members() []string {
	var names []string
	for _, f := range c.Files {
		names = append(names, f.Member)
	}
	return names
}

// from are a choice's files where they are unpacked, and those of the fabric manager
// that have no other's place, sorted by path.
func (c Choice) from(paths map[string]string, more []fabric.File) []fabric.File {
	var all []fabric.File
	for _, f := range c.Files {
		all = append(all, fabric.File{From: paths[f.Member], Path: f.Path, Mode: f.Mode})
	}
	for _, f := range more {
		if !slices.ContainsFunc(c.Files, func(o Chosen) bool { return o.Path == f.Path }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b fabric.File) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

func describe(f fabric.File) (File, error) {
	sum, size, err := publish.DigestFile(f.From)
	return File{Path: f.Path, Size: size, SHA256: sum, Mode: fmt.Sprintf("%04o", f.Mode.Perm())}, err
}

// withSonames adds links by which the loader finds the libraries, where the
// package does not list them: it leaves that to ldconfig.
func withSonames(ctx context.Context, links []Link, files []Chosen, from map[string]string) []Link {
	taken := map[string]bool{}
	for _, l := range links {
		taken[l.Path] = true
	}
	for _, f := range files {
		taken[f.Path] = true
	}
	for _, f := range files {
		if !strings.Contains(path.Base(f.Path), ".so") {
			continue
		}
		name, err := soname(from[f.Member])
		if err != nil {
			zerolog.Ctx(ctx).Debug().Err(err).Str("file", f.Member).Msg("has no soname")
			continue
		}
		to := path.Join(path.Dir(f.Path), name)
		if name != path.Base(name) || taken[to] {
			continue
		}
		taken[to] = true
		links = append(links, Link{Path: to, Target: path.Base(f.Path)})
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Path, b.Path) })
	return links
}

func soname(file string) (string, error) {
	in, err := beneath.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	f, err := elf.NewFile(in)
	if err != nil {
		return "", err
	}
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil {
		return "", err
	}
	if len(names) != 1 || names[0] == "" {
		return "", errors.New("not a shared library with a name")
	}
	return names[0], nil
}

var component = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)

// location is the path of the link that publishes a driver's root.
func location(s *share.Share, version string) (string, error) {
	if !component.MatchString(version) {
		return "", stage.New(stage.Publish, fmt.Sprintf("%q is not a driver's version, so its user-space side has no place", version), "name a version such as 535.261.03")
	}
	return s.Driver(version), nil
}

// Vacant refuses a place where a root cannot be published, since something else is
// there than a link that builder made. Its error is of the publish stage.
func Vacant(s *share.Share, version string) error {
	link, err := location(s, version)
	if err != nil {
		return err
	}
	return publish.Linkable(link)
}

// Ready says, before the work, whether a root could be published.
func Ready(s *share.Share, scratch, version string) error {
	link, err := location(s, version)
	if err != nil {
		return err
	}
	return publish.Ready(s, scratch, link)
}
