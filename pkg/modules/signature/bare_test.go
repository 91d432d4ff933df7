package signature

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"
)

// public leaves the public key of a signer in a file, as `cosign public-key` and `openssl
// pkey -pubout` do.
func public(t *testing.T, s *Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.Certificate().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestKeysWithoutCertificates sign and are trusted, alone and together with certificates of
// the same keys, and with no others.
func TestKeysWithoutCertificates(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{"rsa": "p256", "p256": "rsa", "p384": "p256"} {
		bare, err := LoadDetached(Options{Key: "testdata/" + name + ".key"})
		if err != nil {
			t.Fatal(err)
		}
		certified := detached(t, name)
		for how, s := range map[string]*Signer{"bare": bare, "certified": certified} {
			sig := signText(t, s, manifest)
			raw, err := s.SignRaw(manifest)
			if err != nil {
				t.Fatal(err)
			}
			key, strangers := trust(t, public(t, s)), trust(t, public(t, detached(t, other)))
			for what, err := range map[string]error{"Verify": key.Verify(manifest, sig), "VerifyRaw": key.VerifyRaw(manifest, raw), "own": TrustIn(s.Certificate()).Verify(manifest, sig), "VerifyRaw by certificate": trust(t, "testdata/"+name+".pem").VerifyRaw(manifest, raw)} {
				if err != nil {
					t.Errorf("%s, %s: %s: %v", name, how, what, err)
				}
			}
			changed := append([]byte{' '}, manifest...)
			wantUntrusted(t, key.Verify(changed, sig), "it is of something else")
			wantUntrusted(t, key.VerifyRaw(changed, raw), "it is of something else")
			wantUntrusted(t, strangers.VerifyRaw(manifest, raw), "by another key")
			if err := strangers.Verify(manifest, sig); err == nil {
				t.Errorf("%s, %s: another key vouches for it", name, how)
			}
			again, err := s.SignRaw(manifest)
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("%s, %s: the same text is signed in another way, %v", name, how, err)
			}
		}
	}
	expired := certificate(t, func(c *x509.Certificate) { c.NotAfter = c.NotBefore })
	raw, err := expired.SignRaw(manifest)
	if err != nil {
		t.Fatal(err)
	}
	wantUntrusted(t, TrustIn(expired.Certificate()).VerifyRaw(manifest, raw), "has expired")
}

// TestCosignKey opens a key as cosign encrypts it, with its password only.
func TestCosignKey(t *testing.T) {
	data, err := os.ReadFile("testdata/p256.key")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	salt, nonce := make([]byte, 32), [24]byte{}
	_, _ = rand.Read(salt)
	_, _ = rand.Read(nonce[:])
	derived, err := scrypt.Key([]byte("a password"), salt, 1<<10, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	sealed := secretbox.Seal(nil, block.Bytes, &nonce, (*[32]byte)(derived))
	encoded := base64.StdEncoding.EncodeToString
	box := func(n int, cipher string) string {
		text := fmt.Sprintf(`{"kdf":{"name":"scrypt","params":{"N":%d,"r":8,"p":1},"salt":%q},"cipher":{"name":%q,"nonce":%q},"ciphertext":%q}`, n, encoded(salt), cipher, encoded(nonce[:]), encoded(sealed))
		file := filepath.Join(t.TempDir(), "cosign.key")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: cosignTypes[0], Bytes: []byte(text)}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := box(1<<10, "nacl/secretbox")
	if _, err := LoadDetached(Options{Key: file}); err == nil {
		t.Error("it opens without a password")
	}
	t.Setenv(PasswordVariable, "a password")
	s, err := LoadDetached(Options{Key: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := trust(t, "testdata/p256.pem").Verify(manifest, signText(t, detached(t, "p256"), manifest)); err != nil {
		t.Error(err)
	}
	if err := trust(t, public(t, detached(t, "p256"))).Verify(manifest, signText(t, s, manifest)); err != nil {
		t.Error(err)
	}
	for name, file := range map[string]string{"another password": box(1<<11, "nacl/secretbox"), "too much memory": box(1<<30, "nacl/secretbox"), "another cipher": box(1<<10, "aes")} {
		if _, err := LoadDetached(Options{Key: file}); err == nil {
			t.Errorf("%s: it opens", name)
		}
	}
}
