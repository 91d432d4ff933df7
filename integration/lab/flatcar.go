package lab

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

var (
	//go:embed flatcar.go
	flatcarSource string
	//go:embed scripts/flatcar.sh
	flatcarScript string
	//go:embed scripts/flatcar.Dockerfile
	flatcarDockerfile string
	//go:embed scripts/flatcar.config
	flatcarConfig string
)

// flatcarImage is [GCC15Image], whose gcc and C library are those of Flatcar's alpha.
const flatcarImage = "k8sp-cuda-flatcar"

// Flatcar makes the root of a Flatcar host with the tree for building modules that
// Flatcar's ebuilds leave there. Its programs need the host's C library, which is
// newer than that of the image under test. What is not as on a real one is in its
// README.
//
// $FLATCAR_CONFIG names a file that is taken in place of the lab's config: Flatcar's
// own, amd64_defconfig and commonconfig one after the other.
func (l *Lab) Flatcar(ctx context.Context) (Host, error) {
	config := flatcarConfig
	if name := os.Getenv("FLATCAR_CONFIG"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return Host{}, err
		}
		config = string(text)
	}
	debian, err := l.Debian(ctx, "trixie")
	if err != nil {
		return Host{}, err
	}
	kbuild, err := l.Kbuild(ctx, "bookworm")
	if err != nil {
		return Host{}, err
	}
	source, err := kbuild.Source(ctx, "linux-source-6.12")
	if err != nil {
		return Host{}, err
	}
	recipe := filepath.Base(debian.Dir) + filepath.Base(filepath.Dir(source)) + flatcarSource + flatcarScript + flatcarDockerfile + config
	dir, err := l.part(ctx, "flatcar", recipe, func(dir string) error {
		if err := l.MakeGCC15Image(ctx); err != nil {
			return err
		}
		if err := l.imageFrom(ctx, GCC15Image, flatcarImage, flatcarDockerfile); err != nil {
			return err
		}
		file := filepath.Join(dir, "flatcar.config")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return err
		}
		layOut := container{
			image:  flatcarImage,
			script: flatcarScript,
			out:    dir,
			mounts: []string{source + ":/linux.tar.zst", debian.Dir + ":/debian", file + ":/flatcar.config"},
		}
		if err := layOut.run(ctx); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, "usr/lib/os-release"), []byte(flatcarRelease)); err != nil {
			return err
		}
		if err := os.Symlink("../usr/lib/os-release", filepath.Join(dir, "etc/os-release")); err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, "README"), fmt.Appendf(nil, flatcarReadme, debian.Release))
	})
	if err != nil {
		return Host{}, err
	}
	return readHost(dir)
}

const flatcarRelease = `NAME="Flatcar Container Linux by Kinvolk"
ID="flatcar"
ID_LIKE="coreos"
VERSION="4790.0.0"
VERSION_ID="4790.0.0"
BUILD_ID="2026-08-18-2059"
SYSEXT_LEVEL="1.0"
PRETTY_NAME="Flatcar Container Linux by Kinvolk 4790.0.0"
ANSI_COLOR="38;5;75"
HOME_URL="https://flatcar.org"
BUG_REPORT_URL="https://issues.flatcar.org"
FLATCAR_BOARD="amd64-usr"
CPE_NAME="cpe:2.3:o:flatcar-linux:flatcar_linux:4790.0.0:*:*:*:*:*:*:*"
`

const flatcarReadme = `The root of a Flatcar host, as far as a build of modules reads it.

As on a real one: usr/lib/modules/REL/build is what the kernel's own
scripts/package/install-extmod-build leaves, which Flatcar's coreos-modules calls,
and its .config is from before coreos-kernel named the firmware; source leads
there; usr/boot/config-REL leads to that .config, and proc/config.gz has the
firmware; the compiler is gcc 15, called as Flatcar's SDK calls it; the tree's programs are
linked to the glibc that Flatcar's alpha has, which is in usr/lib64; /usr is
merged; nvidia.service has built a driver below opt/nvidia.

Not as on a real one:
  the source       Debian's of the line, without Flatcar's patches
  .config          flatcar.config beside this, which has the options that matter to
                   modules, at Flatcar's values
  Module.symvers   that of Debian's kernel %[1]s, without its
                   checksums, as Flatcar's kernels have none
  proc/kallsyms, proc/modules, proc/cmdline
                   what that kernel said when it ran
  the kernel's image, its modules, System.map and BTF are not there: nobody has
                   built this kernel
  opt/nvidia       the folders and links, without libraries and modules

The modules that the job builds for this root have been built from a tree such
as Flatcar's and checked against real symbols, and no kernel exists that could
load them.
`
