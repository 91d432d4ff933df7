package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/k8sp/cuda/pkg/stage"
)

// The files of an OCI image layout (image-spec 1.1, image-layout.md), beside its blobs.
const (
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	indexFile  = "index.json"
	refName    = "org.opencontainers.image.ref.name"
)

func blobName(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// Archive writes artefacts to a tar that is an OCI image layout, each known by the tag that
// a registry has it by. What several of them have is in it once.
type Archive struct {
	w       *tar.Writer
	written map[v1.Hash]bool
	list    v1.IndexManifest
}

// NewArchive begins one.
func NewArchive(w io.Writer) (*Archive, error) {
	a := &Archive{
		w: tar.NewWriter(w), written: map[v1.Hash]bool{},
		list: v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}},
	}
	return a, a.text(layoutFile, []byte(layoutText))
}

func (a *Archive) text(name string, text []byte) error {
	return a.file(name, int64(len(text)), bytes.NewReader(text))
}

func (a *Archive) file(name string, size int64, r io.Reader) error {
	if err := a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(a.w, r)
	return err
}

// Add adds an artefact, whose layers are in the folder scratch meanwhile.
func (a *Archive) Add(ctx context.Context, r Recipe, scratch string) error {
	index, _, err := assemble(ctx, r, scratch)
	if err != nil {
		return err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		if err := a.image(image); err != nil {
			return err
		}
	}
	described, err := partial.Descriptor(index)
	if err != nil {
		return err
	}
	for _, tag := range append([]string{r.Key.Tag()}, r.Aliases...) {
		named := *described
		named.Annotations = map[string]string{refName: tag}
		a.list.Manifests = append(a.list.Manifests, named)
	}
	return a.raw(index)
}

func (a *Archive) image(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := a.layer(l); err != nil {
			return err
		}
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return err
	}
	if err := a.layer(config); err != nil {
		return err
	}
	return a.raw(image)
}

func (a *Archive) layer(l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil || a.written[digest] {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	a.written[digest] = true
	return a.file(blobName(digest), size, r)
}

// raw adds a manifest.
func (a *Archive) raw(m partial.WithRawManifest) error {
	text, err := m.RawManifest()
	if err != nil {
		return err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(text))
	if err != nil || a.written[digest] {
		return err
	}
	a.written[digest] = true
	return a.text(blobName(digest), text)
}

// Close ends it with the list of what is in it.
func (a *Archive) Close() error {
	text, err := json.Marshal(a.list)
	if err != nil {
		return err
	}
	return errors.Join(a.text(indexFile, text), a.w.Close())
}

// What an archive may have: as many entries, and manifests of as many bytes.
const (
	maxEntries  = 100_000
	maxManifest = 4 << 20
)

// archived is an archive that is read.
type archived struct {
	from  io.ReaderAt
	blobs map[v1.Hash]*io.SectionReader
	list  *v1.IndexManifest
}

// FindArchived finds an artefact in an [Archive] of size bytes, which is read for as long as
// the artefact is used. ErrNone is that it has none of the key; other errors are of the
// publish stage.
func FindArchived(from io.ReaderAt, size int64, k Key) (Artefact, error) {
	a, err := findArchived(from, size, k)
	if err != nil && !errors.Is(err, ErrNone) {
		err = stage.Wrap(stage.Publish, err, "this archive cannot be read", "name a tar that builder export made, whole")
	}
	return a, err
}

func findArchived(from io.ReaderAt, size int64, k Key) (Artefact, error) {
	a, err := readArchive(io.NewSectionReader(from, 0, size))
	if err != nil {
		return Artefact{}, err
	}
	for _, d := range a.list.Manifests {
		if d.Annotations[refName] != k.Tag() {
			continue
		}
		var list v1.IndexManifest
		if err := a.manifest(d.Digest, &list); err != nil {
			return Artefact{}, err
		}
		platform := platformOf(k.Arch)
		for _, d := range list.Manifests {
			if d.Platform == nil || !d.Platform.Satisfies(platform) {
				continue
			}
			var m v1.Manifest
			if err := a.manifest(d.Digest, &m); err != nil {
				return Artefact{}, err
			}
			found, err := layersOf(m, func(d v1.Descriptor) (source, error) { return a.blob(d) })
			found.Reference = k.Tag() + " of the archive"
			return found, err
		}
		return Artefact{}, fmt.Errorf("it has no image for %s", platform.Architecture)
	}
	return Artefact{}, fmt.Errorf("%w as %s; the archive has %s (the last digits are of the kernel's build)", ErrNone, k.Tag(), a.tags())
}

// ofKey is the end of a key's tag, which the aliases have not.
var ofKey = regexp.MustCompile(`-[0-9a-f]{12}$`)

// tags names the first few of the keys that an archive has.
func (a archived) tags() string {
	var tags []string
	for _, d := range a.list.Manifests {
		if tag := d.Annotations[refName]; ofKey.MatchString(tag) && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	const shown = 6
	switch n := len(tags) - shown; {
	case len(tags) == 0:
		return "none"
	case n > 0:
		return strings.Join(tags[:shown], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(tags, ", ")
}

// readArchive finds out where each blob is.
func readArchive(r *io.SectionReader) (archived, error) {
	a := archived{from: r, blobs: map[v1.Hash]*io.SectionReader{}}
	entries := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return archived{}, err
		}
		if n == maxEntries {
			return archived{}, fmt.Errorf("it has more than %d entries", maxEntries)
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return archived{}, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		section := io.NewSectionReader(r, at, h.Size)
		if hex, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok {
			a.blobs[v1.Hash{Algorithm: "sha256", Hex: hex}] = section
		}
		if h.Name == indexFile {
			if a.list, err = v1.ParseIndexManifest(io.NewSectionReader(section, 0, maxManifest)); err != nil {
				return archived{}, err
			}
		}
	}
	if a.list == nil {
		return archived{}, fmt.Errorf("there is no %s in it", indexFile)
	}
	return a, nil
}

// manifest reads a manifest, which is of its digest.
func (a archived) manifest(digest v1.Hash, into any) error {
	section := a.blobs[digest]
	if section == nil {
		return fmt.Errorf("there is no %s in it", digest)
	}
	text, err := io.ReadAll(io.LimitReader(section, maxManifest))
	if err != nil {
		return err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(text)); err != nil || got != digest {
		return fmt.Errorf("%s is damaged", digest)
	}
	return json.Unmarshal(text, into)
}

// blob is a layer, which is compared with its digest as it is read to its end.
func (a archived) blob(d v1.Descriptor) (source, error) {
	section := a.blobs[d.Digest]
	if section == nil || section.Size() != d.Size {
		return nil, fmt.Errorf("there is no %s of %d bytes in it", d.Digest, d.Size)
	}
	return verified{section, d.Digest}, nil
}

type verified struct {
	section *io.SectionReader
	digest  v1.Hash
}

func (v verified) open(context.Context, string) (io.ReadCloser, error) {
	return &digested{io.NewSectionReader(v.section, 0, v.section.Size()), sha256.New(), v.digest}, nil
}

// digested compares what is read with a digest, at its end.
type digested struct {
	r    io.Reader
	sum  hash.Hash
	want v1.Hash
}

func (d *digested) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hashOf(d.sum) != d.want {
		err = fmt.Errorf("%s is damaged", d.want)
	}
	return n, err
}

func (d *digested) Close() error { return nil }
