package kernel

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/ko"
)

// TestParseSymvers reads the three forms that the file has had.
func TestParseSymvers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		since, line string
		want        Symbol
	}{
		{"before 5.4", "0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL",
			Symbol{Name: "phys_base", Module: "vmlinux", License: LicenseAny, CRC: 0x4c9d28b0}},
		{"5.4", "0x00000001\tcxl_a\tCXL\tdrivers/cxl/core/cxl-core\tEXPORT_SYMBOL_GPL",
			Symbol{Name: "cxl_a", Module: "cxl_core", License: LicenseGPL, Namespace: "CXL", CRC: 1}},
		{"5.4, no namespace", "0x00000001\tcxl_a\t\tvmlinux\tEXPORT_SYMBOL",
			Symbol{Name: "cxl_a", Module: "vmlinux", License: LicenseAny, CRC: 1}},
		{"5.6", "0x00000001\tcxl_a\tdrivers/cxl/core/cxl_core\tEXPORT_SYMBOL_GPL\tCXL",
			Symbol{Name: "cxl_a", Module: "cxl_core", License: LicenseGPL, Namespace: "CXL", CRC: 1}},
		{"5.6, no namespace", "0x00000001\tcxl_a\tvmlinux\tEXPORT_SYMBOL\t",
			Symbol{Name: "cxl_a", Module: "vmlinux", License: LicenseAny, CRC: 1}},
		{"before 5.12, unused", "0x00000001\ta\tvmlinux\tEXPORT_UNUSED_SYMBOL_GPL",
			Symbol{Name: "a", Module: "vmlinux", License: LicenseGPL, CRC: 1}},
		{"before 5.12, future", "0x00000001\ta\tvmlinux\tEXPORT_SYMBOL_GPL_FUTURE",
			Symbol{Name: "a", Module: "vmlinux", License: LicenseAny, CRC: 1}},
	} {
		c.want.NamespaceKnown, c.want.CRCKnown = true, true
		got, err := ParseSymvers(strings.NewReader("\n" + c.line + "\n"))
		if err != nil {
			t.Errorf("%s: %v", c.since, err)
		}
		if diff := cmp.Diff([]Symbol{c.want}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.since, diff)
		}
	}
}

func TestParseSymversRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":                   "\n",
		"three columns":             "0x1\ta\tvmlinux\n",
		"six columns":               "0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\t\n",
		"spaces for tabs":           "0x1 a vmlinux EXPORT_SYMBOL\n",
		"no CRC":                    "x\ta\tvmlinux\tEXPORT_SYMBOL\t\n",
		"a CRC too long":            "0x100000000\ta\tvmlinux\tEXPORT_SYMBOL\t\n",
		"no class":                  "0x1\ta\tvmlinux\tEXPORT\t\n",
		"no name":                   "0x1\t\tvmlinux\tEXPORT_SYMBOL\t\n",
		"no module":                 "0x1\ta\t\tEXPORT_SYMBOL\t\n",
		"a name with a space":       "0x1\ta b\tvmlinux\tEXPORT_SYMBOL\t\n",
		"a module with one":         "0x1\ta\ta b\tEXPORT_SYMBOL\t\n",
		"a namespace with a return": "0x1\ta\tvmlinux\tEXPORT_SYMBOL\tN\rS\n",
		"a line without an end":     strings.Repeat("x", symversLineLimit+1),
	} {
		if got, err := ParseSymvers(strings.NewReader("0x1\tgood\tvmlinux\tEXPORT_SYMBOL\t\n" + text)); err == nil && name != "nothing" {
			t.Errorf("%s: %+v", name, got)
		}
		if got, err := ParseSymvers(strings.NewReader(text)); err == nil {
			t.Errorf("%s, alone: %+v", name, got)
		}
	}
}

// TestExportsThatNoListCanHold: an export of a made-up name must not add lines
// of its own to the list that the driver is built against.
func TestExportsThatNoListCanHold(t *testing.T) {
	t.Parallel()
	for _, e := range []ko.Export{{Name: "a\nb"}, {Name: "a\tvmlinux"}, {Name: "a", Namespace: "N S"}, {Name: ""}} {
		if got, err := exportsOf(ko.File{Exports: []ko.Export{{Name: "good"}, e}}, "m"); err == nil {
			t.Errorf("%+v: %+v", e, got)
		}
	}
	for _, module := range []string{"", "a b"} {
		if got, err := exportsOf(ko.File{Exports: []ko.Export{{Name: "good"}}}, module); err == nil {
			t.Errorf("of module %q: %+v", module, got)
		}
	}
}

func TestHostTree(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	const build, source = smallModules + "build", smallModules + "source"
	whole := map[string]string{build + "/Makefile": "x", build + "/include/generated/autoconf.h": "x"}
	for _, c := range []struct {
		name          string
		with          map[string]string
		build, source string
	}{
		{"whole", nil, build, build},
		{"split", map[string]string{source + "/Makefile": "x"}, build, source},
		{"its source is empty", map[string]string{source + "/README": "x"}, build, build},
		{"not prepared", map[string]string{build + "/include/generated/autoconf.h": ""}, "", ""},
		{"a capture's", map[string]string{build + "/Makefile": ""}, "", ""},
	} {
		root := openFiles(t, change(change(hostFiles(k), map[string]string{smallSymvers: symversText(k)}), change(whole, c.with)))
		want := HostTree{}
		if c.build != "" {
			want = HostTree{Build: root.Dir() + "/" + c.build, Source: root.Dir() + "/" + c.source, From: build}
		}
		if got := mustDetect(t, root, DetectOptions{}).Tree; !cmp.Equal(got, want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestLoaderOf finds the host's own loader and C library, as this machine has them.
func TestLoaderOf(t *testing.T) {
	t.Parallel()
	const program = "/bin/sh"
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	interp, err := file.Section(".interp").Data()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Trim(string(interp), "/\x00")
	root := openFiles(t, map[string]string{name: "ld.so", "usr/lib64/libc.so.6": "libc", "usr/lib/README": "none here"})
	got := loaderOf(root, program)
	if want := (Loader{root.Dir() + "/" + name, []string{root.Dir() + "/usr/lib64"}}); !cmp.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(got.Folders()) != 2 {
		t.Errorf("to be seen are %v", got.Folders())
	}
	for name, program := range map[string]string{"a script": "/usr/bin/ldd", "nothing": "/absent"} {
		if got := loaderOf(root, program); got.Path != "" || got.Folders() != nil {
			t.Errorf("of %s: %+v", name, got)
		}
	}
	if got := loaderOf(openFiles(t, map[string]string{"usr/lib64/libc.so.6": "libc"}), program); got.Path != "" {
		t.Errorf("of a host whose loader is not to be seen: %+v", got)
	}
}
