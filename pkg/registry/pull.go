package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/stage"
)

// Artefact is one that a registry has. Its layers are pulled one by one.
type Artefact struct {
	// Reference is its repository and digest.
	Reference string
	from      Options // where it is
	digest    v1.Hash // of its index
	layers    []layer
}

// source is where a layer is.
type source interface {
	// open reads it, from its beginning. What is read is compared with its digest, at the
	// latest at its end. A folder may be used to keep it meanwhile, and to go on from what
	// an earlier pull left there; what is read is gone from it once it is closed.
	open(ctx context.Context, keep string) (io.ReadCloser, error)
}

type layer struct {
	source
	kind, index string
	size        int64
}

// remoteLayer is one of a registry, by its digest.
type remoteLayer struct {
	o          Options
	repository name.Repository
	v1.Descriptor
}

// open downloads it first: what broke off goes on, also in another run.
func (l remoteLayer) open(ctx context.Context, keep string) (io.ReadCloser, error) {
	transport, err := l.o.transport(ctx, l.repository)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(keep, "layer-"+l.Digest.Hex)
	registry := l.repository.Registry
	_, err = download.File(ctx, file, download.Options{
		URL:    (&url.URL{Scheme: registry.Scheme(), Host: registry.RegistryStr(), Path: "/v2/" + l.repository.RepositoryStr() + "/blobs/" + l.Digest.String()}).String(),
		SHA256: l.Digest.Hex, Limit: l.Size, Pause: l.o.Pause, Transport: transport, Space: l.o.Space,
	})
	if err != nil {
		return nil, err
	}
	in, err := beneath.Open(file)
	if err != nil {
		return nil, err
	}
	return &kept{in, file}, nil
}

// kept is a file that is gone once it was read.
type kept struct {
	*os.File
	path string
}

func (k *kept) Close() error { return errors.Join(k.File.Close(), beneath.Remove(k.path)) }

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
		return Artefact{}, fmt.Errorf("%w as %s", ErrNone, tag)
	}
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	a, err := open(index, k, func(d v1.Descriptor) (source, error) { return remoteLayer{o, repository, d}, nil })
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	digest, err := index.Digest()
	if err != nil {
		return Artefact{}, o.explain(err, what)
	}
	a.from = o
	a.Reference, a.digest = repository.Digest(digest.String()).String(), digest
	return a, nil
}

// open finds the layers of the image for a key's architecture.
func open(index v1.ImageIndex, k Key, get func(v1.Descriptor) (source, error)) (Artefact, error) {
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
		return layersOf(*manifest, get)
	}
	return Artefact{}, fmt.Errorf("it has no image for %s", platform.Architecture)
}

// maxLayer is far above what a driver's user-space side has, in bytes.
const maxLayer = 8 << 30

// layersOf are the layers of an image that are ours, each got by its descriptor.
func layersOf(m v1.Manifest, get func(v1.Descriptor) (source, error)) (a Artefact, err error) {
	for _, d := range m.Layers {
		if d.Annotations[LayerAnnotation] == "" {
			continue // for others
		}
		if d.Size <= 0 || d.Size > maxLayer {
			return Artefact{}, fmt.Errorf("its layer %s is to have %d bytes, which none has", d.Digest, d.Size)
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
// compared with what the index lists, and the layer with its digest. The folder keep holds
// one layer meanwhile; what broke off stays there, for another pull to go on from. Errors
// are of the publish stage.
func (a Artefact) Pull(ctx context.Context, k Kind, dir, keep string) error {
	for _, l := range a.layers {
		if l.kind != k.Name {
			continue
		}
		err := func() error {
			r, err := l.open(ctx, keep)
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
