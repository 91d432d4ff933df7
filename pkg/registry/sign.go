package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Signatures are as cosign leaves them without a transparency log: an image by the tag
// sha256-HEX.sig has a layer for each, which is what was signed, with the signature as
// an annotation; that of the tag sha256-HEX.att has attestations in DSSE envelopes
// likewise. HEX is the digest of what they are of.
//
// Sources: cosign's specs/SIGNATURE_SPEC.md and specs/ATTESTATION_SPEC.md; DSSE's
// protocol.md on what is signed; in-toto's statement v1; slsa.dev/provenance/v1.
const (
	signatureSuffix   = ".sig"
	attestationSuffix = ".att"

	payloadType         = types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")
	envelopeType        = types.MediaType("application/vnd.dsse.envelope.v1+json")
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	predicateAnnotation = "predicateType"

	statementType  = "https://in-toto.io/Statement/v1"
	dssePayload    = "application/vnd.in-toto+json"
	provenanceType = "https://slsa.dev/provenance/v1"
)

// Sign signs a text, as RSA PKCS #1 v1.5 or ECDSA of its SHA-256.
type Sign func(text []byte) ([]byte, error)

// Verify is nil where a signature that [Sign] made is of a text and by somebody trusted.
type Verify func(text, signature []byte) error

// payload is what is signed of an artefact: SIGNATURE_SPEC's, which is Red Hat's "simple
// signing".
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

const payloadKind = "cosign container image signature"

// statement is in-toto's.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// envelope is DSSE's.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// signed is what is signed of an envelope: its pre-authentication encoding.
func (e envelope) signed() []byte {
	return slices.Concat([]byte("DSSEv1 "+strconv.Itoa(len(e.PayloadType))+" "+e.PayloadType+" "+strconv.Itoa(len(e.Payload))+" "), e.Payload)
}

// signatureTag is where signatures of an artefact are.
func signatureTag(repository name.Repository, of v1.Hash, suffix string) name.Tag {
	return repository.Tag(of.Algorithm + "-" + of.Hex + suffix)
}

// signArtefact leaves a signature of an artefact, and who made it of what, signed too.
func signArtefact(repository name.Repository, digest v1.Hash, provenance any, sign Sign, options []remote.Option) error {
	var p payload
	p.Critical.Identity.Reference = repository.Name()
	p.Critical.Image.Digest = digest.String()
	p.Critical.Type = payloadKind
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	signature, err := sign(text)
	if err != nil {
		return err
	}
	err = addLayer(signatureTag(repository, digest, signatureSuffix), mutate.Addendum{
		Layer: static.NewLayer(text, payloadType), MediaType: payloadType,
		Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)},
	}, options)
	if err != nil {
		return err
	}
	attestation, err := attest(repository, digest, provenance, sign)
	if err != nil {
		return err
	}
	return addLayer(signatureTag(repository, digest, attestationSuffix), mutate.Addendum{
		Layer: static.NewLayer(attestation, envelopeType), MediaType: envelopeType,
		// cosign wants the annotation, and has the signature in the envelope.
		Annotations: map[string]string{signatureAnnotation: "", predicateAnnotation: provenanceType},
	}, options)
}

// attest is a provenance as it is signed.
func attest(repository name.Repository, digest v1.Hash, provenance any, sign Sign) ([]byte, error) {
	predicate, err := json.Marshal(provenance)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(statement{
		Type: statementType, PredicateType: provenanceType, Predicate: predicate,
		Subject: []subject{{Name: repository.Name(), Digest: map[string]string{digest.Algorithm: digest.Hex}}},
	})
	if err != nil {
		return nil, err
	}
	e := envelope{PayloadType: dssePayload, Payload: text}
	signature, err := sign(e.signed())
	if err != nil {
		return nil, err
	}
	e.Signatures = []envelopeSignature{{Sig: signature}}
	return json.Marshal(e)
}

// addLayer adds what was signed to what others signed, unless it is there.
func addLayer(tag name.Tag, add mutate.Addendum, options []remote.Option) error {
	image, err := remote.Image(tag, options...)
	switch {
	case missing(err):
		image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	case err != nil:
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	digest, err := add.Layer.Digest()
	if err != nil {
		return err
	}
	for _, l := range manifest.Layers {
		if l.Digest == digest && l.Annotations[signatureAnnotation] == add.Annotations[signatureAnnotation] {
			return nil
		}
	}
	if image, err = mutate.Append(image, add); err != nil {
		return err
	}
	return remote.Write(tag, image, options...)
}

// ErrUnsigned is that nobody has signed an artefact.
var ErrUnsigned = errors.New("nobody has signed it")

// Verified says whether somebody trusted has signed an artefact of a registry, and its
// provenance where it has one: nil, [ErrUnsigned], or Verify's error, of one signature
// at least. The error of a registry that does not answer is of the publish stage.
func Verified(ctx context.Context, a Artefact, verify Verify) error {
	o := a.from
	repository, err := o.repository()
	if err != nil {
		return err
	}
	options, err := o.remote(ctx)
	if err != nil {
		return err
	}
	said, err := layersAt(signatureTag(repository, a.digest, signatureSuffix), options, func(v1.Descriptor) bool { return true })
	if missing(err) {
		return ErrUnsigned
	}
	if err != nil {
		return o.explain(err, fmt.Sprintf("the signatures of %s cannot be pulled", a.Reference))
	}
	if err := anyOf(said, func(s signedLayer) error { return a.signs(s, verify) }); err != nil {
		return err
	}
	// What else is attested, by whomever, is not looked at.
	said, err = layersAt(signatureTag(repository, a.digest, attestationSuffix), options, func(d v1.Descriptor) bool { return d.Annotations[predicateAnnotation] == provenanceType })
	if err != nil && !missing(err) {
		return o.explain(err, fmt.Sprintf("the provenance of %s cannot be pulled", a.Reference))
	}
	if len(said) == 0 {
		return nil
	}
	return anyOf(said, func(s signedLayer) error { return a.attests(s.text, verify) })
}

// signedLayer is a layer that is signed.
type signedLayer struct {
	v1.Descriptor
	text []byte
}

// maxSigned is far above what a signature or a provenance has, in bytes, and maxSigners as
// many of them as are looked at.
const (
	maxSigned  = 4 << 20
	maxSigners = 100
)

// layersAt are the layers of a tag that are wanted, and not too large.
func layersAt(tag name.Tag, options []remote.Option, wanted func(v1.Descriptor) bool) (list []signedLayer, err error) {
	image, err := remote.Image(tag, options...)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Layers {
		if !wanted(d) || d.Size > maxSigned || len(list) == maxSigners {
			continue
		}
		layer, err := image.LayerByDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		r, err := layer.Compressed()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(r, maxSigned))
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		if got, _, err := v1.SHA256(bytes.NewReader(text)); err != nil || got != d.Digest {
			return nil, fmt.Errorf("%s is damaged", d.Digest)
		}
		list = append(list, signedLayer{d, text})
	}
	return list, nil
}

// anyOf is nil where one of them is right, or why the last is not.
func anyOf(list []signedLayer, right func(signedLayer) error) error {
	err := ErrUnsigned
	for _, s := range list {
		if err = right(s); err == nil {
			return nil
		}
	}
	return err
}

var errOtherArtefact = errors.New("what is signed is another artefact")

// signs says whether a payload is of the artefact, and signed.
func (a Artefact) signs(s signedLayer, verify Verify) error {
	signature, err := base64.StdEncoding.DecodeString(s.Annotations[signatureAnnotation])
	if err != nil {
		return fmt.Errorf("a signature is damaged: %w", err)
	}
	if err := verify(s.text, signature); err != nil {
		return err
	}
	var p payload
	if err := json.Unmarshal(s.text, &p); err != nil {
		return err
	}
	if p.Critical.Type != payloadKind || p.Critical.Image.Digest != a.digest.String() {
		return errOtherArtefact
	}
	return nil
}

// attests says whether an envelope is a provenance of the artefact, and signed.
func (a Artefact) attests(text []byte, verify Verify) error {
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	err := ErrUnsigned
	for _, s := range e.Signatures[:min(len(e.Signatures), maxSigners)] {
		if err = verify(e.signed(), s.Sig); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	var st statement
	if err := json.Unmarshal(e.Payload, &st); err != nil {
		return err
	}
	of := func(s subject) bool { return s.Digest[a.digest.Algorithm] == a.digest.Hex }
	if e.PayloadType != dssePayload || st.PredicateType != provenanceType || !slices.ContainsFunc(st.Subject, of) {
		return errOtherArtefact
	}
	return nil
}
