package node

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// broughtBy says who else than builder brings a driver to a host, as far as its
// files tell: "Flatcar's nvidia.service"; "" where there is nobody.
//
// Flatcar's prebuilt drivers are a system extension, flatcar-nvidia-drivers-*,
// which leaves its extension-release in /usr while it is merged. Its
// nvidia.service builds the driver below /opt/nvidia, and has
// /run/extensions/nvidia-driver lead there to be merged, too (setup-nvidia of
// the overlay's x11-drivers/nvidia-drivers-service).
func broughtBy(host *kernel.Root) string {
	for _, dir := range []string{"usr/lib/extension-release.d", "run/extensions", "etc/extensions"} {
		for _, name := range host.List(dir) {
			name = strings.TrimSuffix(strings.TrimPrefix(name, "extension-release."), ".raw")
			if strings.HasPrefix(strings.TrimPrefix(name, "flatcar-"), "nvidia-drivers") {
				return "Flatcar's extension " + name
			}
		}
	}
	if path, err := host.Path("run/extensions"); err == nil {
		if _, err := os.Lstat(filepath.Join(path, "nvidia-driver")); err == nil {
			return "Flatcar's nvidia.service"
		}
	}
	return ""
}
