package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/stage"
)

// namedImage is where a target's parts are from that are the named image's.
// The file's own name would make two targets of one kernel.
const namedImage = "--kernel-image"

// bootFolders are where hosts keep kernel images.
var bootFolders = []string{"boot", "usr/boot", "boot/flatcar", "boot/coreos"}

// imageTries bounds how many images are read to find the host's.
const imageTries = 8

// kernelImage is the image of the target's kernel.
type kernelImage struct {
	image.Image
	from string // in the root, or namedImage; empty where there is none
}

// openImage reads the kernel image that the user named.
func openImage(ctx context.Context, path string) (kernelImage, Release, error) {
	const hint = "name a vmlinuz, a vmlinux or an arm64 Image, as a boot loader loads it"
	img, err := image.Open(ctx, path)
	if err != nil {
		if ctx.Err() != nil {
			return kernelImage{}, Release{}, ctx.Err()
		}
		return kernelImage{}, Release{}, stage.Wrap(stage.Detect, err, "the kernel image cannot be read", hint)
	}
	release, err := ParseRelease(img.Release)
	if err != nil {
		return kernelImage{}, Release{}, stage.Wrap(stage.Detect, err, "the kernel image "+path+" does not say which kernel it is", hint)
	}
	return kernelImage{img, namedImage}, release, nil
}

// findImage reads the image of the kernel from among the host's; it returns the
// zero value where there is none. One of another build of the release is not it:
// an update may have replaced the file under the running kernel.
func findImage(ctx context.Context, root *Root, r Release, b banner) kernelImage {
	log := zerolog.Ctx(ctx)
	for _, name := range imageFiles(root, r) {
		path, err := root.Path(name)
		if err != nil {
			continue
		}
		img, err := image.Open(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			log.Warn().Err(err).Msg("a kernel image of the host's is passed over")
		case img.Release != r.Full:
			log.Debug().Str("image", name).Str("release", img.Release).Msg("a kernel image of another kernel")
		case !(kernelImage{img, name}).isBuild(b, runningBuildID(root)):
			log.Info().Str("image", name).Str("banner", img.Banner).Msg("a kernel image of another build than the kernel that runs")
		default:
			return kernelImage{img, name}
		}
	}
	return kernelImage{}
}

// imageFiles are where the image of the release's kernel may be: under its
// release's name, or under one that names no release, such as vmlinuz-a.
func imageFiles(root *Root, r Release) []string {
	var names, others []string
	for _, dir := range bootFolders {
		names = append(names, dir+"/vmlinuz-"+r.Full)
		for _, name := range root.List(dir) {
			suffix, ok := strings.CutPrefix(name, "vmlinuz")
			if !ok {
				continue
			}
			if _, err := ParseRelease(strings.TrimPrefix(suffix, "-")); err != nil {
				others = append(others, dir+"/"+name)
			}
		}
	}
	names = append(names, "lib/modules/"+r.Full+"/vmlinuz")
	return append(names, others[:min(imageTries, len(others))]...)
}

// symbols are what the kernel in the image exports.
func (i kernelImage) symbols() []Symbol {
	var symbols []Symbol
	for _, s := range i.Symbols {
		symbol := Symbol{
			Name: s.Name, Module: vmlinux, License: LicenseAny,
			Namespace: s.Namespace, NamespaceKnown: i.NamespacesKnown,
			CRC: s.CRC, CRCKnown: i.CRCsKnown,
		}
		if s.GPL {
			symbol.License = LicenseGPL
		}
		symbols = append(symbols, symbol)
	}
	return symbols
}

// isBuild says whether the image is of a build, by its banner and by its
// identifier, as far as both sides know them: two builds may have one banner, where
// their times are set to be the same.
func (i kernelImage) isBuild(b banner, buildID string) bool {
	return i.hasBanner(b) && (i.BuildID == "" || buildID == "" || i.BuildID == buildID)
}

// hasBanner says whether the image's banner is b, where both are known. Ubuntu's
// kernels have their package's version in parentheses behind it, and leave that
// out of proc/version.
func (i kernelImage) hasBanner(b banner) bool {
	text := strings.TrimSpace(i.Banner)
	return text == "" || b.text == "" || text == b.text || strings.HasPrefix(text, b.text+" (")
}

// rootFor is the root as that of the image's kernel: where it runs another one,
// also another build of the same release, its proc and sys say nothing of it.
func (i kernelImage) rootFor(ctx context.Context, root *Root, r Release) *Root {
	if root == nil {
		return &Root{}
	}
	runs, banner, err := readRelease(root)
	if err == nil && runs.Full == r.Full && i.isBuild(banner, runningBuildID(root)) {
		return root
	}
	event := zerolog.Ctx(ctx).Info().Str("image", r.Full)
	if err == nil {
		event = event.Str("host", runs.Full)
	}
	event.Msg(fmt.Sprintf("the kernel image is not of the kernel that %s runs: only the files there that are of %s count", root.Dir(), r))
	return root.forOtherKernel(err == nil)
}
