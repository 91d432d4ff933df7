package job

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/stage"
)

// knownDigest is the digest of a driver package that was read before, and the
// fingerprint that it had then.
type knownDigest struct {
	Fingerprint string `json:"fingerprint"`
	Digest      string `json:"digest"`
}

// digestOf is the package's digest, read anew only where its fingerprint
// has changed: half a gigabyte takes seconds, over NFS a minute.
func (s site) digestOf(ctx context.Context, p cuda.Package) (string, error) {
	fingerprint, err := p.Fingerprint()
	if err != nil {
		return "", stage.Wrap(stage.Driver, err, "the driver package "+p.Path+" cannot be read", "make it readable, or download it again")
	}
	if known, err := readDigest(s.share.Digest(p.Path)); err == nil && known.Fingerprint == fingerprint {
		return known.Digest, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("no digest is known")
	}
	digest, err := p.Digest(ctx)
	if err != nil || s.dry {
		return digest, err
	}
	return digest, s.noteDigest(p, digest)
}

// noteDigest notes the digest that a package has as it is now.
func (s site) noteDigest(p cuda.Package, digest string) error {
	fingerprint, err := p.Fingerprint()
	if err == nil {
		err = s.writeDigest(s.share.Digest(p.Path), knownDigest{fingerprint, digest})
	}
	return stage.Wrap(stage.Driver, err, "the driver package's digest cannot be noted", "let the share's owner, as whom builder works there, write to it")
}

func readDigest(path string) (known knownDigest, err error) {
	text, err := beneath.ReadFile(path)
	if err != nil {
		return knownDigest{}, err
	}
	return known, json.Unmarshal(text, &known)
}

func (s site) writeDigest(path string, known knownDigest) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := s.share.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	// Of a run that died over it; only who holds the lock notes a digest.
	if err := atomicfile.Sweep(path); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(text, '\n'), 0o644)
}
