package registry

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
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

// Recipe is what an artefact is made of.
type Recipe struct {
	Key      Key
	Contents []Content
	// Runtime is a folder that is the root of what runs in the artefact as an image, which
	// is a layer of its own; "" is none, and then nothing can run in it. A link in it to an
	// absolute path stands for what that leads to.
	Runtime string
	// Entrypoint and Env are how what is in Runtime is run: a program with its arguments,
	// and variables as NAME=VALUE.
	Entrypoint, Env []string
	// Aliases are further tags of the artefact, by which others know it.
	Aliases []string
	// Beside belongs to it, and is pushed beside it.
	Beside []Attachment
	// Sign signs it, and its Provenance, the predicate of SLSA's, where that is not nil.
	Sign       Sign
	Provenance any
}

// Pushed is an artefact as the registry has it.
type Pushed struct {
	// Reference is its repository and tag, and Digest that of its index, sha256:HEX.
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	// Aliases are its other tags.
	Aliases []string `json:"aliases,omitempty"`
	// Bytes is how much its layers are, compressed.
	Bytes int64 `json:"bytes"`
}

// Artefact is its repository and digest, as [Artefact].Reference has them.
func (p Pushed) Artefact() string {
	at := strings.LastIndexByte(p.Reference, ':') // of its tag
	return p.Reference[:at] + "@" + p.Digest
}

// MayPush asks a registry whether this run may push, so that who may not learns it before
// there is something to push. Errors are of the usage or the publish stage; of those
// [Unavailable] may pass.
func MayPush(ctx context.Context, o Options) error {
	repository, err := o.repository()
	if err != nil {
		return err
	}
	base, err := o.base()
	if err != nil {
		return err
	}
	asked := transport.NewUserAgent(within{ctx, base}, userAgent)
	if err := remote.CheckPushPermission(repository.Tag("latest"), authn.DefaultKeychain, asked); err != nil {
		return o.explain(err, repository.String()+" cannot be pushed to")
	}
	return nil
}

// within is a transport whose requests end with a context that is not theirs.
type within struct {
	ctx  context.Context
	base http.RoundTripper
}

func (w within) RoundTrip(request *http.Request) (*http.Response, error) {
	return w.base.RoundTrip(request.WithContext(w.ctx))
}

// Push leaves an artefact in a registry, in the place of one of the same key, and what
// belongs to it. What the registry has of it already is not sent. Scratch is a folder that
// holds the layers meanwhile. Errors are of the usage or the publish stage.
func Push(ctx context.Context, o Options, r Recipe, scratch string) (Pushed, error) {
	repository, err := o.repository()
	if err != nil {
		return Pushed{}, err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return Pushed{}, err
	}
	index, bytes, err := assemble(ctx, r, scratch)
	if err != nil {
		return Pushed{}, err
	}
	subject, err := partial.Descriptor(index)
	if err != nil {
		return Pushed{}, err
	}
	digest := subject.Digest
	tag := repository.Tag(r.Key.Tag())
	// Who finds it by a tag finds all that belongs to it.
	if err := remote.WriteIndex(repository.Digest(digest.String()), index, options...); err != nil {
		return Pushed{}, o.explain(err, fmt.Sprintf("%s cannot be pushed", tag))
	}
	for _, a := range r.Beside {
		if err := attach(repository, *subject, a, options); err != nil {
			return Pushed{}, o.explain(err, fmt.Sprintf("%s of %s cannot be pushed", a.Name, tag))
		}
	}
	if r.Sign != nil {
		if err := signArtefact(repository, digest, r.Provenance, r.Sign, options); err != nil {
			return Pushed{}, o.explain(err, fmt.Sprintf("the signature of %s cannot be pushed", tag))
		}
		zerolog.Ctx(ctx).Info().Str("digest", digest.String()).Msg("artefact signed")
	}
	if err := remote.Tag(tag, index, options...); err != nil {
		return Pushed{}, o.explain(err, fmt.Sprintf("%s cannot be pushed", tag))
	}
	for _, alias := range r.Aliases {
		if err := lead(ctx, repository.Tag(alias), index, r.Key, options); err != nil {
			return Pushed{}, o.explain(err, fmt.Sprintf("%s cannot be called %s", tag, alias))
		}
	}
	zerolog.Ctx(ctx).Info().Str("reference", tag.String()).Str("digest", digest.String()).Int64("bytes", bytes).Strs("aliases", r.Aliases).Msg("pushed")
	return Pushed{tag.String(), digest.String(), r.Aliases, bytes}, nil
}

// lead has an alias lead to an artefact, and says so where it led to one of another kernel,
// or form. The images for other architectures that it led to stay.
func lead(ctx context.Context, alias name.Tag, index v1.ImageIndex, k Key, options []remote.Option) error {
	before, err := remote.Index(alias, options...)
	if err != nil {
		return remote.Tag(alias, index, options...) // there is none, or why it cannot be pushed is said
	}
	list, err := before.IndexManifest()
	if err != nil {
		return err
	}
	platform, others := platformOf(k.Arch), []mutate.IndexAddendum{}
	for _, d := range list.Manifests {
		if d.Platform == nil || d.Platform.Satisfies(platform) {
			continue
		}
		image, err := before.Image(d.Digest)
		if err != nil {
			return err
		}
		others = append(others, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: d.Platform}})
	}
	if len(others) > 0 {
		return remote.WriteIndex(alias, mutate.AppendManifests(index, others...), options...)
	}
	is, was := k.labels(), list.Annotations
	for _, label := range []string{identityLabel, formLabel} {
		if is[label] != was[label] {
			zerolog.Ctx(ctx).Warn().Str("alias", alias.String()).Str("before", was[label]).Str("now", is[label]).
				Msg("this tag was of another kernel of this release, or another form of the modules, and hosts that go by it get what it leads to now")
		}
	}
	return remote.Tag(alias, index, options...)
}

// assemble makes an artefact's index, whose layers are in scratch.
func assemble(ctx context.Context, r Recipe, scratch string) (index v1.ImageIndex, bytes int64, err error) {
	k := r.Key
	platform := platformOf(k.Arch)
	// No times: the same result is the same digest.
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), &v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: k.labels(), Entrypoint: r.Entrypoint, Env: r.Env},
	})
	if err != nil {
		return nil, 0, err
	}
	add := func(layer blob, annotations map[string]string) (err error) {
		bytes += layer.size
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: types.OCILayerZStd, Annotations: annotations})
		return err
	}
	at := func(name string) string { return filepath.Join(scratch, "layer-"+name) }
	for i, c := range r.Contents {
		layer, err := pack(ctx, c.Kind, c.Dir, at(strconv.Itoa(i)))
		if err != nil {
			return nil, 0, err
		}
		sum, _, err := publish.DigestFile(filepath.Join(c.Dir, c.Kind.Index))
		if err != nil {
			return nil, 0, err
		}
		if err := add(layer, map[string]string{LayerAnnotation: c.Kind.Name, IndexAnnotation: sum}); err != nil {
			return nil, 0, err
		}
	}
	if r.Runtime != "" {
		layer, err := packRuntime(ctx, r.Runtime, at("runtime"))
		if err != nil {
			return nil, 0, err
		}
		if err := add(layer, nil); err != nil {
			return nil, 0, err
		}
	}
	index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	return mutate.Annotations(index, k.labels()).(v1.ImageIndex), bytes, nil
}

// identityLabel is where labels say which kernel of its release it is.
const identityLabel = "io.github.k8sp.cuda.identity"

// formLabel is where they say which form the modules have.
const formLabel = "io.github.k8sp.cuda.module-type"

// labels say what an artefact is, to people who look at it.
func (k Key) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":   "NVIDIA " + k.Driver + " (" + k.Form + ") for Linux " + k.Release,
		"org.opencontainers.image.version": k.Driver,
		"io.github.k8sp.cuda.release":      k.Release,
		"io.github.k8sp.cuda.identity":     k.Identity,
		"io.github.k8sp.cuda.driver":       k.Driver,
		formLabel:                          k.Form,
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
