package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/docs"
)

// signManifest are the options to sign with a key, and its certificate.
func signManifest(name string) (options []string, cert string) {
	file := strings.TrimSuffix(signingKey, "rsa.key") + name
	return []string{"--sign-manifest", file + ".key", "--sign-manifest-cert", file + ".pem"}, file + ".pem"
}

// folders are the two that are published.
func (f *fixture) folders() []string {
	return []string{filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver), filepath.Join(f.share, "driver", fixtureDriver)}
}

// trusted sees who has signed what is published.
func (f *fixture) trusted(t *testing.T, cert string, want bool, why string) {
	t.Helper()
	for _, dir := range f.folders() {
		v := f.run(t, "verify", "--trust", cert, dir)
		verdict, code := "passed", 0
		if !want {
			verdict, code = "failed", 15
		}
		first, _, _ := strings.Cut(v.stdout, "\n")
		if fields := strings.Fields(first); v.code != code || len(fields) < 2 || fields[0] != verdict || fields[1] != "trusted" || !strings.Contains(first, why) {
			t.Errorf("verify --trust %s %s: exit code %d, want %d, %q\n%s%s", cert, dir, v.code, code, why, v.stdout, v.stderr)
		}
		if !want && !strings.Contains(lastLine(v.stderr), `"kind":"untrusted"`) {
			t.Errorf("verify --trust %s %s:\n%s", cert, dir, v.stderr)
		}
	}
}

// TestSignedManifest signs what is built, and then what is there already: the same
// modules under the same names, with another signature, without a compile.
func TestSignedManifest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	manifest := filepath.Join(f.folders()[0], "manifest.json")
	text := read(t, manifest)
	rsa, rsaCert := signManifest("rsa")
	p256, p256Cert := signManifest("p256")
	f.trusted(t, rsaCert, false, "there is no manifest.json.p7s beside it")
	plan := f.run(t, append([]string{"--dry-run"}, rsa...)...)
	if !strings.Contains(plan.stdout, "no modules: "+manifest+" serves already") || !strings.Contains(plan.stdout, "the signature of "+manifest) {
		t.Errorf("the plan is\n%s%s", plan.stdout, plan.stderr)
	}
	for n, tt := range []struct {
		sign []string
		cert string
		not  string
	}{{rsa, rsaCert, p256Cert}, {p256, p256Cert, rsaCert}} {
		o := f.run(t, tt.sign...)
		if o.code != 0 || strings.Count(o.stderr, `"manifest signed"`) != 2 || strings.TrimSpace(o.stdout) != manifest {
			t.Fatalf("%d: exit code %d, %s\n%s", n, o.code, o.stdout, o.stderr)
		}
		if strings.Contains(o.stderr, `"stage":"build"`) {
			t.Errorf("%d: it is compiled again\n%s", n, o.stderr)
		}
		if read(t, manifest) != text {
			t.Error("the manifest is another")
		}
		f.trusted(t, tt.cert, true, "")
		f.trusted(t, tt.not, false, "it is by another key")
		signature := read(t, manifest+".p7s")
		for _, more := range [][]string{tt.sign, nil} {
			again := f.run(t, more...)
			if again.code != 0 || !strings.Contains(again.stderr, "nothing to build") || strings.Contains(again.stderr, "manifest signed") || read(t, manifest+".p7s") != signature {
				t.Errorf("%d: again, %q: exit code %d\n%s", n, more, again.code, again.stderr)
			}
		}
		if entries, err := os.ReadDir(filepath.Dir(f.folders()[0])); err != nil || len(entries) != 2 {
			t.Errorf("%d: the release has %v, %v", n, entries, err)
		}
	}
	// What was changed since is found, whatever was made of its digest.
	for _, dir := range f.folders() {
		file := filepath.Join(dir, "manifest.json")
		write(t, file, 0o644, read(t, file)+"\n")
	}
	f.trusted(t, p256Cert, false, "it is of something else")
	// A build does not take it, and publishes anew.
	if o := f.run(t, p256...); o.code != 0 || read(t, manifest) != text {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	f.trusted(t, p256Cert, true, "")
}

// TestSignedAtOnce is a build that signs.
func TestSignedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sign, cert := signManifest("rsa")
	o := f.run(t, sign...)
	if o.code != 0 || strings.Count(o.stderr, `"manifest signed"`) != 2 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	f.trusted(t, cert, true, "")
	secret := strings.Split(read(t, signingKey), "\n")[1]
	err := filepath.WalkDir(f.share, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if strings.Contains(read(t, path), secret) {
			return fmt.Errorf("the key is in %s", path)
		}
		return nil
	})
	if err != nil || strings.Contains(o.stderr, secret) {
		t.Errorf("%v\n%s", err, o.stderr)
	}
}

// TestNothingOfOthersIsSigned: where somebody else can write what is published, who
// knows what lies there.
func TestNothingOfOthersIsSigned(t *testing.T) {
	t.Parallel()
	sign, cert := signManifest("rsa")
	for name, spoil := range map[string]func(f *fixture) error{
		"the share":    func(f *fixture) error { return os.Chmod(f.share, 0o777) },
		"its folder":   func(f *fixture) error { return os.Chmod(filepath.Dir(f.folders()[0]), 0o777) },
		"one manifest": func(f *fixture) error { return os.Chmod(filepath.Join(f.folders()[0], "manifest.json"), 0o666) },
	} {
		f := newFixture(t)
		f.build(t)
		if err := spoil(f); err != nil {
			t.Fatal(err)
		}
		o := f.run(t, sign...)
		if o.code != 0 || !strings.Contains(o.stderr, "can be written by everybody") || !strings.Contains(o.stderr, "not signed as it is: building again") || !strings.Contains(o.stderr, `"stage":"build"`) {
			t.Errorf("%s: exit code %d\n%s", name, o.code, o.stderr)
		}
		if warned := strings.Count(o.stderr, "whoever can write there decides what this key vouches for"); (warned == 1) != (name == "the share") || warned > 1 {
			t.Errorf("%s: %d warnings\n%s", name, warned, o.stderr)
		}
		f.trusted(t, cert, true, "")
	}
}

// TestVerifyTrustsNobodyInTheFolder gives certificates that are no use.
func TestVerifyTrustsNobodyInTheFolder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sign, cert := signManifest("rsa")
	if o := f.run(t, sign...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	dir := f.folders()[0]
	write(t, filepath.Join(dir, "cert.pem"), 0o644, read(t, cert))
	for path, says := range map[string]string{
		filepath.Join(dir, "cert.pem"): "whoever writes that can put any",
		t.TempDir():                    "has no certificates in it",
	} {
		if v := f.run(t, "verify", "--trust", path, dir); v.code != 15 || !strings.Contains(lastLine(v.stderr), says) {
			t.Errorf("exit code %d, want %q\n%s", v.code, says, v.stderr)
		}
	}
	f.environ = append(f.environ, "BUILDER_TRUST="+strings.TrimSuffix(cert, "rsa.pem")+"p256.pem,"+cert)
	if v := f.run(t, "verify", dir); v.code != 0 || !strings.Contains(v.stdout, "trusted") {
		t.Errorf("by the variable: exit code %d\n%s%s", v.code, v.stdout, v.stderr)
	}
}

// TestOpenSSLVerifies runs the documented line that verifies a signature without builder.
func TestOpenSSLVerifies(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	line := docs.Block(t, "docs/signing.md", "openssl")
	f := newFixture(t)
	sign, cert := signManifest("rsa")
	if o := f.run(t, sign...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	_, other := signManifest("p256")
	for _, dir := range f.folders() {
		for file, want := range map[string]bool{cert: true, other: false} {
			write(t, filepath.Join(dir, "drivers.pem"), 0o644, read(t, file))
			cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); (err == nil) != want || want != strings.Contains(string(out), "Verification successful") {
				t.Errorf("%s, %s: %v\n%s", dir, file, err, out)
			}
		}
	}
}
