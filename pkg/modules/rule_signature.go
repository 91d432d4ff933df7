package modules

import (
	"fmt"
	"slices"

	"github.com/k8sp/cuda/pkg/kernel"
)

// SignatureCheck is the name of the check of a module's signature, as --allow takes it.
const SignatureCheck = "signature"

// checkSignature follows module_sig_check: what cannot be a signature, or is
// one of other content by a key that the kernel holds, is never accepted; one
// by another key is as good as none, and none is accepted unless signatures
// are enforced.
func checkSignature(g gate) []Check {
	return g.each(func(m Module) (Verdict, string) {
		switch {
		case !g.configKnown():
			return NotCheckable, noConfig
		case !g.target.Signing.Checked:
			return Passed, "the kernel looks at no signature (MODULE_SIG is not set)"
		case m.Signature.Damaged != "":
			return Failed, fmt.Sprintf("%s has a signature that no kernel would take, enforced or not: %s", m.File, m.Signature.Damaged)
		case !m.Signature.Present:
			return g.asUnsigned(m, "it is not signed")
		case m.Signature.Unsupported != "":
			return g.unverifiable(m, "its signature is of a kind that kernels do not know ("+m.Signature.Unsupported+")")
		}
		if lacks := g.lackedBy(m.Signature); lacks != "" {
			return g.unverifiable(m, "the kernel cannot verify its signature ("+lacks+" is not set)")
		}
		return g.signature(m)
	})
}

// unverifiable judges a signature that the kernel knows no way to verify (ENOPKG), which
// to it is none since 5.4 and was refused before.
func (g gate) unverifiable(m Module, why string) (Verdict, string) {
	if g.before(5, 4) {
		return Failed, fmt.Sprintf("%s would be refused: %s, which a kernel before 5.4 does not pass over", m.File, why)
	}
	return g.asUnsigned(m, why)
}

// algorithms are the options that build what signatures are verified with, by
// the kernel's names of hashes and kinds of key; RSA comes with MODULE_SIG.
var algorithms = map[string]string{
	"sha1": "CRYPTO_SHA1", "sha224": "CRYPTO_SHA256", "sha256": "CRYPTO_SHA256",
	"sha384": "CRYPTO_SHA512", "sha512": "CRYPTO_SHA512",
	"sha3-256": "CRYPTO_SHA3", "sha3-384": "CRYPTO_SHA3", "sha3-512": "CRYPTO_SHA3",
	"ecdsa": "CRYPTO_ECDSA",
}

// lackedBy is the option without which the kernel cannot verify a signature
// (ENOPKG); empty where it can. What is a module is loaded when it is needed,
// and the hash of the kernel's own modules is always there.
func (g gate) lackedBy(s Signature) string {
	for _, signer := range s.parsed.Signers {
		for _, name := range []string{signer.Hash, signer.Key} {
			option := algorithms[name]
			if _, set := g.target.Config.Get(option); option != "" && !set && name != g.target.Signing.Hash {
				return option
			}
		}
	}
	return ""
}

// signature judges a well-formed signature.
func (g gate) signature(m Module) (Verdict, string) {
	s := g.target.Signing
	known := s.KeysFrom != "" && m.Signature.KeyID != ""
	// A key that is there may be in a keyring that modules are not verified
	// with; one that is not there is in none.
	held := known && slices.Contains(s.Keys, m.Signature.KeyID)
	switch {
	case held && m.Signature.Integrity == Valid && s.Enforcement != kernel.NotEnforced && len(s.OtherKeyrings) > 0:
		return NotCheckable, "it is signed by a key that the kernel holds, which may be one for other uses than modules: there are keys in " + some(s.OtherKeyrings) + " too"
	case held && m.Signature.Integrity == Valid:
		return Passed, ""
	case m.Signature.Integrity == Wrong && (held || !known):
		return Failed, m.File + " has a signature that is not of its content: it was changed after it was signed"
	case known && !held:
		return g.asUnsigned(m, fmt.Sprintf("the kernel does not hold the key %s that signed it", m.Signature.KeyID))
	case m.Signature.Integrity == Valid && s.Enforcement == kernel.NotEnforced:
		return Passed, ""
	case m.Signature.Integrity == Valid:
		return NotCheckable, "it is signed, and the keys that the kernel holds are not to be seen: mount the host's /proc/keys at /host/proc/keys"
	}
	return NotCheckable, "it is signed, and there is no certificate here to verify it with: name it with --signing-cert"
}

// asUnsigned judges a module that to the kernel is not signed.
func (g gate) asUnsigned(m Module, why string) (Verdict, string) {
	switch s := g.target.Signing; s.Enforcement {
	case kernel.Enforced:
		return Failed, fmt.Sprintf("%s would be refused: %s, and the kernel wants signed modules (%s)", m.File, why, s.From)
	case kernel.NotEnforced:
		return Passed, why + ", which taints the kernel and no more"
	}
	return NotCheckable, why + ", and whether the kernel wants signed modules is not to be seen: mount the host's /sys/kernel/security at /host/sys/kernel/security"
}

// Unacceptable says why a kernel would refuse every module that is signed with a key,
// or, where keyID is empty, that is not signed at all; "" where it would not, or where
// that is not known. It is what the signature check would find, before anything is built.
func Unacceptable(t kernel.Target, keyID string) string {
	s := t.Signing
	switch {
	case s.Enforcement != kernel.Enforced:
		return ""
	case keyID == "":
		return fmt.Sprintf("this kernel wants signed modules (%s), and there is no key to sign them with", s.From)
	case s.KeysFrom != "" && !slices.Contains(s.Keys, keyID):
		return fmt.Sprintf("this kernel wants signed modules (%s), and it does not hold the key %s to sign them with", s.From, keyID)
	}
	return ""
}
