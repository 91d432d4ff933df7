//go:build integration

package types

import (
	"context"
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/integration/types/cases"
	"github.com/k8sp/cuda/pkg/modules"
)

var (
	//go:embed headers.sh
	headersScript string
	//go:embed compile.sh
	compileScript string
	//go:embed wide.sh
	wideScript string
	//go:embed types.sh
	typesScript string
	//go:embed testdata/reader.c
	reader []byte
	//go:embed testdata/wide.c
	wide []byte
	//go:embed testdata/imports
	imports []byte
)

var needDriver = shared.Thing((*lab.Lab).Driver)

func TestMain(m *testing.M) { shared.Main(m) }

// pci is the header that most cases alter.
const pci = "include/linux/pci.h"

func insert(file, after, text string) []cases.Edit {
	return []cases.Edit{{File: file, Old: after, New: after + text}}
}

func replace(file, old, text string) []cases.Edit {
	return []cases.Edit{{File: file, Old: old, New: text}}
}

// wrongSources are what may be otherwise in a source that calls itself by the kernel's
// release, and what is said of it.
var wrongSources = []struct {
	cases.Case
	check string // the one that fails first
	says  string
}{
	{cases.Case{Name: "a member inserted first", Edits: insert(pci, "struct pci_dev {\n", "\tunsigned long x[8];\n")},
		modules.LayoutCheck, "struct pci_dev: member x is not in this kernel, member bus_list is at byte 0 in this kernel and at byte 64 in the source (and "},
	{cases.Case{Name: "members that changed places", Edits: replace(pci,
		"\tunsigned short\tvendor;\n\tunsigned short\tdevice;\n\tunsigned short\tsubsystem_vendor;", "\tunsigned short\tdevice;\n\tunsigned short\tvendor;\n\tunsigned short\tsubsystem_vendor;")},
		modules.LayoutCheck, "struct pci_dev: member device is at byte "},
	{cases.Case{Name: "a member widened", Edits: replace(pci, "\tunsigned int\tdevfn;\t\t/* Encoded", "\tunsigned long\tdevfn;\t\t/* Encoded")},
		modules.LayoutCheck, "struct pci_dev: member devfn takes 4 bytes in this kernel and 8 bytes in the source"},
	{cases.Case{Name: "a member renamed", Edits: replace(pci, "struct proc_dir_entry *procent;", "struct proc_dir_entry *proc_entry;")},
		modules.LayoutCheck, "struct pci_dev: member proc_entry is not in this kernel, member procent of this kernel, at byte "},
	{cases.Case{Name: "an enumerator inserted", Edits: insert("include/linux/mmzone.h", "enum zone_stat_item {\n", "\tNR_TEST,\n")},
		modules.LayoutCheck, "enum zone_stat_item: NR_TEST is not in this kernel, "},
	{cases.Case{Name: "a function of a struct's with another argument", Edits: replace("include/linux/mm.h",
		"vm_fault_t (*map_pages)(struct vm_fault *vmf,\n", "vm_fault_t (*map_pages)(struct vm_fault *vmf, int more,\n")},
		modules.LayoutCheck, "struct vm_operations_struct: member map_pages takes 3 arguments in this kernel and 4 arguments in the source"},
	{cases.Case{Name: "a function with another argument, as the releases of this line before have it", Edits: replace(pci,
		"int i, int size,\n\t\t\t\t     int exclude_bars);", "int i, int size);")},
		modules.PrototypesCheck, "pci_resize_resource(): takes 4 arguments in this kernel and 3 arguments in the source"},
	{cases.Case{Name: "a function that returns something else", Edits: replace(pci, "void pci_set_master(struct pci_dev *dev);", "int pci_set_master(struct pci_dev *dev);")},
		modules.PrototypesCheck, "pci_set_master(): returns void in this kernel and int in the source"},
	{cases.Case{Name: "an option of the config", Edits: []cases.Edit{{File: "include/generated/autoconf.h", Output: true,
		Old: "#define CONFIG_NUMA_BALANCING 1\n", New: ""}}},
		modules.LayoutCheck, "enum vm_event_item: PGMIGRATE_SUCCESS is "}, // what comes before it is left out
}

// TestWrongSources alters the headers of Debian 13 in one way after the other, and has
// the gate hold what a driver was compiled with against that release's own kernel.
func TestWrongSources(t *testing.T) {
	l := shared.Lab(t)
	host, err := l.Debian(t.Context(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	asked := []cases.Case{{Name: "as it is"}}
	for _, c := range wrongSources {
		asked = append(asked, c.Case)
	}
	out := hold(t, host, "kernel-open", asked, reader)
	answers := results(t, filepath.Join(out, "results.json"))
	if len(answers) != len(asked) {
		t.Fatalf("%d answers to %d cases", len(answers), len(asked))
	}
	wantPassed(t, answers[0], 1000, 200)
	for i, want := range wrongSources {
		got := answers[i+1]
		t.Run(want.Name, func(t *testing.T) {
			finding := map[string]modules.Check{modules.LayoutCheck: got.Layout, modules.PrototypesCheck: got.Prototypes}[want.check]
			if finding.Verdict != modules.Failed || !strings.Contains(finding.Detail, want.says) {
				t.Errorf("want %s failed, that says %q; found\n%s\n%s", want.check, want.says, got.Layout, got.Prototypes)
			}
			if want.check == modules.PrototypesCheck && got.Layout.Verdict != modules.Passed {
				t.Errorf("no struct was altered, and %s", got.Layout)
			}
			if !strings.Contains(finding.Detail, "the kernel was not built from this source") {
				t.Errorf("it does not say what that means: %s", finding.Detail)
			}
		})
	}
	t.Run("at run time", func(t *testing.T) { reads(t, host, out) })
}

// TestNoFalseAlarms holds Debian's own kernels of three lines, up to the newest, against
// their own headers: all that drivers of the lines 535 to 595 include, as far as a kernel has it, and
// what one imports. Nothing differs.
func TestNoFalseAlarms(t *testing.T) {
	l := shared.Lab(t)
	debian := func(suite string) func(context.Context) (lab.Host, error) {
		return func(ctx context.Context) (lab.Host, error) { return l.Debian(ctx, suite) }
	}
	for name, make := range map[string]func(context.Context) (lab.Host, error){
		"bookworm": debian("bookworm"),
		"trixie":   debian("trixie"),
		"newest":   func(ctx context.Context) (lab.Host, error) { return l.Newest(ctx, "") },
	} {
		t.Run(name, func(t *testing.T) {
			host, err := make(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			mounts := append(programAndCases(t, []cases.Case{{Name: host.Release}}), host.Dir+":/host", mounted(t, "wide.c", wide), mounted(t, "imports", imports))
			if err := l.InCUDAImage(t.Context(), "release="+host.Release+"\n"+headersScript+wideScript, out, mounts...); err != nil {
				t.Fatal(err)
			}
			wantPassed(t, results(t, filepath.Join(out, "results.json"))[0], 2000, 350)
		})
	}
}

// reads has the kernel load the two modules, which it takes alike: of the first device
// the one reads the vendor, as the machine's PCI bridge has it, and the other what is
// elsewhere. The gate has refused the other.
func reads(t *testing.T, host lab.Host, out string) {
	wantPassed(t, results(t, filepath.Join(out, "right.json"))[0], 300, 2)
	if wrong := results(t, filepath.Join(out, "wrong.json"))[0].Layout; wrong.Verdict != modules.Failed || !strings.Contains(wrong.Detail, "struct pci_dev: member x is not in this kernel") {
		t.Errorf("the wrong one: %s", wrong)
	}
	machine := lab.Machine{Kernel: host.Image()}
	var steps plan.Plan
	for _, name := range []string{"right", "wrong"} {
		steps = append(steps, plan.Step{Load: machine.Install([]string{filepath.Join(out, name+".ko")})})
	}
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, steps)
	if err != nil {
		t.Fatal(err)
	}
	const vendor = "reader: vendor 8086" // QEMU's bridge is one of Intel's
	for i, name := range []string{"right", "wrong"} {
		load := outcome.Results[i].Load
		if len(load) != 1 || load[0].Errno != 0 {
			t.Fatalf("%s is not loaded: %+v", name, outcome.Results[i])
		}
		log := strings.Join(load[0].Log, "\n")
		if !strings.Contains(log, "reader: vendor ") || strings.Contains(log, vendor) != (name == "right") {
			t.Errorf("%s says\n%s", name, log)
		}
		t.Logf("%s: %s", name, log)
	}
}

// hold compiles the open or the proprietary form of a driver for a host, alters the
// headers for each of the cases, and returns the folder with what came out.
func hold(t *testing.T, host lab.Host, form string, asked []cases.Case, reader []byte) string {
	t.Helper()
	out := t.TempDir()
	mounts := append(programAndCases(t, asked), host.Dir+":/host", filepath.Join(needDriver(t).Folder, form)+":/driver")
	if reader != nil {
		mounts = append(mounts, mounted(t, "reader.c", reader))
	}
	head := "release=" + host.Release + "\nmodules='nvidia nvidia-modeset nvidia-drm'\n"
	if err := shared.Lab(t).InCUDAImage(t.Context(), head+headersScript+compileScript+typesScript, out, mounts...); err != nil {
		t.Fatal(err)
	}
	return out
}

// programAndCases are what a container mounts to have the program answer.
func programAndCases(t *testing.T, asked []cases.Case) []string {
	t.Helper()
	text, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	program, err := shared.Lab(t).TypesOf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return []string{program + ":/typesof", mounted(t, "cases.json", text)}
}

// mounted is a file at the top of a container.
func mounted(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path + ":/" + name
}

func results(t *testing.T, path string) (list []cases.Result) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: %v, %d results", path, err, len(list))
	}
	return list
}

// wantPassed wants what is right to pass, and to be no fewer types and imported symbols.
func wantPassed(t *testing.T, r cases.Result, types, symbols int) {
	t.Helper()
	for _, c := range []struct {
		modules.Check
		least int
	}{{r.Layout, types}, {r.Prototypes, symbols}} {
		if c.Verdict != modules.Passed || c.Compared < c.least {
			t.Errorf("%s: %s, want no fewer than %d compared", r.Name, c.Check, c.least)
		}
		t.Logf("%s: %s", r.Name, c.Check)
	}
}

// TestSourceCRCs computes the checksums of a few symbols from Debian's source of a kernel
// of its, and from that altered.
func TestSourceCRCs(t *testing.T) {
	l := shared.Lab(t)
	host, err := l.Debian(t.Context(), "bookworm") // of the source's own version
	if err != nil {
		t.Fatal(err)
	}
	kbuild, err := l.Kbuild(t.Context(), "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	archive, err := kbuild.Source(t.Context(), "linux-source-6.1")
	if err != nil {
		t.Fatal(err)
	}
	asked := []cases.Case{{Name: "as it is"}, wrongSources[0].Case}
	out := t.TempDir()
	mounts := append(programAndCases(t, asked), host.Dir+":/host", archive+":/linux.tar.zst")
	script := `mkdir /tmp/source
tar --extract --zstd --file /linux.tar.zst --directory /tmp/source --strip-components 1 --exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/net/*.[ch]' --exclude='*/sound/*.[ch]'
sed -i 's/^SUBLEVEL = .*/SUBLEVEL = 0/' /tmp/source/Makefile # as the kernels of Debian 12 call themselves
/typesof -host /host -crcs pci_enable_device,pci_set_master,vm_insert_page,_printk -source /tmp/source -output /tmp/prepared -compiler gcc-12 </cases.json >results.json
`
	if err := kbuild.Run(t.Context(), script, out, mounts...); err != nil {
		t.Fatal(err)
	}
	answers := results(t, filepath.Join(out, "results.json"))
	if c := answers[0].SourceCRCs; c.Verdict != modules.Passed || c.Compared != 4 {
		t.Errorf("%s: %s", answers[0].Name, c)
	}
	// What has no struct pci_dev in it has the same checksum.
	wrong := answers[1].SourceCRCs
	if wrong.Verdict != modules.Failed || !strings.Contains(wrong.Detail, "pci_enable_device (0x") || strings.Contains(wrong.Detail, "_printk") {
		t.Errorf("%s: %s", answers[1].Name, wrong)
	}
	t.Logf("%s", wrong)
}
