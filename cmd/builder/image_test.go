package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
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
	return string(fixtureKernel.BzImage(t))
}

var fixtureKernel = imagetest.Kernel{
	Release: fixtureRelease, Banner: fixtureBanner, Config: fixtureConfig, CRCs: imagetest.NoCRCs, StructModule: 848,
	Exports: []image.Symbol{{Name: "_printk"}, {Name: "device_add", GPL: true}},
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

// TestPullForTheNextKernel brings, before an update, what was built for the kernel that it
// brings, by that kernel's image: the host runs another one.
func TestPullForTheNextKernel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	file, archive := filepath.Join(t.TempDir(), "flatcar_production_pxe.vmlinuz"), filepath.Join(t.TempDir(), "cuda.tar")
	write(t, file, 0o644, fixtureImage(t))
	built := f.run(t, "--kernel-image", file, "--host-root", t.TempDir())
	if built.code != 0 {
		t.Fatalf("exit code %d\n%s", built.code, built.stderr)
	}
	if o := f.run(t, "export", "tar", "-f", archive); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	write(t, filepath.Join(f.host, "proc/sys/kernel/osrelease"), 0o644, "6.6.1-flatcar\n")
	f.emptyShare(t)
	pull := []string{"pull", "--from", archive, "--driver-version", fixtureDriver, "--share", f.share}
	if o := f.run(t, pull...); o.code == 0 {
		t.Errorf("for the kernel that runs it brought %s", o.stdout)
	}
	os.Remove(filepath.Join(f.host, "proc/sys/kernel/osrelease"))
	if o := f.run(t, append(pull, "--kernel-image", file)...); o.code != 0 || o.stdout != filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json")+"\n" {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
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

// flatcarServer is one with a release of Flatcar that has the kernel, and says how often
// that was fetched.
func flatcarServer(t *testing.T, kernel string) (address string, fetched *atomic.Int32) {
	t.Helper()
	const file = "/stable/amd64-usr/4593.2.5/flatcar_production_pxe.vmlinuz"
	fetched = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stable/amd64-usr/current/version.txt":
			_, _ = io.WriteString(w, "FLATCAR_VERSION=4593.2.5\n")
		case file + ".DIGESTS":
			fmt.Fprintf(w, "# SHA512 HASH\n%x  %s\n", sha512.Sum512([]byte(kernel)), path.Base(file))
		case file:
			fetched.Add(1)
			_, _ = io.WriteString(w, kernel)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/{channel}", fetched
}

// TestFlatcar builds for a release of Flatcar by its name. Nothing of the machine that
// builds is in the target, and its kernel is fetched once.
func TestFlatcar(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address, fetched := flatcarServer(t, fixtureImage(t))
	var first outcome
	for _, name := range []string{"stable", "4593.2.5"} {
		o := f.run(t, "--host-root=", "--flatcar", name, "--flatcar-server", address)
		if o.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", name, o.code, o.stderr)
		}
		if first.stdout == "" {
			first = o
		}
		if o.stdout != first.stdout || fetched.Load() != 1 {
			t.Errorf("%s: %s, and the kernel was fetched %d times", name, o.stdout, fetched.Load())
		}
	}
	var manifest modules.Manifest
	if err := json.Unmarshal([]byte(read(t, strings.TrimSpace(first.stdout))), &manifest); err != nil {
		t.Fatal(err)
	}
	if got := manifest.Target; got.Release != fixtureRelease || got.Distribution != "flatcar 4593.2.5" {
		t.Errorf("target %+v", got)
	}
	kept, err := filepath.Glob(filepath.Join(f.share, ".builder/downloads/kernel-image-*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	write(t, kept[0], 0o644, "damaged")
	if o := f.run(t, "--host-root=", "--flatcar", "4593.2.5", "--flatcar-server", address); o.code != 0 || fetched.Load() != 2 || !strings.Contains(o.stderr, "is of no use") {
		t.Errorf("exit code %d, and the kernel was fetched %d times\n%s", o.code, fetched.Load(), o.stderr)
	}
}

var badImages = []badInput{
	{"no release of Flatcar", func(*testing.T, *fixture) []string {
		return []string{"--host-root=", "--flatcar", "4593"}
	}, 2, []string{"4593", "is no release of Flatcar", "as 4593.2.5"}},
	{"a release of Flatcar that is not there", func(t *testing.T, _ *fixture) []string {
		address, _ := flatcarServer(t, "")
		return []string{"--host-root=", "--flatcar", "4593.2.6", "--flatcar-server", address}
	}, 10, []string{"Flatcar has published no release 4593.2.6", "--kernel-image"}},
	{"a release of Flatcar and a kernel", func(*testing.T, *fixture) []string {
		return []string{"--flatcar", "stable", "--kernel-image", "/vmlinuz"}
	}, 2, []string{"both are named", "--flatcar"}},
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
