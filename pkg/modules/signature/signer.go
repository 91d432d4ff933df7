package signature

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
)

// Signer signs modules as scripts/sign-file of the kernel's source does, with
// a key that it never shows: the key is out of reach of whatever prints,
// encodes or logs a Signer. [Load] makes one.
type Signer struct {
	cert *x509.Certificate
	hash hash
	key  string // "rsa" or "ecdsa"
	// sign signs a digest. It is a function, and the key not a field, so that
	// no printer that walks the structure comes by the key.
	sign func(digest []byte) ([]byte, error)
}

// Certificate is the one whose key signs.
func (s *Signer) Certificate() *x509.Certificate { return s.cert }

// Hash is the digest that it signs, by the kernel's name: "sha256".
func (s *Signer) Hash() string { return s.hash.name }

// KeyID is the identifier of the key, as [KeyID] of its certificate.
func (s *Signer) KeyID() string { return KeyID(s.cert) }

// Sign returns what is to be appended to an unsigned module of size bytes. The
// same module gives the same bytes: RSA's signatures (PKCS #1 v1.5) have no
// random part, and ECDSA's are made as RFC 6979 says.
func (s *Signer) Sign(r io.ReaderAt, size int64) ([]byte, error) {
	message, err := s.message(r, size)
	if err != nil {
		return nil, err
	}
	return appendix(message), nil
}

// message is a CMS message that signs the first size bytes of r.
func (s *Signer) message(r io.ReaderAt, size int64) ([]byte, error) {
	digest, err := s.hash.sum(r, size)
	if err != nil {
		return nil, err
	}
	value, err := s.sign(digest)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return encode(s.cert, s.hash, s.key, value)
}

// SignFile signs the module at path, in place of any signature that it has.
// The signed file is verified against the certificate before it replaces the
// other, in one step; on an error the file is as it was.
func (s *Signer) SignFile(path string) error {
	if err := s.signFile(path); err != nil {
		return fmt.Errorf("sign %s: %w", filepath.Base(path), err)
	}
	return nil
}

func (s *Signer) signFile(path string) (err error) {
	in, err := beneath.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := beneath.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil {
			_ = beneath.Remove(out.Name())
		}
	}()
	if err := s.write(out, in, info.Size()); err != nil {
		return err
	}
	if err := errors.Join(beneath.ChmodFile(out, info.Mode().Perm()), out.Sync()); err != nil {
		return err
	}
	if err := beneath.Rename(out.Name(), path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// write leaves the signed form of a module of size bytes in out, and reads it
// back.
func (s *Signer) write(out *os.File, in io.ReaderAt, size int64) error {
	// A signature that no kernel can use is replaced as well as a good one.
	var format *FormatError
	old, err := Read(in, size)
	if err != nil && !errors.As(err, &format) {
		return err
	}
	if _, err := io.Copy(out, io.NewSectionReader(in, 0, old.Payload)); err != nil {
		return err
	}
	added, err := s.Sign(out, old.Payload)
	if err != nil {
		return err
	}
	if _, err := out.Write(added); err != nil {
		return err
	}
	signed, err := Read(out, old.Payload+int64(len(added)))
	if err != nil {
		return err
	}
	return signed.Verify(out, s.cert)
}
