package modules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/share"
	"github.com/k8sp/cuda/pkg/stage"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// PublishOptions say what to publish and where.
type PublishOptions struct {
	// Share receives the modules as modules/REL/VER, REL and VER being the
	// manifest's release and driver version. Its lock is held.
	Share *share.Share
	// Scratch is a folder on the share's file system.
	Scratch string
	// Dir holds the files that the manifest names.
	Dir      string
	Manifest Manifest
}

// Publish makes the modules and their manifest visible, all at once, and
// returns the manifest's path. SHARE/modules/REL/VER is a link to a folder
// beside it that is named after its content (.VER-DIGEST); the folder is
// complete and on the disk before the link is replaced, so that whoever looks,
// and whatever crashes, finds the old result or the new one. Publishing what
// is there already changes nothing.
func Publish(ctx context.Context, o PublishOptions) (string, error) {
	return publisher{o: o, step: func(string) error { return nil }}.run(ctx)
}

// publisher is one publication.
type publisher struct {
	o PublishOptions
	// step is called before each change that others can see, for the test
	// that crashes there.
	step func(name string) error
}

// run publishes, and gives an error its stage and reason.
func (p publisher) run(ctx context.Context) (string, error) {
	path, err := p.publish(ctx)
	if err == nil {
		return path, nil
	}
	var known *stage.Error
	if errors.As(err, &known) || ctx.Err() != nil {
		return "", err
	}
	if explained := p.o.Share.Explain(stage.Publish, err); explained != err {
		return "", explained
	}
	return "", stage.Wrap(stage.Publish, err, "the modules could not be left in the share, where earlier results are as they were",
		"look at the cause, and run again")
}

func (p publisher) publish(ctx context.Context) (string, error) {
	text, err := p.o.Manifest.Encode()
	if err != nil {
		return "", err
	}
	link, err := location(p.o.Share, p.o.Manifest.Target.Release, p.o.Manifest.Driver.Version)
	if err != nil {
		return "", err
	}
	if err := linkable(link); err != nil {
		return "", err
	}
	name, found, err := contentFolder(link, text)
	if err != nil {
		return "", err
	}
	if !found {
		if err := p.place(ctx, filepath.Join(filepath.Dir(link), name), text); err != nil {
			return "", err
		}
	}
	if err := p.point(ctx, link, name); err != nil {
		return "", err
	}
	if err := p.sweep(link); err != nil {
		// The new result stands; what was to go can go the next time.
		zerolog.Ctx(ctx).Warn().Err(err).Msg("an earlier result could not be removed")
	}
	return filepath.Join(link, ManifestFile), nil
}

// component is what a release or driver version may be as a file's name.
var component = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+~-]*$`)

// location is the path of the link that publishes a driver for a release.
func location(s *share.Share, release, version string) (string, error) {
	for _, part := range []string{release, version} {
		if !component.MatchString(part) {
			return "", stage.New(stage.Publish, fmt.Sprintf("%q cannot be the name of a folder, so the modules have no place", part), "")
		}
	}
	return filepath.Join(s.Modules(), release, version), nil
}

// linkable refuses a place where a link cannot be put.
func linkable(link string) error {
	info, err := os.Lstat(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return stage.New(stage.Publish, fmt.Sprintf("%s is not a link that builder made, so it is not replaced", link), "move it away, and run again")
	}
	return nil
}

// Ready says, before the work, whether a result could be published: the place
// is free or a link, and the share's file system has symbolic links.
func Ready(s *share.Share, scratch, release, version string) error {
	link, err := location(s, release, version)
	if err != nil {
		return err
	}
	if err := linkable(link); err != nil {
		return err
	}
	probe := filepath.Join(scratch, "link")
	if err := atomicfile.Symlink(".", probe); err != nil {
		if explained := s.Explain(stage.Publish, err); explained != err {
			return explained
		}
		return stage.Wrap(stage.Publish, err, fmt.Sprintf("the share %s has no symbolic links, by which results are published whole", s.Dir()),
			"share the folder over NFS, or from a Linux file system")
	}
	return os.Remove(probe)
}

// contentFolder is the name of the folder for a manifest, and whether it is
// there and whole. A folder of that name that was damaged since is left alone,
// because the link may still point at it, and the next free name is taken.
func contentFolder(link string, manifest []byte) (name string, found bool, err error) {
	digest := sha256.Sum256(manifest)
	base := "." + filepath.Base(link) + "-" + hex.EncodeToString(digest[:6])
	for n := 0; n < 100; n++ {
		name = base
		if n > 0 {
			name = fmt.Sprintf("%s.%d", base, n)
		}
		dir := filepath.Join(filepath.Dir(link), name)
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return name, false, nil
		}
		text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
		if err != nil || string(text) != string(manifest) {
			continue
		}
		if _, err := readPublished(dir); err == nil {
			return name, true, nil
		}
	}
	return "", false, fmt.Errorf("%s holds too many damaged results", filepath.Dir(link))
}

// place makes the content folder: whole in scratch, then by one rename.
func (p publisher) place(ctx context.Context, dir string, manifest []byte) error {
	temp, err := os.MkdirTemp(p.o.Scratch, "publish-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := p.fill(ctx, temp, manifest); err != nil {
		return err
	}
	if err := p.o.Share.MkdirAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := p.step("place"); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// fill writes the modules and the manifest into dir.
func (p publisher) fill(ctx context.Context, dir string, manifest []byte) error {
	for _, f := range p.o.Manifest.files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !fileName.MatchString(f.Name) {
			return fmt.Errorf("a file cannot be published as %q", f.Name)
		}
		if err := p.step("copy " + f.Name); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(p.o.Dir, f.Name), filepath.Join(dir, f.Name), f); err != nil {
			return err
		}
	}
	if err := p.step("manifest"); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, ManifestFile), manifest, 0o644); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return p.o.Share.Chown(ctx, dir)
}

// copyFile copies a file to the disk. What is written must be what was checked.
func copyFile(from, to string, want File) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	got, n, err := digest(io.TeeReader(in, out))
	err = errors.Join(err, out.Chmod(0o644), out.Sync(), out.Close())
	if err != nil {
		return fmt.Errorf("copy %s: %w", want.Name, err)
	}
	if got != want.SHA256 || n != want.Size {
		return fmt.Errorf("%s changed after it was checked", from)
	}
	return nil
}

// point makes the link name the content folder.
func (p publisher) point(ctx context.Context, link, name string) error {
	if now, err := os.Readlink(link); err == nil && now == name {
		return nil
	}
	if err := p.step("point"); err != nil {
		return err
	}
	if err := atomicfile.Symlink(name, link); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
			return stage.Wrap(stage.Publish, err, "the share has no symbolic links, by which results are published whole",
				"share the folder over NFS, or from a Linux file system")
		}
		return err
	}
	return p.o.Share.Chown(ctx, link)
}
