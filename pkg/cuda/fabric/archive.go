package fabric

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/decompress"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Server is where NVIDIA publishes redistributables of its driver.
const Server = "https://developer.download.nvidia.com/compute/nvidia-driver/redist"

const (
	// maxIndex bounds an index of redistributables, in bytes; one of 2025 has 4 KB.
	maxIndex = 1 << 20
	// maxArchive bounds an archive and what is in it, in bytes; one of 2025 has 8 MB.
	maxArchive = 256 << 20
)

// platforms are what the redistributables call an architecture.
var platforms = map[kernel.Arch]string{kernel.X86_64: "linux-x86_64", kernel.AArch64: "linux-sbsa"}

// name is an archive's: fabricmanager-linux-x86_64-580.105.08-archive.tar.xz.
func name(arch kernel.Arch, version string) string {
	return "fabricmanager-" + platforms[arch] + "-" + version + "-archive.tar.xz"
}

// Find is the path of a version's archive in the first of the folders that has one; ""
// where none has.
func Find(arch kernel.Arch, version string, dirs ...string) string {
	for _, dir := range dirs {
		file := filepath.Join(dir, name(arch, version))
		if info, err := beneath.Lstat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// FetchOptions say where an archive comes from and goes to.
type FetchOptions struct {
	// Dir is the folder that receives it; it is made where it is not there.
	Dir string
	// BaseURL is that of NVIDIA's server, or of a mirror of its folder; empty is [Server].
	BaseURL string
	// Pause and Space are download.Options's.
	Pause time.Duration
	Space func(bytes int64) error
}

// index is a redistrib_VERSION.json, as far as it is read: a component by platform.
type index struct {
	FabricManager map[string]json.RawMessage `json:"fabricmanager"`
}

// release is what an index has of a component for a platform.
type release struct {
	Path   string `json:"relative_path"`
	SHA256 string `json:"sha256"`
}

// Fetch downloads a version's archive into o.Dir, where it is held against the digest
// that NVIDIA's index of that version has, and returns its path. Errors are of the
// driver stage, Space's or the context's.
func Fetch(ctx context.Context, arch kernel.Arch, version string, o FetchOptions) (string, error) {
	base, err := url.Parse(cmp.Or(o.BaseURL, Server))
	if err != nil || base.Host == "" || !download.IsURL(cmp.Or(o.BaseURL, Server)) {
		return "", stage.New(stage.Usage, "the place of NVIDIA's redistributables has to be https://HOST/PATH", "correct --redist-base-url")
	}
	at := base.JoinPath("redistrib_" + version + ".json").String()
	text, err := download.Text(ctx, download.Options{URL: at, Limit: maxIndex, Pause: o.Pause})
	if err != nil {
		return "", explain(arch, version, err)
	}
	found, err := parseIndex(text, arch, version)
	if err != nil {
		return "", stage.Wrap(stage.Driver, err, download.Shown(at)+" is no index of NVIDIA's redistributables with a fabric manager", elsewhere(arch, version))
	}
	if err := beneath.MkdirAll(o.Dir, 0o755); err != nil {
		return "", stage.Wrap(stage.Driver, err, "cannot make a folder to download the fabric manager into", "make the share writable, and see that it has space")
	}
	file, from := filepath.Join(o.Dir, name(arch, version)), base.JoinPath(found.Path).String()
	zerolog.Ctx(ctx).Info().Str("from", download.Shown(from)).Msg("downloading the fabric manager")
	if _, err := download.File(ctx, file, download.Options{URL: from, SHA256: found.SHA256, Limit: maxArchive, Pause: o.Pause, Space: o.Space}); err != nil {
		return "", explain(arch, version, err)
	}
	return file, nil
}

// parseIndex finds an architecture's archive in an index.
func parseIndex(text string, arch kernel.Arch, version string) (release, error) {
	var all index
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return release{}, err
	}
	var r release
	raw, ok := all.FabricManager[platforms[arch]]
	if !ok {
		return release{}, fmt.Errorf("it has none for %s", platforms[arch])
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return release{}, err
	}
	if !download.IsSHA256(r.SHA256) || !filepath.IsLocal(r.Path) || path.Base(r.Path) != name(arch, version) {
		return release{}, fmt.Errorf("it names %q with the digest %q", r.Path, r.SHA256)
	}
	return r, nil
}

// elsewhere is what to do where NVIDIA's server does not serve.
func elsewhere(arch kernel.Arch, version string) string {
	return "put " + name(arch, version) + " into the share's cuda/, name a mirror with --redist-base-url, or do without with --fabric-manager never"
}

// explain makes a sentence of why a version's fabric manager cannot be had.
func explain(arch kernel.Arch, version string, err error) error {
	if errors.Is(err, context.Canceled) || errors.As(err, new(*stage.Error)) {
		return err
	}
	return stage.Wrap(stage.Driver, err, "NVIDIA's fabric manager of driver "+version+" cannot be downloaded", retry.Hint(err, elsewhere(arch, version)))
}

// File is a file of an archive, unpacked.
type File struct {
	// From is where it is, and Path where it goes in a driver's root, slash-separated.
	From, Path string
	Mode       fs.FileMode
}

// Program and Config are the fabric manager and its configuration in a driver's root,
// and Topologies the folder of what it knows of machines.
const (
	Program    = "usr/bin/nv-fabricmanager"
	Topologies = "usr/share/nvidia/nvswitch"
	Config     = Topologies + "/fabricmanager.cfg"
)

// Has says whether a file of a driver's root is of the fabric manager.
func Has(name string) bool {
	base := path.Base(name)
	return path.Dir(name) == Topologies || name == Program || strings.HasPrefix(base, "libnvfm.so") || strings.HasPrefix(base, "nvswitch-") || base == "nvidia-fabricmanager-start.sh"
}

// places are where the folders of an archive go, as NVIDIA's packages have it.
var places = map[string]string{"bin": "usr/bin", "lib": "usr/lib64", "share/nvidia/nvswitch": Topologies, "etc": Topologies}

// Unpack unpacks a version's archive into dir, and returns what of it goes into a
// driver's root, sorted by path. Errors are of the driver stage.
func Unpack(ctx context.Context, archive, dir string, arch kernel.Arch, version string) ([]File, error) {
	files, err := unpack(ctx, archive, dir, strings.TrimSuffix(name(arch, version), ".tar.xz"))
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, stage.Wrap(stage.Driver, err, archive+" is not NVIDIA's fabric manager of "+version, "download it again; remove it where it is in the share's cuda/")
	}
	return files, err
}

func unpack(ctx context.Context, archive, dir, top string) ([]File, error) {
	in, err := beneath.Open(archive)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	inside, _, err := decompress.Reader(bufio.NewReader(in))
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	if err := beneath.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var files []File
	o := untar.Options{MaxBytes: maxArchive, MaxFiles: 10_000, Want: func(name string) bool {
		rest, is := strings.CutPrefix(name, top+"/")
		place := places[path.Dir(rest)]
		if !is || place == "" {
			return false
		}
		mode := fs.FileMode(0o644)
		if place == "usr/bin" {
			mode = 0o755
		}
		files = append(files, File{From: filepath.Join(dir, filepath.FromSlash(name)), Path: path.Join(place, path.Base(name)), Mode: mode})
		return true
	}}
	if err := untar.Extract(ctx, inside, dir, o); err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f File) bool { // folders, and links such as libnvfm.so
		info, err := beneath.Lstat(f.From)
		return err != nil || !info.Mode().IsRegular()
	})
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, want := range []string{Program, Config} {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Path == want }) {
			return nil, fmt.Errorf("it has no %s", path.Base(want))
		}
	}
	return files, nil
}
