package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// Root is a driver's user-space side: what [Publish] left in a share, or what
// is installed on a host.
type Root struct {
	// Dir is the folder that the paths of Items are relative to: a driver
	// root, or a host's.
	Dir string
	// Version is the driver's.
	Version string
	// Items are sorted by path.
	Items []Item
}

// Kind is what an item serves as.
type Kind string

// The kinds of items.
const (
	Library Kind = "library"
	Program Kind = "program"
	Data    Kind = "data"
	// Service is what looks after a host, and is not for containers: the fabric manager,
	// its library and what it knows of machines.
	Service Kind = "service"
)

// Item is a file of a root.
type Item struct {
	Kind Kind
	// Path is relative to the root and slash-separated.
	Path string
	// Names are those, without a folder, by which programs and the loader
	// look for it, sorted: its own, and of the links that lead to it.
	Names []string
}

// rootOf is the root that a manifest describes.
func rootOf(dir string, m Manifest) Root {
	r := Root{Dir: dir, Version: m.Version}
	targets := map[string]string{}
	for _, l := range m.Links {
		targets[l.Path] = path.Join(path.Dir(l.Path), l.Target)
	}
	for _, f := range m.Files {
		r.Items = append(r.Items, Item{Kind: kindOf(f.Path), Path: f.Path, Names: namesOf(f.Path, targets)})
	}
	return r
}

// namesOf are the names of a file and of the links beside it that lead to it,
// sorted. Both are paths, of links with where they lead.
func namesOf(file string, targets map[string]string) []string {
	names := []string{path.Base(file)}
	for link := range targets {
		// A link that leads elsewhere, as to a module's folder, serves there.
		if path.Dir(link) == path.Dir(file) && follow(targets, link) == file {
			names = append(names, path.Base(link))
		}
	}
	slices.Sort(names)
	return names
}

// follow is where a link leads in the end; "" where that is a circle.
func follow(targets map[string]string, name string) string {
	for range len(targets) + 1 {
		target, link := targets[name]
		if !link {
			return name
		}
		name = target
	}
	return ""
}

func kindOf(name string) Kind {
	switch {
	case fabric.Has(name):
		return Service
	case path.Dir(name) == "usr/bin":
		return Program
	case path.Dir(name) == "usr/lib64" && strings.Contains(path.Base(name), ".so"):
		return Library
	}
	return Data
}

// Finding is a file or link of a root that was held against the manifest.
type Finding struct {
	Path string
	// Problem says how it differs; empty where it does not.
	Problem string
}

// Verify reads a root's manifest and holds every file and link that it lists
// against it, in its order. An error means that the folder has no manifest of
// [Publish]'s, or, where trust is not nil, none that somebody trusted has signed
// ([publish.UntrustedError]).
func Verify(dir string, trust publish.Trust) (Manifest, []Finding, error) {
	text, err := publish.ReadIndex(dir, ManifestFile, maxManifest, trust)
	if err != nil {
		return Manifest{}, nil, err
	}
	m, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	files, err := m.published()
	if err != nil {
		return Manifest{}, nil, err
	}
	var findings []Finding
	for _, file := range files {
		findings = append(findings, Finding{file.Name, file.Differs(dir)})
	}
	return m, findings, nil
}

// Published is what [Publish] left for a driver version. Every file is read
// and held against the manifest, and that against its signature where trust is not
// nil; an error means that the root is not to be used, fs.ErrNotExist that there is
// none.
func Published(s *share.Share, version string, trust publish.Trust) (Root, Manifest, error) {
	link, err := location(s, version)
	if err != nil {
		return Root{}, Manifest{}, err
	}
	var m Manifest
	_, err = publish.Read(link, func(dir string) error {
		var findings []Finding
		if m, findings, err = Verify(dir, trust); err != nil {
			return err
		}
		if m.Version != version {
			return fmt.Errorf("%s holds the files of %s", link, m.Version)
		}
		for _, f := range findings {
			if f.Problem != "" {
				return errors.New(f.Problem)
			}
		}
		return nil
	})
	if err != nil {
		return Root{}, Manifest{}, err
	}
	return rootOf(link, m), m, nil
}

// Files are the files and links of a share's root of a driver version, as its manifest
// has them, which somebody trusted has signed where trust is not nil. They are not
// looked at.
func Files(s *share.Share, version string, trust publish.Trust) ([]publish.File, error) {
	link, err := location(s, version)
	if err != nil {
		return nil, err
	}
	dir, err := publish.Led(link)
	if err != nil {
		return nil, err
	}
	text, err := publish.ReadIndex(dir, ManifestFile, maxManifest, trust)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if m.Version != version {
		return nil, fmt.Errorf("%s holds the files of %s", link, m.Version)
	}
	return m.published()
}

// Find is the share's root of a driver, whole and of the version of the module
// that is loaded: libcuda talks to no other. Where trust is not nil, it is signed by
// somebody trusted. Its errors are of the load stage; errors.Is tells fs.ErrNotExist,
// where nothing was laid out, or no libcuda, and errors.As a [publish.UntrustedError].
func Find(s *share.Share, version string, trust publish.Trust) (Root, error) {
	const again = "build again (--user-space compute), which lays it out from the driver package"
	r, _, err := Published(s, version, trust)
	switch {
	case errors.As(err, new(*publish.UntrustedError)):
		return Root{}, stage.Wrap(stage.Load, err, fmt.Sprintf("the user-space side of driver %s in the share is signed by nobody who is trusted", version),
			"build it with --sign-manifest and a key whose certificate --trust names")
	case errors.Is(err, fs.ErrNotExist):
		return Root{}, stage.Wrap(stage.Load, err, fmt.Sprintf("the share has no user-space side of driver %s, without which no program finds its GPU", version), again)
	case err != nil:
		return Root{}, stage.Wrap(stage.Load, err, fmt.Sprintf("the user-space side of driver %s in the share is damaged", version), again)
	}
	return r, r.Agrees(version)
}

// Agrees says whether the root's libraries are those of a driver version. Its
// error is of the load stage, and fs.ErrNotExist where it has no libcuda.
func (r Root) Agrees(version string) error {
	lib := "libcuda.so." + version
	if i := slices.IndexFunc(r.Items, func(i Item) bool { return i.Kind == Library && path.Base(i.Path) == lib }); i >= 0 {
		return nil
	}
	for _, i := range r.Items {
		if other, found := strings.CutPrefix(path.Base(i.Path), "libcuda.so."); found && i.Kind == Library {
			return stage.New(stage.Load, fmt.Sprintf("the loaded module is of driver %s and the libcuda in %s of %s, which do not work with each other", version, r.Dir, other),
				"load the module of that version, or build the user-space side of the module's")
		}
	}
	return stage.Wrap(stage.Load, fs.ErrNotExist, fmt.Sprintf("%s has no %s, which programs need to use the GPU", r.Dir, lib),
		"use a whole driver package: this one had no libraries for programs in it")
}
