package lab

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

var (
	//go:embed scripts/driver.sh
	driverScript string
	//go:embed driver.go
	driverSource string
	//go:embed run.go
	runSource string
)

// Driver is a driver package, in the two forms that users have.
type Driver struct {
	Version string
	// Folder is NVIDIA-Linux-ARCH-VERSION, Run the self-extracting
	// archive of the same content.
	Folder, Run string
	// Real says that Run is NVIDIA's own file; Folder is empty then.
	Real bool
}

// driver makes a driver package in NVIDIA's layout: the kernel modules' sources
// and core objects, proprietary and open, the firmware, and some of the libraries
// and programs are NVIDIA's, as Debian packages them, and the installer is the
// tests' own.
func (l *Lab) driver(ctx context.Context, from packages) (Driver, error) {
	return l.driverFor(ctx, from, "driver", "", "x86_64")
}

// driverFor makes the part of that name for an architecture by Go's name and by NVIDIA's.
func (l *Lab) driverFor(ctx context.Context, from packages, part, goarch, arch string) (Driver, error) {
	installer, err := l.programFor(ctx, "nvidia-installer", goarch)
	if err != nil {
		return Driver{}, err
	}
	version, _, _ := strings.Cut(from.Driver, "-")
	name := "NVIDIA-Linux-" + arch + "-" + version
	recipe := from.recipe() + driverScript + driverSource + runSource + filepath.Base(filepath.Dir(installer))
	dir, err := l.part(ctx, part, recipe, func(dir string) error {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		unpack := container{
			image:  Image,
			script: driverScript,
			out:    folder,
			mounts: []string{from.Dir + ":/packages", installer + ":/nvidia-installer"},
		}
		if err := unpack.run(ctx); err != nil {
			return err
		}
		if err := writeManifest(folder, version, arch); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "README"), []byte(driverReadme), 0o644); err != nil {
			return err
		}
		return packRun(folder, filepath.Join(dir, name+".run"), version, arch)
	})
	return Driver{Version: version, Folder: filepath.Join(dir, name), Run: filepath.Join(dir, name+".run")}, err
}

// DriverIn is the driver package in a folder, which is named as NVIDIA's are.
func DriverIn(folder string) (Driver, error) {
	version, ok := strings.CutPrefix(filepath.Base(folder), "NVIDIA-Linux-x86_64-")
	if !ok {
		return Driver{}, fmt.Errorf("%s is no folder of a driver package, NVIDIA-Linux-x86_64-VERSION", folder)
	}
	return Driver{Version: version, Folder: folder}, nil
}

// Package is the file or folder of the package.
func (d Driver) Package() string {
	if d.Run != "" {
		return d.Run
	}
	return d.Folder
}

const driverReadme = `A driver package in NVIDIA's layout.

The kernel modules' sources and core objects, the firmware, and the libraries and
programs (a few of a whole package's) are NVIDIA's, as Debian packages them, the
sources with Debian's patches for newer kernels.

The tests' own: nvidia-installer and .manifest.

The open modules do not compile against the kernels of the tests, which have
another pci_resize_resource() and no patch of Debian's for that: who builds them
does so with --driver-patches. The proprietary modules do not call it.
`

// group is what NVIDIA's manifests call the part of a driver that a folder
// below kernel/ or kernel-open/ belongs to; the files beside the folders are resman's.
var group = map[string]string{
	"nvidia-uvm":     "uvm",
	"nvidia-modeset": "nvkms",
	"nvidia-drm":     "nvidia_drm",
	"nvidia-peermem": "nvidia_peermem",
}

// writeManifest writes the package's .manifest, in the shape of NVIDIA's: eight
// lines about the package, then one a file.
func writeManifest(folder, version, arch string) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "NVIDIA Accelerated Graphics Driver for Linux-%s\n%s\n \n", arch, version)
	fmt.Fprint(&out, "nvidia nvidia-uvm nvidia-modeset nvidia-drm nvidia-peermem \n \n \n./kernel/\n./kernel/precompiled/\n")
	fmt.Fprint(&out, "LICENSE 0444 DOCUMENTATION NVIDIA_GLX-1.0/ MODULE:installer\n")
	fmt.Fprint(&out, "nvidia-installer 0755 INSTALLER_BINARY MODULE:installer\n")
	firmware, err := filepath.Glob(filepath.Join(folder, "firmware", "*.bin"))
	if err != nil {
		return err
	}
	for _, path := range firmware {
		fmt.Fprintf(&out, "firmware/%s 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n", filepath.Base(path))
	}
	out.WriteString(strings.ReplaceAll(userLines, "VERSION", version))
	for _, sources := range []string{"kernel", "kernel-open"} {
		if err := writeSources(&out, folder, sources); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, ".manifest"), out.Bytes(), 0o644)
}

// userLines list the libraries and programs, as NVIDIA's manifests of the 535
// line do.
const userLines = `libGLX_nvidia.so.VERSION 0755 OPENGL_LIB NATIVE MODULE:opengl
libGLX_nvidia.so.0 0000 OPENGL_SYMLINK NATIVE libGLX_nvidia.so.VERSION MODULE:opengl
libnvidia-cfg.so.VERSION 0755 UTILITY_LIB NATIVE MODULE:installer
libnvidia-cfg.so.1 0000 UTILITY_LIB_SYMLINK NATIVE libnvidia-cfg.so.VERSION MODULE:installer
libnvidia-cfg.so 0000 UTILITY_LIB_SYMLINK NATIVE libnvidia-cfg.so.1 MODULE:installer
nvidia-smi 0755 UTILITY_BINARY MODULE:nvml
libnvidia-ml.so.VERSION 0755 CUDA_LIB NATIVE / MODULE:nvml
libnvidia-ml.so.1 0000 CUDA_SYMLINK NATIVE / libnvidia-ml.so.VERSION MODULE:nvml
libnvidia-ml.so 0000 CUDA_SYMLINK NATIVE / libnvidia-ml.so.1 MODULE:nvml
libcuda.so.VERSION 0755 CUDA_LIB NATIVE / MODULE:gpgpu
libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.VERSION MODULE:gpgpu
libcuda.so 0000 CUDA_SYMLINK NATIVE / libcuda.so.1 MODULE:gpgpu
nvidia-cuda-mps-control 0755 UTILITY_BINARY MODULE:gpgpu
nvidia-cuda-mps-server 0755 UTILITY_BINARY MODULE:gpgpu
libnvidia-ptxjitcompiler.so.VERSION 0755 CUDA_LIB NATIVE / MODULE:gpgpucomp
libnvidia-ptxjitcompiler.so.1 0000 CUDA_SYMLINK NATIVE / libnvidia-ptxjitcompiler.so.VERSION MODULE:gpgpucomp
libnvidia-ptxjitcompiler.so 0000 CUDA_SYMLINK NATIVE / libnvidia-ptxjitcompiler.so.1 MODULE:gpgpucomp
`

// writeSources writes the lines of one form's sources.
func writeSources(out io.Writer, folder, sources string) error {
	return fs.WalkDir(os.DirFS(folder), sources, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kind := "KERNEL_MODULE_SRC"
		if entry.Name() == "dkms.conf" {
			kind = "DKMS_CONF"
		}
		part := group[strings.Split(path, "/")[1]]
		if part == "" {
			part = "resman"
		}
		_, err = fmt.Fprintf(out, "%s 0644 %s INHERIT_PATH_DEPTH:1 MODULE:%s\n", path, kind, part)
		return err
	})
}
