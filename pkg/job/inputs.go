package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
)

// inputs are everything that decides what a build makes and that is known
// before it starts. A published result with the same inputs is this build's.
// What a mirror or a number of jobs is called changes nothing and is not here.
type inputs struct {
	Builder    string
	Target     kernel.Target // as [lasting] has it
	Compiler   string        // what it says of itself: another image may have another gcc-13
	Driver     string        // the package's digest
	Vouched    []modules.Check
	ModuleType string // as far as it is known before the package is unpacked
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
func (b *build) digestInputs() (string, error) {
	from := b.Source
	from.Dir = b.share.Linux()
	local, err := source.Fingerprint(b.target, from)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(inputs{
		Builder: b.Builder, Target: lasting(b.target), Compiler: b.compilerVersion, Driver: b.pkgDigest, Vouched: b.vouched,
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
