package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKallsyms(t *testing.T) {
	t.Parallel()
	const text = `ffffffff81000000 T _text
ffffffff82000000 R __start___ksymtab
ffffffff82000000 r __ksymtab_zeta
ffffffff82000010 R __ksymtab_alpha
ffffffff82000020 R __start___ksymtab_gpl
ffffffff82000020 R __stop___ksymtab
ffffffff82000020 r __ksymtab_put_pid
ffffffff82000030 R __stop___ksymtab_gpl
ffffffff82000030 r __ksymtab_strings
ffffffff82000030 r __kstrtab_alpha
ffffffffc0001000 r __ksymtab_drm_open	[drm]
ffffffffc0001010 r __ksymtab_alpha	[drm]
ffffffffc0003010 r __ksymtab_nv_open	[nvidia]
ffffffffc0002000 t bpf_prog_1	[bpf]
`
	plain, gpl := uint64(0xffffffffc0001010), uint64(0xffffffffc0001000)
	tables := func(string) moduleTables { return moduleTables{plain: &plain, gpl: &gpl} }
	symbols := func(text string) []Symbol {
		t.Helper()
		k, err := parseKallsyms(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return sorted(append(k.kernelSymbols(), k.moduleSymbols(map[string]bool{"nvidia": true}, tables)...))
	}
	want := []Symbol{
		{Name: "alpha", Module: "vmlinux", License: LicenseAny},
		{Name: "drm_open", Module: "drm", License: LicenseGPL},
		{Name: "put_pid", Module: "vmlinux", License: LicenseGPL},
		{Name: "zeta", Module: "vmlinux", License: LicenseAny},
	}
	if diff := cmp.Diff(want, symbols(text)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i := range want {
		want[i].License = LicenseUnknown
	}
	if diff := cmp.Diff(want, symbols(hideAddresses(text))); diff != "" {
		t.Errorf("with the addresses hidden: -want +got:\n%s", diff)
	}
	want[1].License = LicenseGPL
	if diff := cmp.Diff(want, symbols(strings.ReplaceAll(text, "___ksymtab_gpl", "_other"))); diff != "" {
		t.Errorf("with one table: -want +got:\n%s", diff)
	}
}

func TestLoadedModuleLicense(t *testing.T) {
	t.Parallel()
	at := func(address uint64) *uint64 { return &address }
	for _, c := range []struct {
		name   string
		tables moduleTables
		entry  uint64
		want   License
	}{
		{"no tables to be seen", moduleTables{}, 0x10, LicenseUnknown},
		{"one table, its address hidden", moduleTables{plain: at(0)}, 0, LicenseAny},
		{"the other, hidden", moduleTables{gpl: at(0)}, 0, LicenseGPL},
		{"both, hidden", moduleTables{plain: at(0), gpl: at(0)}, 0, LicenseUnknown},
		{"in the first of two", moduleTables{plain: at(0x10), gpl: at(0x20)}, 0x10, LicenseAny},
		{"in the second", moduleTables{plain: at(0x10), gpl: at(0x20)}, 0x2c, LicenseGPL},
		{"in the first, the other way round", moduleTables{plain: at(0x20), gpl: at(0x10)}, 0x1c, LicenseGPL},
		{"in the second, the other way round", moduleTables{plain: at(0x20), gpl: at(0x10)}, 0x20, LicenseAny},
		{"in one whose classes are flags", moduleTables{plain: at(0x10), flags: at(0x40)}, 0x10, LicenseUnknown},
		{"before both", moduleTables{plain: at(0x20), gpl: at(0x10)}, 0x8, LicenseUnknown},
	} {
		if got := c.tables.license(c.entry); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// hideAddresses is what a reader without CAP_SYSLOG sees.
func hideAddresses(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("0000000000000000" + line[16:])
	}
	return b.String()
}

func TestParseKallsymsRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no address":  "zzzz r __ksymtab_a\n",
		"two fields":  "0 __ksymtab_a\n",
		"five fields": "0 r __ksymtab_a [m] x\n",
		"no module":   "0 r __ksymtab_a []\n",
		"odd name":    "0 r __ksymtab_a\x01b\n",
		"long line":   "0 r __ksymtab_" + strings.Repeat("a", kallsymsLine) + "\n",
	} {
		if _, err := parseKallsyms(strings.NewReader(text)); err == nil || errors.Is(err, errNoExports) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "ffffffff81000000 T _text\n", "0 R __start___ksymtab\n0 r __ksymtab_strings\n"} {
		if _, err := parseKallsyms(strings.NewReader(text)); !errors.Is(err, errNoExports) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWriteSymvers(t *testing.T) {
	t.Parallel()
	x := Exports{Symbols: []Symbol{
		{Name: "alpha", Module: "vmlinux", License: LicenseAny},
		{Name: "beta", Module: "drm"},
		{Name: "gamma", Module: "vmlinux", License: LicenseGPL, Namespace: "CXL", CRC: 0xbeef},
	}}
	for release, want := range map[string]string{
		"6.1.174-coreos-r1": "0x00000000\talpha\tvmlinux\tEXPORT_SYMBOL\t\n" +
			"0x00000000\tbeta\tdrm\tEXPORT_SYMBOL\t\n" +
			"0x0000beef\tgamma\tvmlinux\tEXPORT_SYMBOL_GPL\tCXL\n",
		"4.19.25-coreos": "0x00000000\talpha\tvmlinux\tEXPORT_SYMBOL\n" +
			"0x00000000\tbeta\tdrm\tEXPORT_SYMBOL\n" +
			"0x0000beef\tgamma\tvmlinux\tEXPORT_SYMBOL_GPL\n",
	} {
		var b strings.Builder
		if err := x.WriteSymvers(&b, mustRelease(t, release)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", release, diff)
		}
	}
}

// What kernels of CoreOS's time print, who had neither distances nor namespaces in their
// tables: recorded where they ran.
func TestKallsymsOfOldKernels(t *testing.T) {
	t.Parallel()
	plain := []string{"IO_APIC_get_PCI_irq_vector", "__kmalloc", "acpi_bus_get_device", "i2c_add_adapter", "kfree", "pci_enable_device", "printk", "register_chrdev_region", "vmalloc"}
	gpl := []string{"__class_create", "class_destroy", "device_create", "gcd", "platform_driver_unregister", "put_pid", "zap_vma_ptes"}
	for _, file := range []string{"kallsyms-4.9.0", "kallsyms-4.14.67"} {
		f, err := os.Open(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		k, err := parseKallsyms(f)
		if err != nil {
			t.Fatal(err)
		}
		got := map[License][]string{}
		for _, s := range sorted(k.kernelSymbols()) {
			got[s.License] = append(got[s.License], s.Name)
		}
		if diff := cmp.Diff(map[License][]string{LicenseAny: plain, LicenseGPL: gpl}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", file, diff)
		}
		modules := k.moduleSymbols(nil, func(string) moduleTables { return moduleTables{} })
		if len(modules) != 3 || modules[0].Module != "drm" {
			t.Errorf("%s: of modules %+v", file, modules)
		}
	}
}
