package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestLoadEveryEncoding(t *testing.T) {
	t.Parallel()
	tests := []struct{ key, cert string }{
		{"rsa.key", "rsa.pem"},
		{"rsa.key", "rsa.der"},
		{"rsa.pkcs1.key", "rsa.pem"},
		{"rsa.both.pem", "rsa.both.pem"},
		{"p256.key", "p256.pem"},
		{"p256.sec1.key", "p256.pem"},
	}
	for _, tt := range tests {
		t.Run(tt.key+" "+tt.cert, func(t *testing.T) {
			s, err := Load(t.Context(), Options{"testdata/" + tt.key, "testdata/" + tt.cert}, target(t, "6.1.0", "sha384"))
			if err != nil {
				t.Fatal(err)
			}
			if s.Hash() != "sha384" || s.KeyID() != KeyID(s.Certificate()) {
				t.Errorf("hash %s, key %s", s.Hash(), s.KeyID())
			}
		})
	}
}

func TestLoadTakesTheConfigsHash(t *testing.T) {
	t.Parallel()
	tests := []struct{ config, want string }{
		{"CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_HASH=\"sha512\"\n", "sha512"},
		{"CONFIG_MODULES=y\n", "sha256"},
	}
	for _, tt := range tests {
		config, err := kernel.ParseConfig([]byte(tt.config))
		if err != nil {
			t.Fatal(err)
		}
		kern := target(t, "6.1.0", "")
		kern.Config = config
		var log bytes.Buffer
		ctx := zerolog.New(&log).WithContext(t.Context())
		s, err := Load(ctx, Options{"testdata/rsa.key", "testdata/rsa.pem"}, kern)
		if err != nil {
			t.Fatal(err)
		}
		if s.Hash() != tt.want {
			t.Errorf("hash %s, want %s", s.Hash(), tt.want)
		}
		if warned := strings.Contains(log.String(), "CONFIG_MODULE_SIG is not set"); warned == config.Bool("MODULE_SIG") {
			t.Errorf("log %q", log.String())
		}
	}
}

// TestLoadRefuses sees every refusal: a usage error with its sentence, and
// nothing of the key in it.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey, edCert := certified(t, dir, "ed25519", edwards, edwards.Public())
	p224Key, p224Cert := certified(t, dir, "p224", p224, p224.Public())
	p521Key, p521Cert := certified(t, dir, "p521", p521, p521.Public())
	cut := write("cut.key", bytes.Replace(read(t, "rsa.key"), []byte("\n"), []byte("\nAAAA"), 1))
	big := write("big.key", make([]byte, maxKeyFile+1))
	const key, cert = "testdata/rsa.key", "testdata/rsa.pem"
	tests := []struct {
		name, key, cert, release, hash, want string
	}{
		{"no certificate", key, "", "6.1.0", "sha256", "only one of them was given"},
		{"no key", "", cert, "6.1.0", "sha256", "only one of them was given"},
		{"an absent key", dir + "/absent", cert, "6.1.0", "sha256", "the signing key cannot be read"},
		{"a folder", dir, cert, "6.1.0", "sha256", "the signing key cannot be read"},
		{"a file of any size", big, cert, "6.1.0", "sha256", "larger than any key"},
		{"an absent certificate", key, dir + "/absent", "6.1.0", "sha256", "the signing certificate cannot be read"},
		{"a PKCS #11 URI", "pkcs11:object=key", cert, "6.1.0", "sha256", "PKCS #11"},
		{"an encrypted key", "testdata/rsa.encrypted.key", cert, "6.1.0", "sha256", "is encrypted"},
		{"a key encrypted of old", "testdata/rsa.encrypted.pkcs1.key", cert, "6.1.0", "sha256", "is encrypted"},
		{"a certificate for a key", cert, cert, "6.1.0", "sha256", "holds no private key"},
		{"a damaged key", cut, cert, "6.1.0", "sha256", "holds no private key"},
		{"a key for a certificate", key, key, "6.1.0", "sha256", "holds no X.509 certificate"},
		{"another key's certificate", key, "testdata/noskid.pem", "6.1.0", "sha256", "is not that of the key"},
		{"another kind's certificate", key, "testdata/p256.pem", "6.1.0", "sha256", "is not that of the key"},
		{"a hash of another age", key, cert, "6.1.0", "streebog256", `"streebog256"`},
		{"an old format", key, cert, "4.2.8", "sha256", "before 4.3"},
		{"ECDSA before its time", "testdata/p256.key", "testdata/p256.pem", "5.10.0", "sha256", "since 5.13"},
		{"P-521 before its time", p521Key, p521Cert, "6.9.0", "sha256", "since 6.10"},
		{"P-224", p224Key, p224Cert, "6.12.0", "sha256", "which no kernel knows"},
		{"Ed25519", edKey, edCert, "6.12.0", "sha256", "neither RSA nor ECDSA"},
	}
	body := strings.Split(string(read(t, "rsa.key")), "\n")[1]
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Load(t.Context(), Options{tt.key, tt.cert}, target(t, tt.release, tt.hash))
			if err == nil {
				t.Fatalf("a signer: %v", s)
			}
			if got := stage.ExitCode(err); got != stage.Usage.ExitCode() {
				t.Errorf("exit code %d of %v", got, err)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), body[:16]) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := Load(t.Context(), Options{p521Key, p521Cert}, target(t, "6.10.0", "sha512")); err != nil {
		t.Errorf("P-521 in its time: %v", err)
	}
	// As Debian builds its kernels.
	debian := target(t, "6.12.0", "sha256")
	if debian.Config, err = kernel.ParseConfig([]byte("CONFIG_MODULE_SIG=y\n# CONFIG_CRYPTO_ECDSA is not set\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), Options{p521Key, p521Cert}, debian); err == nil || !strings.Contains(err.Error(), "CONFIG_CRYPTO_ECDSA is not set") {
		t.Errorf("ECDSA where it is not built: %v", err)
	}
}

// certified writes a key and a certificate of its own, and returns their
// paths.
func certified(t *testing.T, dir, name string, key, public any) (keyFile, certFile string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, certFile = filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pem")
	for path, block := range map[string]*pem.Block{
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
		certFile: {Type: "CERTIFICATE", Bytes: cert},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return keyFile, certFile
}
