package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/pkg/share"
)

// aRegistry is one on loopback: go-containerregistry's own, in memory.
func aRegistry(t *testing.T, wrap func(http.Handler) http.Handler, options ...registry.Option) (repository string) {
	t.Helper()
	handler := registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...)
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/fleet/cuda"
}

// TestPushAndPull has what one share has built be in another, byte for byte, where
// nothing is built.
func TestPushAndPull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	repository := aRegistry(t, nil)
	first := f.run(t, "push", repository)
	if first.code != 0 || strings.Count(first.stdout, "\n") != 1 || !strings.Contains(first.stdout, repository+":"+fixtureDriver+"-") {
		t.Fatalf("%d\n%s%s", first.code, first.stdout, first.stderr)
	}
	if again := f.run(t, "push", repository); again.stdout != first.stdout {
		t.Errorf("the same result is another artefact:\n%s%s", first.stdout, again.stdout)
	}
	built := f.share
	want := f.results(t)
	f.emptyShare(t)
	pull := []string{"pull", repository, "--driver-version", fixtureDriver, "--share", f.share}
	o := f.run(t, pull...)
	if o.code != 0 || o.stdout != filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json")+"\n" {
		t.Fatalf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if diff := cmp.Diff(strings.ReplaceAll(want, built, ""), strings.ReplaceAll(f.results(t), f.share, "")); diff != "" {
		t.Errorf("what was pulled differs (-built +pulled):\n%s", diff)
	}
	noted := f.lastPull(t)
	if noted.Driver != fixtureDriver || noted.Release != fixtureRelease || noted.Seconds <= 0 || time.Since(noted.At) > time.Hour {
		t.Errorf("%+v", noted)
	}
	// A mirror that does not answer, one that has lost the layers, and one that has it.
	lost := aRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				http.NotFound(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	pushing := *f
	pushing.share = built
	if o := pushing.run(t, "push", lost, "--share", built); o.code != 0 {
		t.Fatal(o.stderr)
	}
	f.emptyShare(t)
	mirrored := f.run(t, "pull", "127.0.0.1:1/none", "--registry-mirror", "127.0.0.1:1/other,"+lost+","+repository, "--driver-version", fixtureDriver, "--share", f.share)
	if mirrored.code != 0 || strings.Count(mirrored.stderr, "this mirror is passed over") != 2 {
		t.Errorf("%d\n%s", mirrored.code, mirrored.stderr)
	}
	// A second time nothing is pulled.
	pull = append(pull[:len(pull)-1], f.share)
	noted = f.lastPull(t)
	if o := f.run(t, pull...); o.code != 0 || !strings.Contains(o.stderr, "there already") || strings.Contains(o.stderr, "pulled") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if got := f.lastPull(t); got != noted {
		t.Errorf("%+v was noted of it", got)
	}
}

// lastPull is what is written down of the last pull into the share.
func (f *fixture) lastPull(t *testing.T) share.Pull {
	t.Helper()
	s, err := share.Open(f.share)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.LastPull()
	if err != nil {
		t.Error(err)
	}
	return p
}

// TestArtefactIsAnImage that others run: the paths that they look for lead to the files
// that were published, by tags that they can make up, which are not copies.
func TestArtefactIsAnImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	program := filepath.Join(t.TempDir(), "program")
	write(t, program, 0o755, "a program\n")
	write(t, filepath.Join(f.runtime, "usr/local/bin/nvidia-driver"), 0o755, "#!/bin/sh\n")
	write(t, filepath.Join(f.runtime, "bin/README"), 0o644, "\n")
	for name, target := range map[string]string{"usr/local/bin/builder": program, "bin/sh": "busybox"} {
		if err := os.Symlink(target, filepath.Join(f.runtime, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(f.host, "lib/modules", fixtureRelease, "modules.dep"), 0o644, "kernel/drivers/gpu/drm/drm.ko.xz: kernel/drivers/i2c/i2c-core.ko.xz\nkernel/drivers/i2c/i2c-core.ko.xz:\nkernel/fs/nfs.ko:\n")
	f.build(t)
	repository := aRegistry(t, nil)
	o := f.run(t, "push", repository, "--output", "json")
	var pushed []struct {
		Digest  string
		Aliases []string
	}
	if err := json.Unmarshal([]byte(o.stdout), &pushed); err != nil || len(pushed) != 1 {
		t.Fatal(err, o.stdout, o.stderr)
	}
	aliases := []string{fixtureDriver + "-" + fixtureRelease, fixtureDriver + "-" + fixtureRelease + "-coreos1911.3.0"}
	if diff := cmp.Diff(aliases, pushed[0].Aliases); diff != "" {
		t.Errorf("the aliases (-want +got):\n%s", diff)
	}
	var image v1.Image
	for _, alias := range aliases {
		tag, err := name.NewTag(repository + ":" + alias)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := remote.Head(tag); err != nil || d.Digest.String() != pushed[0].Digest {
			t.Errorf("%s is %v, %v", alias, d, err)
		}
		if image, err = remote.Image(tag); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]string{}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := found[h.Name]; twice && h.Typeflag != tar.TypeDir {
				t.Errorf("%s is there twice", h.Name)
			}
			found[h.Name] = fmt.Sprintf("%c %o %s%s", h.Typeflag, h.Mode, h.Linkname, text)
		}
		z.Close()
	}
	in := "opt/share/modules/" + fixtureRelease + "/" + fixtureDriver + "/"
	kmm := "opt/lib/modules/" + fixtureRelease + "/"
	for name, want := range map[string]string{
		in + "manifest.json":  "0 644 " + read(t, filepath.Join(f.folders()[0], "manifest.json")),
		kmm + "nvidia.ko":     "1 644 " + in + "nvidia.ko",
		kmm + "nvidia-drm.ko": "1 644 " + in + "nvidia-drm.ko",
		kmm + "host":          "2 777 /host/lib/modules/" + fixtureRelease,
		"firmware/nvidia/" + fixtureDriver + "/gsp_tu10x.bin": "1 644 " + in + "firmware/nvidia/" + fixtureDriver + "/gsp_tu10x.bin",
		"usr/bin/nvidia-smi":          "2 777 ../../opt/share/driver/" + fixtureDriver + "/usr/bin/nvidia-smi",
		"usr/local/bin/nvidia-driver": "0 755 #!/bin/sh\n",
		"usr/local/bin/builder":       "0 755 a program\n",
		"bin/sh":                      "2 777 busybox",
	} {
		if found[name] != want {
			t.Errorf("%s is %.200q, want %.200q", name, found[name], want)
		}
	}
	dep := found[kmm+"modules.dep"]
	for _, want := range []string{"\nnvidia-drm.ko: ", " host/kernel/drivers/gpu/drm/drm.ko.xz host/kernel/drivers/i2c/i2c-core.ko.xz\n", "\nhost/kernel/drivers/i2c/i2c-core.ko.xz:\n"} {
		if !strings.Contains("\n"+dep, want) {
			t.Errorf("modules.dep has no %q:\n%s", want, dep)
		}
	}
	if strings.Contains(dep, "nfs") {
		t.Errorf("modules.dep has what nobody needs:\n%s", dep)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(config.Config.Entrypoint, config.Config.Env); !strings.HasPrefix(got, "[/usr/local/bin/builder] [PATH=/usr/local/sbin:") || !strings.Contains(got, "BUILDER_DRIVER_VERSION="+fixtureDriver) {
		t.Error(got)
	}

	// Another kernel of the release has its own artefact, and is told to have taken these tags.
	symbols := filepath.Join(f.host, "proc/kallsyms")
	write(t, symbols, 0o644, strings.ReplaceAll(read(t, symbols), "device_add", "device_del"))
	if o := f.run(t, "--registry", repository, "--push", "--rebuild", "--allow", "symbols"); o.code != 0 || strings.Count(o.stderr, "another kernel of this release") != 2 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestWhatBelongsToAnArtefact is found by registries with the referrers API, and by the tag
// that stands in for it, once each, however often it is pushed.
func TestWhatBelongsToAnArtefact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	for _, api := range []bool{true, false} {
		repository := aRegistry(t, nil, registry.WithReferrersSupport(api))
		var pushed outcome
		for range 2 {
			if pushed = f.run(t, "push", repository); pushed.code != 0 {
				t.Fatal(pushed.stderr)
			}
		}
		_, digest, _ := strings.Cut(strings.TrimSpace(pushed.stdout), "@")
		subject, err := name.NewDigest(repository + "@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		referrers, err := remote.Referrers(subject)
		if err != nil {
			t.Fatal(err)
		}
		list, err := referrers.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, d := range list.Manifests {
			image, err := remote.Image(subject.Context().Digest(d.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			layers, err := image.Layers()
			if err != nil || len(layers) != 1 {
				t.Fatal(layers, err)
			}
			r, err := layers[0].Compressed()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			title := d.Annotations["org.opencontainers.image.title"]
			if _, twice := found[title]; twice {
				t.Errorf("%s is there twice", title)
			}
			found[title] = d.ArtifactType + " " + string(text)
		}
		logs := filepath.Join(f.share, ".builder/logs")
		want := map[string]string{
			"manifest.json":        "application/vnd.k8sp.cuda.manifest.v1+json " + read(t, filepath.Join(f.folders()[0], "manifest.json")),
			"prepare.log":          "text/plain " + read(t, filepath.Join(logs, "prepare-"+fixtureRelease+"-"+fixtureDriver+".log")),
			"nvidia-installer.log": "text/plain " + read(t, filepath.Join(logs, "nvidia-installer-"+fixtureRelease+"-"+fixtureDriver+".log")),
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("referrers API: %t (-want +found):\n%s", api, diff)
		}
	}
}

// pushed is a fixture that has built, and a registry with what it has.
func pushed(t *testing.T) (f *fixture, repository string) {
	t.Helper()
	f = newFixture(t)
	f.build(t)
	repository = aRegistry(t, nil)
	if o := f.run(t, "push", repository); o.code != 0 {
		t.Fatal(o.stderr)
	}
	return f, repository
}

// emptyShare has the fixture go on with another share, in which there is nothing, not even
// a driver.
func (f *fixture) emptyShare(t *testing.T) {
	t.Helper()
	f.share = filepath.Join(t.TempDir(), "share")
	if err := os.Mkdir(f.share, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestNoCompile has a build bring or find what serves, and make nothing, whatever the
// registry has.
func TestNoCompile(t *testing.T) {
	t.Parallel()
	f, repository := pushed(t)
	drivers := filepath.Join(f.share, "cuda")
	f.emptyShare(t)
	if err := os.CopyFS(filepath.Join(f.share, "cuda"), os.DirFS(drivers)); err != nil {
		t.Fatal(err) // a build could be made, but for the option
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a line of drivers", []string{"--registry", repository, "--driver-version", "535"}, 2, "is known by the driver's version"},
		{"nothing in either", []string{"--registry", repository + "/other", "--driver-version", fixtureDriver}, 16, "is not to be built here (--no-compile)"},
		{"a registry that nobody reaches", []string{"--registry", "127.0.0.1:9/cuda", "--driver-version", fixtureDriver}, 16, "cannot be pulled: Get"},
		{"what is to be done", []string{"--registry", repository, "--driver-version", fixtureDriver, "--dry-run"}, 0, ""},
		{"it is in the registry", []string{"--registry", repository, "--driver-version", fixtureDriver}, 0, "what was built elsewhere serves"},
		{"it is in the share, and the registry is gone", []string{"--registry", "127.0.0.1:9/cuda", "--driver-version", fixtureDriver}, 0, "what is published serves, and nothing is built here"},
		{"no registry at all", []string{"--driver-version", fixtureDriver}, 0, "what is published serves, and nothing is built here"},
		{"the share has the other form", []string{"--registry", repository, "--driver-version", fixtureDriver, "--module-type", "open"}, 16, "its modules are the proprietary ones, and open ones are asked for"},
		{"the registry has it, and is not to be asked", []string{"--registry", repository, "--driver-version", fixtureDriver, "--module-type", "open", "--offline"}, 16, "have the registry asked: --offline asks the network for nothing"},
	} {
		o := f.run(t, append(tt.args, "--share", f.share, "--no-compile")...)
		if o.code != tt.code || !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", tt.name, o.code, tt.code, tt.says, o.stderr)
		}
		for _, stage := range []string{"driver", "source", "prepare", "build"} {
			if strings.Contains(o.stderr, `"stage":"`+stage+`"`) {
				t.Errorf("%s: it came to the stage %s\n%s", tt.name, stage, o.stderr)
			}
		}
	}
}

// TestBuildAsksTheRegistry has a build make nothing that a registry has, and make what that
// has not, or has damaged.
func TestBuildAsksTheRegistry(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	broken := ""
	repository := aRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch blob := strings.Contains(r.URL.Path, "/blobs/sha256:"); {
			case broken == "gone":
				http.Error(w, "no", http.StatusTeapot)
				return
			case broken == "lies" && blob && r.Method == http.MethodGet:
				answer := httptest.NewRecorder()
				h.ServeHTTP(answer, r)
				body := answer.Body.Bytes()
				body[len(body)/2] ^= 1
				_, _ = w.Write(body)
				return
			case broken == "cut" && blob && r.Method == http.MethodGet:
				answer := httptest.NewRecorder()
				h.ServeHTTP(answer, r)
				_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	if o := f.run(t, "push", repository); o.code != 0 {
		t.Fatal(o.stderr)
	}
	withDriver := f.share
	f.emptyShare(t)
	if o := f.run(t, "--push"); o.code != 2 || !strings.Contains(o.stderr, "no registry is named") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, "--registry", repository+"/pushed", "--push"); o.code != 0 || !strings.Contains(o.stderr, "the registry is not asked: it knows drivers by their version, and --driver-version names none") || !strings.Contains(o.stderr, repository+"/pushed:"+fixtureDriver) {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, "--registry", repository+"/pushed", "--push", "--dry-run"); o.code != 0 || !strings.Contains(o.stdout, "a push to "+repository+"/pushed") {
		t.Errorf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
	args := func(more ...string) []string {
		return append([]string{"--registry", repository, "--driver-version", fixtureDriver, "--share", f.share}, more...)
	}
	o := f.run(t, args()...)
	if o.code != 0 || !strings.Contains(o.stderr, "what was built elsewhere serves") || strings.Contains(o.stderr, `"stage":"build"`) {
		t.Fatalf("%d\n%s", o.code, o.stderr)
	}
	for _, tt := range []struct{ broken, says string }{
		{"gone", "the registry does not give what it has"}, {"lies", "what the registry has does not serve"}, {"cut", "what the registry has does not serve"},
	} {
		broken = tt.broken
		f.emptyShare(t)
		empty := f.results(t)
		if o := f.run(t, append([]string{"pull", repository}, args()[2:]...)...); o.code != 16 || f.results(t) != empty {
			t.Errorf("%s: pull ended with %d, and left\n%s%s", tt.broken, o.code, f.results(t), o.stderr)
		}
		if err := os.CopyFS(filepath.Join(f.share, "cuda"), os.DirFS(filepath.Join(withDriver, "cuda"))); err != nil {
			t.Fatal(err)
		}
		if o := f.run(t, args()...); o.code != 0 || !strings.Contains(o.stderr, tt.says) || !strings.Contains(o.stderr, `"stage":"build"`) {
			t.Errorf("%s: %d\n%s", tt.broken, o.code, o.stderr)
		}
	}
	broken = ""
	f.share = withDriver
	for _, tt := range []struct{ args, says string }{
		{"--rebuild", "the registry is not asked: --rebuild"}, {"--offline", "the registry is not asked: --offline"},
		{"--modules=nvidia", "other ones than a plain build"},
	} {
		if o := f.run(t, args(tt.args)...); !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: %d\n%s", tt.args, o.code, o.stderr)
		}
	}
}

// TestBuildThatMayNotPush ends before anything is made where it is certain that what it makes
// cannot be pushed.
func TestBuildThatMayNotPush(t *testing.T) {
	t.Parallel()
	status := 0
	repository := aRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status != 0 && r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.WriteHeader(status)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	f := newFixture(t)
	args := []string{"--registry", repository, "--push", "--driver-version", fixtureDriver}
	for _, status = range []int{http.StatusUnauthorized, http.StatusForbidden} {
		o := f.run(t, args...)
		if o.code != 16 || !strings.Contains(lastLine(o.stderr), "cannot be pushed to") || !strings.Contains(lastLine(o.stderr), "docker login") || strings.Contains(o.stderr, `"stage":"driver"`) {
			t.Errorf("%d: exit code %d\n%s", status, o.code, o.stderr)
		}
	}
	// It may be back when there is something to push: then that is what fails.
	status = http.StatusServiceUnavailable
	if o := f.run(t, append(args, "--retry-pause=1ms")...); o.code != 16 || !strings.Contains(o.stderr, "cannot be asked for now whether this run may push") || !strings.Contains(o.stderr, `"stage":"build"`) {
		t.Errorf("%d: exit code %d\n%s", status, o.code, o.stderr)
	}
	status = 0
	if o := f.run(t, args...); o.code != 0 || !strings.Contains(o.stderr, `"message":"pushed"`) {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}

// TestSigningBuildAsksTheRegistry: a build that signs takes of a registry what the same key
// has signed, and nothing else.
func TestSigningBuildAsksTheRegistry(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	repository := aRegistry(t, nil)
	sign, _ := signManifest("p256")
	otherSign, _ := signManifest("rsa")
	drivers := filepath.Join(f.share, "cuda")
	for _, tt := range []struct {
		name  string
		sign  []string
		built bool
	}{
		{"nothing is there", nil, true},
		{"nobody has signed it", sign, true},
		{"it has", sign, false},
		{"another key has", otherSign, true},
	} {
		f.emptyShare(t)
		if err := os.CopyFS(filepath.Join(f.share, "cuda"), os.DirFS(drivers)); err != nil {
			t.Fatal(err)
		}
		o := f.run(t, append([]string{"--registry", repository, "--push", "--driver-version", fixtureDriver, "--share", f.share, "--output", "env"}, tt.sign...)...)
		if o.code != 0 || strings.Contains(o.stderr, `"stage":"build"`) != tt.built || strings.Contains(o.stderr, "what was built elsewhere serves") == tt.built {
			t.Errorf("%s: %d\n%s", tt.name, o.code, o.stderr)
		}
		artefact := strings.TrimSuffix(o.stdout[strings.LastIndex(o.stdout, "=")+1:], "\n")
		want := "manifest=" + filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json") + "\nrelease=" + fixtureRelease + "\ndriver=" + fixtureDriver +
			"\nmodule_type=proprietary\nreused=" + strconv.FormatBool(!tt.built) + "\nartefact=" + artefact + "\n"
		if o.stdout != want {
			t.Errorf("%s: it printed\n%s, and want\n%s", tt.name, o.stdout, want)
		}
		digest, err := name.NewDigest(artefact)
		if err == nil {
			_, err = remote.Index(digest)
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// Its manifest is by this key, and it is not as a whole: what else is in it anybody may have put there.
	built := f.share
	if o := f.run(t, append([]string{"push", repository + "/unsigned"}, "--share", built)...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	f.emptyShare(t)
	if err := os.CopyFS(filepath.Join(f.share, "cuda"), os.DirFS(drivers)); err != nil {
		t.Fatal(err)
	}
	o := f.run(t, append([]string{"--registry", repository + "/unsigned", "--push", "--driver-version", fixtureDriver, "--share", f.share}, otherSign...)...)
	if o.code != 0 || !strings.Contains(o.stderr, "is not signed as a whole by the key that signs here") || !strings.Contains(o.stderr, `"stage":"build"`) {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	// Where one environment serves several commands, this form is of those that have it.
	others := *f
	others.environ = append(slices.Clone(f.environ), "BUILDER_OUTPUT=env")
	if o := others.run(t, "prune", "--share", f.share); o.code != 0 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, "--output", "xml"); o.code != 2 || !strings.Contains(o.stderr, "is none of text, json and env") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestLineAsksTheRegistry: where a line of drivers is asked for, its newest is chosen, and the
// registry has that.
func TestLineAsksTheRegistry(t *testing.T) {
	t.Parallel()
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"535": {"type": "lts branch", "driver_info": [{"release_version": "`+fixtureDriver+`", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://x"}}]}}`)
	}))
	t.Cleanup(list.Close)
	f, repository := pushed(t)
	drivers := filepath.Join(f.share, "cuda")
	f.emptyShare(t)
	if err := os.CopyFS(filepath.Join(f.share, "cuda"), os.DirFS(drivers)); err != nil {
		t.Fatal(err)
	}
	line := []string{"--registry", repository, "--driver-version", "535", "--driver-releases", list.URL + "/releases.json", "--share", f.share}
	if o := f.run(t, append(line, "--dry-run")...); !strings.Contains(o.stdout, "driver "+fixtureDriver+" for "+fixtureRelease+", where "+repository+" has it") {
		t.Errorf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
	o := f.run(t, line...)
	if o.code != 0 || !strings.Contains(o.stderr, "what was built elsewhere serves") || strings.Contains(o.stderr, `"stage":"build"`) || strings.Count(o.stderr, `"message":"driver version"`) != 1 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	// What the registry has not is built, of the version that was chosen before.
	line[1] += "/other"
	if o := f.run(t, append(line, "--rebuild")...); o.code != 0 || !strings.Contains(o.stderr, `"stage":"build"`) {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, line...); o.code != 0 || !strings.Contains(o.stderr, "the registry has no such modules") || strings.Count(o.stderr, `"message":"driver version"`) != 1 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestPullGoesOn with what a pull before it has brought of a layer, after the registry had
// broken off and then failed.
func TestPullGoesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	var mu sync.Mutex
	fails, from := false, []string{}
	repository := aRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
				h.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			plain := r.Clone(r.Context())
			plain.Header.Del("Range")
			h.ServeHTTP(answer, plain)
			body := answer.Body.Bytes()
			mu.Lock()
			defer mu.Unlock()
			if len(body) < 3_000 { // none of modules
				_, _ = w.Write(body)
				return
			}
			from = append(from, r.Header.Get("Range"))
			switch {
			case fails && len(from) > 1:
				http.Error(w, "no", http.StatusTeapot)
			case fails:
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				w.Header().Set("ETag", `"one"`)
				_, _ = w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			default:
				w.Header().Set("ETag", `"one"`)
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
			}
		})
	})
	if o := f.run(t, "push", repository); o.code != 0 {
		t.Fatal(o.stderr)
	}
	f.emptyShare(t)
	empty := f.results(t)
	fails = true
	args := []string{"pull", repository, "--driver-version", fixtureDriver, "--share", f.share}
	if o := f.run(t, args...); o.code != 16 || f.results(t) != empty {
		t.Errorf("%d, and there is\n%s%s", o.code, f.results(t), o.stderr)
	}
	fails, from = false, nil
	if o := f.run(t, args...); o.code != 0 || len(from) == 0 || !strings.HasPrefix(from[0], "bytes=") || from[0] == "bytes=0-" {
		t.Errorf("%d: it asked for %q\n%s", o.code, from, o.stderr)
	}
	if left, err := filepath.Glob(filepath.Join(f.share, ".builder/downloads/*")); err != nil || len(left) > 0 {
		t.Errorf("left are %q, %v", left, err)
	}
}

// TestPullForAnotherKernel finds nothing where a kernel of the same release is another.
func TestPullForAnotherKernel(t *testing.T) {
	t.Parallel()
	f, repository := pushed(t)
	f.emptyShare(t)
	symbols := filepath.Join(f.host, "proc/kallsyms")
	write(t, symbols, 0o644, strings.ReplaceAll(read(t, symbols), "device_add", "device_del"))
	o := f.run(t, "pull", repository, "--driver-version", fixtureDriver, "--share", f.share)
	if o.code != 16 || !strings.Contains(o.stderr, "there is no such artefact as "+repository+":"+fixtureDriver+"-") || !strings.Contains(o.stderr, "and push it") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	for _, args := range [][]string{{"pull", repository}, {"pull"}, {"push"}, {"pull", "not/a registry", "--driver-version", fixtureDriver}} {
		if o := f.run(t, append(args, "--share", f.share)...); o.code != 2 {
			t.Errorf("%q: %d\n%s", args, o.code, o.stderr)
		}
	}
	if o := f.run(t, "push", repository, "--share", f.share); o.code != 16 || !strings.Contains(o.stderr, "nothing to pass on") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}

// TestPullWithTrust takes only what somebody trusted has signed.
func TestPullWithTrust(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	repository := aRegistry(t, nil)
	sign, cert := signManifest("rsa")
	_, other := signManifest("p256")
	pull := func(cert string) outcome {
		return f.run(t, "pull", repository, "--driver-version", fixtureDriver, "--share", f.share, "--trust", cert)
	}
	push := func() {
		t.Helper()
		if o := f.run(t, "push", repository); o.code != 0 {
			t.Fatal(o.stderr)
		}
	}
	built := f.share
	push()
	f.emptyShare(t)
	empty := f.results(t)
	if o := pull(cert); o.code != 15 || !strings.Contains(o.stderr, "there is no manifest.json.p7s beside it") || !strings.Contains(lastLine(o.stderr), `"kind":"untrusted"`) || f.results(t) != empty {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, append([]string{"--share", built}, sign...)...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	push()
	if o := pull(other); o.code != 15 || f.results(t) != empty {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := pull(cert); o.code != 0 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	f.trusted(t, cert, true, "")
}

// publicKey leaves the public key of a certificate in a file, as cosign.pub has it.
func publicKey(t *testing.T, cert string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, cert)))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(c.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pub")
	write(t, file, 0o644, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	return file
}

// TestSignedArtefact is signed as a whole, by a key that has no certificate, and refused
// where others have signed it, or something else.
func TestSignedArtefact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	repository := aRegistry(t, nil)
	sign, cert := signManifest("p256")
	otherSign, other := signManifest("rsa")
	pull := func(trust string) outcome {
		f.emptyShare(t)
		return f.run(t, "pull", repository, "--driver-version", fixtureDriver, "--share", f.share, "--trust", trust)
	}
	push := func(sign ...string) string {
		t.Helper()
		o := f.run(t, append([]string{"push", repository}, sign...)...)
		if o.code != 0 {
			t.Fatal(o.stderr)
		}
		_, digest, _ := strings.Cut(strings.TrimSpace(o.stdout), "@")
		return digest
	}
	if o := f.run(t, append([]string{"push", repository}, sign[:2]...)...); o.code != 0 || !strings.Contains(o.stderr, "the artefact is signed, and its manifest is not by this key") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	unsigned := push()
	// By a key alone: who trusts it knows the public key.
	if o := f.run(t, sign[:2]...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	built := f.share
	push(otherSign...)
	if o := pull(publicKey(t, cert)); o.code != 15 || !strings.Contains(o.stderr, "is not signed by who is trusted") || !strings.Contains(o.stderr, "another key") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	f.share = built
	digest := push(sign[:2]...)
	if again := push(sign[:2]...); again != digest {
		t.Errorf("%s, and then %s", digest, again)
	}
	for _, trust := range []string{cert, publicKey(t, cert)} {
		if o := pull(trust); o.code != 0 || !strings.Contains(o.stderr, "its signature and its provenance are by who is trusted") {
			t.Errorf("%d\n%s", o.code, o.stderr)
		}
		f.trusted(t, trust, true, "")
	}
	if o := pull(publicKey(t, other)); o.code != 15 { // as a whole it is theirs, too, and its manifest is not
		t.Errorf("%d\n%s", o.code, o.stderr)
	}

	tag := func(digest, suffix string) name.Tag {
		tag, err := name.NewTag(repository + ":" + strings.Replace(digest, ":", "-", 1) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	layers := func(suffix string) int {
		image, err := remote.Image(tag(digest, suffix))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		return len(manifest.Layers)
	}
	if n, m := layers(".sig"), layers(".att"); n != 2 || m != 2 {
		t.Errorf("%d signatures and %d provenances, of two keys", n, m)
	}
	// What others attest is theirs.
	attested, err := remote.Image(tag(digest, ".att"))
	if err != nil {
		t.Fatal(err)
	}
	attested, err = mutate.Append(attested, mutate.Addendum{Layer: static.NewLayer([]byte("no envelope"), "application/vnd.dsse.envelope.v1+json"), Annotations: map[string]string{"predicateType": "https://spdx.dev/Document"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag(digest, ".att"), attested); err != nil {
		t.Fatal(err)
	}
	if o := pull(cert); o.code != 0 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	// What was signed is something else.
	for _, suffix := range []string{".att", ".sig"} {
		image, err := remote.Image(tag(unsigned, suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag(digest, suffix), image); err != nil {
			t.Fatal(err)
		}
		if o := pull(cert); o.code != 15 || !strings.Contains(o.stderr, "what is signed is another artefact") {
			t.Errorf("%s: %d\n%s", suffix, o.code, o.stderr)
		}
	}
}

// TestExportAndPull carries what one share has to another in a file.
func TestExportAndPull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	file := filepath.Join(t.TempDir(), "cuda.tar")
	if o := f.run(t, "export", "tar", "-f", file); o.code != 0 || o.stdout != file+"\n" {
		t.Fatalf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
	archive := read(t, file)
	if o := f.run(t, "export", "tar"); o.code != 0 || o.stdout != archive {
		t.Errorf("%d: to stdout it is another one\n%s", o.code, o.stderr)
	}
	built, want := f.share, f.results(t)
	pull := func(from string) outcome {
		return f.run(t, "pull", "--from", from, "--driver-version", fixtureDriver, "--share", f.share)
	}
	f.emptyShare(t)
	empty := f.results(t)
	for name, text := range map[string]string{
		"no tar": "no tar at all", "cut": archive[:len(archive)/2], "without its list": archive[:strings.LastIndex(archive, "index.json")],
		"another layer": strings.Replace(archive, "\x28\xb5\x2f\xfd", "\x28\xb5\x2f\xfe", 1), "another manifest": strings.Replace(archive, `"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest`, `"schemaVersion":3,"mediaType":"application/vnd.oci.image.manifest`, 1),
	} {
		if text == archive {
			t.Fatalf("%s: nothing is damaged", name)
		}
		damaged := filepath.Join(t.TempDir(), "damaged.tar")
		write(t, damaged, 0o644, text)
		if o := pull(damaged); o.code != 16 || f.results(t) != empty {
			t.Errorf("%s: exit code %d, and there is\n%s%s", name, o.code, f.results(t), o.stderr)
		}
	}
	if o := pull("/absent"); o.code != 2 {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := pull(file); o.code != 0 {
		t.Fatalf("%d\n%s", o.code, o.stderr)
	}
	if diff := cmp.Diff(strings.ReplaceAll(want, built, ""), strings.ReplaceAll(f.results(t), f.share, "")); diff != "" {
		t.Errorf("what was pulled differs (-built +pulled):\n%s", diff)
	}
	symbols := filepath.Join(f.host, "proc/kallsyms")
	write(t, symbols, 0o644, strings.ReplaceAll(read(t, symbols), "device_add", "device_del"))
	if o := pull(file); o.code != 16 || !strings.Contains(o.stderr, "there is no such artefact") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	if o := f.run(t, "pull", "--from", file, "--driver-version", fixtureDriver, "--module-type", "open", "--share", f.share); o.code != 16 ||
		!strings.Contains(o.stderr, "there is no such artefact as "+fixtureDriver+"-open-") || !strings.Contains(o.stderr, "; the archive has "+fixtureDriver+"-proprietary-") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	for _, args := range [][]string{{"export"}, {"export", "zip"}, {"pull", "--from", file, "localhost/cuda"}, {"export", "tar", "more"}} {
		if o := f.run(t, args...); o.code != 2 {
			t.Errorf("%q: %d\n%s", args, o.code, o.stderr)
		}
	}
}

// TestExportSysext makes an extension whose links lead to files in it, and that has nothing
// where the host's own modules are.
func TestExportSysext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	write(t, filepath.Join(f.host, "etc/os-release"), 0o644, "ID=flatcar\nVERSION_ID=4593.2.5\n")
	// The fixture's own has just what is in it: files, links and modes.
	write(t, filepath.Join(f.bin, "mksquashfs"), 0o755, "#!/bin/sh\nexec tar -C \"$1\" --sort=name --mtime=@0 --owner=0 --group=0 -cf \"$2\" usr\n")
	f.build(t)
	file := filepath.Join(t.TempDir(), "a-driver.raw")
	export := func(more ...string) outcome {
		return f.run(t, append([]string{"export", "sysext", "-f", file}, more...)...)
	}
	if o := export(); o.code != 16 || !strings.Contains(o.stderr, "needs builder for a host of its architecture") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
	write(t, filepath.Join(f.runtime, "usr/local/bin/builder"), 0o755, "a program\n")
	if o := export(); o.code != 0 || o.stdout != file+"\n" {
		t.Fatalf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
	root := t.TempDir()
	if out, err := exec.Command("tar", "-xf", file, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{
		"usr/lib/extension-release.d/extension-release.a-driver":         "ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=x86-64\n",
		"usr/lib/systemd/system/multi-user.target.d/10-cuda-sysext.conf": "[Unit]\nUpholds=cuda-sysext.service\n",
		"usr/lib/cuda/builder":   "a program\n",
		"usr/bin/nvidia-smi":     "nvidia-smi\n",
		"usr/lib64/libcuda.so.1": "libcuda.so." + fixtureDriver + "\n",
		"usr/lib/cuda/share/driver/" + fixtureDriver + "/usr/bin/nvidia-smi":                    "nvidia-smi\n",
		"usr/lib/cuda/share/modules/" + fixtureRelease + "/" + fixtureDriver + "/manifest.json": read(t, filepath.Join(f.folders()[0], "manifest.json")),
	} {
		if got := read(t, filepath.Join(root, name)); got != want {
			t.Errorf("%s is %.200q, want %.200q", name, got, want)
		}
	}
	if unit := read(t, filepath.Join(root, "usr/lib/systemd/system/cuda-sysext.service")); strings.Contains(unit, "{{") || !strings.Contains(unit, "--driver-version "+fixtureDriver+" ") {
		t.Errorf("the unit is\n%s", unit)
	}
	if found, err := filepath.Glob(filepath.Join(root, "usr/lib/modules*")); len(found) > 0 || err != nil {
		t.Errorf("it hides %q, %v", found, err)
	}
	first := read(t, file)
	if o := export(); o.code != 0 || read(t, file) != first {
		t.Errorf("%d: the same result is another extension\n%s", o.code, o.stderr)
	}
	for _, bad := range []string{"cuda.img", ".raw", "a b.raw"} {
		if o := f.run(t, "export", "sysext", "-f", filepath.Join(t.TempDir(), bad)); o.code != 2 {
			t.Errorf("%s: %d\n%s", bad, o.code, o.stderr)
		}
	}
	write(t, filepath.Join(f.host, "etc/os-release"), 0o644, "ID=debian\n")
	f.run(t, "--rebuild")
	if o := export(); o.code != 16 || !strings.Contains(o.stderr, "an extension is for Flatcar") {
		t.Errorf("%d\n%s", o.code, o.stderr)
	}
}
