package cuda

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/makeself"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/stage"
)

// The names of the files that every package has.
const (
	manifestName  = ".manifest"
	installerName = "nvidia-installer"
)

// Unpack verifies a driver package and makes of it, in the folder dst, a
// Driver for one build: the installer, the manifest, the modules' sources and
// the firmware, a few percent of a package's files. Dst is made, or is empty; it is removed
// again on failure. The package itself is only read, and shares no file with
// dst; only one that was fetched, and is of no use, is removed. Errors are of
// the driver stage.
func Unpack(ctx context.Context, p Package, dst string) (Driver, error) {
	if err := beneath.MkdirAll(dst, 0o755); err != nil {
		return Driver{}, stage.Wrap(stage.Driver, err, "cannot make a folder to unpack the driver into", spaceHint)
	}
	d, err := unpack(ctx, p, dst)
	if err != nil {
		explained := errors.Join(explain(p, err), beneath.RemoveAll(dst))
		if p.Fetched && ctx.Err() == nil && !outOfSpace(err) {
			explained = errors.Join(explained, beneath.Remove(p.Path))
		}
		return Driver{}, explained
	}
	zerolog.Ctx(ctx).Info().Str("driver", d.Version).Strs("types", d.ModuleTypes()).Str("digest", d.Digest).Msg("driver unpacked")
	return d, nil
}

const (
	spaceHint = "free space on the share, and make it writable"
	againHint = "download the package again from NVIDIA, as run.sh does, and put it in the place of this one"
)

func unpack(ctx context.Context, p Package, dst string) (Driver, error) {
	d := Driver{Dir: dst, Version: p.Version, Arch: p.Arch}
	var err error
	if p.Kind == Folder {
		d.Digest, err = copyFolder(ctx, p, dst)
	} else {
		d.Digest, d.Sizes, err = unpackRun(ctx, p, dst)
	}
	if err != nil {
		return Driver{}, err
	}
	root := beneath.Dir(dst)
	if d.Manifest, err = checkContents(root, p); err == nil && p.Kind == Folder {
		d.Sizes = folderSizes(p, d.Manifest)
	}
	return d, err
}

// unpackRun verifies a self-extracting file, extracts from it what a build
// needs, and returns its digest and its members' sizes.
func unpackRun(ctx context.Context, p Package, dst string) (digest string, sizes map[string]int64, err error) {
	sum := sha256.New()
	sizes = map[string]int64{}
	err = readRun(p, func(archive *makeself.Archive) error {
		if err := archive.Verify(ctx, sum); err != nil {
			return err
		}
		return extract(ctx, archive, dst, untar.Options{Want: wanted, Seen: func(name string, size int64) { sizes[name] = size }})
	})
	return digestOf(sum), sizes, err
}

// readRun opens a self-extracting file that is what its name says.
func readRun(p Package, read func(*makeself.Archive) error) error {
	f, err := beneath.Open(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	archive, err := makeself.New(f, info.Size())
	if err != nil {
		return err
	}
	if err := checkHeader(p, archive.Header); err != nil {
		return err
	}
	return read(archive)
}

func extract(ctx context.Context, archive *makeself.Archive, dst string, o untar.Options) error {
	payload, err := archive.Payload(ctx)
	if err != nil {
		return err
	}
	defer payload.Close()
	return untar.Extract(ctx, payload, dst, o)
}

// wanted tells which members of a self-extracting file a build may need. Its
// manifest would say so to the letter, but may come last.
func wanted(name string) bool {
	top, rest, _ := strings.Cut(name, "/")
	switch top {
	case manifestName, installerName:
		return rest == ""
	case firmwareFolder:
		return true
	case sourceFolder(Proprietary), sourceFolder(Open):
		return rest != "precompiled" && !strings.HasPrefix(rest, "precompiled/")
	}
	return false
}

// checkHeader holds a file's name against what the file says of itself.
func checkHeader(p Package, h makeself.Header) error {
	if h.TargetArch != "" && h.TargetArch != string(p.Arch) {
		return mismatch{"architecture", string(p.Arch), h.TargetArch}
	}
	if h.VersionString != "" && h.VersionString != p.Version {
		return mismatch{"version", p.Version, h.VersionString}
	}
	return nil
}

// copyFolder copies what a build needs of an unpacked package, and returns the
// digest of the copy. It copies what the manifest lists and no more, as an
// installer that once ran in the folder leaves objects of another kernel.
func copyFolder(ctx context.Context, p Package, dst string) (digest string, err error) {
	from := beneath.Dir(p.Path)
	to := beneath.Dir(dst)
	m, err := readManifest(from)
	if err != nil {
		return "", err
	}
	if err := missing(from, m); err != nil {
		return "", err
	}
	for _, name := range m.buildFiles() {
		if err := copyFile(ctx, from, to, name); err != nil {
			return "", err
		}
	}
	sum := sha256.New()
	err = digestMembers(ctx, sum, to, m.buildFiles())
	return digestOf(sum), err
}

func copyFile(ctx context.Context, from, to beneath.Dir, name string) error {
	if err := to.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	out, err := to.CreateNew(name, mode)
	if err != nil {
		return err
	}
	if err := copyContext(ctx, out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// copyContext copies until the end or until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// checkContents holds what was unpacked against the package's manifest, and
// that against its name.
func checkContents(root beneath.Dir, p Package) (Manifest, error) {
	m, err := readManifest(root)
	if err != nil {
		return Manifest{}, err
	}
	if m.Version != p.Version {
		return Manifest{}, mismatch{"version", p.Version, m.Version}
	}
	if err := missing(root, m); err != nil {
		return Manifest{}, err
	}
	if !m.hasSourceUnder(sourceFolder(Proprietary)) && !m.hasSourceUnder(sourceFolder(Open)) {
		return Manifest{}, errors.New("it has no sources of kernel modules")
	}
	return m, nil
}

// missing fails when a file that a build needs is not there as a plain file.
func missing(root beneath.Dir, m Manifest) error {
	var absent []string
	for _, name := range m.buildFiles() {
		if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
			absent = append(absent, name)
		}
	}
	switch len(absent) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s, which a build needs, is missing", absent[0])
	default:
		return fmt.Errorf("%s and %d other files that a build needs are missing", absent[0], len(absent)-1)
	}
}

func readManifest(root beneath.Dir) (Manifest, error) {
	f, err := root.Open(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("it has no %s, as if not unpacked whole", manifestName)
	}
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	m, err := ParseManifest(f)
	if err != nil {
		return Manifest{}, fmt.Errorf("its %s: %w", manifestName, err)
	}
	return m, nil
}

// mismatch is a package that is not what its name says.
type mismatch struct{ what, name, content string }

func (e mismatch) Error() string {
	return fmt.Sprintf("its name says %s %s, and its content %s", e.what, e.name, e.content)
}

// dir is the folder that a package is in.
func (p Package) dir() string { return filepath.Dir(p.Path) }
