package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

const signingKey, signingCert = "../../pkg/modules/signature/testdata/rsa.key", "../../pkg/modules/signature/testdata/rsa.pem"

// signs makes the fixture's kernel one that looks at signatures, and enforces
// them.
func (f *fixture) signs(t *testing.T) {
	t.Helper()
	config := filepath.Join(f.host, "boot/config-"+fixtureRelease)
	write(t, config, 0o644, read(t, config)+"CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\nCONFIG_MODULE_SIG_HASH=\"sha512\"\n")
}

func TestSignedModules(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.signs(t)
	unsigned := f.run(t)
	if unsigned.code != 10 || !strings.Contains(lastLine(unsigned.stderr), "CONFIG_MODULE_SIG_FORCE") || strings.Contains(unsigned.stderr, `"stage":"driver"`) {
		t.Fatalf("unsigned: exit code %d\n%s", unsigned.code, unsigned.stderr)
	}
	if elsewhere := f.run(t, "--allow", "signature"); elsewhere.code != 0 {
		t.Errorf("to be signed elsewhere: exit code %d\n%s", elsewhere.code, elsewhere.stderr)
	}
	args := []string{"--signing-key", signingKey, "--signing-cert", signingCert}
	o := f.run(t, args...)
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	path := strings.TrimSpace(o.stdout)
	var manifest struct {
		Build struct {
			SignedBy string `json:"signed_by"`
		}
		Checks []struct{ Name, Module, Verdict, Detail string }
	}
	if err := json.Unmarshal([]byte(read(t, path)), &manifest); err != nil {
		t.Fatal(err)
	}
	if want := "sha512:27599812c5aeb519ccc0af3a284876029627c485"; manifest.Build.SignedBy != want {
		t.Errorf("signed by %q, want %q", manifest.Build.SignedBy, want)
	}
	if !strings.HasSuffix(read(t, filepath.Join(filepath.Dir(path), "nvidia.ko")), "~Module signature appended~\n") {
		t.Error("nvidia.ko is not signed")
	}
	key := read(t, signingKey)
	secret := strings.Split(key, "\n")[1]
	for _, where := range []string{o.stderr, read(t, path)} {
		if strings.Contains(where, secret) {
			t.Error("the key is in the log or the manifest")
		}
	}
	if again := f.run(t, args...); again.code != 0 || !strings.Contains(again.stderr, "nothing to build") {
		t.Errorf("the rerun: exit code %d\n%s", again.code, again.stderr)
	}
	if other := f.run(t); other.code != 10 {
		t.Errorf("without the key the signed modules are taken for what is asked: exit code %d", other.code)
	}

	verify := []string{"verify", filepath.Dir(path)}
	if v := f.run(t, verify...); v.code != 0 || !strings.Contains(v.stdout, "--signing-cert") {
		t.Errorf("verify without a certificate: exit code %d\n%s", v.code, v.stdout)
	}
	write(t, filepath.Join(f.host, "proc/keys"), 0o644, `02be5da6 I------     1 perm 1f030000     0     0 asymmetri mine: 27599812c5aeb519ccc0af3a284876029627c485: X509.rsa 9627c485 []
0b0e9d3f I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 1
`)
	if o := f.run(t, args...); o.code != 0 || !strings.Contains(o.stderr, "nothing to build") {
		t.Errorf("what is signed with a key that the kernel is now seen to hold is built again: exit code %d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, append(args, "--rebuild")...); o.code != 0 || !strings.Contains(o.stderr, "holds this key") {
		t.Errorf("a build for a kernel that holds the key: exit code %d\n%s", o.code, o.stderr)
	}
	if v := f.run(t, append(verify, "--signing-cert", signingCert)...); v.code != 0 || strings.Contains(v.stdout, "keys that the kernel holds are not to be seen") {
		t.Errorf("verify: exit code %d\n%s", v.code, v.stdout)
	}
	replace(t, filepath.Join(f.host, "proc/keys"), "27599812c5aeb519", "0000000000000000")
	if v := f.run(t, append(verify, "--signing-cert", signingCert)...); v.code != 15 || !strings.Contains(lastLine(v.stderr), "does not hold the key") {
		t.Errorf("verify against a kernel without the key: exit code %d\n%s", v.code, v.stderr)
	}
	write(t, filepath.Join(f.host, "etc/os-release"), 0o644, "ID=flatcar\nVERSION_ID=4593.2.5\n")
	if o := f.run(t, args...); o.code != 10 || !strings.Contains(lastLine(o.stderr), "does not hold the key 27599812") || !strings.Contains(lastLine(o.stderr), "Flatcar throws its own key away") {
		t.Errorf("a build for Flatcar with a key that its kernel does not have: exit code %d\n%s", o.code, o.stderr)
	}
}

var badKeys = []badInput{
	{"a key without its certificate", func(*testing.T, *fixture) []string {
		return []string{"--signing-key", signingKey}
	}, 2, []string{"--signing-cert"}},
	{"another key's certificate", func(*testing.T, *fixture) []string {
		return []string{"--signing-key", signingKey, "--signing-cert", strings.Replace(signingCert, "rsa", "p256", 1)}
	}, 2, []string{"is not that of the key"}},
	{"a key that is not there", func(*testing.T, *fixture) []string {
		return []string{"--signing-key", "/absent/key", "--signing-cert", signingCert}
	}, 2, []string{"/absent/key", "mounted"}},
	{"a key for the manifests without its certificate", func(*testing.T, *fixture) []string {
		return []string{"--sign-manifest", signingKey, "--sign-manifest-cert", signingKey}
	}, 2, []string{"holds no X.509 certificate", signingKey}},
	{"a key for the manifests with another's certificate", func(*testing.T, *fixture) []string {
		return []string{"--sign-manifest", signingKey, "--sign-manifest-cert", strings.Replace(signingCert, "rsa", "p256", 1)}
	}, 2, []string{"is not that of the key"}},
	{"a key for the manifests that is not there", func(*testing.T, *fixture) []string {
		return []string{"--sign-manifest", "/absent/key"}
	}, 2, []string{"/absent/key", "mounted"}},
	{"trust in nobody", func(_ *testing.T, f *fixture) []string {
		return []string{"verify", "--trust", "", filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver)}
	}, 2, []string{"--trust names no certificate"}},
	{"trust in nobody, of a load", func(*testing.T, *fixture) []string {
		return []string{"load", "--trust="}
	}, 2, []string{"--trust names no certificate"}},
	{"trust in a certificate that is not there", func(_ *testing.T, f *fixture) []string {
		return []string{"verify", "--trust", "/absent/cert", filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver)}
	}, 2, []string{"/absent/cert", "mounted"}},
}

// TestTheKeyItselfIsNotShown gives the key where a file's name belongs.
func TestTheKeyItselfIsNotShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := read(t, signingKey)
	environ := f.environ
	for _, tt := range []struct{ key, cert, command, manifest, trust string }{
		{key, signingCert, "build", "", ""},
		{signingKey, key, "build", "", ""},
		{"", "", "build", key, ""},
		{"", key, "verify", "", ""},
		{"", "", "verify", "", strings.Split(key, "\n")[0]},
	} {
		f.environ = append(environ[:len(environ):len(environ)], "BUILDER_SIGNING_KEY="+tt.key, "BUILDER_SIGNING_CERT="+tt.cert,
			"BUILDER_SIGN_MANIFEST="+tt.manifest, "BUILDER_TRUST="+tt.trust)
		args := []string{tt.command}
		if tt.command == "verify" {
			args = append(args, t.TempDir())
		}
		o := f.run(t, args...)
		if o.code != 2 || !strings.Contains(lastLine(o.stderr), "name of its file") {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
		for _, line := range strings.Split(key, "\n")[1:4] {
			if strings.Contains(o.stderr, line) {
				t.Fatal("the key is in the log")
			}
		}
	}
}
