package signature

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
)

// signerOf signs with a key of testdata.
func signerOf(tb testing.TB, name, hash string) *Signer {
	tb.Helper()
	dir := "testdata/" + name
	s, err := Load(tb.Context(), Options{Key: dir + ".key", Certificate: dir + ".pem"}, target(tb, "6.7.0", hash))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// target is a kernel that checks signatures of a hash.
func target(tb testing.TB, release, hash string) kernel.Target {
	tb.Helper()
	r, err := kernel.ParseRelease(release)
	if err != nil {
		tb.Fatal(err)
	}
	config, err := kernel.ParseConfig([]byte("CONFIG_MODULE_SIG=y\nCONFIG_CRYPTO_ECDSA=m\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return kernel.Target{Release: r, Config: config, Signing: kernel.Signing{Checked: true, Hash: hash}}
}

// TestSignsAsSignFileDoes compares with the kernel's own tool: to the byte
// with RSA, and all but the value, which sign-file draws at random, with
// ECDSA.
func TestSignsAsSignFileDoes(t *testing.T) {
	t.Parallel()
	payload := read(t, "payload")
	for _, name := range signed(t) {
		if strings.HasSuffix(name, ".skid") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			key, hash, _ := strings.Cut(name, ".")
			signer := signerOf(t, key, hash)
			want := read(t, "sign-file/"+name)
			added, err := signer.Sign(bytes.NewReader(payload), int64(len(payload)))
			if err != nil {
				t.Fatal(err)
			}
			got := append(bytes.Clone(payload), added...)
			if err := parsed(t, got).Verify(bytes.NewReader(got), signer.Certificate()); err != nil {
				t.Error(err)
			}
			if signer.key == ecdsaKey {
				message, err := encode(signer.cert, signer.hash, ecdsaKey, parsed(t, want).Signers[0].value)
				if err != nil {
					t.Fatal(err)
				}
				got = append(bytes.Clone(payload), appendix(message)...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s\nis not what sign-file made:\n%s", dump(got), dump(want))
			}
		})
	}
}

func dump(data []byte) string { return fmt.Sprintf("%x", data) }

func TestSignFile(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"rsa", "p256"} {
		t.Run(key, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "nvidia.ko")
			if err := os.WriteFile(path, read(t, "payload"), 0o640); err != nil {
				t.Fatal(err)
			}
			signer := signerOf(t, key, "sha256")
			var files [][]byte
			for range 2 { // a signed module is signed anew, not twice
				if err := signer.SignFile(path); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, data)
			}
			if !bytes.Equal(files[0], files[1]) {
				t.Error("signing again gave another file")
			}
			s := parsed(t, files[0])
			if err := s.Verify(bytes.NewReader(files[0]), signer.Certificate()); err != nil || !bytes.Equal(files[0][:s.Payload], read(t, "payload")) {
				t.Errorf("signed as %+v, %v", s, err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			alone(t, dir)
		})
	}
}

// alone sees to it that a folder holds only the module.
func alone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestSignFileFails leaves the file as it was.
func TestSignFileFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "nvidia.ko")
	if err := os.WriteFile(path, read(t, "payload"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no signature today")
	broken := *signerOf(t, "rsa", "sha256")
	for _, tt := range []struct {
		name string
		sign func([]byte) ([]byte, error)
		want error
	}{
		{"no signature", func([]byte) ([]byte, error) { return nil, refused }, refused},
		{"a signature that does not verify", func([]byte) ([]byte, error) { return make([]byte, 256), nil }, ErrInvalid},
	} {
		broken.sign = tt.sign
		if err := broken.SignFile(path); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "nvidia.ko") {
			t.Errorf("%s: %v", tt.name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, read(t, "payload")) {
			t.Errorf("%s: the file became %q, %v", tt.name, data, err)
		}
		alone(t, dir)
	}
	if err := broken.SignFile(filepath.Join(dir, "absent.ko")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

// TestKeyIsNeverShown prints, encodes and logs a signer in every way that
// walks a structure, and looks for the private exponent and the file's text.
func TestKeyIsNeverShown(t *testing.T) {
	t.Parallel()
	signer := signerOf(t, "rsa", "sha256")
	var shown bytes.Buffer
	for _, value := range []any{signer, *signer, struct{ S *Signer }{signer}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			fmt.Fprintf(&shown, verb, value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(text)
		log := zerolog.New(&shown)
		log.Info().Interface("signer", value).Msg("")
	}
	key, err := readKey("testdata/rsa.key")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets(t, key) {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("the signer shows %.20s…", secret)
		}
	}
}

// secrets are the forms in which a key's private parts could come out.
func secrets(t *testing.T, key crypto.Signer) []string {
	t.Helper()
	d := key.(*rsa.PrivateKey).D
	text := string(read(t, "rsa.key"))
	return []string{
		d.String(), d.Text(16), strings.ToUpper(d.Text(16)), string(d.Bytes()),
		// fmt shows a big.Int that it reached by reflection as its words.
		fmt.Sprint(d.Bits()[0]), fmt.Sprint(d.Bytes()[:8]), fmt.Sprintf("%#x", uint(d.Bits()[0])),
		strings.Split(text, "\n")[1],
	}
}
