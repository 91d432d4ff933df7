package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

var manifest = []byte("{\n  \"schema\": 2\n}\n")

// detached signs with a key of testdata.
func detached(tb testing.TB, name string) *Signer {
	tb.Helper()
	s, err := LoadDetached(Options{Key: "testdata/" + name + ".key", Certificate: "testdata/" + name + ".pem"})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func signText(tb testing.TB, s *Signer, text []byte) []byte {
	tb.Helper()
	sig, err := s.SignDetached(text)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

// trust reads certificates.
func trust(tb testing.TB, names ...string) *Trust {
	tb.Helper()
	t, err := ReadTrust(names, "/nowhere")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// wantUntrusted expects a signature to be refused for a reason.
func wantUntrusted(tb testing.TB, err error, reason string) {
	tb.Helper()
	var untrusted *publish.UntrustedError
	if !errors.As(err, &untrusted) || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
		tb.Errorf("error %v, want it untrusted for %q", err, reason)
	}
}

func TestDetached(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rsa", "noskid", "p256", "p384"} {
		s := detached(t, name)
		sig := signText(t, s, manifest)
		if !bytes.Equal(sig, signText(t, s, manifest)) {
			t.Errorf("%s: the same text is signed in another way", name)
		}
		if len(sig) > 1000 {
			t.Errorf("%s: %d bytes", name, len(sig))
		}
		for _, trusted := range []*Trust{trust(t, "testdata/"+name+".pem"), TrustIn(s.Certificate())} {
			if err := trusted.Verify(manifest, sig); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := trusted.Verify(append(bytes.Clone(manifest), ' '), sig); err == nil {
				t.Errorf("%s: what was changed since passes", name)
			}
		}
	}
	// The key and the certificate in one file.
	both, err := LoadDetached(Options{Key: "testdata/rsa.both.pem"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signText(t, both, manifest), signText(t, detached(t, "rsa"), manifest)) {
		t.Error("the same key signs in another way")
	}
	// DER.
	if err := trust(t, "testdata/p256.pem", "testdata/rsa.der").Verify(manifest, signText(t, both, manifest)); err != nil {
		t.Error(err)
	}
}

// TestOpenSSL has openssl verify what is signed here by the line of the README, and the
// other way round. CI's machine has it, as whatever has ca-certificates.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) string {
		if err := os.WriteFile(in(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return in(name)
	}
	openssl := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		return string(out), err
	}
	text, other := write("manifest.json", manifest), write("other.json", []byte("{}\n"))
	for _, name := range []string{"rsa", "p256", "p384"} {
		cert, key := "testdata/"+name+".pem", "testdata/"+name+".key"
		sig := write(name+".p7s", signText(t, detached(t, name), manifest))
		verify := func(cert, text string) (string, error) {
			return openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", sig, "-content", text,
				"-certfile", cert, "-CAfile", cert, "-partial_chain", "-purpose", "any", "-out", os.DevNull)
		}
		if out, err := verify(cert, text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := verify(cert, other); err == nil {
			t.Errorf("%s: of another text\n%s", name, out)
		}
		if out, err := verify("testdata/noskid.pem", text); err == nil {
			t.Errorf("%s: by another key\n%s", name, out)
		}
		// Signed by openssl: certificates that come along are not believed.
		for _, more := range [][]string{{"-nocerts"}, nil, {"-keyid"}} {
			out, err := openssl(append([]string{"cms", "-sign", "-binary", "-noattr", "-md", "sha256", "-outform", "DER",
				"-in", text, "-signer", cert, "-inkey", key, "-out", in("theirs.p7s")}, more...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			theirs, err := os.ReadFile(in("theirs.p7s"))
			if err != nil {
				t.Fatal(err)
			}
			if err := trust(t, cert).Verify(manifest, theirs); err != nil {
				t.Errorf("%s, openssl cms %q: %v", name, more, err)
			}
			wantUntrusted(t, trust(t, "testdata/noskid.pem").Verify(manifest, theirs), "it is by another key")
		}
		for args, reason := range map[string]string{
			"-binary":                   "signed attributes",
			"-binary -noattr -md sha1":  "it is of a sha1, which proves too little",
			"-binary -noattr -nodetach": "signs content of its own",
			"-binary -noattr -signer testdata/noskid.pem -inkey testdata/noskid.key": "there are 2 signatures in it",
		} {
			out, err := openssl(append([]string{"cms", "-sign", "-outform", "DER", "-in", text, "-signer", cert, "-inkey", key, "-out", in("theirs.p7s")}, strings.Fields(args)...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			theirs, err := os.ReadFile(in("theirs.p7s"))
			if err != nil {
				t.Fatal(err)
			}
			wantUntrusted(t, trust(t, cert).Verify(manifest, theirs), reason)
		}
	}
}

func TestUntrusted(t *testing.T) {
	t.Parallel()
	good := signText(t, detached(t, "rsa"), manifest)
	mine := trust(t, "testdata/rsa.pem")
	for name, tt := range map[string]struct {
		sig    []byte
		reason string
	}{
		"nothing":           {nil, "it is no CMS message in DER"},
		"cut":               {good[:len(good)-1], "or not the whole of one"},
		"half":              {good[:len(good)/2], "or not the whole of one"},
		"longer":            {append(bytes.Clone(good), "xyz"...), "3 bytes follow the CMS message"},
		"PEM":               {pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: good}), "it is no CMS message in DER"},
		"something in DER":  {[]byte{0x30, 0}, "not a CMS message"},
		"by another":        {signText(t, detached(t, "noskid"), manifest), `it is by another key, that of "`},
		"of something else": {signText(t, detached(t, "rsa"), []byte("{}\n")), "it is of something else"},
		"changed":           {append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), "it is of something else"},
	} {
		t.Run(name, func(t *testing.T) {
			wantUntrusted(t, mine.Verify(manifest, tt.sig), tt.reason)
		})
	}
	// Whoever has a key of his own and calls it mine.
	forged := *detached(t, "rsa")
	forged.sign = detached(t, "noskid").sign
	wantUntrusted(t, mine.Verify(manifest, signText(t, &forged, manifest)), "not by the key that it names")
	// A name of any length, with what would be a line of the log.
	named := certificate(t, func(c *x509.Certificate) { c.Subject.CommonName = "x\nINF all is well " + strings.Repeat("y", 10000) })
	long := mine.Verify(manifest, signText(t, named, manifest))
	wantUntrusted(t, long, `it is by another key, that of "`)
	if len(long.Error()) > 600 {
		t.Errorf("the reason has %d bytes", len(long.Error()))
	}
}

// certificate is a signer of a new key, with a certificate that is valid but for what
// change makes of it.
func certificate(tb testing.TB, change func(*x509.Certificate)) *Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return newSigner(key, certify(tb, key, change), hashes[2])
}

func certify(tb testing.TB, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "me"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// TestCertificatesThatVouchForNothing are right about the signature, which does not
// help; nor do they sign.
func TestCertificatesThatVouchForNothing(t *testing.T) {
	t.Parallel()
	usage := func(u x509.KeyUsage, x ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = u, x }
	}
	for name, tt := range map[string]struct {
		change func(*x509.Certificate)
		reason string // "" where it is a good one
	}{
		"valid":             {nil, ""},
		"expired":           {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "whose certificate has expired, on " + time.Now().Add(-time.Minute).UTC().Format("2006-01-02")},
		"not yet valid":     {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "by this machine's clock"},
		"for signatures":    {usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign), ""},
		"for certificates":  {usage(x509.KeyUsageCertSign), "is not for signatures"},
		"for code":          {usage(0, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning), ""},
		"for anything":      {usage(0, x509.ExtKeyUsageAny), ""},
		"for servers":       {usage(x509.KeyUsageDigitalSignature, x509.ExtKeyUsageServerAuth), "is for something else"},
		"for one's own use": {func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "is for something else"},
	} {
		t.Run(name, func(t *testing.T) {
			s := certificate(t, tt.change)
			err := TrustIn(s.cert).Verify(manifest, signText(t, s, manifest))
			if tt.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantUntrusted(t, err, tt.reason)
		})
	}
	// Keys. The signature is of the curve's own kind.
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for reason, key := range map[string]crypto.Signer{
		"has an RSA key of 1024 bits, and 2048 are the least": short,
		"has a key on the curve P-224":                        p224,
		"has a key that is neither RSA nor ECDSA":             edwards,
	} {
		if got := unusable(certify(t, key, nil), time.Now()); !strings.Contains(got, reason) {
			t.Errorf("%q, want %q", got, reason)
		}
	}
	s := newSigner(short, certify(t, short, nil), hashes[2])
	wantUntrusted(t, TrustIn(s.cert).Verify(manifest, signText(t, s, manifest)), "1024 bits")
}

// TestTrustOfSeveral: of certificates with the same name and number one is enough, and
// an old one beside its successor does no harm.
func TestTrustOfSeveral(t *testing.T) {
	t.Parallel()
	old := certificate(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	other, now := certificate(t, nil), certificate(t, nil)
	all := &Trust{certs: []*x509.Certificate{old.cert, other.cert, now.cert}, now: time.Now}
	for _, s := range []*Signer{other, now} {
		if err := all.Verify(manifest, signText(t, s, manifest)); err != nil {
			t.Error(err)
		}
	}
	wantUntrusted(t, all.Verify(manifest, signText(t, old, manifest)), "has expired")
}

func TestReadTrust(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rsaPEM, p256PEM := read(t, "rsa.pem"), read(t, "p256.pem")
	bundle := put("bundle.pem", append(bytes.Clone(rsaPEM), p256PEM...))
	// As kubelet leaves a ConfigMap.
	put("mounted/..2026/a.pem", rsaPEM)
	put("mounted/..2026/b.pem", p256PEM)
	put("mounted/folder/not-looked-at", []byte("x"))
	for link, target := range map[string]string{"..data": "..2026", "a.pem": "..data/a.pem", "b.pem": "..data/b.pem"} {
		if err := os.Symlink(target, filepath.Join(dir, "mounted", link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{bundle, filepath.Join(dir, "mounted")} {
		all := trust(t, name)
		for _, key := range []string{"rsa", "p256"} {
			if err := all.Verify(manifest, signText(t, detached(t, key), manifest)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(all.certs) != 2 {
			t.Errorf("%s: %d certificates", name, len(all.certs))
		}
	}
	share := filepath.Join(dir, "share")
	inside := put("share/sub/cert.pem", rsaPEM)
	link := filepath.Join(dir, "link.pem")
	if err := errors.Join(os.Symlink(inside, link), os.Mkdir(filepath.Join(dir, "empty"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ path, reason string }{
		"no certificate":        {put("x", []byte("x")), "holds no X.509 certificate"},
		"a key":                 {"testdata/rsa.key", "holds no X.509 certificate"},
		"a bundle with another": {put("y", append(bytes.Clone(rsaPEM), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...)), "holds no X.509 certificate"},
		"an empty folder":       {filepath.Join(dir, "empty"), "has no certificates in it"},
		"in the share":          {inside, "where whoever writes that can put any"},
		"a folder of the share": {filepath.Dir(inside), "where whoever writes that can put any"},
		"a link into the share": {link, "where whoever writes that can put any"},
	} {
		_, err := ReadTrust([]string{"testdata/p384.pem", tt.path}, share)
		t.Run(name, func(t *testing.T) { wantUntrusted(t, err, tt.reason) })
	}
	if _, err := ReadTrust(nil, share); err == nil {
		t.Error("nobody is trusted, and that is no error")
	}
	for name, reason := range map[string]string{
		filepath.Join(dir, "absent"): "absent", "": "no such file", string(read(t, "rsa.both.pem")): "name of its file",
	} {
		_, err := ReadTrust([]string{name}, share)
		if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("error %v, want %q", err, reason)
		}
	}
}

func TestLoadDetachedRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	expired := certify(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: expired.Raw})...)
	file := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o      Options
		reason string
	}{
		"a key in its place":  {Options{Key: "testdata/rsa.key", Certificate: "testdata/rsa.key"}, "holds no X.509 certificate"},
		"a certificate alone": {Options{Key: "testdata/rsa.pem"}, "holds no private key"},
		"another's":           {Options{Key: "testdata/rsa.key", Certificate: "testdata/noskid.pem"}, "is not that of the key"},
		"expired":             {Options{Key: file}, "has expired"},
		"absent":              {Options{Key: filepath.Join(dir, "absent")}, "cannot be read"},
		"its content":         {Options{Key: string(both)}, "name of its file"},
	} {
		_, err := LoadDetached(tt.o)
		if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), tt.reason) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %v, want %q", name, err, tt.reason)
		}
	}
}

func FuzzDetached(f *testing.F) {
	for _, name := range []string{"rsa", "p256"} {
		f.Add(signText(f, detached(f, name), manifest))
	}
	mine := trust(f, "testdata/rsa.pem")
	f.Fuzz(func(t *testing.T, sig []byte) {
		if err := mine.Verify(manifest, sig); err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q", err)
		}
		if mine.Verify([]byte("{}\n"), sig) == nil {
			t.Error("what nobody has signed passes")
		}
	})
}
