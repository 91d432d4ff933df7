package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/share"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// inputs are everything that decides what a build makes and that is known
// before it starts. A published result with the same inputs is this build's.
// What a mirror or a number of jobs is called changes nothing and is not here.
type inputs struct {
	Builder    string
	Target     kernel.Target // as [lasting] has it
	Compiler   string        // what it says of itself: another image may have another gcc-13
	Driver     string        // the package's digest
	ModuleType string        // as far as it is known before the package is unpacked
	Exclude    []string
	Debug      bool
	SignedBy   string // the key's identifier and the hash
	Trust      string // what the kernel's keyrings tell of that key
	Signer     string // the certificate's digest: its issuer and serial number are in each signature
	Repository string
	Ref        string
	Commit     string
	Source     string // what else than a repository the source is from: what is in it
}

// digestInputs is sha256:HEX over the inputs.
func (b *build) digestInputs(driver string) (string, error) {
	from := b.Source
	from.Dir = b.share.Linux()
	local, err := source.Fingerprint(b.target, from)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(inputs{
		Builder: b.Builder, Target: lasting(b.target), Compiler: b.compilerVersion, Driver: driver,
		ModuleType: b.preference.Type, Exclude: b.exclude,
		Debug: b.Debug, SignedBy: b.signedBy(), Trust: b.trust(), Signer: b.certificateDigest(),
		Repository: b.Source.Repository, Ref: b.Source.Ref, Commit: b.Source.Commit, Source: local,
	})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// lasting is a target without what changes while the host stays the same: which
// modules and keys happen to be loaded.
func lasting(t kernel.Target) kernel.Target {
	t.Exports.InTree = ""
	t.Signing.Keys, t.Signing.KeysFrom, t.Signing.OtherKeyrings = nil, "", nil
	return t
}

// knownDigest is the digest of a driver package that was read before, and the
// fingerprint that it had then.
type knownDigest struct {
	Fingerprint string `json:"fingerprint"`
	Digest      string `json:"digest"`
}

// packageDigest is the package's digest, read anew only where its fingerprint
// has changed: half a gigabyte takes seconds, over NFS a minute.
func packageDigest(ctx context.Context, s *share.Share, p cuda.Package) (string, error) {
	fingerprint, err := p.Fingerprint()
	if err != nil {
		return "", stage.Wrap(stage.Driver, err, "the driver package "+p.Path+" cannot be read", "make it readable, or download it again")
	}
	path := filepath.Join(s.Digests(), p.Name()+".json")
	if known, err := readDigest(path); err == nil && known.Fingerprint == fingerprint {
		return known.Digest, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("no digest is known")
	}
	digest, err := p.Digest(ctx)
	if err != nil {
		return "", err
	}
	return digest, stage.Wrap(stage.Driver, writeDigest(s, path, knownDigest{fingerprint, digest}), "the driver package's digest cannot be noted", "check that the share is writable")
}

func readDigest(path string) (known knownDigest, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return knownDigest{}, err
	}
	return known, json.Unmarshal(text, &known)
}

func writeDigest(s *share.Share, path string, known knownDigest) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := s.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(text, '\n'), 0o644)
}
