package signature

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
)

// The structures of RFC 5652, as far as kernels read them
// (crypto/asymmetric_keys/pkcs7.asn1).

// contentInfo is section 3's.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// signedData is section 5.1's.
type signedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      encapsulated
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	Revocations  asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signerInfo  `asn1:"set"`
}

// encapsulated is section 5.2's; without data, the content is elsewhere.
type encapsulated struct {
	Type asn1.ObjectIdentifier
	Data asn1.RawValue `asn1:"explicit,optional,tag:0"`
}

// signerInfo is section 5.3's. Version 1 names the signer by an
// issuerAndSerial, version 3 by a subject key identifier.
type signerInfo struct {
	Version    int
	ID         asn1.RawValue
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm  pkix.AlgorithmIdentifier
	Value      []byte
	Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
}

// issuerAndSerial is section 10.2.4's. Both are kept as they are encoded,
// because that is what a kernel compares.
type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial asn1.RawValue
}

// parse reads a message as pkcs7_parse_message and pkcs7_verify do for a
// module. Like theirs, its decoder leaves alone what follows the message.
func parse(message []byte) ([]SignerInfo, error) {
	var info contentInfo
	if _, err := asn1.Unmarshal(message, &info); err != nil {
		return nil, malformed("it is not a CMS message: %v", err)
	}
	if !info.Type.Equal(oidSignedData) {
		return nil, malformed("its message is of type %v and not signed data", info.Type)
	}
	var data signedData
	if _, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil {
		return nil, malformed("its message is damaged: %v", err)
	}
	switch {
	case !data.Content.Type.Equal(oidData):
		return nil, malformed("its message signs content of type %v and not plain data", data.Content.Type)
	case len(data.Content.Data.FullBytes) > 0:
		return nil, malformed("its message signs content of its own")
	case len(data.Signers) == 0:
		return nil, malformed("its message has no signer")
	}
	signers := make([]SignerInfo, 0, len(data.Signers))
	for _, s := range data.Signers {
		signer, err := s.parse(data.Version)
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// parse reads one signer of a message.
func (s signerInfo) parse(message int) (SignerInfo, error) {
	h, known := hashOf(s.Digest.Algorithm)
	key := keyOf(s.Algorithm.Algorithm)
	signer := SignerInfo{Hash: h.name, Key: key, hash: h, value: s.Value}
	switch {
	case message != s.Version:
		return signer, malformed("its message is of version %d and its signer of version %d", message, s.Version)
	case len(s.Attributes.FullBytes) > 0:
		return signer, malformed("it has signed attributes, which kernels refuse (openssl cms makes none with -noattr)")
	case !known:
		return signer, unsupported("its hash %v is not one that kernels offer", s.Digest.Algorithm)
	case key == "":
		return signer, unsupported("its signature algorithm %v is neither RSA nor ECDSA", s.Algorithm.Algorithm)
	}
	switch {
	case s.Version == 1 && s.ID.Class == asn1.ClassUniversal:
		var id issuerAndSerial
		if _, err := asn1.Unmarshal(s.ID.FullBytes, &id); err != nil {
			return signer, malformed("its signer's name is damaged: %v", err)
		}
		signer.issuer, signer.serial = id.Issuer.FullBytes, id.Serial.Bytes
		signer.Issuer, signer.Serial = nameString(signer.issuer), hex.EncodeToString(signer.serial)
	case s.Version == 3 && s.ID.Class == asn1.ClassContextSpecific && s.ID.Tag == 0:
		signer.KeyID = hex.EncodeToString(s.ID.Bytes)
	default:
		return signer, malformed("its signer, of version %d, is not named as that version does", s.Version)
	}
	return signer, nil
}

// nameString is a distinguished name for people, in hex where it is damaged.
func nameString(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return hex.EncodeToString(raw)
	}
	return name.String()
}

// signerID is how a message of a version names a signer: by issuer and serial number, as
// sign-file does, or, of a key without a certificate, by its identifier.
func signerID(cert *x509.Certificate) (version int, id asn1.RawValue, err error) {
	if bare(cert) {
		return 3, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: cert.SubjectKeyId}, nil
	}
	serial, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return 0, id, fmt.Errorf("encode the certificate's serial number: %w", err)
	}
	der, err := asn1.Marshal(issuerAndSerial{asn1.RawValue{FullBytes: cert.RawIssuer}, asn1.RawValue{FullBytes: serial}})
	if err != nil {
		return 0, id, fmt.Errorf("encode the signer's name: %w", err)
	}
	return 1, asn1.RawValue{FullBytes: der}, nil
}

// encode is the message that sign-file writes for a signature value: algorithms without
// parameters but for RSA's NULL.
func encode(cert *x509.Certificate, h hash, key string, value []byte) ([]byte, error) {
	version, id, err := signerID(cert)
	if err != nil {
		return nil, err
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: h.oid}
	algorithm := pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	if key == ecdsaKey {
		algorithm = pkix.AlgorithmIdentifier{Algorithm: h.ecdsa}
	}
	data, err := asn1.Marshal(signedData{
		Version: version, Digests: []pkix.AlgorithmIdentifier{digest}, Content: encapsulated{Type: oidData},
		Signers: []signerInfo{{Version: version, ID: id, Digest: digest, Algorithm: algorithm, Value: value}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the signature: %w", err)
	}
	content := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: data}
	return asn1.Marshal(contentInfo{Type: oidSignedData, Content: content})
}
