package signature

import (
	"crypto"
	_ "crypto/sha1"   // CONFIG_MODULE_SIG_SHA1
	_ "crypto/sha256" // sha224, too
	_ "crypto/sha3"
	_ "crypto/sha512" // sha384, too
	"encoding/asn1"
)

// A hash is a digest by the name that CONFIG_MODULE_SIG_HASH has for it.
type hash struct {
	name string
	id   crypto.Hash
	// oid names the digest, ecdsa a signature of it by an elliptic-curve
	// key. RSA's own name is the same for all.
	oid, ecdsa asn1.ObjectIdentifier
}

// The hashes of kernel/module/Kconfig, in all its versions: SHA-224 until 6.6,
// SHA-3 from 6.7 on.
var hashes = []hash{
	{"sha1", crypto.SHA1, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}},
	{"sha224", crypto.SHA224, nist(2, 4), asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 1}},
	{"sha256", crypto.SHA256, nist(2, 1), asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
	{"sha384", crypto.SHA384, nist(2, 2), asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}},
	{"sha512", crypto.SHA512, nist(2, 3), asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}},
	{"sha3-256", crypto.SHA3_256, nist(2, 8), nist(3, 10)},
	{"sha3-384", crypto.SHA3_384, nist(2, 9), nist(3, 11)},
	{"sha3-512", crypto.SHA3_512, nist(2, 10), nist(3, 12)},
}

// nist is an object identifier of NIST's arc for algorithms.
func nist(rest ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4}, rest...)
}

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// The kinds of key, by the kernel's names.
const (
	rsaKey   = "rsa"
	ecdsaKey = "ecdsa"
)

// hashNamed finds a hash by its name.
func hashNamed(name string) (hash, bool) {
	for _, h := range hashes {
		if h.name == name {
			return h, true
		}
	}
	return hash{}, false
}

// hashOf finds a hash by its object identifier.
func hashOf(oid asn1.ObjectIdentifier) (hash, bool) {
	for _, h := range hashes {
		if h.oid.Equal(oid) {
			return h, true
		}
	}
	return hash{}, false
}

// keyOf is the kind of key behind a signature algorithm; empty where it is
// neither of the two.
func keyOf(oid asn1.ObjectIdentifier) string {
	if oid.Equal(oidRSA) {
		return rsaKey
	}
	for _, h := range hashes {
		if h.ecdsa.Equal(oid) {
			return ecdsaKey
		}
	}
	return ""
}
