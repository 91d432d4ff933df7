//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/internal/docs"
	"github.com/k8sp/cuda/pkg/modules"
)

// TestDocs runs commands of the documents as their readers would, one block after the
// other: by bash, on Docker, in a copy of the checkout where the demo has been. What it
// has not is a Flatcar host. In the place of that are
//
//   - hostdocker for docker, which says in its doc comment what it changes;
//   - the lab's recorded host for the one that the reader is on, with a /boot and a
//     /lib/modules in which there is nothing, and a /proc/keys;
//   - folders of the test's for /home/core/share, /srv/share and /root/keys;
//   - the lab's driver and its form for those that the documents have readers name, and its
//     host's kernel for a release of Flatcar's, also where --flatcar names one (an extension is
//     made of a copy whose manifest says Flatcar); and
//   - a real registry, which wants a password, for registry.example.com.
//
// What one block leaves, such as a capture or a key, the next ones find.
func TestDocs(t *testing.T) {
	r := newReader(t)
	registry := startRegistry(t)
	before := r.checkout.results(t)
	for _, tt := range []struct {
		file, block string
		begin       func(*testing.T, *reader) (dir string) // where the reader is, and has been brought by what comes before
		wants       func(*testing.T, *reader, outcome)
	}{
		{"README.md", "two-lines", atTheCheckout, wantsTheResult},
		{"docs/host.md", "build", atTheCheckout, wantsTheResult},
		{"docs/ci.md", "capture", atTheCheckout, wantsCapture},
		{"docs/ci.md", "of-a-capture", atTheCheckout, wantsTheResult},
		{"docs/airgap.md", "source", atTheCheckout, wantsSource},
		{"docs/ci.md", "verify", atTheCheckout, wantsPassed},
		{"docs/limits.md", "prune", atTheCheckout, wantsPlan},
		{"docs/signing.md", "key", withAPlaceForKeys, wantsKey},
		{"docs/signing.md", "sign", withAShareOfRoots, wantsSigned},
		{"docs/signing.md", "openssl", atTheSignedResult, wantsVerified},
		{"docs/airgap.md", "export", atTheCheckout, wantsArchive},
		{"docs/airgap.md", "import", withTheArchive, wantsPulled},
		{"docs/loaders.md", "sysext", withAFlatcarsResult, wantsExtension},
		{"docs/artefact.md", "push", atTheCheckout, wantsPushed},
		{"docs/artefact.md", "pull", withNothing, wantsPulled},
		{"docs/fleet.md", "build", inCI, wantsPulled},
		{"docs/fleet.md", "export", afterCI, wantsArchiveOfCI},
	} {
		t.Run(tt.file+" "+tt.block, func(t *testing.T) {
			text := docs.Block(t, tt.file, tt.block)
			r.share, r.network = r.checkout.dir, "host"
			if strings.Contains(text, "registry.example.com") {
				r.network = "container:" + registry
			}
			o := r.types(t, tt.begin(t, r), text)
			if o.code != 0 {
				t.Fatalf("exit code %d, want 0", o.code)
			}
			tt.wants(t, r, o)
			if after := r.checkout.results(t); after != before {
				t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// TestDocsThatAreWrong has TestDocs' reader type what no document should say.
func TestDocsThatAreWrong(t *testing.T) {
	r := newReader(t)
	for name, tt := range map[string]struct {
		text, says string
		code       int
	}{
		"an option that docker has not":  {`docker run --no-such-option -v "$PWD":/opt/share cuda`, "unknown flag: --no-such-option", 125},
		"a capability that nobody has":   {`docker run --cap-add NONE_SUCH -v "$PWD":/opt/share cuda`, "NONE_SUCH", 125},
		"an option that builder has not": {`docker run -v "$PWD":/opt/share cuda --no-such-option`, "unknown flag: --no-such-option", 2},
		"a command that builder has not": {`docker run -v "$PWD":/opt/share cuda brew`, "brew", 2},
		"a mount that builder sees not":  {`docker run -v "$PWD":/opt/share -v /boot:/host/bot:ro cuda`, "looks for it at /host/boot", 125},
		"no share":                       {"docker run cuda", "/opt/share", 2},
		"another image":                  {"docker run debian:trixie-slim true", "not of the image cuda", 125},
		"an earlier line":                {"docker run cuda brew\ntrue", "brew", 2},
		"the first of a pipe":            {"docker run cuda brew | cat", "brew", 2},
		"a variable that is not set":     {`docker run -v "$NO_SUCH":/opt/share cuda`, "NO_SUCH: unbound variable", 1},
	} {
		t.Run(name, func(t *testing.T) {
			if o := r.types(t, r.checkout.dir, tt.text); o.code != tt.code || !strings.Contains(o.stderr, tt.says) {
				t.Errorf("exit code %d, want %d and %q", o.code, tt.code, tt.says)
			}
		})
	}
}

// reader is who follows the documents.
type reader struct {
	checkout *checkout
	manifest modules.Manifest // of what the demo has built
	bin      string           // with hostdocker as docker
	host     string           // the root of the host
	home     string
	network  string // of containers: the machine's, or the registry's
	// What stands for folders of the documents', empty where one has no such.
	share, srv, keys string
	ci               string // where CI has built
	archive          string // what was exported
	docker           string // the real client
}

func newReader(t *testing.T) *reader {
	t.Helper()
	c := needDemo(t)
	r := &reader{checkout: c, manifest: c.manifest(t), bin: t.TempDir(), host: t.TempDir(), home: t.TempDir(), network: "host", share: c.dir}
	var err error
	if r.docker, err = exec.LookPath("docker"); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(r.bin, "docker"), "./hostdocker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := errors.Join(os.CopyFS(r.host, os.DirFS(needHost(t).Dir)), os.Mkdir(filepath.Join(r.host, "boot"), 0o755),
		os.MkdirAll(filepath.Join(r.host, "lib/modules"), 0o755), os.WriteFile(filepath.Join(r.host, "proc/keys"), nil, 0o444),
		os.Chmod(r.host, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, left := range []string{"node.tar", "cuda.tar"} {
			os.Remove(filepath.Join(c.dir, left))
		}
	})
	// As docker login leaves it.
	secret := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config := filepath.Join(r.home, ".docker/config.json")
	if err := errors.Join(os.Mkdir(filepath.Dir(config), 0o700),
		os.WriteFile(config, []byte(`{"auths": {"127.0.0.1:5000": {"auth": "`+secret+`"}}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	return r
}

// Names that stand in the documents for a reader's own.
var (
	anyDriver  = regexp.MustCompile(`\b[3-9]\d\d\.\d{2,3}\.\d{2}\b`)
	anyFlatcar = regexp.MustCompile(`\b\d+\.\d+\.\d+-flatcar\b`)
	anyForm    = regexp.MustCompile(`--module-type[ =](open|proprietary)`)
	anyRelease = regexp.MustCompile(`--flatcar[ =]\d+\.\d+\.\d+`)
	anyBuilder = regexp.MustCompile(`registry\.example\.com/cuda-builder:[\w.-]+`)
)

// types has bash run a text in a folder, with this reader's names in the place of the
// documents', and says how that ended.
func (r *reader) types(t *testing.T, dir, text string) outcome {
	t.Helper()
	m := r.manifest
	text = anyDriver.ReplaceAllString(text, m.Driver.Version)
	text = anyFlatcar.ReplaceAllString(text, m.Target.Release)
	text = anyForm.ReplaceAllString(text, "--module-type "+m.Driver.ModuleType)
	text = anyRelease.ReplaceAllString(text, "")
	text = anyBuilder.ReplaceAllString(text, "cuda")
	text = strings.NewReplacer("registry.example.com/cuda", repository, "modules/RELEASE/VERSION", "modules/"+m.Target.Release+"/"+m.Driver.Version,
		"/home/core/share", r.share, "/srv/share", r.srv, "/root/keys", r.keys).Replace(text)
	name := lab.ContainerName("docs")
	host, err := json.Marshal(map[string]any{
		"Docker": r.docker, "Image": needImage(t), "Checkout": r.checkout.dir, "Root": r.host, "Network": r.network, "Name": name,
		"Environ": needServer(t).Environ(),
		"Folders": slices.DeleteFunc([]string{r.checkout.dir, r.home, r.share, r.srv, r.keys}, func(dir string) bool { return dir == "" }),
	})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "PATH="+r.bin+":"+os.Getenv("PATH"), "HOME="+r.home, "HOSTDOCKER="+string(host),
		"RELEASE="+m.Target.Release, "VERSION="+m.Driver.Version)
	t.Cleanup(func() { r.removeContainers(t, name) })
	err = cmd.Run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("in %s:\n%s\nexit code %d, stdout %.2000q, stderr\n%s", dir, text, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String())
		}
	})
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// removeContainers ends those that a text has left behind, by their names.
func (r *reader) removeContainers(t *testing.T, begins string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.docker, "ps", "--all", "--quiet", "--filter", "name=^"+begins+"-").Output()
	if left := strings.Fields(string(out)); err == nil && len(left) > 0 {
		t.Errorf("%d containers are left", len(left))
		err = exec.CommandContext(ctx, r.docker, append([]string{"rm", "--force"}, left...)...).Run()
	}
	if err != nil {
		t.Error(err)
	}
}

func atTheCheckout(_ *testing.T, r *reader) string { return r.checkout.dir }

// wantsTheResult: there was nothing to build, and the last line has the manifest's path.
func wantsTheResult(t *testing.T, r *reader, o outcome) {
	inside, found := strings.CutPrefix(lastLine(o.stdout), "/opt/share")
	if want := filepath.Join(r.checkout.published(), modules.ManifestFile); !found || filepath.Join(r.share, inside) != want {
		t.Errorf("the last line is %q, want the path of %s", lastLine(o.stdout), want)
	}
	if !strings.Contains(o.stderr, "nothing to build") {
		t.Error("it does not say that there was nothing to build")
	}
}

// wantsCapture: a tar describes the host, and by that there was nothing to build.
func wantsCapture(t *testing.T, r *reader, o outcome) {
	names := tarred(t, filepath.Join(r.checkout.dir, "node.tar"))
	for _, want := range []string{"proc/kallsyms", "proc/sys/kernel/osrelease", "etc/os-release"} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.TrimPrefix(name, "./") == want }) {
			t.Errorf("node.tar has no %s: %q", want, names)
		}
	}
	if o.stdout != "" || !strings.Contains(o.stderr, "captured") {
		t.Errorf("it says %q, and not what it has captured:\n%s", o.stdout, o.stderr)
	}
}

func wantsSource(t *testing.T, r *reader, _ outcome) {
	names := tarred(t, filepath.Join(r.checkout.dir, "linux-source.tar"))
	if !slices.Contains(names, "linux/Makefile") {
		t.Errorf("the tar of the source has no Makefile among its %d files", len(names))
	}
}

func wantsPassed(t *testing.T, _ *reader, o outcome) {
	if !strings.Contains(o.stdout, "passed") {
		t.Errorf("it says %q, and not that the checks have passed", o.stdout)
	}
}

func wantsPlan(t *testing.T, _ *reader, o outcome) {
	if !strings.Contains(o.stdout, "would be freed") {
		t.Errorf("it says %q, and not what would be freed", o.stdout)
	}
}

func withAPlaceForKeys(t *testing.T, r *reader) string {
	r.keys = filepath.Join(r.home, "keys")
	if err := os.Mkdir(r.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	return r.keys
}

func wantsKey(t *testing.T, r *reader, _ outcome) {
	for _, name := range []string{"drivers.key", "drivers.pem"} {
		if info, err := os.Stat(filepath.Join(r.keys, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s was not made: %v", name, err)
		}
	}
}

// withAShareOfRoots gives the reader a share that only root writes, with the demo's result.
func withAShareOfRoots(t *testing.T, r *reader) string {
	r.srv = filepath.Join(r.home, "srv")
	for _, name := range []string{"modules", "driver", "cuda"} {
		if err := copyPublished(filepath.Join(r.srv, name), filepath.Join(r.checkout.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return r.srv
}

// wantsSigned: what was there already was signed by the key that the reader made.
func wantsSigned(t *testing.T, r *reader, o outcome) {
	for _, dir := range []string{r.signedResult(), filepath.Join(r.srv, "driver", r.manifest.Driver.Version)} {
		if info, err := os.Stat(filepath.Join(dir, modules.ManifestFile+".p7s")); err != nil || info.Size() == 0 {
			t.Errorf("%s is not signed: %v", dir, err)
		}
	}
	// Another user's share is built again, as nobody knows what lies there.
	if os.Getuid() == 0 && !strings.Contains(o.stderr, "nothing to build") {
		t.Error("what was there already was built again")
	}
}

func (r *reader) signedResult() string {
	return filepath.Join(r.srv, "modules", r.manifest.Target.Release, r.manifest.Driver.Version)
}

// atTheSignedResult has the certificate beside the manifest, as the line of the document
// has it.
func atTheSignedResult(t *testing.T, r *reader) string {
	if r.keys == "" {
		t.Fatal("nothing was signed before")
	}
	write(t, filepath.Join(r.signedResult(), "drivers.pem"), []byte(read(t, filepath.Join(r.keys, "drivers.pem"))))
	return r.signedResult()
}

func wantsVerified(t *testing.T, r *reader, o outcome) {
	if !strings.Contains(o.stdout+o.stderr, "Verification successful") {
		t.Error("it does not say that the signature is right")
	}
	path := filepath.Join(r.signedResult(), modules.ManifestFile)
	write(t, path, []byte(read(t, path)+"\n"))
	if o := r.types(t, r.signedResult(), docs.Block(t, "docs/signing.md", "openssl")); o.code == 0 {
		t.Error("another manifest is as good")
	}
}

// wantsArchive: the file is an image layout, which the next block takes.
func wantsArchive(t *testing.T, r *reader, _ outcome) {
	path := filepath.Join(r.checkout.dir, "cuda.tar")
	if names := tarred(t, path); !slices.Contains(names, "index.json") || !slices.Contains(names, "oci-layout") {
		t.Errorf("cuda.tar is no image layout: %q", names)
	}
	r.archive = filepath.Join(r.home, "cuda.tar")
	if err := os.Rename(path, r.archive); err != nil {
		t.Fatal(err)
	}
}

// tarred are the names in a tar that is whole.
func tarred(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for in := tar.NewReader(file); ; {
		h, err := in.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatalf("%s, after %d names: %v", path, len(names), err)
		}
		names = append(names, h.Name)
	}
}

// withNothing is another host, whose share has nothing in it.
func withNothing(t *testing.T, r *reader) string {
	r.share = t.TempDir()
	if err := os.Chmod(r.share, 0o755); err != nil {
		t.Fatal(err)
	}
	return r.share
}

// inCI is a machine whose share is a folder share where it stands.
func inCI(t *testing.T, r *reader) string {
	r.ci = filepath.Join(r.home, "ci")
	r.share = filepath.Join(r.ci, "share")
	if err := os.MkdirAll(r.share, 0o755); err != nil {
		t.Fatal(err)
	}
	return r.ci
}

// afterCI is where that was.
func afterCI(t *testing.T, r *reader) string {
	if r.ci == "" {
		t.Fatal("CI has built nothing before")
	}
	r.share = filepath.Join(r.ci, "share")
	return r.ci
}

func wantsArchiveOfCI(t *testing.T, r *reader, _ outcome) {
	if names := tarred(t, filepath.Join(r.share, "cuda.tar")); !slices.Contains(names, "index.json") {
		t.Errorf("cuda.tar is no image layout: %q", names)
	}
}

// withTheArchive is such a host, to which the archive was carried.
func withTheArchive(t *testing.T, r *reader) string {
	if r.archive == "" {
		t.Fatal("nothing was exported before")
	}
	dir := withNothing(t, r)
	if err := os.Rename(r.archive, filepath.Join(dir, "cuda.tar")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withAFlatcarsResult has a manifest say that the kernel is a Flatcar's, as an extension is
// for no other system.
func withAFlatcarsResult(t *testing.T, r *reader) string {
	withNothing(t, r)
	for _, name := range []string{"modules", "driver"} {
		if err := copyPublished(filepath.Join(r.share, name), filepath.Join(r.checkout.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(r.share, "modules", r.manifest.Target.Release, r.manifest.Driver.Version, modules.ManifestFile)
	text := read(t, path)
	edited := strings.Replace(text, `"distribution": "`+r.manifest.Target.Distribution+`"`, `"distribution": "flatcar 4593.2.5"`, 1)
	if edited == text {
		t.Fatalf("the manifest has no distribution %q", r.manifest.Target.Distribution)
	}
	write(t, path, []byte(edited))
	return r.share
}

// wantsExtension: the file is a squashfs.
func wantsExtension(t *testing.T, r *reader, _ outcome) {
	file, err := os.Open(filepath.Join(r.share, "cuda-driver.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(file, magic); err != nil || string(magic) != "hsqs" {
		t.Errorf("it begins with %q: %v", magic, err)
	}
}

func wantsPushed(t *testing.T, r *reader, o outcome) {
	if !strings.Contains(o.stdout, repository+":"+r.manifest.Driver.Version+"-") {
		t.Errorf("it says %q, and not what was pushed", o.stdout)
	}
}

// wantsPulled: what the demo has built is on the other host, to the byte.
func wantsPulled(t *testing.T, r *reader, _ outcome) {
	m := r.manifest
	for _, dir := range []string{filepath.Join("modules", m.Target.Release, m.Driver.Version), filepath.Join("driver", m.Driver.Version)} {
		out, err := exec.CommandContext(t.Context(), "diff", "--recursive", "--no-dereference",
			filepath.Join(r.checkout.dir, dir)+"/", filepath.Join(r.share, dir)+"/").CombinedOutput()
		if err != nil {
			t.Errorf("%s is not what was built: %v\n%.2000s", dir, err, out)
		}
	}
}
