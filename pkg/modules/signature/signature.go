package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Signature is what a module has appended to it.
type Signature struct {
	// Payload is the size in bytes of the module without its signature,
	// which is what the signature covers: all of an unsigned one.
	Payload int64
	// Signers are those who signed it; sign-file makes one, and an unsigned
	// module has none.
	Signers []SignerInfo
}

// SignerInfo is one signature of a message, and the key it says it is by.
type SignerInfo struct {
	// Hash and Key are the digest and the kind of key, by the kernel's names:
	// "sha256", "rsa".
	Hash, Key string
	// KeyID is the key's subject key identifier in lower-case hex, where the
	// signer is named by it (sign-file -k).
	KeyID string
	// Issuer and Serial are the certificate's issuer and serial number, the
	// latter in lower-case hex, where the signer is named by those: by
	// sign-file's default, and so nearly everywhere.
	Issuer, Serial string

	hash           hash
	issuer, serial []byte // as encoded
	value          []byte
}

// Errors of [Signature.Verify].
var (
	// ErrOtherKey is a module that is not signed by the certificate's key.
	ErrOtherKey = errors.New("the module is not signed by this certificate's key")
	// ErrInvalid is one that names the key and was altered since, or that
	// names a key which did not sign it.
	ErrInvalid = errors.New("the signature does not match the module")
)

// Read finds the signature of a module of size bytes. Of an unsigned one it
// returns the size as the payload and no signers. A *FormatError is a
// signature that no kernel can use; then the payload is where a kernel would
// cut, as far as it can be told.
func Read(r io.ReaderAt, size int64) (Signature, error) {
	payload, message, err := split(r, size)
	if err != nil || message == nil {
		return Signature{Payload: payload}, err
	}
	signers, err := parse(message)
	if err != nil {
		return Signature{Payload: payload}, err
	}
	return Signature{Payload: payload, Signers: signers}, nil
}

// Verify holds the signature, read from r, against a certificate, as a kernel
// that has the certificate does: each signature that names its key must match
// ([ErrInvalid]), and there must be one ([ErrOtherKey]). A certificate's dates
// do not matter to a kernel, and not here.
func (s Signature) Verify(r io.ReaderAt, cert *x509.Certificate) error {
	found := false
	for _, signer := range s.Signers {
		if !signer.Names(cert) {
			continue
		}
		found = true
		digest, err := signer.hash.sum(r, s.Payload)
		if err != nil {
			return err
		}
		if err := signer.check(digest, cert); err != nil {
			return err
		}
	}
	if !found {
		return ErrOtherKey
	}
	return nil
}

// Names says whether the signer is the certificate's subject. Of a key without a
// certificate, which a signature may name by one that is not at hand, it is not ruled out.
func (s SignerInfo) Names(cert *x509.Certificate) bool {
	if s.KeyID != "" {
		return s.KeyID == hex.EncodeToString(cert.SubjectKeyId)
	}
	if bare(cert) {
		return true
	}
	return bytes.Equal(s.issuer, cert.RawIssuer) && bytes.Equal(s.serial, rawSerial(cert))
}

// check holds the signature of a digest against the certificate's key.
func (s SignerInfo) check(digest []byte, cert *x509.Certificate) error {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if s.Key == rsaKey && rsa.VerifyPKCS1v15(key, s.hash.id, digest, s.value) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		if s.Key == ecdsaKey && ecdsa.VerifyASN1(key, digest, s.value) {
			return nil
		}
	}
	return ErrInvalid
}

// sum digests the first n bytes of r.
func (h hash) sum(r io.ReaderAt, n int64) ([]byte, error) {
	d := h.id.New()
	copied, err := io.Copy(d, io.NewSectionReader(r, 0, n))
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("digest the module: %w", err)
	}
	return d.Sum(nil), nil
}

// rawSerial is a certificate's serial number as it is encoded, which for some
// numbers begins with a zero byte.
func rawSerial(cert *x509.Certificate) []byte {
	var raw asn1.RawValue
	der, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return nil
	}
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil
	}
	return raw.Bytes
}
