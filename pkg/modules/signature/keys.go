package signature

import (
	"crypto/x509"
	"encoding/hex"
)

// KeyID is the identifier by which a kernel lists a certificate's key in
// /proc/keys: the subject key identifier in lower-case hex or, in a
// certificate without one, the serial number (x509_key_preparse of
// crypto/asymmetric_keys/x509_public_key.c).
func KeyID(cert *x509.Certificate) string {
	if len(cert.SubjectKeyId) > 0 {
		return hex.EncodeToString(cert.SubjectKeyId)
	}
	return hex.EncodeToString(rawSerial(cert))
}
