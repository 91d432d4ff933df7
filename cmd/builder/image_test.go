package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/modules"
)

// published is a server that has a file under every name.
func published(t *testing.T, content string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/absent/") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// fixtureImage is the kernel of the fixture's host as it boots.
func fixtureImage(t *testing.T) string {
	t.Helper()
	k := imagetest.Kernel{
		Release: fixtureRelease, Banner: fixtureBanner, Config: fixtureConfig, CRCs: imagetest.NoCRCs, StructModule: 848,
		Exports: []image.Symbol{{Name: "_printk"}, {Name: "device_add", GPL: true}},
	}
	return string(k.BzImage(t))
}

// TestBuildFromAKernelImage builds for a kernel that no host runs: there is no
// more of it than its image, in a file or on a server.
func TestBuildFromAKernelImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := fixtureImage(t)
	file := filepath.Join(t.TempDir(), "flatcar_production_pxe.vmlinuz")
	write(t, file, 0o644, content)
	root := t.TempDir()
	first := f.run(t, "--kernel-image", file, "--host-root", root)
	if first.code != 0 {
		t.Fatalf("exit code %d\n%s", first.code, first.stderr)
	}
	text, err := os.ReadFile(strings.TrimSpace(first.stdout))
	if err != nil {
		t.Fatal(err)
	}
	var manifest modules.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	got := manifest.Target
	if got.Release != fixtureRelease || got.Config.From != "--kernel-image" || got.Symbols.From != "--kernel-image" || got.InTree != "" {
		t.Errorf("target %+v", got)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	other := filepath.Join(t.TempDir(), "another-name")
	write(t, other, 0o644, content)
	for name, args := range map[string][]string{
		"from a URL":          {"--kernel-image", published(t, content) + "/vmlinuz", "--kernel-image-sha256", sum},
		"by Flatcar's digest": {"--kernel-image", published(t, content) + "/vmlinuz", "--kernel-image-sha512", fmt.Sprintf("%x", sha512.Sum512([]byte(content)))},
		"under another name":  {"--kernel-image", other},
	} {
		o := f.run(t, append(args, "--host-root", root)...)
		if o.code != 0 || o.stdout != first.stdout || !strings.Contains(o.stderr, "nothing to build") {
			t.Errorf("%s: the same kernel is another: exit code %d\n%s", name, o.code, o.stderr)
		}
	}
	if o := f.run(t, "verify", "--kernel-image", file, "--host-root", root, filepath.Dir(strings.TrimSpace(first.stdout))); o.code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// TestOfflineImage builds from an image that an earlier run fetched against the
// same digest, and from no other that it might be.
func TestOfflineImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := fixtureImage(t)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(content)) }))
	defer server.Close()
	image := []string{"--kernel-image", server.URL + "/vmlinuz", "--host-root", t.TempDir()}
	withDigest := append(image, "--kernel-image-sha256", sum)
	refused := func(says string, args ...string) {
		t.Helper()
		if o := f.run(t, append(args, "--offline")...); o.code != 10 || !strings.Contains(lastLine(o.stderr), says) {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
	}

	refused("was not fetched earlier, and --offline forbids to fetch it", withDigest...)
	if o := f.run(t, append(withDigest, "--dry-run")...); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	refused("was not fetched earlier", withDigest...) // a dry run keeps nothing
	first := f.run(t, withDigest...)
	if first.code != 0 {
		t.Fatalf("exit code %d\n%s", first.code, first.stderr)
	}
	refused("without its digest no earlier copy is known to be it", image...)
	server.Close()
	if o := f.run(t, append(withDigest, "--offline")...); o.code != 0 || o.stdout != first.stdout {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}

	kept := filepath.Join(f.share, ".builder/downloads/kernel-image-"+sum)
	write(t, kept, 0o644, content[1:])
	refused("was not fetched earlier", withDigest...)
}

var badImages = []badInput{
	{"one that is not there", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image", "/absent/vmlinuz"}
	}, 10, []string{"/absent/vmlinuz"}},
	{"one that is none", func(t *testing.T, f *fixture) []string {
		file := filepath.Join(t.TempDir(), "vmlinuz")
		write(t, file, 0o644, "not a kernel")
		return []string{"--kernel-image", file}
	}, 10, []string{"not a kernel image", "vmlinuz"}},
	{"one that the server does not have", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "") + "/absent/vmlinuz?token=hunter2"}
	}, 10, []string{"/absent/vmlinuz", "404"}},
	{"one of another digest", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "altered") + "/vmlinuz", "--kernel-image-sha256", strings.Repeat("0", 64)}
	}, 10, []string{"SHA-256", "not 000"}},
	{"another image than the SHA-512 says", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "altered") + "/vmlinuz", "--kernel-image-sha512", strings.Repeat("0", 128)}
	}, 10, []string{"the kernel image is another than was asked for", "--kernel-image-sha512"}},
	{"no SHA-512 of an image", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image", "/vmlinuz", "--kernel-image-sha512", strings.Repeat("0", 64)}
	}, 2, []string{"is not a SHA-512"}},
	{"a digest that is none", func(t *testing.T, _ *fixture) []string {
		return []string{"--kernel-image", published(t, "") + "/vmlinuz", "--kernel-image-sha256", "../../lock"}
	}, 2, []string{"../../lock", "64 hexadecimal digits"}},
	{"one that --offline forbids to fetch", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image", nowhere, "--offline"}
	}, 10, []string{"--offline forbids to fetch the kernel image " + nowhere, "--kernel-image-sha256"}},
	{"one that verify may not fetch", func(_ *testing.T, f *fixture) []string {
		f.environ = append(f.environ, "BUILDER_OFFLINE=true")
		return []string{"verify", "--kernel-image", nowhere, f.share}
	}, 10, []string{"--offline forbids to fetch the kernel image " + nowhere}},
	{"a digest of none", func(*testing.T, *fixture) []string {
		return []string{"--kernel-image-sha256", strings.Repeat("0", 64)}
	}, 2, []string{"--kernel-image"}},
}
