package node

import "testing"

func TestProvider(t *testing.T) {
	for _, tt := range []struct {
		files map[string]string
		want  string
	}{
		{nil, ""},
		{map[string]string{"usr/lib/extension-release.d/extension-release.flatcar-nvidia-drivers-570-open": ""}, "Flatcar's extension flatcar-nvidia-drivers-570-open"},
		{map[string]string{"etc/extensions/nvidia-drivers-535.raw": ""}, "Flatcar's extension nvidia-drivers-535"},
		{map[string]string{"etc/extensions/nvidia-runtime.raw": "", "etc/extensions/docker.raw": ""}, ""},
		{map[string]string{"run/extensions/nvidia-driver/README": ""}, "Flatcar's nvidia.service"},
	} {
		if got := broughtBy(root(t, tt.files)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.files, got, tt.want)
		}
	}
}
