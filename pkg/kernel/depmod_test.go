package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/testkit"
)

// What depmod says of a host with three modules, of which the one that is needed
// is real and the others would not do to be read.
const (
	listedDep     = "kernel/drivers/small/rich-one.ko: kernel/drivers/small/other.ko.xz\nkernel/drivers/small/other.ko.xz:\nkernel/drivers/small/mute.ko:\nextra/foreign.ko:\n"
	listedSymbols = "# Aliases for symbols, used by symbol_request().\n" +
		"alias symbol:absolute rich_one\nalias symbol:flagged rich_one\nalias symbol:free rich_one\nalias symbol:gpl_named rich_one\nalias symbol:only rich_one\nalias symbol:RICH rich_one\n" +
		"alias symbol:other_open other\nalias symbol:other_close other\nalias symbol:foreign_open foreign\n"
)

// listedHost is such a host, and the folder of its modules.
func listedHost(t *testing.T, dep, symbols string) (root *Root, folder string) {
	t.Helper()
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n"
	const modules = "lib/modules/6.12.103-flatcar/"
	const drivers = modules + "kernel/drivers/small/"
	root = openFiles(t, change(hostFiles(k), map[string]string{
		smallSymvers: symversText(k), drivers + "rich-one.ko": richModule(t), drivers + "other.ko.xz": "damaged", drivers + "mute.ko": "damaged",
		modules + "modules.dep": dep, modules + "modules.symbols": symbols,
	}))
	folder = filepath.Join(root.Dir(), modules)
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{"rich-one.ko", "other.ko.xz", "mute.ko"} {
		if err := os.Chtimes(filepath.Join(folder, "kernel/drivers/small", name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	return root, folder
}

// rich says that only rich-one is needed.
func rich(file string) bool { return file == "drivers/small/rich-one.ko" }

// listed detects the host's kernel, and says how many modules were opened.
func listed(t *testing.T, root *Root, o DetectOptions) (Exports, string) {
	t.Helper()
	var log bytes.Buffer
	target, err := Detect(zerolog.New(&log).WithContext(t.Context()), root, o)
	if err != nil {
		t.Fatal(err)
	}
	opened := "none"
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "read what the kernel's modules export") {
			_, n, _ := strings.Cut(line, `"modules":`)
			opened, _, _ = strings.Cut(n, ",")
		}
	}
	return target.Exports, opened
}

// Of thousands of modules the few that are needed are opened.
func TestNeededModulesAreRead(t *testing.T) {
	t.Parallel()
	root, _ := listedHost(t, listedDep, listedSymbols)
	o := DetectOptions{Needs: rich, Cache: filepath.Join(t.TempDir(), "cache")}
	for _, want := range []string{"1", "none"} { // the second time it is cached
		x, opened := listed(t, root, o)
		if opened != want {
			t.Errorf("%s modules opened, want %s", opened, want)
		}
		if diff := cmp.Diff([]string{"other"}, x.Unread); diff != "" || !x.Complete {
			t.Errorf("complete %v, unread (-want +got):\n%s", x.Complete, diff)
		}
		var got []Symbol
		for _, s := range x.Symbols {
			if s.Module != vmlinux {
				got = append(got, s)
			}
		}
		want := sorted(append([]Symbol{{Name: "other_close", Module: "other"}, {Name: "other_open", Module: "other"}}, richExports...))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("exports (-want +got):\n%s", diff)
		}
	}
	if _, opened := listed(t, root, DetectOptions{}); opened != "3" {
		t.Errorf("%s modules opened by who needs all", opened)
	}
}

// The same kernel is the same, whatever was read of its modules.
func TestDigestIsTheKernels(t *testing.T) {
	t.Parallel()
	root, folder := listedHost(t, listedDep, listedSymbols)
	some, _ := listed(t, root, DetectOptions{Needs: rich})
	none, opened := listed(t, root, DetectOptions{Needs: func(string) bool { return false }})
	if some.Digest != none.Digest || len(none.Unread) != 2 || opened != "0" && opened != "none" || !none.Complete {
		t.Errorf("digests %s and %s; unread %q, complete %v, %s opened", some.Digest, none.Digest, none.Unread, none.Complete, opened)
	}
	text := strings.Replace(listedSymbols, "other_open", "other_read", 1)
	if err := os.WriteFile(filepath.Join(folder, "modules.symbols"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if other, _ := listed(t, root, DetectOptions{Needs: rich}); other.Digest != some.Digest || len(other.Symbols) != len(some.Symbols) {
		t.Errorf("the same kernel with another module: digest %s and %s", other.Digest, some.Digest)
	}
}

// Where the lists are not of the modules that are there, each module is read.
func TestUntrueLists(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		dep, symbols string
		touch        string // a file that is newer than the lists
	}{
		"a module that is not listed":     {dep: strings.Replace(listedDep, "kernel/drivers/small/mute.ko:\n", "", 1), symbols: listedSymbols},
		"a module that is gone":           {dep: listedDep + "kernel/gone.ko:\n", symbols: listedSymbols},
		"a module that is newer":          {dep: listedDep, symbols: listedSymbols, touch: "kernel/drivers/small/mute.ko"},
		"an export that is not listed":    {dep: listedDep, symbols: strings.Replace(listedSymbols, "alias symbol:only rich_one\n", "", 1)},
		"an export that is not there":     {dep: listedDep, symbols: listedSymbols + "alias symbol:none rich_one\n"},
		"an export of another module's":   {dep: listedDep, symbols: strings.Replace(listedSymbols, "only rich_one", "only other", 1)},
		"a list of something else":        {dep: listedDep, symbols: "alias pci:v000010DEd*sv*sd*bc03sc00i00* nvidia\n"},
		"a list with a name that is none": {dep: listedDep, symbols: listedSymbols + "alias symbol: rich_one\n"},
		"no list":                         {dep: listedDep, symbols: "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, folder := listedHost(t, c.dep, c.symbols)
			if c.touch != "" {
				if err := os.Chtimes(filepath.Join(folder, c.touch), later, later); err != nil {
					t.Fatal(err)
				}
			}
			x, opened := listed(t, root, DetectOptions{Needs: rich})
			if x.Complete || x.Unread != nil || opened != "3" {
				t.Errorf("complete %v, unread %q, %s modules opened, of which two are damaged", x.Complete, x.Unread, opened)
			}
		})
	}
	root, folder := listedHost(t, listedDep, listedSymbols)
	if err := os.Remove(filepath.Join(folder, "modules.symbols")); err != nil {
		t.Fatal(err)
	}
	if x, opened := listed(t, root, DetectOptions{Needs: rich}); x.Complete || opened != "3" {
		t.Errorf("without the list: complete %v, %s modules opened", x.Complete, opened)
	}
}

// BenchmarkNeeded says what part of the time for all modules the needed ones take,
// of a host that has a tenth of them among those: the ratio is what counts.
func BenchmarkNeeded(b *testing.B) {
	var dep, symbols strings.Builder
	files := map[string]string{}
	module := packed(b, richModule(b), ".xz")
	for i := range 400 {
		folder := "net"
		if i%10 == 0 {
			folder = "gpu"
		}
		name := fmt.Sprintf("%s/rich-%d", folder, i)
		files["lib/modules/6.12.103-flatcar/kernel/"+name+".ko.xz"] = module
		fmt.Fprintf(&dep, "kernel/%s.ko.xz:\n", name)
		for _, s := range richExports {
			fmt.Fprintf(&symbols, "alias symbol:%s rich_%d\n", s.Name, i)
		}
		fmt.Fprintf(&symbols, "alias symbol:RICH rich_%d\n", i)
	}
	files["lib/modules/6.12.103-flatcar/modules.dep"], files["lib/modules/6.12.103-flatcar/modules.symbols"] = dep.String(), symbols.String()
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n"
	root, err := OpenRoot(testkit.WriteTree(b, change(change(hostFiles(k), map[string]string{smallSymvers: symversText(k)}), files)))
	if err != nil {
		b.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	for _, name := range []string{"modules.dep", "modules.symbols"} {
		if err := os.Chtimes(filepath.Join(root.Dir(), "lib/modules/6.12.103-flatcar", name), later, later); err != nil {
			b.Fatal(err)
		}
	}
	detect := func(needs func(string) bool, want int) time.Duration {
		began := time.Now()
		target, err := Detect(b.Context(), root, DetectOptions{Needs: needs})
		if err != nil || len(target.Exports.Unread) != want {
			b.Fatalf("%d unread, %v", len(target.Exports.Unread), err)
		}
		return time.Since(began)
	}
	var all, needed time.Duration
	for b.Loop() {
		all += detect(nil, 0)
		needed += detect(func(file string) bool { return strings.HasPrefix(file, "gpu/") }, 360)
	}
	b.ReportMetric(float64(needed)/float64(all), "of-all")
}
