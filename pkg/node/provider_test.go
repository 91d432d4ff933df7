package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

func TestProvider(t *testing.T) {
	const service = "Flatcar's nvidia.service"
	for _, tt := range []struct {
		files map[string]string
		want  string
	}{
		{nil, ""},
		{map[string]string{"usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open": ""}, "Flatcar's extension flatcar-nvidia-drivers-570-open"},
		{map[string]string{"etc/extensions/nvidia-drivers-535.raw": ""}, "Flatcar's extension nvidia-drivers-535"},
		{map[string]string{"etc/extensions/nvidia-runtime.raw": "", "etc/extensions/docker.raw": ""}, ""},
		{map[string]string{"run/extensions/nvidia-driver/README": ""}, service + ", as the extension nvidia-runtime has it"},
	} {
		if got := broughtBy(root(t, tt.files), "535.309.01"); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.files, got, tt.want)
		}
	}
	// What setup-nvidia leaves.
	dir := testkit.WriteTree(t, map[string]string{"opt/nvidia/535.309.01/6.12.103-flatcar/usr/lib64/libcuda.so.535.309.01": "", "proc/sys/kernel/osrelease": "6.12.103-flatcar\n"})
	if err := os.Symlink("535.309.01/6.12.103-flatcar", filepath.Join(dir, "opt/nvidia/current")); err != nil {
		t.Fatal(err)
	}
	host, err := kernel.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for driver, want := range map[string]string{"535.309.01": service, "unknown": service, "580.126.09": "", "": ""} {
		if got := broughtBy(host, driver); got != want {
			t.Errorf("of driver %q: %q, want %q", driver, got, want)
		}
	}
	write(t, filepath.Join(dir, "proc/sys/kernel/osrelease"), "6.12.104-flatcar\n") // for the kernel before
	if got := broughtBy(host, "535.309.01"); got != "" {
		t.Errorf("built for another kernel: %q", got)
	}
}
