package publish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/k8sp/cuda/internal/beneath"
)

// Sign returns the signature of an index, which is left beside it: a CMS message
// that names its signer and does not hold what it signs. The same text gives the
// same bytes.
type Sign func(text []byte) (signature []byte, err error)

// Trust says whether a signature is of an index and by one who is trusted: nil, or
// an [UntrustedError]. Nothing of the text has been looked at before.
type Trust func(text, signature []byte) error

// UntrustedError is an index that nobody who is trusted has signed.
type UntrustedError struct {
	// Reason is one clause: "manifest.json.p7s is by another key".
	Reason string
}

// Error is the reason.
func (e *UntrustedError) Error() string { return e.Reason }

// Untrusted is an [UntrustedError] with such a reason.
func Untrusted(format string, args ...any) error {
	return &UntrustedError{fmt.Sprintf(format, args...)}
}

// MaxSignature bounds the file of a signature, in bytes. One is of less than a
// thousand; certificates, which are not looked at, may be in it.
const MaxSignature = 64 << 10

// SignatureFile is the name of the signature beside an index: of manifest.json it is
// manifest.json.p7s, as files with a CMS message in DER are called (RFC 8551, section
// 3.2.1).
func SignatureFile(index string) string { return index + ".p7s" }

// Unlisted are the files of a published folder that its index does not list: the index
// itself, and the signature beside it where there is one.
func Unlisted(dir, index string) []File {
	files := []File{{Name: index}}
	if _, err := beneath.Lstat(filepath.Join(dir, SignatureFile(index))); err == nil {
		files = append(files, File{Name: SignatureFile(index)})
	}
	return files
}

// ReadIndex reads the file index of a folder, limit bytes of it and one more where it
// has more. Where trust is not nil, it reads the signature beside it, too, and what it
// returns is of somebody who is trusted; errors.As tells an [UntrustedError].
func ReadIndex(dir, index string, limit int64, trust Trust) ([]byte, error) {
	text, err := readSome(filepath.Join(dir, index), limit)
	if err != nil || trust == nil {
		return text, err
	}
	signature, err := readSignature(dir, index)
	if err != nil {
		return nil, err
	}
	if err := trust(text, signature); err != nil {
		var untrusted *UntrustedError
		if errors.As(err, &untrusted) {
			return nil, Untrusted("%s: %s", SignatureFile(index), untrusted.Reason)
		}
		return nil, err
	}
	return text, nil
}

// readSignature reads the signature of an index.
func readSignature(dir, index string) ([]byte, error) {
	name := SignatureFile(index)
	signature, err := readSome(filepath.Join(dir, name), MaxSignature)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Untrusted("%s is not signed: there is no %s beside it", index, name)
	case err != nil:
		return nil, err
	case len(signature) > MaxSignature:
		return nil, Untrusted("%s has more than %d KiB, and no signature is of that size", name, MaxSignature>>10)
	}
	return signature, nil
}

// readSome reads limit bytes of a file, and one more where it has more.
func readSome(name string, limit int64) ([]byte, error) {
	file, err := beneath.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}
