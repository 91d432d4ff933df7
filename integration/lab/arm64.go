package lab

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Arm64 is Go's name, and Debian's, for the architecture of hosts that modules are
// cross-compiled for.
const Arm64 = "arm64"

// Arm64Image is [Image] with QEMU for arm64.
const Arm64Image = "k8sp-cuda-lab:arm64"

// CrossImage is the one under test with a cross compiler for arm64, as docs/kernels.md has
// it.
const CrossImage = "cuda:arm64"

// arm64Compiler built Debian 12's kernels.
const arm64Compiler = "12"

var (
	//go:embed scripts/arm64-packages.sh
	arm64PackagesScript string
	//go:embed scripts/arm64.sh
	arm64Script string
	//go:embed arm64.go
	arm64Source string
)

func (l *Lab) arm64Image(ctx context.Context) error {
	if err := l.ToolsImage(ctx); err != nil {
		return err
	}
	const recipe = "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends qemu-system-arm && rm -rf /var/cache/apt/*\n"
	return l.imageFrom(ctx, Image, Arm64Image, recipe)
}

// MakeCrossImage makes the image named [CrossImage] from the checkout, and what it starts
// from.
func (l *Lab) MakeCrossImage(ctx context.Context) error {
	if err := l.BaseImages(ctx); err != nil {
		return err
	}
	return l.BuildImage(ctx, l.Checkout, CrossImage, "CROSS="+Arm64, "COMPILERS="+arm64Compiler)
}

// arm64Packages are the arm64 counterparts of packages that parts are made of, and
// kernel.deb, the kernel.
func (l *Lab) arm64Packages(ctx context.Context) (packages, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return packages{}, err
	}
	from.Kernel = strings.TrimSuffix(from.Kernel, "-amd64") + "-" + Arm64
	versions := fmt.Sprintf("kernel=%s\nsource=%s\ndriver=%s\n", from.Kernel, from.Source, from.Driver)
	from.Dir, err = l.part(ctx, "packages-arm64", versions+arm64PackagesScript, func(dir string) error {
		return container{image: Image, script: versions + arm64PackagesScript, out: dir}.run(ctx)
	})
	return from, err
}

// Arm64Driver makes the driver package for arm64, of the same version and in the same way
// as [Lab.Driver]'s. Its installer is a program for arm64.
func (l *Lab) Arm64Driver(ctx context.Context) (Driver, error) {
	from, err := l.arm64Packages(ctx)
	if err != nil {
		return Driver{}, err
	}
	return l.driverFor(ctx, from, "driver-arm64", Arm64, "aarch64")
}

// Arm64Host makes the root of an arm64 CoreOS host that can be booted: Debian's kernel of
// the source in the git repository, which calls itself by the release that CoreOS would
// have given it, with a few of its modules and with what it said when it was booted once.
func (l *Lab) Arm64Host(ctx context.Context) (Host, error) {
	from, err := l.arm64Packages(ctx)
	if err != nil {
		return Host{}, err
	}
	version, _, _ := strings.Cut(from.Source, "-")
	release := version + "-coreos"
	recipe := from.recipe() + arm64Script + arm64Source + osRelease
	dir, err := l.part(ctx, "arm64", recipe, func(dir string) error {
		lay := container{
			image:  Image,
			script: fmt.Sprintf("kernel=%s\nrelease=%s\n", from.Kernel, release) + arm64Script,
			out:    dir,
			mounts: []string{from.Dir + ":/packages"},
		}
		if err := lay.run(ctx); err != nil {
			return err
		}
		host := Host{Dir: dir, Release: release, Arch: Arm64}
		if err := rename(host, from.Kernel); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, "etc/os-release"), []byte(strings.Replace(osRelease, "amd64-usr", "arm64-usr", 1))); err != nil {
			return err
		}
		return l.record(ctx, host, "drm_kms_helper", "video")
	})
	return Host{Dir: dir, Release: release, Arch: Arm64}, err
}

// rename has a host's kernel, and its modules, call themselves by the host's release in the
// place of another. No byte of them may move. The modules' signatures are of the others.
func rename(host Host, from string) error {
	files, err := host.InTree("drm_kms_helper", "video")
	if err != nil {
		return err
	}
	for _, file := range append(files, host.Image()) {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if len(from) != len(host.Release) || !bytes.Contains(content, []byte(from)) {
			return fmt.Errorf("%s cannot be made to call itself %s in the place of %s", file, host.Release, from)
		}
		if err := os.WriteFile(file, unsigned(bytes.ReplaceAll(content, []byte(from), []byte(host.Release))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// unsigned is a module without the signature after it: that, 12 bytes that end with its
// length, and a line.
func unsigned(module []byte) []byte {
	rest, signed := bytes.CutSuffix(module, []byte("~Module signature appended~\n"))
	if !signed || len(rest) < 12 {
		return module
	}
	length := int(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	return rest[:max(0, len(rest)-12-length)]
}
