package signature

import (
	"crypto/x509"
	"math/big"
	"testing"
)

// TestKeyIDIsTheKernels: the certificate of the key that signed the modules of
// Debian's kernel 6.1.0-56 goes by what that kernel's /proc/keys calls it.
func TestKeyIDIsTheKernels(t *testing.T) {
	t.Parallel()
	cert, err := ReadCertificate("testdata/debian-6.1.0-56.pem")
	if err != nil {
		t.Fatal(err)
	}
	signed := parsed(t, append([]byte("ELF"), read(t, "debian-6.1.0-56.signature")...))
	if KeyID(cert) != "8963f707e289edc09df337a240938134371a5bb8" || !signed.Signers[0].Names(cert) {
		t.Errorf("the certificate's key is %s", KeyID(cert))
	}
}

func TestKeyID(t *testing.T) {
	t.Parallel()
	tests := []struct{ file, want string }{
		{"rsa.pem", "27599812c5aeb519ccc0af3a284876029627c485"},
		{"noskid.pem", serialOf(t, "noskid.pem")},
	}
	for _, tt := range tests {
		cert, err := ReadCertificate("testdata/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		if got := KeyID(cert); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.file, got, tt.want)
		}
	}
	// A number whose first bit is set is encoded with a zero before it.
	if got := KeyID(&x509.Certificate{SerialNumber: big.NewInt(0xc0ffee)}); got != "00c0ffee" {
		t.Errorf("got %s", got)
	}
}

// serialOf is a certificate's serial number as openssl prints it.
func serialOf(t *testing.T, file string) string {
	t.Helper()
	cert, err := ReadCertificate("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return cert.SerialNumber.Text(16)
}
