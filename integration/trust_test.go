//go:build integration

package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/modules"
)

// TestSignedResult signs what the demo made, in a share that is root's, gives that to
// a user, and has the user replace a module and the digest that the manifest has of it.
func TestSignedResult(t *testing.T) {
	c := needDemo(t)
	m := c.manifest(t)
	share := filepath.Join(t.TempDir(), "share")
	for _, name := range []string{"modules", "driver", "cuda"} {
		if err := copyPublished(filepath.Join(share, name), filepath.Join(c.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	give := func(user string) {
		t.Helper()
		out, err := exec.Command("docker", "run", "--rm", "-v", share+":/opt/share", needTrixie(t), "chown", "--recursive", "--no-dereference", user, "/opt/share").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	t.Cleanup(func() { give(fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())) })
	give("0:0")
	keys, err := filepath.Abs("../pkg/modules/signature/testdata")
	if err != nil {
		t.Fatal(err)
	}
	builder := func(args ...string) outcome {
		b := c.builder(t, args...)
		b.Share, b.Docker = share, []string{"-v", keys + ":/keys:ro"}
		return run(t, b)
	}
	const trusting = "--trust=/keys/rsa.pem"
	inside := lab.Builder{}.Mounted() + "/modules/" + m.Target.Release + "/" + m.Driver.Version

	if unsigned := builder("verify", trusting, inside); unsigned.code != 15 || !strings.Contains(unsigned.stdout, "there is no manifest.json.p7s beside it") {
		t.Errorf("before: exit code %d\n%s", unsigned.code, unsigned.stdout)
	}
	signed := builder("--sign-manifest=/keys/rsa.both.pem")
	if signed.code != 0 || !strings.Contains(signed.stderr, `"manifest signed"`) || strings.Contains(signed.stderr, `"stage":"build"`) {
		t.Fatalf("exit code %d\n%s", signed.code, signed.stderr)
	}
	dir := filepath.Join(share, "modules", m.Target.Release, m.Driver.Version)
	openssl := exec.CommandContext(t.Context(), "docker", "run", "--rm", "-v", share+":/opt/share:ro", "-v", keys+":/keys:ro", "-w", inside, lab.Image,
		"openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "manifest.json.p7s", "-content", "manifest.json",
		"-certfile", "/keys/rsa.pem", "-CAfile", "/keys/rsa.pem", "-partial_chain", "-purpose", "any", "-out", "/dev/null")
	if out, err := openssl.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	for _, folder := range []string{inside, "/opt/share/driver/" + m.Driver.Version} {
		if v := builder("verify", trusting, folder); v.code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", folder, v.code, v.stdout, v.stderr)
		}
	}

	const user = "1000:1000"
	give(user)
	attack := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--user", user, "-v", share+":/opt/share", "-w", inside, needTrixie(t), "sh", "-ec",
		`old=$(sha256sum nvidia.ko | cut -d' ' -f1); size=$(stat -c %s nvidia.ko); printf x >>nvidia.ko; new=$(sha256sum nvidia.ko | cut -d' ' -f1)
		sed -i "s/$old/$new/; s/\"size\": $size,/\"size\": $((size + 1)),/" manifest.json`)
	if out, err := attack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.Open(filepath.Join(dir, modules.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := modules.ParseManifest(file); err != nil {
		t.Fatal(err)
	}
	// Nobody who goes by the digests alone finds out.
	if v := builder("verify", inside); v.code != 0 {
		t.Errorf("without --trust: exit code %d\n%s", v.code, v.stdout)
	}
	if v := builder("verify", trusting, inside); v.code != 15 || !strings.HasPrefix(v.stdout, "failed") || !strings.Contains(v.stdout, "manifest.json.p7s: it is of something else") {
		t.Errorf("exit code %d\n%s", v.code, v.stdout)
	}
}

// copyPublished copies a folder with its links, without what is too large to be.
func copyPublished(dst, src string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dst, strings.TrimPrefix(path, src))
		info, err := e.Info()
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.MkdirAll(to, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case info.Size() >= 1<<30:
			return nil // the toolkit, in which there is nothing
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm())
	})
}
