package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

// sources are what one target is read from.
type sources struct {
	root    *Root
	release Release
	// banner is the kernel's line of proc/version; zero where it was not seen.
	banner     banner
	bannerFrom string
	// image is the kernel's image, nil before it was looked for: to read one
	// takes a second.
	image *kernelImage
	// modules are the files of those that came with the kernel.
	modules moduleFiles
	// cache keeps what they export; see DetectOptions.
	cache string
	// needs says which of them are read; see DetectOptions.
	needs func(file string) bool
}

// openSources finds out which kernel is the target. Where an image was named it
// is the one in it.
func openSources(ctx context.Context, root *Root, o DetectOptions) (*sources, error) {
	s := &sources{root: root, cache: o.Cache, needs: o.Needs}
	var err error
	switch {
	case o.Image != "":
		err = s.openImage(ctx, o.Image)
	case root == nil:
		err = stage.New(stage.Detect, "no kernel was named: there is neither a host root nor a kernel image", procHint)
	default:
		s.release, s.banner, err = readRelease(root)
		s.bannerFrom = versionFile
	}
	if err != nil {
		return nil, err
	}
	s.modules = inTreeModules(s.root, s.release)
	return s, nil
}

// openImage makes the kernel in the image that the user named the target.
func (s *sources) openImage(ctx context.Context, path string) error {
	img, release, err := openImage(ctx, path)
	if err != nil {
		return err
	}
	s.image, s.release = &img, release
	s.root = img.rootFor(ctx, s.root, release)
	if b, err := parseBanner(img.Banner); err == nil {
		s.banner, s.bannerFrom = b, img.from
	} else {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel image does not say how it was built")
	}
	return nil
}

// named says whether the user named the target's image.
func (s *sources) named() bool { return s.image != nil && s.image.from == namedImage }

// kernelImage is the target's image; its zero value where there is none.
func (s *sources) kernelImage(ctx context.Context) kernelImage {
	if s.image == nil {
		img := findImage(ctx, s.root, s.release, s.banner)
		s.image = &img
	}
	return *s.image
}

const (
	versionFile   = "proc/version"
	osreleaseFile = "proc/sys/kernel/osrelease"
)

// readRelease finds the release that the root's kernel goes by, and its
// banner where proc/version is there to give it.
func readRelease(root *Root) (Release, banner, error) {
	b, err := readBanner(root)
	if err != nil {
		return Release{}, banner{}, err
	}
	name, from := b.release, versionFile
	if text := root.Text(osreleaseFile); text != "" {
		name, from = text, osreleaseFile
	}
	if name == "" {
		return Release{}, banner{}, stage.New(stage.Detect,
			fmt.Sprintf("no kernel release under %s: neither %s nor %s is there", root.Dir(), osreleaseFile, versionFile), procHint)
	}
	if b.release != "" && b.release != name {
		return Release{}, banner{}, stage.New(stage.Detect,
			fmt.Sprintf("%s says the kernel is %q and %s says %q, so %s is no one host", from, name, versionFile, b.release, root.Dir()),
			"capture the host again")
	}
	r, err := ParseRelease(name)
	if err != nil {
		return Release{}, banner{}, stage.Wrap(stage.Detect, err, "cannot tell the kernel's version from "+from,
			"check that the host root is a Linux host's")
	}
	return r, b, nil
}

func readBanner(root *Root) (banner, error) {
	text, err := root.ReadFile(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return banner{}, nil
	}
	if err != nil {
		return banner{}, stage.Wrap(stage.Detect, err, "cannot read the kernel's version", procHint)
	}
	b, err := parseBanner(string(text))
	if err != nil {
		return banner{}, stage.Wrap(stage.Detect, err, versionFile+" is not a Linux kernel's", procHint)
	}
	return b, nil
}
