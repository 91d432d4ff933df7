package kernel

import (
	"path/filepath"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
)

// TestTypeInfo finds the types of the kernel that runs, and of its modules that are
// loaded; those of one that cannot be read are left out.
func TestTypeInfo(t *testing.T) {
	t.Parallel()
	source := typestest.New()
	root := openFiles(t, change(hostWithDevices(), map[string]string{
		"sys/kernel/btf/vmlinux": string(source.Kernel(t)), "sys/kernel/btf/drm": "no BTF",
	}))
	target, err := Detect(t.Context(), root, DetectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if target.Types.From != btfFile || filepath.Base(target.Types.Modules["drm"]) != "drm" || target.Types.Modules["vmlinux"] != "" {
		t.Errorf("types from %q, modules' in %q", target.Types.From, target.Types.Modules)
	}
	info, err := target.Types.Parse([]string{"drm", "not_there"})
	if err != nil {
		t.Fatal(err)
	}
	if found := source.Record(t).Layouts(info); found.Compared != 5 || len(found.Differences) > 0 {
		t.Errorf("%+v", found)
	}
}
