//go:build integration

package integration

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/kernel"
)

// proofs are what this run has seen built, checked and mostly loaded, as lines of the
// table in docs/compatibility.md.
var proofs struct {
	sync.Mutex
	rows []string
}

// proved has what was built for a host be in the table, with what was seen of it:
// [loaded] or [checked].
func proved(host lab.Host, made built, seen string) {
	m := made.manifest
	system := map[string]string{
		"coreos":  "CoreOS Container Linux (a kernel made in the lab as CoreOS made its own, from kernel.org's source)",
		"debian":  "Debian",
		"flatcar": "Flatcar, alpha (a host made in the lab as its ebuilds make it, from Debian's source)",
	}[strings.Fields(m.Target.Distribution + " ?")[0]]
	if id, version, _ := strings.Cut(m.Target.Distribution, " "); id == "debian" {
		system += " " + version
	}
	if m.Target.Arch == kernel.AArch64 {
		system = "arm64 (Debian 12's kernel, by CoreOS's name)"
	}
	line := strings.Join(strings.SplitN(strings.SplitN(host.Release, "-", 2)[0], ".", 3)[:2], ".")
	form := m.Driver.ModuleType
	if len(m.Driver.Patches) > 0 {
		form += ", patched"
	}
	compiler, _, _ := strings.Cut(m.Build.Compiler, " ")
	kernels, _, _ := strings.Cut(strings.Replace(m.Target.Compiler, " ", "-", 1), ".")
	if !strings.HasSuffix(compiler, kernels) {
		compiler += " (the kernel " + kernels + ")"
	}
	branch, _, _ := strings.Cut(m.Driver.Version, ".")
	if len(m.Modules) < 5 {
		var names []string
		for _, module := range m.Modules {
			names = append(names, module.Name)
		}
		form += ", " + strings.Join(names, " and ") + " alone"
	}
	row := fmt.Sprintf("| %s | %s | %s, %s | %s | %s | %s |", system, line, branch, form, compiler, m.Source.Rung, seen)
	proofs.Lock()
	defer proofs.Unlock()
	if !slices.Contains(proofs.rows, row) {
		proofs.rows = append(proofs.rows, row)
	}
}

// What was seen of modules: the gate passed them, and their own kernel took them, too.
const checked, loaded = "built, checked", "built, checked, loaded"

const (
	tableBegins = "<!-- The rows below are what the tests have seen; TestCompatibility holds them. -->\n"
	tableEnds   = "<!-- End. -->\n"
)

// TestCompatibility holds the table of what was built, checked and loaded against what
// this run has seen, and comes last by its file's name. A run of all tests has seen every
// row; one of some of them, some.
func TestCompatibility(t *testing.T) {
	path := filepath.Join("..", "docs", "compatibility.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegins)
	table, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		t.Fatal("docs/compatibility.md has no table between its two comments")
	}
	proofs.Lock()
	seen := slices.Sorted(slices.Values(proofs.rows))
	proofs.Unlock()
	var has []string
	for line := range strings.Lines(table) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| system ") {
			has = append(has, line)
		}
	}
	whole := flag.Lookup("test.run").Value.String() == ""
	if os.Getenv("COMPATIBILITY") == "write" && whole {
		const head = "| system | kernel | driver, form | compiler | source | seen |\n|---|---|---|---|---|---|\n"
		if err := os.WriteFile(path, []byte(before+tableBegins+"\n"+head+strings.Join(seen, "\n")+"\n\n"+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, row := range seen {
		if !slices.Contains(has, row) {
			t.Errorf("this was seen, and is not in docs/compatibility.md: %s", row)
		}
	}
	for _, row := range has {
		if whole && !slices.Contains(seen, row) {
			t.Errorf("docs/compatibility.md has what was not seen: %s", row)
		}
	}
}
