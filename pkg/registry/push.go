package registry

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// The annotations of a layer's descriptor: which [Kind] of folder it is, and the SHA-256
// of its index, in hexadecimal, by which it is known before it is pulled.
const (
	LayerAnnotation = "io.github.k8sp.cuda.layer"
	IndexAnnotation = "io.github.k8sp.cuda.index"
)

// Content is a published folder to push.
type Content struct {
	Kind Kind
	Dir  string
}

// Pushed is an artefact as the registry has it.
type Pushed struct {
	// Reference is its repository and tag, and Digest that of its index, sha256:HEX.
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	// Bytes is how much its layers are, compressed.
	Bytes int64 `json:"bytes"`
}

// Push leaves an artefact in a registry, in the place of one of the same key, and what
// belongs to it. What the registry has of it already is not sent. Scratch is a folder that
// holds the layers meanwhile. Errors are of the usage or the publish stage.
func Push(ctx context.Context, o Options, k Key, contents []Content, beside []Attachment, scratch string) (Pushed, error) {
	repository, err := o.repository()
	if err != nil {
		return Pushed{}, err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return Pushed{}, err
	}
	index, bytes, err := assemble(ctx, k, contents, scratch)
	if err != nil {
		return Pushed{}, err
	}
	tag := repository.Tag(k.Tag())
	if err := remote.WriteIndex(tag, index, options...); err != nil {
		return Pushed{}, o.explain(err, fmt.Sprintf("%s cannot be pushed", tag))
	}
	subject, err := partial.Descriptor(index)
	if err != nil {
		return Pushed{}, err
	}
	digest := subject.Digest
	for _, a := range beside {
		if err := attach(repository, *subject, a, options); err != nil {
			return Pushed{}, o.explain(err, fmt.Sprintf("%s of %s cannot be pushed", a.Name, tag))
		}
	}
	zerolog.Ctx(ctx).Info().Str("reference", tag.String()).Str("digest", digest.String()).Int64("bytes", bytes).Msg("pushed")
	return Pushed{tag.String(), digest.String(), bytes}, nil
}

// assemble makes an artefact's index, whose layers are in scratch.
func assemble(ctx context.Context, k Key, contents []Content, scratch string) (index v1.ImageIndex, bytes int64, err error) {
	platform := platformOf(k.Arch)
	// No times: the same result is the same digest.
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		&v1.ConfigFile{Architecture: platform.Architecture, OS: platform.OS, Config: v1.Config{Labels: k.labels()}, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, 0, err
	}
	for i, c := range contents {
		layer, err := pack(ctx, c.Kind, c.Dir, filepath.Join(scratch, "layer-"+strconv.Itoa(i)))
		if err != nil {
			return nil, 0, err
		}
		sum, _, err := publish.DigestFile(filepath.Join(c.Dir, c.Kind.Index))
		if err != nil {
			return nil, 0, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayerZStd,
			Annotations: map[string]string{LayerAnnotation: c.Kind.Name, IndexAnnotation: sum},
		})
		if err != nil {
			return nil, 0, err
		}
		bytes += layer.size
	}
	index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	return mutate.Annotations(index, k.labels()).(v1.ImageIndex), bytes, nil
}

// labels say what an artefact is, to people who look at it.
func (k Key) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":   "NVIDIA " + k.Driver + " (" + k.Form + ") for Linux " + k.Release,
		"org.opencontainers.image.version": k.Driver,
		"io.github.k8sp.cuda.release":      k.Release,
		"io.github.k8sp.cuda.identity":     k.Identity,
		"io.github.k8sp.cuda.driver":       k.Driver,
		"io.github.k8sp.cuda.module-type":  k.Form,
	}
}

// platformOf is an architecture by Go's name for it, as images have it.
func platformOf(arch kernel.Arch) v1.Platform {
	name := string(arch)
	switch arch {
	case kernel.X86_64:
		name = "amd64"
	case kernel.AArch64:
		name = "arm64"
	}
	return v1.Platform{OS: "linux", Architecture: name}
}
