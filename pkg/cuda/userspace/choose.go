package userspace

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/stage"
)

// The parts of a driver's user-space side that can be asked for.
const (
	// Compute is what programs need that use a GPU and no display: CUDA,
	// OpenCL, the video coders and the programs to look after GPUs.
	Compute = "compute"
	// All is everything but documentation, sources and the installer, with
	// the display stack. Libraries for 32-bit programs are in neither.
	All = "all"
	// None lays out nothing.
	None = "none"
)

// CheckPart refuses what is no part that can be asked for; empty is [Compute].
// Its error is of the usage stage.
func CheckPart(part string) error {
	if slices.Contains([]string{"", Compute, All, None}, part) {
		return nil
	}
	return stage.New(stage.Usage, fmt.Sprintf("%q is not a part of the driver's user-space side", part), "name one of compute, all, none")
}

// Choice is what to lay out of a package.
type Choice struct {
	// Part is [Compute], [All] or [None].
	Part string
	// Files are sorted by path, and so are Links.
	Files []Chosen
	Links []Link
	// Bytes is the size of the files together.
	Bytes int64
	// Absent are files that the package lists and does not have, as an
	// unpacked folder may have been thinned out.
	Absent []string
}

// Chosen is a file of a package and where it goes.
type Chosen struct {
	Member string // its path in the package
	Path   string // in the root, slash-separated
	Mode   fs.FileMode
}

// Choose picks a part of a package. It is empty for [None].
func Choose(ctx context.Context, c cuda.Contents, part string) Choice {
	choice := Choice{Part: cmp.Or(part, Compute)}
	if choice.Part == None {
		return choice
	}
	taken := map[string]bool{}
	for _, f := range c.Manifest.Files {
		e := read(f)
		if !e.wanted(choice.Part) {
			continue
		}
		if taken[e.to] {
			zerolog.Ctx(ctx).Debug().Str("file", f.Path).Str("as", e.to).Msg("not laid out: another file has its place")
			continue
		}
		if !e.known() {
			zerolog.Ctx(ctx).Debug().Str("file", f.Path).Str("type", f.Type).Str("group", f.Group).Str("as", e.to).
				Msg("laid out though its type or group is not known: it is none of the display's")
		}
		if e.target != "" {
			taken[e.to] = true
			choice.Links = append(choice.Links, Link{Path: e.to, Target: e.target})
			continue
		}
		size, there := c.Sizes[f.Path]
		if !there {
			choice.Absent = append(choice.Absent, f.Path)
			continue
		}
		taken[e.to] = true
		choice.Bytes += size
		choice.Files = append(choice.Files, Chosen{Member: f.Path, Path: e.to, Mode: f.Mode})
	}
	choice.Links = slices.DeleteFunc(choice.Links, func(l Link) bool { return !leads(l, taken) })
	slices.SortFunc(choice.Files, func(a, b Chosen) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(choice.Links, func(a, b Link) int { return cmp.Compare(a.Path, b.Path) })
	return choice
}

// leads says whether a link's target is there.
func leads(l Link, taken map[string]bool) bool {
	return !path.IsAbs(l.Target) && taken[path.Join(path.Dir(l.Path), l.Target)]
}

// entry is a line of a package's manifest with its words told apart.
type entry struct {
	cuda.File
	compat32 bool
	target   string // of a link
	to       string // where it goes in the root; empty where it has no place
}

// read tells apart the words after a file's type: an architecture, a folder,
// and for a link its target.
func read(f cuda.File) entry {
	e := entry{File: f}
	var words []string
	for _, w := range f.Attributes {
		switch {
		case w == "COMPAT32":
			e.compat32 = true
		case w == "NATIVE", strings.HasPrefix(w, "INHERIT_PATH_DEPTH:"):
		default:
			words = append(words, w)
		}
	}
	if strings.HasSuffix(f.Type, "_SYMLINK") {
		if len(words) == 0 {
			return e
		}
		e.target, words = words[len(words)-1], words[:len(words)-1]
	}
	folder := ""
	if len(words) > 0 {
		folder = words[0]
	}
	if place := placeOf(f.Type); place != "" {
		e.to = path.Join(place, folder, path.Base(f.Path))
	}
	// NVIDIA_MODPROBE and the like come with the whole path.
	if explicit(f.Type) && strings.HasPrefix(folder, "/") {
		e.to = strings.TrimPrefix(path.Join(folder, path.Base(f.Path)), "/")
	}
	if !filepath.IsLocal(e.to) {
		e.to = ""
	}
	return e
}

// places are the folders of types whose name does not end in what they are.
var places = map[string]string{
	"CUDA_ICD":                   "etc/OpenCL/vendors",
	"XMODULE_SHARED_LIB":         "usr/lib64/xorg/modules",
	"GLX_MODULE_SHARED_LIB":      "usr/lib64/xorg/modules",
	"GLX_MODULE_SYMLINK":         "usr/lib64/xorg/modules",
	"GBM_BACKEND_LIB":            "usr/lib64/gbm",
	"GBM_BACKEND_LIB_SYMLINK":    "usr/lib64/gbm",
	"WINE_LIB":                   "usr/lib64/nvidia/wine",
	"VULKAN_ICD_JSON":            "usr/share/vulkan",
	"VULKANSC_ICD_JSON":          "usr/share/vulkansc",
	"GLVND_EGL_ICD_JSON":         "usr/share/glvnd/egl_vendor.d",
	"EGL_EXTERNAL_PLATFORM_JSON": "usr/share/egl/egl_external_platform.d",
	"APPLICATION_PROFILE":        "usr/share/nvidia",
	"XORG_OUTPUTCLASS_CONFIG":    "usr/share/X11/xorg.conf.d",
	// What the installer looks after its own work with.
	"INSTALLER_BINARY":        "",
	"INTERNAL_UTILITY_BINARY": "",
	"INTERNAL_UTILITY_LIB":    "",
	// Units are for a host, not for a container.
	"SYSTEMD_UNIT_SYMLINK": "",
}

func explicit(kind string) bool {
	return slices.Contains([]string{"NVIDIA_MODPROBE", "EXPLICIT_PATH", "OPENGL_DATA"}, kind)
}

// placeOf is the folder of a type, by its name: NVIDIA adds types, and has
// named those of libraries, programs and links alike for twenty years.
func placeOf(kind string) string {
	if place, ok := places[kind]; ok {
		return place
	}
	switch {
	case strings.HasSuffix(kind, "_BINARY"), strings.HasSuffix(kind, "_BIN_SYMLINK"):
		return "usr/bin"
	case strings.HasSuffix(kind, "_LIB"), strings.HasSuffix(kind, "_SYMLINK"):
		return "usr/lib64"
	}
	return ""
}

// display are the prefixes of the types of the display stack.
var display = []string{
	"OPENGL_", "GLVND_", "GLX_", "EGL_", "GBM_", "VULKAN", "XMODULE_", "XORG_", "VDPAU_", "TLS_", "NVIFR_", "WINE_",
	"LIBGL_", "APPLICATION_PROFILE",
}

// displayGroups are the groups of the display stack, ray tracing and image
// processing for games among them.
var displayGroups = []string{
	"opengl", "egl", "egl_wayland", "egl_gbm", "egl_xcb", "egl_xlib", "glvnd", "gbm", "vulkan", "vulkansc", "xdriver", "xutils", "vdpau",
	"nvfbc", "nvifr", "raytracing", "optix", "ngx", "nvapi", "wine",
}

// known are the types and groups of the rest, over the years from 440 to 580.
var (
	knownTypes = []string{
		"CUDA_LIB", "CUDA_SYMLINK", "CUDA_ICD", "OPENCL_LIB", "OPENCL_LIB_SYMLINK",
		"UTILITY_LIB", "UTILITY_LIB_SYMLINK", "UTILITY_BINARY", "UTILITY_BIN_SYMLINK", "NVIDIA_MODPROBE",
		"NVCUVID_LIB", "NVCUVID_LIB_SYMLINK", "ENCODEAPI_LIB", "ENCODEAPI_LIB_SYMLINK",
	}
	knownGroups = []string{
		"gpgpu", "gpgpucomp", "gpgpudbg", "compiler", "gpucomp", "nvml", "nvcuvid", "encodeapi", "opticalflow", "nvalloc", "nvpd", "nvtopencl",
		"installer", "pkcs11", "nvsandboxutils",
	}
)

// computing are libraries that serve to compute whatever type and group a
// package gives them: some also serve the display (nvc_info.c).
var computing = []string{
	"libcuda", "libcudadebugger", "libnvidia-ml", "libnvidia-cfg", "libnvidia-ptxjitcompiler", "libnvidia-nvvm", "libnvidia-nvvm70",
	"libnvidia-gpucomp", "libnvidia-opencl", "libnvidia-allocator", "libnvidia-pkcs11", "libnvidia-pkcs11-openssl3",
	"libnvidia-compiler", "libnvidia-fatbinaryloader", "libnvidia-tileiras", "libnvidia-sandboxutils",
	"libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow",
}

// wrapper are the types of the OpenCL loader, of which images have their own,
// and a newer one than NVIDIA's.
const wrapper = "OPENCL_WRAPPER_"

// computes says whether a library, by its file's name, serves to compute.
func computes(name string) bool {
	stem, _, found := strings.Cut(name, ".so")
	return found && slices.Contains(computing, stem)
}

func (e entry) ofDisplay() bool {
	return slices.Contains(displayGroups, e.Group) || slices.ContainsFunc(display, func(prefix string) bool { return strings.HasPrefix(e.Type, prefix) })
}

func (e entry) known() bool {
	return computes(path.Base(e.Path)) || e.ofDisplay() || slices.Contains(knownTypes, e.Type) && slices.Contains(knownGroups, e.Group)
}

// wanted says whether the file is of a part. Files that have no place at all
// (sources, documentation, firmware) are of none.
func (e entry) wanted(part string) bool {
	switch {
	case e.compat32, e.to == "":
		return false
	case part == All:
		return true
	case computes(path.Base(e.Path)):
		return true
	}
	return !e.ofDisplay() && e.Type != "EXPLICIT_PATH" && !strings.HasPrefix(e.Type, wrapper)
}
