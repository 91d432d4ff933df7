package signature

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// marker ends a signed module: MODULE_SIG_STRING of
// include/linux/module_signature.h.
const marker = "~Module signature appended~\n"

// maxMessage bounds the CMS message. With a chain of certificates in it, it is
// still far smaller.
const maxMessage = 1 << 20

// pkcs7 is PKEY_ID_PKCS7, the only kind of signature since 4.3.
const pkcs7 = 2

// trailer is struct module_signature of include/linux/module_signature.h. All
// but the last two fields, and the padding, are zero for a CMS message.
type trailer struct {
	Algo, Hash, IDType, SignerLen, KeyIDLen uint8
	Pad                                     [3]uint8
	SigLen                                  uint32 // big-endian
}

// trailerSize is the size of the struct in a file, in bytes.
const trailerSize = 12

// FormatError is an appended signature that no kernel can use.
type FormatError struct {
	// Reason is what is wrong with it: "its message has no signer".
	Reason string
	// Unsupported says that a kernel goes on as if there were no signature
	// (ENOPKG), where it need not have one. Any other defect is fatal even
	// there (module_sig_check of kernel/module/signing.c).
	Unsupported bool
}

// Error is the reason, after the words that it is about.
func (e *FormatError) Error() string { return "the appended signature cannot be used: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...), Unsupported: true}
}

// split finds the CMS message in a module of size bytes. It returns how many
// bytes come before the message, and no message where the module is unsigned.
// Its checks are those of mod_check_sig (kernel/module_signature.c).
func split(r io.ReaderAt, size int64) (payload int64, message []byte, err error) {
	end := make([]byte, len(marker))
	rest := size - int64(len(marker))
	if rest <= 0 {
		return size, nil, nil
	}
	if _, err := r.ReadAt(end, rest); err != nil && err != io.EOF {
		return size, nil, err
	}
	if string(end) != marker {
		return size, nil, nil
	}
	if rest <= trailerSize {
		return rest, nil, malformed("the file is cut short before it")
	}
	raw := make([]byte, trailerSize)
	if _, err := r.ReadAt(raw, rest-trailerSize); err != nil {
		return rest, nil, err
	}
	var t trailer
	if err := binary.Read(bytes.NewReader(raw), binary.BigEndian, &t); err != nil {
		return rest, nil, err
	}
	payload = rest - trailerSize - int64(t.SigLen)
	switch {
	case payload <= 0:
		return rest, nil, malformed("it claims %d bytes, more than the file has", t.SigLen)
	case t.IDType != pkcs7:
		return rest, nil, unsupported("its kind is %d and kernels since 4.3 know only %d, a CMS message", t.IDType, pkcs7)
	case t != trailer{IDType: pkcs7, SigLen: t.SigLen}:
		return rest, nil, malformed("its struct module_signature has values where it must have zeros")
	case t.SigLen > maxMessage:
		return rest, nil, malformed("it claims %d bytes, more than any signature needs", t.SigLen)
	}
	message = make([]byte, t.SigLen)
	if _, err := r.ReadAt(message, payload); err != nil {
		return rest, nil, err
	}
	return payload, message, nil
}

// appendix is what a signed module has after its payload.
func appendix(message []byte) []byte {
	t := trailer{IDType: pkcs7, SigLen: uint32(len(message))}
	var b bytes.Buffer
	b.Write(message)
	// A bytes.Buffer takes everything, and the struct has a fixed size.
	_ = binary.Write(&b, binary.BigEndian, t)
	b.WriteString(marker)
	return b.Bytes()
}
