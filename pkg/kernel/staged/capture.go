package staged

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/stage"
)

// System is what the next boot brings.
type System struct {
	// Release is its kernel's, and Version the distribution's.
	Release, Version string
}

// Capture writes a tar of the host as the next boot brings it: the staged system, and of
// the devices that the host has those that keep is true of. Errors are of the detect stage;
// [ErrSame] is that it is the system that runs, of which nothing is written.
func (u Update) Capture(ctx context.Context, host *kernel.Root, mount Mounter, keep func(kernel.PCIDevice) bool, w io.Writer) (s System, err error) {
	err = u.mounted(ctx, host, mount, func(root *kernel.Root, imageFile string) error {
		if s, err = system(ctx, root, imageFile); err != nil {
			return err
		}
		return kernel.Capture(ctx, root, w, kernel.CaptureOptions{Image: imageFile, Keep: keep, Devices: host})
	})
	if err != nil {
		return System{}, err
	}
	// It may have been written to meanwhile.
	if now, err := Find(host); err != nil || now != u {
		return System{}, stage.New(stage.Detect, "the staged update was replaced while it was looked at", "look again, when another is staged")
	}
	return s, nil
}

// mounted calls use with a root whose /usr is the update's, as long as that is mounted.
func (u Update) mounted(ctx context.Context, host *kernel.Root, mount Mounter, use func(root *kernel.Root, imageFile string) error) (err error) {
	dir, usr, err := emptyRoot()
	if err != nil {
		return stage.Wrap(stage.Detect, err, "there is no place to mount the next /usr on", "make the container's /tmp writable")
	}
	defer removeRoot(dir)
	device, err := host.Path(u.device)
	if err != nil {
		return stage.Wrap(stage.Detect, err, "the partition with the next /usr is not to be seen", mountHint)
	}
	unmount, err := mount(device, usr)
	if err != nil {
		return explain(err, u.device)
	}
	defer func() {
		if failed := unmount(); failed != nil {
			err = errors.Join(err, stage.Wrap(stage.Detect, failed, "the next /usr cannot be unmounted", "look at who uses it, and end this container"))
		}
	}()
	root, err := kernel.OpenRoot(dir)
	if err != nil {
		return err
	}
	imageFile, err := host.Path(u.image)
	if err != nil {
		return err
	}
	zerolog.Ctx(ctx).Info().Str("partition", "/"+u.device).Str("image", "/"+u.image).Msg("looking at what the next boot brings")
	return use(root, imageFile)
}

// emptyRoot makes a root with a place for its /usr.
func emptyRoot() (dir, usr string, err error) {
	if dir, err = os.MkdirTemp("", "next-"); err != nil {
		return "", "", err
	}
	usr = filepath.Join(dir, "usr")
	if err = errors.Join(os.Mkdir(usr, 0o755), os.Symlink("usr/lib", filepath.Join(dir, "lib"))); err != nil {
		removeRoot(dir)
	}
	return dir, usr, err
}

// removeRoot removes what emptyRoot made, and nothing below it: where it could not be
// unmounted that is the host's.
func removeRoot(dir string) {
	for _, name := range []string{"lib", "usr", ""} {
		_ = os.Remove(filepath.Join(dir, name))
	}
}

// system is what is in a root, whose kernel is that of the image.
func system(ctx context.Context, root *kernel.Root, imageFile string) (System, error) {
	img, err := image.Open(ctx, imageFile)
	if err != nil {
		if ctx.Err() != nil {
			return System{}, ctx.Err()
		}
		return System{}, stage.Wrap(stage.Detect, err, "the next kernel's image cannot be read", "look at the host's /boot")
	}
	if !root.Exists("lib/modules/" + img.Release) {
		return System{}, stage.New(stage.Detect,
			fmt.Sprintf("the next kernel is %s by its image, and the next /usr has modules of: %s", img.Release, strings.Join(root.List("lib/modules"), " ")),
			"have update_engine stage the update again")
	}
	s := System{Release: img.Release}
	if text, err := root.ReadFile("usr/lib/os-release"); err == nil {
		s.Version = kernel.ParseOSRelease(text).VersionID
	}
	return s, nil
}
