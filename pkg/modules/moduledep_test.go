package modules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
)

// TestModulesDep has the kernel's own modules come before those that need them, as
// depmod lists them: last.
func TestModulesDep(t *testing.T) {
	m := Manifest{
		Modules: []Entry{
			{Name: "nvidia", File: "nvidia.ko", InTree: []string{"i2c_core", "built_in"}},
			{Name: "nvidia_modeset", File: "nvidia-modeset.ko", Siblings: []string{"nvidia"}},
			{Name: "nvidia_drm", File: "nvidia-drm.ko", Siblings: []string{"nvidia_modeset"}, InTree: []string{"drm_kms_helper", "drm"}},
		},
		InTree: []kernel.InTreeModule{
			{Name: "drm", File: "kernel/drivers/gpu/drm/drm.ko.xz", Needs: []string{"i2c_core"}},
			{Name: "drm_kms_helper", File: "kernel/drivers/gpu/drm/drm_kms_helper.ko.xz", Needs: []string{"i2c_core", "drm"}},
			{Name: "i2c_core", File: "kernel/drivers/i2c/i2c-core.ko.xz"},
		},
	}
	const want = `host/kernel/drivers/gpu/drm/drm.ko.xz: host/kernel/drivers/i2c/i2c-core.ko.xz
host/kernel/drivers/gpu/drm/drm_kms_helper.ko.xz: host/kernel/drivers/gpu/drm/drm.ko.xz host/kernel/drivers/i2c/i2c-core.ko.xz
host/kernel/drivers/i2c/i2c-core.ko.xz:
nvidia.ko: host/kernel/drivers/i2c/i2c-core.ko.xz
nvidia-drm.ko: nvidia-modeset.ko nvidia.ko host/kernel/drivers/gpu/drm/drm_kms_helper.ko.xz host/kernel/drivers/gpu/drm/drm.ko.xz host/kernel/drivers/i2c/i2c-core.ko.xz
nvidia-modeset.ko: nvidia.ko host/kernel/drivers/i2c/i2c-core.ko.xz
`
	text, _ := m.ModulesDep("host")
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestModulesDepOfACircle ends, whoever needs whom.
func TestModulesDepOfACircle(t *testing.T) {
	m := Manifest{
		Modules: []Entry{{Name: "a", File: "a.ko", Siblings: []string{"a", "b"}}, {Name: "b", File: "b.ko", Siblings: []string{"a"}, InTree: []string{"c"}}},
		InTree:  []kernel.InTreeModule{{Name: "c", File: "kernel/c.ko", Needs: []string{"c", "a"}}},
	}
	if text, _ := m.ModulesDep("host"); len(text) == 0 {
		t.Error("there is nothing in it")
	}
	for range maxModules {
		m.InTree = append(m.InTree, kernel.InTreeModule{Name: "d", File: "kernel/d.ko"})
	}
	if err := m.checkNames(); err == nil {
		t.Error("any number of modules is taken")
	}
}
