package crcs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
)

func TestExporters(t *testing.T) {
	tree := testkit.WriteTree(t, map[string]string{
		"drivers/pci/pci.c":         "int pci_enable_device(void);\nEXPORT_SYMBOL(pci_enable_device);\n\tEXPORT_SYMBOL_GPL( pci_set_master );\n",
		"mm/memory.c":               "EXPORT_SYMBOL_NS(vm_insert_page, MM);\nEXPORT_PER_CPU_SYMBOL(this_cpu_off);\nEXPORT_SYMBOL(not_wanted);\n",
		"mm/nommu.c":                "EXPORT_SYMBOL(vm_insert_page);\n",
		"drivers/acpi/utils.c":      "ACPI_EXPORT_SYMBOL(acpi_evaluate_object)\n",
		"arch/x86/lib/delay.c":      "EXPORT_SYMBOL(__udelay);\n",
		"arch/arm64/lib/delay.c":    "EXPORT_SYMBOL(__udelay);\n",
		"arch/x86/lib/memcpy_64.S":  "EXPORT_SYMBOL(memcpy)\n",
		"scripts/mod/file.c":        "EXPORT_SYMBOL(__udelay);\n",
		"Documentation/a/example.c": "EXPORT_SYMBOL(__udelay);\n",
		"kernel/comment.c":          "/* as by EXPORT_SYMBOL(__udelay) */\n",
	})
	got, err := Exporters(tree, kernel.X86_64, []string{"pci_enable_device", "pci_set_master", "vm_insert_page", "this_cpu_off", "acpi_evaluate_object", "__udelay", "memcpy"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"drivers/pci/pci.c":    {"pci_enable_device", "pci_set_master"},
		"mm/memory.c":          {"vm_insert_page", "this_cpu_off"},
		"mm/nommu.c":           {"vm_insert_page"},
		"drivers/acpi/utils.c": {"acpi_evaluate_object"},
		"arch/x86/lib/delay.c": {"__udelay"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// kbuild stands in for make: it leaves what each goal leaves, and fails of those that it
// has none of.
type kbuild struct {
	t    *testing.T
	left map[string]string
	says string
	args []string
}

func (k *kbuild) Run(_ context.Context, c command.Command) error {
	k.args = c.Args
	for name, text := range k.left {
		path := filepath.Join(c.Writes[0], name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			k.t.Fatal(err)
		}
	}
	_, err := c.Output.Write([]byte(k.says))
	if k.says == "" {
		return err
	}
	return &command.ExitError{Program: "make", Code: 2, State: "exit status 2"}
}

func options(t *testing.T, k *kbuild) Options {
	return Options{
		Runner: k, Target: kernel.Target{Arch: kernel.X86_64}, Tree: prepare.Tree{Source: t.TempDir(), Output: t.TempDir(), Compiler: "gcc-12"}, Jobs: 2,
		Files: map[string][]string{"mm/memory.c": {"vm_insert_page", "this_cpu_off"}, "mm/nommu.c": {"vm_insert_page"}, "drivers/pci/pci.c": {"pci_enable_device"}},
		Log:   &bytes.Buffer{},
	}
}

func TestCompute(t *testing.T) {
	k := &kbuild{t: t, says: "mm/nommu.c:1:1: error: no such thing\n", left: map[string]string{
		// Linux 6.1's, cut short.
		"mm/.memory.o.cmd":       "savedcmd_mm/memory.o := gcc-12 -c -o mm/memory.o mm/memory.c\n\n#SYMVER vm_insert_page 0x0badcafe\n#SYMVER not_asked_for 0x00000001\n",
		"mm/memory.o":            "",
		"drivers/pci/.pci.o.cmd": "savedcmd_drivers/pci/pci.o := …\n\n#SYMVER pci_enable_device 0xdf\n",
	}}
	o := options(t, k)
	got, err := Compute(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]uint32{"vm_insert_page": {0x0badcafe}, "pci_enable_device": {0xdf}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want := []string{"make", "-C", o.Tree.Source, "ARCH=x86_64", "CC=gcc-12", "O=" + o.Tree.Output, "LOCALVERSION=", "-k", "-j2", "drivers/pci/pci.o", "mm/memory.o", "mm/nommu.o"}
	if diff := cmp.Diff(want, k.args); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}

func TestComputeNothing(t *testing.T) {
	k := &kbuild{t: t, says: "include/linux/kconfig.h:5:10: fatal error: generated/autoconf.h: No such file or directory\n"}
	if _, err := Compute(t.Context(), options(t, k)); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "generated/autoconf.h") {
		t.Error(err)
	}
	if got, err := Compute(t.Context(), options(t, &kbuild{t: t})); !errors.Is(err, ErrNone) {
		t.Errorf("%v, %v", got, err)
	}
	k = &kbuild{t: t}
	o := options(t, k)
	o.Files = nil
	if got, err := Compute(t.Context(), o); !errors.Is(err, ErrNone) || k.args != nil {
		t.Errorf("without files: %v, %v, and make ran as %q", got, err, k.args)
	}
}
