package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

// objects is a driver's folder after its build: kbuild's records are those of Linux
// 6.1, cut short, with DIR for the folder.
var objects = map[string]string{
	"nvidia/nv.c": `#include <linux/module.h>
#include "common/nv-linux.h"
#if defined(NV_DRM_DRMP_H_PRESENT)
#include <drm/drmP.h>
#endif
  #  include <asm/io.h> /* and more */
/* #include is not a directive here, nor: */ // #include <linux/not.h>
#include "nv-own.h"
`,
	"common/nv-linux.h": "#include <linux/pci.h>\n#include <linux/module.h>\n#include <generated/utsrelease.h>\n#include <stddef.h>\n#include <uapi/drm/drm_mode.h>\n",
	"nvidia/nv-own.h":   "#include <linux/own-of-none.h>\n",
	"nvidia.mod.c":      "#include <linux/vermagic.h>\n",
	"nvidia/.nv.o.cmd": `savedcmd_DIR/nvidia/nv.o := gcc-12 -c -o DIR/nvidia/nv.o DIR/nvidia/nv.c

source_DIR/nvidia/nv.o := DIR/nvidia/nv.c

deps_DIR/nvidia/nv.o := \
    $(wildcard include/config/PCI) \
  /usr/src/linux/include/linux/compiler-version.h \
  /usr/src/linux/include/linux/module.h \
  DIR/common/nv-linux.h \
  /usr/src/linux/include/linux/pci.h \
  /usr/src/linux/include/uapi/linux/pci.h \
  include/generated/utsrelease.h \
  /usr/src/linux/include/linux/stddef.h \
  /usr/src/linux/include/uapi/drm/drm_mode.h \
  arch/x86/include/generated/uapi/asm/types.h \
  /usr/src/linux/arch/x86/include/asm/io.h \
  DIR/nvidia/nv-own.h \

DIR/nvidia/nv.o: $(deps_DIR/nvidia/nv.o)

$(deps_DIR/nvidia/nv.o):
`,
	// What is linked, or written by modpost, has no headers of the driver's.
	".nvidia.o.cmd": "savedcmd_DIR/nvidia.o := ld -r -o DIR/nvidia.o @DIR/nvidia.mod\n",
	".nvidia.mod.o.cmd": `source_DIR/nvidia.mod.o := DIR/nvidia.mod.c

deps_DIR/nvidia.mod.o := \
  /usr/src/linux/include/linux/vermagic.h \
  /usr/src/linux/include/linux/module.h \
`,
}

// written has the folder on disk.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := testkit.WriteTree(t, files)
	for name := range files {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHeaders(t *testing.T) {
	got, err := Headers(written(t, objects))
	if err != nil {
		t.Fatal(err)
	}
	// drmP.h and own-of-none.h were not included, nor stddef.h, which is another than
	// the kernel's linux/stddef.h; vermagic.h is what modpost includes.
	want := []string{"linux/module.h", "asm/io.h", "linux/pci.h", "generated/utsrelease.h", "uapi/drm/drm_mode.h"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Since Linux 6.13 kbuild works in the modules' folder.
func TestHeadersByRelativePaths(t *testing.T) {
	files := map[string]string{}
	for name, text := range objects {
		files[name] = strings.ReplaceAll(strings.ReplaceAll(text, "  DIR/", "  "), "DIR/nvidia/nv.c", "nvidia/nv.c")
	}
	want, err := Headers(written(t, objects))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Headers(written(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-absolute +relative:\n%s", diff)
	}
}

func TestHeadersOfNothing(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"sources only":    {"nvidia/nv.c": objects["nvidia/nv.c"]},
		"a linked object": {".nvidia.o.cmd": objects[".nvidia.o.cmd"]},
	} {
		if list, err := Headers(written(t, files)); !errors.Is(err, errNone) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	// What the installer left is not followed out of its folder.
	dir := written(t, map[string]string{"nvidia/.nv.o.cmd": objects["nvidia/.nv.o.cmd"]})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "nvidia/nv.c")); err != nil {
		t.Fatal(err)
	}
	if list, err := Headers(dir); err == nil || errors.Is(err, errNone) {
		t.Errorf("a source that is a link: %v, %v", list, err)
	}
}
