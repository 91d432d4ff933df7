package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/stage"
)

// Artefact is one that a registry has. Its layers are pulled one by one.
type Artefact struct {
	// Reference is its repository and digest.
	Reference string
	layers    []layer
}

// compressed is what of a layer is pulled. It is compared with its digest as it is read to
// its end.
type compressed interface {
	Compressed() (io.ReadCloser, error)
}

type layer struct {
	compressed
	kind, index string
	size        int64
}

// Find finds an artefact; ErrNone is that there is none, and other errors are of the
// usage or the publish stage.
func Find(ctx context.Context, o Options, k Key) (Artefact, error) {
	repository, err := o.repository()
	if err != nil {
		return Artefact{}, err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return Artefact{}, err
	}
	tag := repository.Tag(k.Tag())
	what := fmt.Sprintf("%s cannot be pulled", tag)
	index, err := remote.Index(tag, options...)
	if missing(err) {
		return Artefact{}, ErrNone
	}
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	a, err := open(index, k)
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	digest, err := index.Digest()
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	a.Reference = repository.Digest(digest.String()).String()
	return a, nil
}

// open finds the layers of the image for a key's architecture.
func open(index v1.ImageIndex, k Key) (Artefact, error) {
	list, err := index.IndexManifest()
	if err != nil {
		return Artefact{}, err
	}
	platform := platformOf(k.Arch)
	for _, d := range list.Manifests {
		if d.Platform == nil || !d.Platform.Satisfies(platform) {
			continue
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			return Artefact{}, err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return Artefact{}, err
		}
		return layersOf(*manifest, func(d v1.Descriptor) (compressed, error) { return image.LayerByDigest(d.Digest) })
	}
	return Artefact{}, fmt.Errorf("it has no image for %s", platform.Architecture)
}

// layersOf are the layers of an image that are ours, each got by its descriptor.
func layersOf(m v1.Manifest, get func(v1.Descriptor) (compressed, error)) (a Artefact, err error) {
	for _, d := range m.Layers {
		if d.Annotations[LayerAnnotation] == "" {
			continue // for others
		}
		l, err := get(d)
		if err != nil {
			return Artefact{}, err
		}
		a.layers = append(a.layers, layer{l, d.Annotations[LayerAnnotation], d.Annotations[IndexAnnotation], d.Size})
	}
	return a, nil
}

// Index is the SHA-256 of a folder's index, in hexadecimal, as the artefact says; "" where
// it has no such folder.
func (a Artefact) Index(k Kind) string {
	for _, l := range a.layers {
		if l.kind == k.Name {
			return l.index
		}
	}
	return ""
}

// Pull leaves a folder of the artefact's in dir, which is there and empty. Each file is
// compared with what the index lists as it comes, and the layer with its digest. Errors
// are of the publish stage.
func (a Artefact) Pull(ctx context.Context, k Kind, dir string) error {
	for _, l := range a.layers {
		if l.kind != k.Name {
			continue
		}
		err := func() error {
			r, err := l.compressed.Compressed()
			if err != nil {
				return err
			}
			err = unpack(ctx, k, r, dir)
			if err == nil {
				_, err = io.Copy(io.Discard, r) // at its end it is compared with its digest
			}
			return errors.Join(err, r.Close())
		}()
		if err != nil {
			return stage.Wrap(stage.Publish, err, fmt.Sprintf("the %s of %s cannot be pulled", k.Name, a.Reference),
				retry.Hint(err, "pull again; where it stays so, what the registry has is damaged: push it again"))
		}
		zerolog.Ctx(ctx).Info().Str("from", a.Reference).Str("what", k.Name).Int64("bytes", l.size).Msg("pulled")
		return nil
	}
	return stage.New(stage.Publish, fmt.Sprintf("%s has no %s", a.Reference, k.Name), "push it again, with a builder as new as this")
}
