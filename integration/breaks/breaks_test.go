//go:build integration

package breaks

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
)

//go:embed compile.sh
var compileScript string

const row = "pci_resize_resource"

// TestTable compiles a file that a row is about, and wants of the compiler what the
// table says: in the open form on a kernel before and on one after the change, and in
// the form that it does not touch.
func TestTable(t *testing.T) {
	out := t.TempDir()
	kbuild, err := shared.Lab(t).Kbuild(t.Context(), "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	if err := kbuild.Run(t.Context(), compileScript, out); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(out, "*.log"))
	if err != nil || len(logs) < 2 {
		t.Fatalf("%q, %v", logs, err)
	}
	outcomes := map[bool]int{}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, log, _ := strings.Cut(string(text), "\n")
		form, _, _ := strings.Cut(filepath.Base(name), "-")
		var driver, version string
		var status int
		if _, err := fmt.Sscan(first, &driver, &version, &status); err != nil {
			t.Fatalf("%s begins with %q: %v", name, first, err)
		}
		pair := breaks.Pair{Kernel: breaks.Version(version), Driver: driver, Form: form}
		known := slices.ContainsFunc(breaks.Find(pair), func(b breaks.Break) bool { return b.Name == row })
		t.Logf("%s of driver %s on kernel %s: compiles %v", form, driver, version, status == 0)
		outcomes[known]++
		if known == (status == 0) {
			t.Errorf("the table says that it breaks: %v; make ended with %d:\n%s", known, status, log)
		}
		if known {
			i := slices.IndexFunc(strings.Split(log, "\n"), func(line string) bool { return strings.Contains(line, "error: ") })
			if i < 0 {
				t.Fatalf("there is no error in it:\n%s", log)
			}
			if b, known, _ := breaks.Explain(strings.Split(log, "\n")[i], pair); b.Name != row || !known {
				t.Errorf("the first error is taken for %q:\n%s", b.Name, log)
			}
		}
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("%d break and %d do not: the mirror's packages show one side only", outcomes[true], outcomes[false])
	}
}
