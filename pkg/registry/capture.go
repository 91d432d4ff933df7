package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// captureType is the type of an artefact that is a host's capture: a tar as builder
// capture writes it, in one layer.
const captureType = types.MediaType("application/vnd.k8sp.cuda.capture.v1.tar+zstd")

// maxCapture is as large as a capture may be, in bytes: a kernel's image and what its
// modules export are far less.
const maxCapture = 1 << 30

// PushCapture leaves the capture of a host in a registry, for who builds for its kernel,
// and returns its tag, which is the same for all hosts with that kernel. One that is
// there is not sent again, nor made. Scratch is a folder that holds it meanwhile. Errors
// are of the usage or the publish stage, or capture's.
func PushCapture(ctx context.Context, o Options, k Key, capture func(io.Writer) error, scratch string) (tag string, err error) {
	repository, err := o.repository()
	if err != nil {
		return "", err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return "", err
	}
	at := repository.Tag(k.CaptureTag())
	what := fmt.Sprintf("%s cannot be pushed", at)
	if _, err := remote.Head(at, options...); err == nil {
		return at.TagStr(), nil
	} else if !missing(err) {
		return "", o.explain(err, what)
	}
	layer, err := compressed(filepath.Join(scratch, "capture"), capture)
	if err != nil {
		return "", err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), captureType)
	if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: captureType}); err != nil {
		return "", err
	}
	if err := remote.Write(at, image, options...); err != nil {
		return "", o.explain(err, what)
	}
	zerolog.Ctx(ctx).Info().Str("reference", at.String()).Int64("bytes", layer.size).Msg("capture of this host pushed")
	return at.TagStr(), nil
}

// PullCapture writes the capture of a tag to a file that is not there. Errors are of the
// usage or the detect stage.
func PullCapture(ctx context.Context, o Options, tag, file string) error {
	repository, err := o.repository()
	if err != nil {
		return err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return err
	}
	at, err := name.NewTag(repository.Name() + ":" + tag)
	if err != nil {
		return stage.Wrap(stage.Usage, err, fmt.Sprintf("%q is no tag of a capture", tag), "name one as capture-6.12.102-flatcar-0123456789ab with --host-capture")
	}
	return stage.Wrap(stage.Detect, pullCapture(repository.Tag(tag), file, options), fmt.Sprintf("the capture %s cannot be pulled", at), "look whether a node has pushed it to this repository, and run again")
}

func pullCapture(at name.Tag, file string, options []remote.Option) error {
	image, err := remote.Image(at, options...)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if len(layers) != 1 {
		return fmt.Errorf("it has %d layers, and a capture has one", len(layers))
	}
	if kind, err := layers[0].MediaType(); err != nil || kind != captureType {
		return errors.Join(err, fmt.Errorf("it is a %s, and no capture", kind))
	}
	packed, err := layers[0].Compressed()
	if err != nil {
		return err
	}
	defer packed.Close()
	z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	out, err := beneath.CreateNew(file, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(z, maxCapture+1))
	if err == nil && n > maxCapture {
		err = fmt.Errorf("it has more than %d bytes", maxCapture)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, packed) // at its end it is compared with its digest
	}
	return errors.Join(err, out.Close())
}
