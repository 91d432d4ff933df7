package live

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	s := Read(root(t, map[string]string{
		"proc/modules": "nvidia_uvm 1830912 2 - Live 0x0000000000000000 (O)\n" +
			"nvidia 14299136 5 nvidia_uvm, Live 0x0000000000000000 (PO)\n" +
			"drm 634880 1 - Loading 0x0000000000000000\nttm 1 0 - Live\nshort\nttm_short 1 0 -\n",
		"sys/module/nvidia/version":                      "580.159.04\n",
		"sys/module/nvidia/srcversion":                   "ABCDEF0123456789ABCDEF0\n",
		"sys/module/nvidia/initstate":                    "live\n",
		"sys/module/nvidia/holders/nvidia_uvm":           "",
		"sys/module/nvidia/notes/.note.gnu.build-id":     "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xde\xad\xbe\xef",
		"sys/module/i2c_core/parameters/x":               "",
		"sys/module/nvidia_uvm/notes/.note.gnu.build-id": "short",
	}))
	want := map[string]Module{
		"nvidia":     {Name: "nvidia", References: 5, Holders: []string{"nvidia_uvm"}, Version: "580.159.04", SrcVersion: "ABCDEF0123456789ABCDEF0", BuildID: "deadbeef", Live: true},
		"nvidia_uvm": {Name: "nvidia_uvm", References: 2, Live: true},
		"drm":        {Name: "drm", References: 1},
		"ttm":        {Name: "ttm", Live: true},
	}
	if diff := cmp.Diff(want, s.Loaded); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.Loaded["nvidia"].Uses(); got != 4 {
		t.Errorf("%d uses, want 4: one of five is nvidia_uvm's", got)
	}
	for name, want := range map[string]bool{"nvidia": true, "i2c_core": true, "drm": false, "video": false} {
		if got := s.Has(name); got != want {
			t.Errorf("has %s: %t, want %t", name, got, want)
		}
	}
	if got := s.Version(); got != "580.159.04" {
		t.Errorf("version %q", got)
	}
	if d := s.Driver(); len(d) != 2 || d[0].Name != "nvidia" {
		t.Errorf("%+v", d)
	}
}

// TestReadWithoutUnload is of a kernel without CONFIG_MODULE_UNLOAD, recorded.
func TestReadWithoutUnload(t *testing.T) {
	s := Read(root(t, map[string]string{
		"proc/modules":               "nvidia_uvm 1830912 - - Live 0xffffffffc080c000 (O)\nnvidia 14299136 - - Live 0xffffffffc0000000 (O)\n",
		"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (user@host)\nGCC version:  gcc version 15.3.0 (GCC)\n",
	}))
	if m := s.Loaded["nvidia"]; m.References != -1 || !m.Live {
		t.Errorf("%+v", m)
	}
	if got := s.Version(); got != "580.159.04" {
		t.Errorf("version %q", got)
	}
}

func TestVersionOfNothing(t *testing.T) {
	if s := Read(root(t, nil)); s.Version() != "" {
		t.Errorf("%+v", s)
	}
	if s := Read(root(t, map[string]string{"proc/modules": "nvidia 1 0 - Live 0x0 (O)\n"})); s.Version() != "unknown" {
		t.Errorf("version %q", s.Version())
	}
}

func TestProcVersion(t *testing.T) {
	for text, want := range map[string]string{
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Thu Jan  1 00:00:00 UTC 1970\nGCC version:  gcc version 12.2.0\n": "535.261.03",
		"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (u@h)\n":                                  "580.159.04",
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  390.157  Wed\n":                                                               "390.157",
		"GCC version: gcc version 12.2.0\n": "", "": "", "NVRM version:": "", "NVRM version: a.b 1.x": "",
	} {
		if got := procVersion(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTree(t *testing.T) {
	const dir = "lib/modules/6.1.0/"
	r := root(t, map[string]string{
		dir + "modules.dep": "kernel/drivers/gpu/drm/drm.ko.xz: kernel/a/quirks.ko.xz\n" +
			"kernel/a/quirks.ko.xz:\nkernel/drivers/acpi/video.ko: kernel/b/wmi.ko\nkernel/b/wmi.ko:\n" +
			"kernel/drm_kms-helper.ko: kernel/drivers/gpu/drm/drm.ko.xz kernel/a/quirks.ko.xz\nno colon\n",
		dir + "modules.builtin":  "kernel/drivers/i2c/i2c-core.ko\n",
		dir + "kernel/b/wmi.ko":  "the module",
		"sys/module/wmi/version": "1", "sys/module/wmi/initstate": "coming",
	})
	tree := ReadTree("6.1.0", root(t, nil), r)
	if !tree.Seen() {
		t.Fatal("it is not seen")
	}
	order, missing := tree.Needed(Read(r), []string{"drm_kms_helper", "drm", "i2c_core", "video", "ttm"})
	if diff := cmp.Diff([]string{"quirks", "drm", "drm_kms_helper", "wmi", "video"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ttm"}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	f, err := tree.Take("wmi")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := contents(t, f); got != "the module" {
		t.Errorf("%q", got)
	}
	if _, err := tree.Take("ttm"); err == nil {
		t.Error("a module that is not there was taken")
	}
	if tree := ReadTree("6.1.1", r); tree.Seen() {
		t.Error("another release's is seen")
	}
}

// TestForDriver has a driver need what it names and what that needs, and nothing else
// of what came with the kernel.
func TestForDriver(t *testing.T) {
	tree := ReadTree("6.1.0", root(t, map[string]string{"lib/modules/6.1.0/modules.dep": "kernel/drivers/gpu/drm/drm.ko: kernel/x/cec.ko.xz\n" +
		"kernel/x/cec.ko.xz:\nkernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko\nkernel/lib/libcrc32c.ko:\nkernel/arch/x86/kvm/kvm-intel.ko:\n"}))
	for name, want := range map[string]bool{
		"drm": true, "cec": true, "video": true, "ib_core": true,
		"xfs": false, "libcrc32c": false, "kvm_intel": false, "nvidia": false, "": false,
	} {
		if got := tree.ForDriver(name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
	for name, want := range map[string]bool{"xfs": true, "kvm_intel": true, "video": false} {
		if got := tree.Has(name); got != want {
			t.Errorf("the tree has %s: %t, want %t", name, got, want)
		}
	}
	if tree := (Tree{}); tree.ForDriver("cec") || !tree.ForDriver("drm") {
		t.Error("without a tree it is what drivers name")
	}
}
