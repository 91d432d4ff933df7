package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/stage"
)

// strip takes the debugging information out of modules whose ready-made core
// objects brought it along: what is compiled here has none.
func (b *build) strip(ctx context.Context) error {
	for _, path := range b.built.Files {
		m, err := ko.Open(path)
		if err != nil || len(m.Debug) == 0 {
			continue // what is no module is the check stage's to find
		}
		var output bytes.Buffer
		c := command.Command{Args: []string{"strip", "--strip-debug", path}, Env: []string{"LC_ALL=C"}, Output: &output}
		if err := b.Runner.Run(ctx, c); err != nil {
			return stage.Wrap(stage.Build, fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String())),
				"the debugging information cannot be taken out of the modules", "keep it with --debug-info")
		}
		zerolog.Ctx(ctx).Debug().Str("module", path).Msg("debugging information taken out")
	}
	return nil
}

// sign signs what was built, if the user gave a key.
func (b *build) sign(ctx context.Context) error {
	if b.signer == nil {
		return nil
	}
	for _, path := range b.built.Files {
		if err := b.signer.SignFile(path); err != nil {
			return b.share.Explain(stage.Build, stage.Wrap(stage.Build, err, "the modules cannot be signed", "look at the cause, and run again"))
		}
	}
	zerolog.Ctx(ctx).Info().Int("modules", len(b.built.Files)).Str("key", b.signer.KeyID()).Str("hash", b.signer.Hash()).
		Str("kernel", b.trust()).Msg("modules signed")
	return nil
}

// trust says what the kernel's keyrings tell of the signer's key; "" where
// nothing is signed.
func (b *build) trust() string {
	s := b.target.Signing
	switch {
	case b.signer == nil:
		return ""
	case s.KeysFrom == "":
		return "its keys are not to be seen"
	case slices.Contains(s.Keys, b.signer.KeyID()):
		return "holds this key"
	}
	return "does not hold this key"
}

// certificateDigest is sha256:HEX of the signer's certificate; empty where
// there is none.
func (b *build) certificateDigest() string {
	if b.signer == nil {
		return ""
	}
	sum := sha256.Sum256(b.signer.Certificate().Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// signedBy is the key and the hash that the modules are signed with; empty
// where they are not.
func (b *build) signedBy() string {
	if b.signer == nil {
		return ""
	}
	return b.signer.Hash() + ":" + b.signer.KeyID()
}
