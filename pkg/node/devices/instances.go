package devices

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Instance is a part of a GPU that is one to programs (MIG): a compute instance of a GPU
// instance.
type Instance struct {
	// GPU is the minor number of its GPU's device file.
	GPU uint32
	// GI and CI are the numbers of the GPU instance and of the compute instance in it.
	GI, CI int
	// Files are the paths of the device files that hold the rights to it, as in [File]:
	// of the GPU instance, and of the compute instance.
	Files []string
}

var (
	gpuFolder = regexp.MustCompile(`^gpu([0-9]+)$`)
	giFolder  = regexp.MustCompile(`^gi([0-9]+)$`)
	ciFolder  = regexp.MustCompile(`^ci([0-9]+)$`)
)

// Instances are those into which the GPUs are parted now, by GPU, GPU instance and
// compute instance, which is the order in which NVIDIA's tools count them. They are
// where the driver has the rights to them (nv-caps.c):
// /proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access.
func Instances(root *kernel.Root) []Instance {
	var list []Instance
	each := func(dir string, pattern *regexp.Regexp, found func(dir string, number int)) {
		for _, name := range root.List(dir) {
			if match := pattern.FindStringSubmatch(name); match != nil {
				if n, err := strconv.Atoi(match[1]); err == nil {
					found(dir+"/"+name, n)
				}
			}
		}
	}
	file := func(dir string) (string, bool) {
		minor, ok := permissionsFrom(root, dir+"/access").numbers["DeviceFileMinor"]
		return fmt.Sprintf("nvidia-caps/nvidia-cap%d", minor), ok
	}
	each(capabilitiesDir, gpuFolder, func(dir string, gpu int) {
		each(dir+"/mig", giFolder, func(dir string, gi int) {
			ofGI, ok := file(dir)
			each(dir, ciFolder, func(dir string, ci int) {
				if ofCI, is := file(dir); ok && is {
					list = append(list, Instance{GPU: uint32(gpu), GI: gi, CI: ci, Files: []string{ofGI, ofCI}})
				}
			})
		})
	})
	slices.SortFunc(list, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.GI, b.GI), cmp.Compare(a.CI, b.CI))
	})
	return list
}
