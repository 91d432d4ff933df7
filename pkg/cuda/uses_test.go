package cuda

import "testing"

// What NVIDIA's modules import of a kernel's own, by where Debian's kernels have
// those, is among what is looked at; most of a kernel is not.
func TestMayUse(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]bool{
		"drivers/gpu/drm/drm.ko.xz":                    true,
		"drivers/gpu/drm/drm_kms_helper.ko.xz":         true,
		"drivers/gpu/drm/drm_ttm_helper.ko":            true,
		"drivers/gpu/drm/clients/drm_client_lib.ko.xz": true,
		"drivers/acpi/video.ko.xz":                     true,
		"drivers/i2c/i2c-core.ko.xz":                   true,
		"drivers/char/ipmi/ipmi_msghandler.ko.xz":      true,
		"drivers/infiniband/core/ib_core.ko.xz":        true,
		"drivers/video/backlight/backlight.ko.xz":      true,
		"drivers/vfio/mdev/mdev.ko.xz":                 true,
		"drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz":      false,
		"drivers/gpu/drm/i915/i915.ko.xz":              false,
		"drivers/net/ethernet/mellanox/mlx5_core.ko":   false,
		"net/wireless/cfg80211.ko.xz":                  false,
		"mydrivers/gpu/drm.ko":                         false,
	} {
		if got := MayUse(file); got != want {
			t.Errorf("MayUse(%s) = %v", file, got)
		}
	}
}
