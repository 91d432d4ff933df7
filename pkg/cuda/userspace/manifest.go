package userspace

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"

	"github.com/k8sp/cuda/pkg/share/publish"
)

// ManifestFile is the manifest's name in the root.
const ManifestFile = "manifest.json"

// SchemaVersion is the manifest's format. It changes when a reader of the old
// one would be wrong about the new one.
const SchemaVersion = 1

// maxManifest is far above what a driver's files need.
const maxManifest = 4 << 20

// Manifest says what a root holds and what it was made from. The same package
// and part give the same bytes.
type Manifest struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"` // the driver's, "535.261.03"
	// Package is the digest of the driver package, sha256:HEX, as modules'
	// manifests have it.
	Package string `json:"package"`
	// Fabric is the digest of the archive with NVIDIA's fabric manager of this version,
	// sha256:HEX; empty where none is laid out.
	Fabric string `json:"fabric,omitempty"`
	// Part is [Compute] or [All].
	Part  string `json:"part"`
	Files []File `json:"files"` // sorted by path
	Links []Link `json:"links"` // sorted by path
	// Absent are files that the package lists and did not have; one that is
	// unpacked may have them later.
	Absent []string `json:"absent,omitempty"`
}

// File is a file of a root.
type File struct {
	Path   string `json:"file"` // in the root, slash-separated
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
	Mode   string `json:"mode"` // permissions, "0755"
}

// Link is a symbolic link of a root.
type Link struct {
	Path   string `json:"file"`   // in the root, slash-separated
	Target string `json:"target"` // relative to the link's folder
}

// Encode is the manifest as it is written.
func (m Manifest) Encode() ([]byte, error) {
	m.Schema = SchemaVersion
	if m.Files == nil {
		m.Files = []File{}
	}
	if m.Links == nil {
		m.Links = []Link{}
	}
	return publish.EncodeIndex(m)
}

// ParseManifest reads a manifest that [Manifest.Encode] wrote.
func ParseManifest(r io.Reader) (Manifest, error) {
	var m Manifest
	if err := publish.DecodeIndex(r, maxManifest, SchemaVersion, &m); err != nil {
		return Manifest{}, err
	}
	// Anything with a schema would pass for a manifest otherwise.
	if m.Part != Compute && m.Part != All {
		return Manifest{}, fmt.Errorf("not a manifest of a driver's user-space side: its part is %q", m.Part)
	}
	return m, m.check()
}

// check refuses a manifest that points out of its folder.
func (m Manifest) check() error {
	for _, f := range m.Files {
		if !inside(f.Path) {
			return fmt.Errorf("the manifest names a file %q, which is not one of its folder", f.Path)
		}
		if _, err := f.mode(); err != nil {
			return fmt.Errorf("the manifest gives %s the mode %q", f.Path, f.Mode)
		}
	}
	for _, l := range m.Links {
		if !inside(l.Path) || path.IsAbs(l.Target) || !inside(path.Join(path.Dir(l.Path), l.Target)) {
			return fmt.Errorf("the manifest names a link %q to %q, which leads out of its folder", l.Path, l.Target)
		}
	}
	return nil
}

func inside(name string) bool {
	return filepath.IsLocal(name) && path.Clean(name) == name && name != "."
}

func (f File) mode() (fs.FileMode, error) {
	n, err := strconv.ParseUint(f.Mode, 8, 9)
	return fs.FileMode(n), err
}

// published are the files and links as they are left in the root.
func (m Manifest) published() ([]publish.File, error) {
	var files []publish.File
	for _, f := range m.Files {
		mode, err := f.mode()
		if err != nil {
			return nil, err
		}
		files = append(files, publish.File{Name: f.Path, Size: f.Size, SHA256: f.SHA256, Mode: mode})
	}
	for _, l := range m.Links {
		files = append(files, publish.File{Name: l.Path, Target: l.Target})
	}
	return files, nil
}
