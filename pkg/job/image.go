package job

import (
	"cmp"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel/flatcar"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

const imageHint = "name a kernel's image, as a boot loader loads it, by its file or URL with --kernel-image"

// imageCache keeps kernel images that were fetched against a digest, for runs
// that ask for the same digest. The zero value keeps none.
type imageCache struct {
	share *share.Share
	// keep adds to it; it is read in any case.
	keep bool
}

// path is where an image of the digest is or would be; empty where none is kept.
func (c imageCache) path(digest string) string {
	if c.share == nil || digest == "" {
		return ""
	}
	return c.share.Image(strings.ToLower(digest))
}

// add keeps the image in a file.
func (c imageCache) add(file, digest string) error {
	path := c.path(digest)
	if path == "" || !c.keep {
		return nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := c.share.MkdirAll(c.share.Downloads()); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, content, 0o644)
}

// check refuses what is said of a kernel and makes no sense.
func (h Host) check() error {
	if h.Flatcar != "" {
		if _, err := flatcar.Parse(h.Flatcar); err != nil {
			return err
		}
	}
	if h.Flatcar != "" && (h.Root != "" || h.Image != "" || h.Capture != "") {
		return stage.New(stage.Usage, "a host is described by a release of Flatcar or by files of its own, and both are named", "leave out --flatcar, or --host-root, --kernel-image and --host-capture")
	}
	switch {
	case h.ImageSHA256 == "" && h.ImageSHA512 == "":
		return nil
	case h.Image == "":
		return stage.New(stage.Usage, "a digest of a kernel image was given, and no image", imageHint)
	case h.ImageSHA512 != "" && !isSHA512(h.ImageSHA512):
		return stage.New(stage.Usage, fmt.Sprintf("%q is not a SHA-512: it has to be 128 hexadecimal digits", h.ImageSHA512), "correct --kernel-image-sha512")
	case h.ImageSHA256 != "" && !download.IsSHA256(h.ImageSHA256):
		return stage.New(stage.Usage, fmt.Sprintf("%q is not a SHA-256: it has to be 64 hexadecimal digits", h.ImageSHA256), "correct --kernel-image-sha256")
	}
	return nil
}

// openImage returns the path of the image, of a copy where it comes from a URL
// or its digest counts: what was digested is what is read.
func (h Host) openImage(ctx context.Context, scratch string) (string, error) {
	if h.Image == "" || h.ImageSHA256 == "" && h.ImageSHA512 == "" && !download.IsURL(h.Image) {
		return h.Image, nil
	}
	got, err := h.takeImage(ctx, scratch)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var failure *stage.Error
	var other *download.DigestError
	switch {
	case errors.As(err, &failure):
		return "", err
	case errors.As(err, &other):
		return "", stage.Wrap(stage.Detect, err, "the kernel image is another than was asked for", "fetch it again, or correct the digest of --kernel-image-sha256 or --kernel-image-sha512")
	case errors.Is(err, unix.ENOSPC):
		return "", stage.Wrap(stage.Detect, err, "there is no space for the kernel image", "free space in the container's /tmp")
	case err != nil:
		return "", stage.Wrap(stage.Detect, err, "the kernel image cannot be had", imageHint)
	}
	zerolog.Ctx(ctx).Info().Str("image", download.Shown(h.Image)).Str("sha256", got).Msg("kernel image")
	return scratch, nil
}

func isSHA512(text string) bool {
	digest, err := hex.DecodeString(text)
	return err == nil && len(digest) == sha512.Size
}

// checkSHA512 holds a copy of the image against the digest that was given, if one was.
func (h Host) checkSHA512(path string) error {
	if h.ImageSHA512 == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha512.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, h.ImageSHA512) {
		return stage.New(stage.Detect, fmt.Sprintf("the kernel image is another than was asked for: its SHA-512 is %s", got),
			"fetch it again, or correct --kernel-image-sha512")
	}
	return nil
}

// takeImage leaves the image at to, from where it is or was, and returns its
// SHA-256. It is what its digests say.
func (h Host) takeImage(ctx context.Context, to string) (digest string, err error) {
	if !download.IsURL(h.Image) {
		return h.copyImage(h.Image, to)
	}
	// What it is kept by is what the next run knows of it.
	known := cmp.Or(h.ImageSHA256, h.ImageSHA512)
	if kept := h.images.path(known); kept != "" {
		digest, err := h.copyImage(kept, to)
		if err == nil {
			return digest, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel image that was fetched earlier is of no use")
		}
	}
	if h.Offline {
		return "", h.offline()
	}
	digest, err = download.File(ctx, to, download.Options{URL: h.Image, SHA256: h.ImageSHA256, Limit: image.MaxSize, Pause: h.Pause})
	if err == nil {
		err = h.checkSHA512(to)
	}
	if err != nil {
		return "", err
	}
	if err := h.images.add(to, known); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel image is not kept for the next run")
	}
	return digest, nil
}

// copyImage copies an image's file, and returns its SHA-256.
func (h Host) copyImage(from, to string) (digest string, err error) {
	path, err := beneath.Resolve(from)
	if err != nil {
		return "", err
	}
	in, err := beneath.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	digest, err = download.Copy(out, in, download.Options{URL: from, SHA256: h.ImageSHA256, Limit: image.MaxSize})
	if err := errors.Join(err, out.Close()); err != nil {
		return "", err
	}
	return digest, h.checkSHA512(to)
}

// offline is the error for an image that only the network has.
func (h Host) offline() error {
	shown := download.Shown(h.Image)
	reason := fmt.Sprintf("the kernel image %s was not fetched earlier, and --offline forbids to fetch it", shown)
	hint := "run once without --offline, or name a file with --kernel-image"
	switch {
	case h.images.share == nil:
		reason = fmt.Sprintf("--offline forbids to fetch the kernel image %s", shown)
		hint = "name a file with --kernel-image"
	case h.ImageSHA256 == "" && h.ImageSHA512 == "":
		reason = fmt.Sprintf("--offline forbids to fetch the kernel image %s, and without its digest no earlier copy is known to be it", shown)
		hint = "give --kernel-image-sha256, and run once without --offline; or name a file with --kernel-image"
	}
	return stage.New(stage.Detect, reason, hint)
}

// ofFlatcar is the host as one that runs the release of Flatcar: its kernel's image, and
// a root at the folder dir that says which release it is.
func (h Host) ofFlatcar(ctx context.Context, dir string) (Host, error) {
	release, err := flatcar.Parse(h.Flatcar)
	if err != nil {
		return Host{}, err
	}
	found, err := flatcar.Options{Server: h.FlatcarServer, Offline: h.Offline, Pause: h.Pause}.Find(ctx, release)
	if err != nil {
		return Host{}, err
	}
	zerolog.Ctx(ctx).Info().Str("flatcar", found.Version).Str("channel", found.Channel).Msg("release")
	etc := filepath.Join(dir, "etc")
	if err = os.MkdirAll(etc, 0o755); err == nil {
		err = os.WriteFile(filepath.Join(etc, "os-release"), []byte(found.OSRelease()), 0o644)
	}
	if err != nil {
		return Host{}, stage.Wrap(stage.Detect, err, "there is no space to describe the Flatcar release", "make the container's /tmp writable")
	}
	h.Root, h.Image, h.ImageSHA512 = dir, found.URL, found.SHA512
	return h, nil
}
