package node

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/live"
)

// broughtBy says who else than builder brings a driver of that version to a host, as far
// as its files tell: "Flatcar's nvidia.service"; "" where there is nobody.
//
// Flatcar's prebuilt drivers are a system extension, flatcar-nvidia-drivers-*,
// which leaves its extension-release in /usr while it is merged. Its nvidia.service
// builds the driver below /opt/nvidia/VERSION/RELEASE, has /opt/nvidia/current lead
// there and puts the modules in from there (setup-nvidia of flatcar/scripts,
// x11-drivers/nvidia-drivers-service). The extension nvidia-runtime of
// flatcar/sysext-bakery has /run/extensions/nvidia-driver lead to the same place, for
// its libraries to be merged.
func broughtBy(host *kernel.Root, driver string) string {
	for _, dir := range []string{"usr/lib/extension-release.d", "run/extensions", "etc/extensions"} {
		for _, name := range host.List(dir) {
			name = strings.TrimSuffix(strings.TrimPrefix(name, "extension-release."), ".raw")
			if strings.HasPrefix(strings.TrimPrefix(name, "flatcar-"), "nvidia-drivers") {
				return "Flatcar's extension " + name
			}
		}
	}
	release := host.Text("proc/sys/kernel/osrelease")
	built, of := filepath.Split(host.Link("opt/nvidia/current"))
	if of == release && (filepath.Base(built) == driver || driver == live.Unknown) {
		return "Flatcar's nvidia.service"
	}
	if path, err := host.Path("run/extensions"); err == nil {
		if _, err := os.Lstat(filepath.Join(path, "nvidia-driver")); err == nil {
			return "Flatcar's nvidia.service, as the extension nvidia-runtime has it"
		}
	}
	return ""
}
