package modules

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules/signature"
)

// signedModule is a copy of a recorded module, signed by a recorded key whose
// certificate it returns.
func signedModule(t *testing.T) (string, *x509.Certificate) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nvidia.ko")
	if err := os.WriteFile(path, bytesOf(t), 0o644); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join("signature", "testdata", "rsa")
	signer, err := signature.Load(t.Context(), signature.Options{Key: key + ".key", Certificate: key + ".pem"}, kernel.Target{
		Release: target(t).Release, Signing: kernel.Signing{Checked: true, Hash: "sha256"},
		Config: options(t, "MODULE_SIG=y", `MODULE_SIG_HASH="sha256"`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.SignFile(path); err != nil {
		t.Fatal(err)
	}
	return path, signer.Certificate()
}

func TestAuthenticate(t *testing.T) {
	other, err := signature.ReadCertificate(filepath.Join("signature", "testdata", "p256.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		other  bool
		want   Signature // without what it was parsed from
	}{
		"right":             {func(b []byte) []byte { return b }, false, Signature{Present: true, KeyID: "ours", Integrity: Valid}},
		"other content":     {func(b []byte) []byte { b[len(b)/4] ^= 1; return b }, false, Signature{Present: true, KeyID: "ours", Integrity: Wrong}},
		"another key":       {func(b []byte) []byte { return b }, true, Signature{Present: true}},
		"cut off":           {func([]byte) []byte { return bytesOf(t) }, false, Signature{}},
		"of a kind unknown": {func(b []byte) []byte { b[len(b)-40+2] = 1; return b }, false, Signature{Present: true, Unsupported: "?"}},
		"damaged":           {func(b []byte) []byte { b[len(b)-40] = 1; return b }, false, Signature{Present: true, Damaged: "?"}},
	} {
		t.Run(name, func(t *testing.T) {
			path, cert := signedModule(t)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(data), 0o644); err != nil {
				t.Fatal(err)
			}
			mods, err := ReadAll([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			if c.want.KeyID != "" {
				c.want.KeyID = signature.KeyID(cert)
			}
			if c.other {
				cert = other
			}
			mods, err = Authenticate(mods, cert)
			if err != nil {
				t.Fatal(err)
			}
			got := mods[0].Signature
			for _, reason := range []*string{&got.Damaged, &got.Unsupported} {
				if *reason != "" {
					*reason = "?" // its words are the signature package's
				}
			}
			got.parsed = signature.Signature{}
			if got.Present != c.want.Present || got.Damaged != c.want.Damaged || got.Unsupported != c.want.Unsupported ||
				got.KeyID != c.want.KeyID || got.Integrity != c.want.Integrity {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAuthenticateWithoutTheFile(t *testing.T) {
	path, cert := signedModule(t)
	mods, err := ReadAll([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Authenticate(mods, cert); err == nil {
		t.Error("a signature was verified of a file that is not there")
	}
}

// TestGateOfPublished holds a published module's signature against the
// certificate that is given, where one is.
func TestGateOfPublished(t *testing.T) {
	for name, c := range map[string]struct {
		damaged, certificate bool
		verdict              Verdict
		detail               string
	}{
		"as it was signed":             {false, true, NotCheckable, "the keys that the kernel holds are not to be seen"},
		"changed since":                {true, true, Failed, "changed after it was signed"},
		"changed, without certificate": {true, false, NotCheckable, "there is no certificate here"},
	} {
		t.Run(name, func(t *testing.T) {
			path, cert := signedModule(t)
			if c.damaged {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				data[len(data)/4] ^= 1
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !c.certificate {
				cert = nil
			}
			host := target(t)
			host.Signing = kernel.Signing{Checked: true, Hash: "sha256"}
			m := Manifest{Modules: []Entry{{Name: "nvidia", File: filepath.Base(path)}}}
			checks, err := m.Gate(filepath.Dir(path), host, cert)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == "signature" })
			if i < 0 || checks[i].Verdict != c.verdict || !strings.Contains(checks[i].Detail, c.detail) {
				t.Errorf("%+v, want %s: %s", checks, c.verdict, c.detail)
			}
		})
	}
}
