package modules

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/modules/signature"
)

// Signature is what is appended to a module, as far as it can be told.
type Signature struct {
	// Present says that there is one; the rest is empty where there is not.
	Present bool
	// Damaged says why a kernel could not take it for a signature (EBADMSG),
	// which it never lets pass.
	Damaged string
	// Unsupported says what of its cryptography no kernel knows (ENOPKG),
	// which counts as no signature.
	Unsupported string
	// KeyID is the subject key identifier, in lower-case hex, of the key that
	// made it; empty where neither it nor a certificate at hand says so.
	KeyID string
	// Integrity says whether it is of this module's content, by that key.
	Integrity Integrity

	parsed signature.Signature
}

// Integrity is whether a signature is right.
type Integrity string

// Unverified is a signature whose certificate is not at hand.
const (
	Unverified Integrity = ""
	Valid      Integrity = "valid"
	Wrong      Integrity = "wrong"
)

// readSignature reads what is appended to the module in r, size bytes of it.
func readSignature(r io.ReaderAt, size int64) (Signature, error) {
	parsed, err := signature.Read(r, size)
	var format *signature.FormatError
	switch {
	case errors.As(err, &format) && format.Unsupported:
		return Signature{Present: true, Unsupported: format.Reason}, nil
	case errors.As(err, &format):
		return Signature{Present: true, Damaged: format.Reason}, nil
	case err != nil:
		return Signature{}, err
	}
	s := Signature{Present: len(parsed.Signers) > 0, parsed: parsed}
	if len(parsed.Signers) == 1 {
		s.KeyID = parsed.Signers[0].KeyID
	}
	return s, nil
}

// Authenticate returns the modules with their signatures held against a
// certificate, as a kernel that has it would. Signatures by other keys stay
// unverified.
func Authenticate(mods []Module, cert *x509.Certificate) ([]Module, error) {
	checked := make([]Module, 0, len(mods))
	for _, m := range mods {
		if err := m.authenticate(cert); err != nil {
			return nil, fmt.Errorf("verify the signature of %s: %w", m.File, err)
		}
		checked = append(checked, m)
	}
	return checked, nil
}

func (m *Module) authenticate(cert *x509.Certificate) error {
	if len(m.Signature.parsed.Signers) == 0 {
		return nil
	}
	f, err := beneath.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := m.Signature.parsed.Verify(f, cert); {
	case errors.Is(err, signature.ErrOtherKey):
		return nil
	case errors.Is(err, signature.ErrInvalid):
		m.Signature.Integrity = Wrong
	case err != nil:
		return err
	default:
		m.Signature.Integrity = Valid
	}
	m.Signature.KeyID = signature.KeyID(cert)
	return nil
}
