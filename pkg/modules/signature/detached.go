package signature

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// leastRSA is the size in bits below which an RSA key vouches for nothing: NIST SP
// 800-131A allows no shorter one since 2014.
const leastRSA = 2048

// LoadDetached makes a signer of files that no kernel looks at, for
// [Signer.SignDetached] and [Signer.SignRaw]. Without a certificate of its own in the
// options, it is in the key's file, as in the kernel's own certs/signing_key.pem; where
// that has none, who verifies has to know the public key. An error is of the usage stage,
// as [Load]'s is.
func LoadDetached(o Options) (*Signer, error) {
	h, _ := hashNamed("sha256")
	if o.Certificate == "" {
		key, err := readKey(o.Key)
		if err != nil {
			return nil, err
		}
		if !hasCertificate(o.Key) {
			return loadBare(key, o.Key, h)
		}
		o.Certificate = o.Key
	}
	key, cert, err := o.read()
	if err != nil {
		return nil, err
	}
	if why := unusable(cert, time.Now()); why != "" {
		return nil, stage.New(stage.Usage, fmt.Sprintf("the certificate %s vouches for nothing: it %s", o.Certificate, why),
			"sign with an RSA or ECDSA key whose certificate is valid and for signatures")
	}
	return newSigner(key, cert, h), nil
}

// loadBare makes a signer of a key without a certificate.
func loadBare(key crypto.Signer, file string, h hash) (*Signer, error) {
	cert, err := bareCertificate(key.Public())
	why := ""
	if err == nil {
		why = unusable(cert, time.Now())
	}
	if err != nil || why != "" {
		return nil, stage.New(stage.Usage, fmt.Sprintf("the key %s vouches for nothing: it %s", file, cmp.Or(why, "is of no known kind")), "sign with an RSA or ECDSA key")
	}
	return newSigner(key, cert, h), nil
}

// SignDetached returns a signature of text for a file beside it: a CMS message in
// DER as that of a module is, which `openssl cms -verify -binary -inform DER
// -content TEXT` verifies. The same text gives the same bytes.
func (s *Signer) SignDetached(text []byte) ([]byte, error) {
	return s.message(bytes.NewReader(text), int64(len(text)))
}

// SignRaw returns the signature of text without anything around it: of its SHA-256, RSA's
// by PKCS #1 v1.5, ECDSA's as RFC 3279 encodes it, as cosign and DSSE have it. The same
// text gives the same bytes.
func (s *Signer) SignRaw(text []byte) ([]byte, error) {
	digest, err := s.hash.sum(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, err
	}
	return s.sign(digest)
}

// Trust are the certificates and keys of those who may vouch for what is published.
type Trust struct {
	certs []*x509.Certificate
	now   func() time.Time // for tests
}

// TrustIn is the trust in one certificate.
func TrustIn(cert *x509.Certificate) *Trust {
	return &Trust{certs: []*x509.Certificate{cert}, now: time.Now}
}

// ReadTrust reads files of certificates, PEM (each may have several) or DER, or of public
// keys in PEM, as cosign's, and all such files in folders but those whose names begin with a dot, as those do by which
// Kubernetes replaces what it mounts. None may be in the folder outside, which holds
// what they are to vouch for: whoever writes there could give any. A file that cannot
// be read is an error of the usage stage, one that is no certificate, or a folder
// without any, a [publish.UntrustedError].
func ReadTrust(names []string, outside string) (*Trust, error) {
	t := &Trust{now: time.Now}
	for _, name := range names {
		files, err := certificateFiles(name)
		if err != nil {
			return nil, stage.Wrap(stage.Usage, err, "the trusted certificates cannot be read", "check the path given with --trust, and that it is mounted into the container")
		}
		if len(files) == 0 {
			return nil, publish.Untrusted("the folder %s has no certificates in it", name)
		}
		for _, file := range files {
			if within(file, outside) {
				return nil, publish.Untrusted("the certificate %s is in %s, where whoever writes that can put any", file, outside)
			}
			certs, err := readCertificates(file)
			if err != nil {
				return nil, err
			}
			t.certs = append(t.certs, certs...)
		}
	}
	if len(t.certs) == 0 {
		return nil, publish.Untrusted("no certificate is named")
	}
	return t, nil
}

// certificateFiles are the files that a name stands for, sorted.
func certificateFiles(name string) ([]string, error) {
	if strings.Contains(name, "-----BEGIN") {
		return nil, errContent
	}
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		file := filepath.Join(name, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if info, err = os.Stat(file); err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, file)
		}
	}
	return files, nil
}

// within says whether a file is beneath a folder, however it is reached: by links,
// or by another mount of the same file system. A folder that is not there has nothing.
func within(file, folder string) bool {
	real, err := filepath.EvalSymlinks(file)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	is, statErr := os.Stat(folder)
	if err != nil || statErr != nil {
		return false
	}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if above, err := os.Stat(dir); err == nil && os.SameFile(above, is) {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// readCertificates reads all certificates of a file.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "a trusted certificate cannot be read", "check the path given with --trust, and that it is mounted into the container")
	}
	var ders [][]byte
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			ders = append(ders, block.Bytes)
		case "PUBLIC KEY":
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, publish.Untrusted("%s holds a public key that is damaged, or of a kind that nobody signs with", file)
			}
			cert, err := bareCertificate(key)
			if err != nil {
				return nil, publish.Untrusted("%s holds a public key that cannot be named", file)
			}
			certs = append(certs, cert)
		}
	}
	if len(ders)+len(certs) == 0 {
		ders = [][]byte{data}
	}
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, publish.Untrusted("%s holds no X.509 certificate, PEM or DER, and no public key", file)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// Verify says whether a signature, as [Signer.SignDetached] makes it, is of text and
// by one of the certificates: nil or a [publish.UntrustedError]. It has to be the only
// one of its message. A certificate must be valid now, be for signatures, and name the
// signer itself: what else it or the message has of certificates vouches for nobody.
func (t *Trust) Verify(text, signature []byte) error {
	signer, err := parseDetached(signature)
	if err != nil {
		return err
	}
	named := slices.DeleteFunc(slices.Clone(t.certs), func(c *x509.Certificate) bool { return !signer.Names(c) })
	if len(named) == 0 {
		return publish.Untrusted("it is by another key, that of %s, and the certificates that are trusted are %s", signer, t)
	}
	digest, err := signer.hash.sum(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	// Certificates of several keys may have the same name and number.
	named = slices.DeleteFunc(named, func(c *x509.Certificate) bool { return signer.check(digest, c) != nil })
	if len(named) == 0 {
		return publish.Untrusted("it is of something else, or not by the key that it names: one of the two files was changed after it was signed")
	}
	var why []string
	for _, cert := range named {
		reason := unusable(cert, t.now())
		if reason == "" {
			return nil
		}
		why = append(why, reason)
	}
	return publish.Untrusted("it is by %s, whose certificate %s", named[0].Subject, why[0])
}

// VerifyRaw says whether a signature, as [Signer.SignRaw] makes it, is of text and by one
// of the trusted: nil or a [publish.UntrustedError].
func (t *Trust) VerifyRaw(text, signature []byte) error {
	h, _ := hashNamed("sha256")
	digest, err := h.sum(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	why := publish.Untrusted("it is of something else, or by another key than those that are trusted: %s", t)
	for _, cert := range t.certs {
		for _, kind := range []string{rsaKey, ecdsaKey} {
			if (SignerInfo{Key: kind, hash: h, value: signature}).check(digest, cert) != nil {
				continue
			}
			reason := unusable(cert, t.now())
			if reason == "" {
				return nil
			}
			why = publish.Untrusted("it is by %s, whose certificate %s", cert.Subject, reason)
		}
	}
	return why
}

// String is their names.
func (t *Trust) String() string {
	var names []string
	for _, c := range t.certs {
		if bare(c) {
			names = append(names, "the key "+KeyID(c))
			continue
		}
		names = append(names, fmt.Sprintf("%s (serial number %x)", c.Subject, rawSerial(c)))
	}
	return strings.Join(names, ", ")
}

// parseDetached is the one signer of a message.
func parseDetached(message []byte) (SignerInfo, error) {
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(message, &whole); err != nil || whole.Tag != asn1.TagSequence {
		return SignerInfo{}, publish.Untrusted("it is no CMS message in DER, or not the whole of one")
	} else if len(rest) > 0 {
		return SignerInfo{}, publish.Untrusted("%d bytes follow the CMS message that it is", len(rest))
	}
	signers, err := parse(message)
	var format *FormatError
	switch {
	case errors.As(err, &format):
		return SignerInfo{}, publish.Untrusted("%s", format.Reason)
	case err != nil:
		return SignerInfo{}, err
	case len(signers) > 1:
		return SignerInfo{}, publish.Untrusted("there are %d signatures in it, where there has to be one", len(signers))
	case slices.Contains([]string{"sha1", "sha224"}, signers[0].Hash):
		return SignerInfo{}, publish.Untrusted("it is of a %s, which proves too little", signers[0].Hash)
	}
	return signers[0], nil
}

// String is how a message names the signer, who may be anybody: in one line of a
// bounded length.
func (s SignerInfo) String() string {
	if s.KeyID != "" {
		return fmt.Sprintf("the identifier %.80s", s.KeyID)
	}
	return fmt.Sprintf("%.200q, serial number %.80s", s.Issuer, s.Serial)
}

// unusable says why a certificate vouches for nothing; "" where it does. Dates are
// looked at, other than by kernels, since whoever names the certificate sees them.
func unusable(cert *x509.Certificate, now time.Time) string {
	const day = "2006-01-02"
	switch {
	case bare(cert): // whoever named the key has decided
	case now.After(cert.NotAfter):
		return "has expired, on " + cert.NotAfter.UTC().Format(day)
	case now.Before(cert.NotBefore):
		return fmt.Sprintf("is valid from %s on, and it is %s by this machine's clock", cert.NotBefore.UTC().Format(day), now.UTC().Format(day))
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "is not for signatures (its key usage has no digitalSignature)"
	case !signsCode(cert):
		return "is for something else (its extended key usage has no codeSigning)"
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < leastRSA {
			return fmt.Sprintf("has an RSA key of %d bits, and %d are the least", n, leastRSA)
		}
		return ""
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return "has a key on the curve " + key.Curve.Params().Name + ", and only P-256, P-384 and P-521 serve"
		}
		return ""
	}
	return "has a key that is neither RSA nor ECDSA"
}

// signsCode says whether a certificate may be for what is run: it is where it names
// no purpose at all.
func signsCode(cert *x509.Certificate) bool {
	if len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.ContainsFunc(cert.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageCodeSigning || u == x509.ExtKeyUsageAny
	})
}
