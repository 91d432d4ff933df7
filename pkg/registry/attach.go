package registry

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Attachment is a file that belongs to an artefact and that a host has no use for: what
// people and other programs look at without pulling the rest. It refers to the artefact
// (image-spec 1.1, "subject"), and is found by the referrers API, or by the tag
// sha256-DIGEST where the registry has none (distribution-spec 1.1, "referrers tag schema").
type Attachment struct {
	// Name is the file's, as the annotation org.opencontainers.image.title.
	Name string
	// Type is its media type, and the artifactType of what refers.
	Type string
	// Text is what is in it.
	Text []byte
}

const titleAnnotation = "org.opencontainers.image.title"

// attach leaves an attachment beside what it belongs to.
func attach(repository name.Repository, subject v1.Descriptor, a Attachment, options []remote.Option) error {
	kind := types.MediaType(a.Type)
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), kind)
	image, err := mutate.Append(image, mutate.Addendum{
		Layer: static.NewLayer(a.Text, kind), MediaType: kind, Annotations: map[string]string{titleAnnotation: a.Name},
	})
	if err != nil {
		return err
	}
	referrer, ok := mutate.Subject(mutate.Annotations(image, map[string]string{titleAnnotation: a.Name}), subject).(v1.Image)
	if !ok {
		return fmt.Errorf("%s cannot refer to %s", a.Name, subject.Digest)
	}
	digest, err := referrer.Digest()
	if err != nil {
		return err
	}
	return remote.Write(repository.Digest(digest.String()), referrer, options...)
}
