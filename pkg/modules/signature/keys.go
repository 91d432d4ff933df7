package signature

import (
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
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

// bareCertificate stands for a public key that has no certificate: there is nothing in it
// but the key and its identifier (RFC 5280, section 4.2.1.2, method 1), by which a
// signature names it.
func bareCertificate(key crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	id := sha1.Sum(info.Key.Bytes)
	return &x509.Certificate{PublicKey: key, SubjectKeyId: id[:]}, nil
}

// bare says whether a certificate only stands for a key.
func bare(cert *x509.Certificate) bool { return cert.Raw == nil }
