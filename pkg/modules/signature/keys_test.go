package signature

import (
	"crypto/x509"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParseKeys reads the /proc/keys of Debian's kernel 6.1.0-56, booted in
// QEMU.
func TestParseKeys(t *testing.T) {
	f, err := os.Open("testdata/proc-keys")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ParseKeys(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"8963f707e289edc09df337a240938134371a5bb8"}, got); diff != "" {
		t.Error(diff)
	}
	// It is the key of that kernel's own modules.
	cert, err := ReadCertificate("testdata/debian-6.1.0-56.pem")
	if err != nil {
		t.Fatal(err)
	}
	signed := parsed(t, append([]byte("ELF"), read(t, "debian-6.1.0-56.signature")...))
	if KeyID(cert) != got[0] || !signed.Signers[0].Names(cert) {
		t.Errorf("the certificate's key is %s", KeyID(cert))
	}
}

func TestParseKeysLeavesOutWhatIsNotInUse(t *testing.T) {
	const skid = "8963f707e289edc09df337a240938134371a5bb8"
	line := func(flags, expiry, kind, description string) string {
		return "02be5da6 " + flags + "     1 " + expiry + " 1f030000     0     0 " + kind + " " + description + "\n"
	}
	tests := []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"a key", line("I------", "perm", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), []string{skid}},
		{"one that expires", line("I------", " 11w", "asymmetri", "CN: "+skid+": X509.ecdsa-nist-p256 371a5bb8 []"), []string{skid}},
		{"a name like the rest", line("I------", "perm", "asymmetri", "a: 0b: X509.rsa 0b []: "+skid+": X509.rsa 371a5bb8 []"), []string{skid}},
		{"a serial number for an identifier", line("I------", "perm", "asymmetri", "CN: 00c0ffee: X509.rsa []"), []string{"00c0ffee"}},
		{"twice, in two keyrings", strings.Repeat(line("I------", "perm", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), 2), []string{skid}},
		{"not there yet", line("-----U-", "perm", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), nil},
		{"revoked", line("IR-----", "perm", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), nil},
		{"invalidated", line("I-----i", "perm", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), nil},
		{"expired", line("I------", "expd", "asymmetri", "CN: "+skid+": X509.rsa 371a5bb8 []"), nil},
		{"a blacklist", line("I------", "perm", "blacklist", "bin:"+skid), nil},
		{"a keyring named as a key", line("I------", "perm", "keyring  ", "CN: "+skid+": X509.rsa 371a5bb8 []"), nil},
		{"a PKCS #8 key", line("I------", "perm", "asymmetri", "mine: PKCS8.rsa []"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseKeys(strings.NewReader(tt.text))
			if err != nil || !cmp.Equal(tt.want, got) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if _, err := ParseKeys(strings.NewReader(strings.Repeat("x", maxKeysLine+1))); err == nil {
		t.Error("a line without an end was read")
	}
}

func TestKeyID(t *testing.T) {
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

func FuzzParseKeys(f *testing.F) {
	f.Add(read(f, "proc-keys"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ids, err := ParseKeys(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		for i, id := range ids {
			if strings.Trim(id, "0123456789abcdef") != "" || i > 0 && ids[i-1] >= id {
				t.Errorf("identifiers %q", ids)
			}
		}
	})
}
