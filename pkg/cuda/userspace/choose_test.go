package userspace

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
)

const head = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n%s\n \nnvidia \n \n \n \n \n"

// contents are a package's of the lines, with all the files that they list.
func contents(t *testing.T, text string) cuda.Contents {
	t.Helper()
	m, err := cuda.ParseManifest(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := cuda.Contents{Manifest: m, Sizes: map[string]int64{}}
	for _, f := range m.Files {
		if !strings.HasSuffix(f.Type, "_SYMLINK") {
			c.Sizes[f.Path] = 1000
		}
	}
	return c
}

// show is a choice as ls -l shows it.
func show(c Choice) []string {
	var all []string
	for _, f := range c.Files {
		text := fmt.Sprintf("%04o %s", f.Mode, f.Path)
		if f.Member != path.Base(f.Path) {
			text += " <- " + f.Member
		}
		all = append(all, text)
	}
	for _, l := range c.Links {
		all = append(all, "link "+l.Path+" -> "+l.Target)
	}
	return all
}

// TestChoose440 takes its part of NVIDIA's own list of an old package.
func TestChoose440(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "manifest-440.44.txt"))
	if err != nil {
		t.Fatal(err)
	}
	c := Choose(t.Context(), contents(t, string(text)), "")
	want := []string{
		"0444 etc/OpenCL/vendors/nvidia.icd",
		"0755 usr/bin/nvidia-bug-report.sh",
		"0755 usr/bin/nvidia-cuda-mps-control",
		"0755 usr/bin/nvidia-cuda-mps-server",
		"0755 usr/bin/nvidia-debugdump",
		"0755 usr/bin/nvidia-modprobe", // NVIDIA's is setuid
		"0755 usr/bin/nvidia-persistenced",
		"0755 usr/bin/nvidia-smi",
		"0755 usr/lib64/libcuda.so.440.44",
		"0755 usr/lib64/libnvcuvid.so.440.44",
		"0755 usr/lib64/libnvidia-allocator.so.440.44",
		"0755 usr/lib64/libnvidia-cfg.so.440.44",
		"0755 usr/lib64/libnvidia-compiler.so.440.44",
		"0755 usr/lib64/libnvidia-encode.so.440.44",
		"0755 usr/lib64/libnvidia-fatbinaryloader.so.440.44",
		"0755 usr/lib64/libnvidia-ml.so.440.44",
		"0755 usr/lib64/libnvidia-opencl.so.440.44",
		"0755 usr/lib64/libnvidia-opticalflow.so.440.44",
		"0755 usr/lib64/libnvidia-ptxjitcompiler.so.440.44",
	}
	for _, name := range []string{"libcuda", "libnvcuvid", "libnvidia-allocator", "libnvidia-cfg", "libnvidia-encode", "libnvidia-ml"} {
		want = append(want, "link usr/lib64/"+name+".so -> "+name+".so.1", "link usr/lib64/"+name+".so.1 -> "+name+".so.440.44")
	}
	want = append(want, "link usr/lib64/libnvidia-opencl.so.1 -> libnvidia-opencl.so.440.44")
	for _, name := range []string{"libnvidia-opticalflow", "libnvidia-ptxjitcompiler"} {
		want = append(want, "link usr/lib64/"+name+".so -> "+name+".so.1", "link usr/lib64/"+name+".so.1 -> "+name+".so.440.44")
	}
	if diff := cmp.Diff(want, show(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.Part != Compute || c.Bytes != 19000 || len(c.Absent) != 0 {
		t.Errorf("%s of %d bytes without %v", c.Part, c.Bytes, c.Absent)
	}

	all := Choose(t.Context(), contents(t, string(text)), All)
	for _, want := range []string{
		"usr/lib64/libGLX_nvidia.so.440.44", "usr/lib64/vdpau/libvdpau_nvidia.so.440.44", "usr/lib64/xorg/modules/drivers/nvidia_drv.so",
		"usr/lib64/xorg/modules/extensions/libglxserver_nvidia.so.440.44", "usr/share/vulkan/icd.d/nvidia_icd.json",
		"usr/share/glvnd/egl_vendor.d/10_nvidia.json", "usr/lib64/libOpenCL.so.1.0.0", "usr/bin/nvidia-settings", "usr/lib64/libcuda.so.440.44",
		"link usr/lib64/libvdpau_nvidia.so -> vdpau/libvdpau_nvidia.so.440.44", "link usr/lib64/vdpau/libvdpau_nvidia.so.1 -> libvdpau_nvidia.so.440.44",
	} {
		if !strings.Contains(strings.Join(show(all), "\n"), want) {
			t.Errorf("all has no %s", want)
		}
	}
	for _, l := range show(all) {
		for _, never := range []string{"nvidia-installer", "nvidia-uninstall", "/32/", "kernel/", "LICENSE", ".desktop"} {
			if strings.Contains(l, never) {
				t.Errorf("all has %s", l)
			}
		}
	}
	if none := Choose(t.Context(), contents(t, string(text)), None); len(none.Files)+len(none.Links) != 0 || none.Part != None {
		t.Errorf("none is %v", show(none))
	}
}

// TestChooseLater has lines as later packages have them, and some that none has
// yet.
func TestChooseLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, line, compute, all string }{
		{"firmware", "firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp", "", ""},
		{"a unit", "systemd/system/nvidia-persistenced.service 0644 SYSTEMD_UNIT INHERIT_PATH_DEPTH:2 MODULE:powermgmt", "", ""},
		{"the debugger", "libcudadebugger.so.1 0755 CUDA_LIB NATIVE / MODULE:gpgpudbg", "0755 usr/lib64/libcudadebugger.so.1", "same"},
		{"the compiler of NVVM", "libnvidia-nvvm.so.1 0755 CUDA_LIB NATIVE / MODULE:gpgpucomp", "0755 usr/lib64/libnvidia-nvvm.so.1", "same"},
		{"confidential computing", "libnvidia-pkcs11.so.1 0755 UTILITY_LIB NATIVE MODULE:pkcs11", "0755 usr/lib64/libnvidia-pkcs11.so.1", "same"},
		{"shared with the display, by its name", "libnvidia-gpucomp.so.1 0755 OPENGL_LIB NATIVE MODULE:opengl", "0755 usr/lib64/libnvidia-gpucomp.so.1", "same"},
		{"32 bits", "./32/libcuda.so.1 0755 CUDA_LIB COMPAT32 / MODULE:gpgpu", "", ""},
		{"the installer's own", "libglvnd_install_checker/libGL.so.1 0755 INTERNAL_UTILITY_LIB NATIVE MODULE:installer", "", ""},
		{"ray tracing", "libnvidia-rtcore.so.1 0755 OPENGL_LIB NATIVE MODULE:raytracing", "", "0755 usr/lib64/libnvidia-rtcore.so.1"},
		{"data of OptiX", "nvoptix.bin 0444 EXPLICIT_PATH /usr/share/nvidia MODULE:optix", "", "0444 usr/share/nvidia/nvoptix.bin"},
		{"a bus's rights", "nvidia-dbus.conf 0644 EXPLICIT_PATH /usr/share/dbus-1/system.d MODULE:nvtopps", "", "0644 usr/share/dbus-1/system.d/nvidia-dbus.conf"},
		{"GBM", "libnvidia-allocator.so.1 0755 UTILITY_LIB NATIVE MODULE:nvalloc\nnvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK NATIVE ../libnvidia-allocator.so.1 MODULE:gbm",
			"0755 usr/lib64/libnvidia-allocator.so.1", "0755 usr/lib64/libnvidia-allocator.so.1|link usr/lib64/gbm/nvidia-drm_gbm.so -> ../libnvidia-allocator.so.1"},
		{"a library of a type not known", "libnvidia-quantum.so.1 0755 QUANTUM_LIB NATIVE / MODULE:quantum", "0755 usr/lib64/libnvidia-quantum.so.1", "same"},
		{"a program of a group not known", "nvidia-quantum 0755 UTILITY_BINARY MODULE:quantum", "0755 usr/bin/nvidia-quantum", "same"},
		{"a display's of a type not known", "libEGL_quantum.so.1 0755 EGL_QUANTUM_LIB NATIVE MODULE:quantum", "", "0755 usr/lib64/libEGL_quantum.so.1"},
		{"neither library nor program", "quantum.json 0644 QUANTUM_JSON quantum.d/ MODULE:quantum", "", ""},
		{"a place above", "x 0755 NVIDIA_MODPROBE /../../etc MODULE:installer", "0755 etc/x", "same"},
		{"a folder above", "libx.so 0755 CUDA_LIB NATIVE ../../../.. MODULE:gpgpu", "", ""},
		{"a link to what is not there", "libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.535 MODULE:gpgpu", "", ""},
		{"a link out", "libcuda.so.1 0000 CUDA_SYMLINK NATIVE / /etc/passwd MODULE:gpgpu", "", ""},
		{"a link without a target", "libcuda.so.1 0000 CUDA_SYMLINK NATIVE MODULE:gpgpu", "", ""},
		{"twice", "libcuda.so.1 0755 CUDA_LIB NATIVE / MODULE:gpgpu\nx/libcuda.so.1 0755 CUDA_LIB NATIVE / MODULE:gpgpu", "0755 usr/lib64/libcuda.so.1", "same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := contents(t, fmt.Sprintf(head, "580.1")+c.line+"\n")
			if c.all == "same" {
				c.all = c.compute
			}
			for part, want := range map[string]string{Compute: c.compute, All: c.all} {
				if got := strings.Join(show(Choose(t.Context(), text, part)), "|"); got != want {
					t.Errorf("%s is %q, want %q", part, got, want)
				}
			}
		})
	}
}

func TestChooseTellsOfTheUnknown(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	ctx := zerolog.New(&log).WithContext(t.Context())
	Choose(ctx, contents(t, fmt.Sprintf(head, "580.1")+"nvidia-quantum 0755 UTILITY_BINARY MODULE:quantum\nnvidia-smi 0755 UTILITY_BINARY MODULE:nvml\n"), Compute)
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), `"group":"quantum"`) || !strings.Contains(log.String(), `"level":"debug"`) {
		t.Errorf("the log is %s", &log)
	}
}

func TestCheckPart(t *testing.T) {
	t.Parallel()
	for part, ok := range map[string]bool{"": true, "compute": true, "all": true, "none": true, "display": false} {
		if err := CheckPart(part); (err == nil) != ok {
			t.Errorf("%q: %v", part, err)
		}
	}
}
