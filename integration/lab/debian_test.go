package lab

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInTree(t *testing.T) {
	host := Host{Dir: t.TempDir(), Release: "6.12.1-amd64"}
	dir := filepath.Join(host.Dir, "lib/modules", host.Release)
	for name, content := range map[string]string{
		"modules.builtin": "kernel/drivers/i2c/i2c-core.ko\n",
		"modules.dep": "kernel/drm/drm.ko.xz: kernel/drm/quirks.ko.xz\n" +
			"kernel/drm/quirks.ko.xz:\n" +
			"kernel/drm/drm-kms-helper.ko.xz: kernel/drm/drm.ko.xz kernel/drm/quirks.ko.xz\n",
	} {
		if err := writeFile(filepath.Join(dir, name), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := host.InTree("i2c_core", "drm", "drm_kms_helper")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		filepath.Join(dir, "kernel/drm/quirks.ko.xz"),
		filepath.Join(dir, "kernel/drm/drm.ko.xz"),
		filepath.Join(dir, "kernel/drm/drm-kms-helper.ko.xz"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := host.InTree("nouveau"); err == nil {
		t.Error("a module that the kernel lacks is no error")
	}
}
