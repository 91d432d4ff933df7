package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// TestTag tells kernels of one release apart, and is what a tag may be.
func TestTag(t *testing.T) {
	k := Key{Release: "6.12.102-flatcar", Identity: "0a", Arch: kernel.X86_64, Driver: "580.126.09", Form: "open"}
	if tag := k.Tag(); !regexp.MustCompile(`^580\.126\.09-open-6\.12\.102-flatcar-[0-9a-f]{12}$`).MatchString(tag) {
		t.Error(tag)
	}
	seen := map[string]bool{k.Tag(): true}
	for _, change := range []func(*Key){
		func(k *Key) { k.Identity = "0b" }, func(k *Key) { k.Release = "6.12.102+flatcar" }, func(k *Key) { k.Release = "6.12.102_flatcar" },
		func(k *Key) { k.Arch = kernel.AArch64 }, func(k *Key) { k.Form = "proprietary" }, func(k *Key) { k.Driver = "580.126.10" },
		func(k *Key) { k.Release = strings.Repeat("long", 60) },
	} {
		other := k
		change(&other)
		if tag := other.Tag(); seen[tag] || !regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`).MatchString(tag) {
			t.Errorf("%+v is %s", other, tag)
		} else {
			seen[tag] = true
		}
	}
}

// lines is a kind of folder whose index has a line for each file: its name, size, digest,
// and for a link its target.
var lines = Kind{
	Name: "lines", Index: "index", MaxIndex: 1 << 10, At: "top",
	Beside: func([]byte) ([]Extra, error) {
		return []Extra{{At: "z", Of: "a"}, {At: "led", Target: "/elsewhere"}, {At: "text", Text: []byte("for others")}}, nil
	},
	Contents: func(index []byte) (list []publish.File, err error) {
		for line := range strings.Lines(string(index)) {
			var f publish.File
			if _, err := fmt.Sscan(line, &f.Name, &f.Size, &f.SHA256); err != nil {
				return nil, err
			}
			if f.Size < 0 {
				f = publish.File{Name: f.Name, Target: f.SHA256}
			}
			list = append(list, f)
		}
		return list, nil
	},
}

func listed(name, text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%s %d %s\n", name, len(text), hex.EncodeToString(sum[:]))
}

// TestPackAndUnpack has a folder come out as it went in, and the same folder always be the
// same layer.
func TestPackAndUnpack(t *testing.T) {
	from := t.TempDir()
	index := listed("b", "of b") + listed("low/a", "of a") + "link -1 low/a\n"
	for name, text := range map[string]string{"b": "of b", "low/a": "of a", "index": index, "index.p7s": "signed", "stranger": "left out"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, err := pack(t.Context(), lines, from, filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := pack(t.Context(), lines, from, filepath.Join(t.TempDir(), "layer")); err != nil || again.digest != first.digest || again.diff != first.diff || again.size != first.size {
		t.Errorf("%+v, and then %+v (%v)", first, again, err)
	}
	whole, err := first.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	var beside []string
	for r := tar.NewReader(whole); ; {
		h, err := r.Next()
		if err != nil {
			break // a layer that ends early is short of the last
		}
		if !strings.HasPrefix(h.Name, "top/") {
			text, _ := io.ReadAll(r)
			beside = append(beside, h.Name+" "+string(h.Typeflag)+" "+h.Linkname+string(text))
		}
	}
	if want := []string{"led 2 /elsewhere", "text 0 for others", "z 1 top/a"}; !slices.Equal(beside, want) {
		t.Errorf("beside the folder is %q, want %q", beside, want)
	}
	layer, err := first.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	to := t.TempDir()
	if err := unpack(t.Context(), lines, layer, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"b": "of b", "low/a": "of a", "link": "", "index": index, "index.p7s": "signed"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); name != "link" && (err != nil || string(got) != want) {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); target != "low/a" {
		t.Errorf("%q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(to, "stranger")); err == nil {
		t.Error("what is not listed is in the layer")
	}
	// One that changed since.
	if err := os.WriteFile(filepath.Join(from, "b"), []byte("of c"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pack(t.Context(), lines, from, filepath.Join(t.TempDir(), "layer")); err == nil {
		t.Error("a file that is not as it is listed is packed")
	}
}

// TestUnpackRefuses layers that are not of what they list, and leaves nothing beyond its
// folder.
func TestUnpackRefuses(t *testing.T) {
	file := func(name, text string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644, PAXRecords: map[string]string{"K8SP.text": text}}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	index := listed("a", "of a")
	for name, tt := range map[string]struct {
		entries []tar.Header
		says    string
	}{
		"nothing":                {nil, "there is no index"},
		"no index first":         {[]tar.Header{file("top/a", "of a"), file("top/index", index)}, "is not listed"},
		"one is missing":         {[]tar.Header{file("top/index", index)}, "a is listed, and is not in it"},
		"another text":           {[]tar.Header{file("top/index", index), file("top/a", "of b")}, "not as it is listed"},
		"another size":           {[]tar.Header{file("top/index", index), file("top/a", "of a, and more")}, "not as it is listed"},
		"a link in its place":    {[]tar.Header{file("top/index", index), link("top/a", "/etc/passwd")}, "not as it is listed"},
		"one that is not listed": {[]tar.Header{file("top/index", index), file("top/a", "of a"), file("top/b", "b")}, "is not listed"},
		"a long one beside":      {[]tar.Header{file("top/index", index), file("top/a", "of a"), file("text", strings.Repeat("text", 1000))}, "is not listed"},
		"one beside, first":      {[]tar.Header{file("text", "for others"), file("top/index", index)}, "is not listed"},
		"one twice":              {[]tar.Header{file("top/index", index), file("top/a", "of a"), file("top/a", "of a")}, "is not listed"},
		"two indexes":            {[]tar.Header{file("top/index", index), file("top/index", index)}, "not as it is listed"},
		"a long index":           {[]tar.Header{file("top/index", strings.Repeat(index, 100))}, "not as it is listed"},
		"above the folder":       {[]tar.Header{file("top/index", listed("../a", "of a")), file("top/../a", "of a")}, "cannot be"},
		"through a link":         {[]tar.Header{file("top/index", "l -1 /tmp\n"+listed("l/a", "of a")), link("top/l", "/tmp"), file("top/l/a", "of a")}, "exists"},
		"a device":               {[]tar.Header{file("top/index", index), {Typeflag: tar.TypeChar, Name: "top/a"}}, "not as it is listed"},
		"a long signature":       {[]tar.Header{file("top/index", index), file("top/index.p7s", strings.Repeat("s", publish.MaxSignature+1))}, "not as it is listed"},
	} {
		t.Run(name, func(t *testing.T) {
			var layer bytes.Buffer
			z, err := zstd.NewWriter(&layer)
			if err != nil {
				t.Fatal(err)
			}
			w := tar.NewWriter(z)
			for _, h := range tt.entries {
				text := h.PAXRecords["K8SP.text"]
				h.PAXRecords = nil
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			top := t.TempDir()
			dir := filepath.Join(top, "dir")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unpack(t.Context(), lines, &layer, dir); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if beside, err := os.ReadDir(top); err != nil || len(beside) != 1 {
				t.Errorf("beside the folder: %v, %v", beside, err)
			}
		})
	}
}

// TestAliases has an alias lead to all architectures, and says where it leads to another form.
func TestAliases(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	o := Options{Repository: strings.TrimPrefix(server.URL, "http://") + "/fleet/cuda"}
	from := t.TempDir()
	for name, text := range map[string]string{"b": "of b", "index": listed("b", "of b")} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	ctx := zerolog.New(&said).WithContext(t.Context())
	push := func(arch kernel.Arch, form string) {
		t.Helper()
		k := Key{Release: "6.12.102-flatcar", Identity: "0a", Arch: arch, Driver: "580.126.09", Form: form}
		if _, err := Push(ctx, o, Recipe{Key: k, Contents: []Content{{lines, from}}, Aliases: k.Aliases("flatcar4593.2.5")}, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	platforms := func() (list []string) {
		t.Helper()
		tag, err := name.NewTag(o.Repository + ":580.126.09-6.12.102-flatcar-flatcar4593.2.5")
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(tag)
		if err != nil {
			t.Fatal(err)
		}
		all, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all.Manifests {
			list = append(list, d.Platform.Architecture)
		}
		slices.Sort(list)
		return list
	}
	push(kernel.X86_64, "open")
	push(kernel.X86_64, "open")
	push(kernel.AArch64, "open")
	if got := platforms(); !slices.Equal(got, []string{"amd64", "arm64"}) || strings.Contains(said.String(), "another form") {
		t.Errorf("it leads to %q\n%s", got, said.String())
	}
	push(kernel.X86_64, "open")
	if got := platforms(); !slices.Equal(got, []string{"amd64", "arm64"}) {
		t.Errorf("it leads to %q", got)
	}
	other := t.TempDir()
	o.Repository += "/of-one"
	from, other = other, from
	if err := os.CopyFS(from, os.DirFS(other)); err != nil {
		t.Fatal(err)
	}
	push(kernel.X86_64, "open")
	push(kernel.X86_64, "proprietary")
	if strings.Count(said.String(), "another form of the modules") != 2 {
		t.Errorf("of another form is said\n%s", said.String())
	}
}

// TestLayersOfAnySize: one of no size would be downloaded without an end.
func TestLayersOfAnySize(t *testing.T) {
	for _, size := range []int64{0, -1, maxLayer + 1} {
		m := v1.Manifest{Layers: []v1.Descriptor{{Size: size, Annotations: map[string]string{LayerAnnotation: "modules"}}}}
		if _, err := layersOf(m, func(v1.Descriptor) (source, error) { return nil, nil }); err == nil {
			t.Errorf("a layer of %d bytes is taken", size)
		}
	}
}

// TestBrokenConfig has Docker's config be what people put in its place.
func TestBrokenConfig(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	o := Options{Repository: strings.TrimPrefix(server.URL, "http://") + "/cuda", Pause: time.Nanosecond}
	for config, says := range map[string]string{
		"dXNlcjpwYXNz\n": "it is JSON", "/builds/project.tmp/DOCKER_AUTH_CONFIG": "it is JSON", "{}": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		err := MayPush(t.Context(), o)
		if failure := (*stage.Error)(nil); says != "" && (!errors.As(err, &failure) || failure.Kind != FailedKind || !strings.Contains(failure.Hint, says)) || says == "" && err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}
