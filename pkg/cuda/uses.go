package cuda

import (
	"slices"
	"strings"
)

// used are the folders, below lib/modules/REL/kernel, of modules that came with a
// kernel and that NVIDIA's may use: what its drivers were seen to import is of a
// few modules of these, and what else a driver of a GPU could want is in them, too.
var used = []string{
	"crypto/", "drivers/acpi/", "drivers/char/ipmi/", "drivers/dma-buf/", "drivers/firmware/", "drivers/gpu/",
	"drivers/i2c/", "drivers/infiniband/core/", "drivers/interconnect/", "drivers/iommu/", "drivers/vfio/",
	"drivers/video/", "drivers/virt/", "lib/", "mm/", "virt/",
}

// others are folders of drivers for other GPUs, the largest modules there are.
// They export to their own parts.
var others = []string{
	"drivers/gpu/drm/amd/", "drivers/gpu/drm/gma500/", "drivers/gpu/drm/i915/", "drivers/gpu/drm/nouveau/",
	"drivers/gpu/drm/radeon/", "drivers/gpu/drm/xe/",
}

// MayUse says whether NVIDIA's modules may use what a module of the kernel's own
// exports, by the path of that module's file below lib/modules/REL/kernel. It is
// where to look first: see [kernel.DetectOptions].
func MayUse(file string) bool {
	in := func(folder string) bool { return strings.HasPrefix(file, folder) }
	return slices.ContainsFunc(used, in) && !slices.ContainsFunc(others, in)
}
