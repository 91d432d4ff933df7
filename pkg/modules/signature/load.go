package signature

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options name what to sign with.
type Options struct {
	// Key is the path of the private key: RSA, or ECDSA on a curve that the
	// kernel knows; PEM, not encrypted (PKCS #8, PKCS #1 or SEC 1).
	Key string
	// Certificate is the path of its X.509 certificate, PEM or DER. It may be
	// the same file, as the kernel's own certs/signing_key.pem is.
	Certificate string
}

// maxKeyFile bounds a key or certificate file, in bytes; a chain of
// certificates fits.
const maxKeyFile = 256 << 10

// Load makes the signer of modules for a kernel, with the hash that the
// kernel's config names. What the kernel could not verify is refused here,
// before anything is built. An error is of the usage stage; it names the file
// and what is wrong with it, and never shows what is in it.
func Load(ctx context.Context, o Options, t kernel.Target) (*Signer, error) {
	if o.Key == "" || o.Certificate == "" {
		return nil, stage.New(stage.Usage, "signing takes a key and its certificate, and only one of them was given",
			"give both --signing-key and --signing-cert, or neither")
	}
	key, cert, err := o.read()
	if err != nil {
		return nil, err
	}
	h, err := hashFor(t)
	if err != nil {
		return nil, err
	}
	if err := verifiable(key.Public(), o.Key, t); err != nil {
		return nil, err
	}
	if !t.Config.Bool("MODULE_SIG") {
		zerolog.Ctx(ctx).Warn().Msg("this kernel does not look at signatures (CONFIG_MODULE_SIG is not set); the modules are signed all the same")
	}
	return newSigner(key, cert, h), nil
}

// read reads the key and its certificate.
func (o Options) read() (crypto.Signer, *x509.Certificate, error) {
	key, err := readKey(o.Key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := ReadCertificate(o.Certificate)
	if err != nil {
		return nil, nil, err
	}
	if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, nil, stage.New(stage.Usage, fmt.Sprintf("the certificate %s is not that of the key %s, so nobody could verify what it signs", o.Certificate, o.Key),
			"give the certificate that was made for the key")
	}
	return key, cert, nil
}

// newSigner takes a key into a signer.
func newSigner(key crypto.Signer, cert *x509.Certificate, h hash) *Signer {
	kind := rsaKey
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		kind = ecdsaKey
	}
	// Without a source of randomness ECDSA is deterministic (RFC 6979), as
	// RSA of PKCS #1 v1.5 always is.
	return &Signer{cert: cert, hash: h, key: kind, sign: func(digest []byte) ([]byte, error) {
		return key.Sign(nil, digest, h.id)
	}}
}

// hashFor is the hash that the kernel's own modules are signed with, which it
// therefore has built in.
func hashFor(t kernel.Target) (hash, error) {
	name := t.Signing.Hash
	if name == "" {
		name, _ = t.Config.Get("MODULE_SIG_HASH")
	}
	if name == "" {
		name = "sha256"
	}
	h, ok := hashNamed(name)
	if !ok {
		return hash{}, stage.New(stage.Usage, fmt.Sprintf("this kernel's signatures are of %q (CONFIG_MODULE_SIG_HASH), which builder cannot make", name),
			"build without --signing-key, and sign the modules with the kernel's scripts/sign-file")
	}
	return h, nil
}

// verifiable refuses a key that the kernel could not verify with.
func verifiable(public crypto.PublicKey, file string, t kernel.Target) error {
	r := t.Release
	refuse := func(what string, args ...any) error {
		return stage.New(stage.Usage, fmt.Sprintf("modules for %s cannot be signed with %s: ", r.Full, file)+fmt.Sprintf(what, args...),
			"sign with an RSA key, which every kernel since 4.3 verifies")
	}
	if !r.AtLeast(4, 3) {
		return stage.New(stage.Usage, fmt.Sprintf("modules for %s cannot be signed: kernels before 4.3 take signatures of another format", r.Full),
			"build without --signing-key")
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		switch {
		case !r.AtLeast(5, 13):
			return refuse("its key is ECDSA, which kernels verify since 5.13")
		case !has(t.Config, "CRYPTO_ECDSA"):
			return refuse("its key is ECDSA, which this kernel does not verify (CONFIG_CRYPTO_ECDSA is not set)")
		case key.Curve == elliptic.P521() && !r.AtLeast(6, 10):
			return refuse("its key is on the curve P-521, which kernels know since 6.10")
		case key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521():
			return refuse("its key is on the curve %s, which no kernel knows", key.Curve.Params().Name)
		}
		return nil
	}
	return refuse("its key is neither RSA nor ECDSA")
}

// has says whether an option is built in or a module, which the kernel then
// loads when it needs it.
func has(c kernel.Config, option string) bool {
	_, ok := c.Get(option)
	return ok
}

// readKey reads a private key.
func readKey(path string) (crypto.Signer, error) {
	if strings.HasPrefix(path, "pkcs11:") {
		return nil, stage.New(stage.Usage, "the signing key is named by a PKCS #11 URI, and builder signs with keys in files only",
			"give the key in a file; with a token, sign afterwards: the modules with the kernel's scripts/sign-file, the manifest with openssl cms")
	}
	data, err := readSmall(path)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the signing key cannot be read", "check the path, and that it is mounted into the container")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if slices.Contains(cosignTypes, block.Type) {
			return readCosignKey(path, block.Bytes)
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, stage.New(stage.Usage, fmt.Sprintf("the signing key %s is encrypted, and builder takes no passphrase", path),
				"decrypt it for the time of the build, with `openssl pkey -in KEY -out PLAIN`, in a folder that only you can read and that is not the share")
		}
		if key := parseKey(block.Bytes); key != nil {
			return key, nil
		}
		break
	}
	return nil, stage.New(stage.Usage, fmt.Sprintf("%s holds no private key that builder can sign with", path),
		"give an RSA or ECDSA key in PEM, such as `openssl req -new -x509 -newkey rsa:4096 -nodes -keyout KEY -out CERT` makes")
}

// parseKey reads a private key in any of its encodings, nil where it is none.
// Why each failed is not told: it could only tell of the key.
func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// hasCertificate says whether there is one in a file that was read before.
func hasCertificate(path string) bool {
	data, err := readSmall(path)
	if err != nil {
		return false
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return true
		}
	}
	return false
}

// ReadCertificate reads the first X.509 certificate of a file, PEM or DER. An
// error is of the usage stage.
func ReadCertificate(path string) (*x509.Certificate, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the signing certificate cannot be read", "check the path, and that it is mounted into the container")
	}
	der := data
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			der = block.Bytes
			break
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, stage.New(stage.Usage, fmt.Sprintf("%s holds no X.509 certificate", path),
			"give the certificate of the signing key, PEM or DER")
	}
	return cert, nil
}

// errContent is a key, or what may hold one, in the place of its file's name.
// It does not repeat it.
var errContent = errors.New("its content was given where the name of its file belongs; if others can see the options, make a new key")

// readSmall reads a file of no more than maxKeyFile bytes.
func readSmall(path string) ([]byte, error) {
	if strings.Contains(path, "-----BEGIN") {
		return nil, errContent
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than any key or certificate", path)
	}
	return data, nil
}
