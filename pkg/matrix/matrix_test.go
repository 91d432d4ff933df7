package matrix

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

func read(t *testing.T, text string) (File, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "matrix.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	return f, filepath.Dir(path), err
}

func TestRead(t *testing.T) {
	f, dir, err := read(t, `
kernels:
- 4593.2.5
- stable
- {host-root: captures/old.tar, name: the old nodes, source: linux.tar.xz, source-patches: /patches}
- kernel-image: https://example.com/vmlinuz
drivers: [580, 535.309.01, "580.10", {driver-version: 580.126.09, module-type: open, driver-patches: p}]
`)
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		Kernels: []Kernel{
			{Name: "4593.2.5", Flatcar: "4593.2.5"}, {Name: "stable", Flatcar: "stable"},
			{Name: "the old nodes", HostRoot: dir + "/captures/old.tar", Source: dir + "/linux.tar.xz", SourcePatches: "/patches"},
			{Name: "vmlinuz", KernelImage: "https://example.com/vmlinuz"},
		},
		Drivers: []Driver{
			{Name: "580", Version: "580"}, {Name: "535.309.01", Version: "535.309.01"}, {Name: "580.10", Version: "580.10"},
			{Name: "580.126.09 open", Version: "580.126.09", ModuleType: "open", Patches: dir + "/p"},
		},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}
	base := job.Options{ModuleType: "auto", Registry: job.Options{}.Registry, Source: source.Options{From: "/linux"}, SourcePatches: "/none"}
	got := f.Kernels[2].options(f.Drivers[3], base)
	if got.Host.Root != dir+"/captures/old.tar" || got.Source.From != dir+"/linux.tar.xz" || got.SourcePatches != "/patches" || got.DriverVersion != "580.126.09" || got.ModuleType != "open" {
		t.Errorf("%+v", got)
	}
	if got := f.Kernels[0].options(f.Drivers[0], base); got.Source.From != "/linux" || got.ModuleType != "auto" || got.Host.Flatcar != "4593.2.5" || got.Host.Root != "" {
		t.Errorf("%+v", got)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"kernels: [4593.2.5]":                                   "at least one of kernels and one of drivers",
		"drivers: [580]":                                        "at least one of kernels and one of drivers",
		"kernels: [4593.2.5]\ndrivers: [580.10]":                "580.1 has to be in quotes",
		"kernels: [4593.2.5]\ndrivers: [null]":                  "null has to be in quotes",
		"kernels: [4593.2.5]\ndrivers: [{module-type: open}]":   "driver 1 has no driver-version",
		"kernels: [4593.2.5]\ndrivers: [{version: 580.126.09}]": `unknown field "version"`,
		"kernels: [{name: x}]\ndrivers: [580]":                  "kernel 1 is none",
		"kernels: [stable, stable]\ndrivers: [580]":             "two kernels are called stable",
		"kernels: [stable]\ndrivers: [580, 580]":                "two drivers are called 580",
		"kernels: [stable]\ndriver: [580]":                      `unknown field "driver"`,
		"kernels: [stable":                                      "yaml",
		"kernels: [" + strings.Repeat("stable,", 101) + "]\ndrivers: [" + strings.Repeat("580,", 100) + "]": "it asks for 10100 builds",
		strings.Repeat("#", maxFile+1): "larger than",
	} {
		_, _, err := read(t, text)
		if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "matrix.yaml is no matrix") {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// ofTwo are two kernels and three drivers.
func ofTwo() File {
	f := File{Kernels: []Kernel{{Flatcar: "4593.2.5"}, {HostRoot: "/old"}}, Drivers: []Driver{{Version: "535.309.01"}, {Version: "570.86.15"}, {Version: "580.126.09", ModuleType: "open"}}}
	if err := f.complete("/"); err != nil {
		panic(err)
	}
	return f
}

func result(o job.Options, verdicts ...modules.Verdict) job.Result {
	r := job.Result{Release: "6.12.102-flatcar", Driver: o.DriverVersion, ModuleType: "open", Manifest: "/opt/share/modules/x/manifest.json"}
	for _, v := range verdicts {
		r.Checks = append(r.Checks, modules.Check{Name: "is-" + string(v), Verdict: v, Detail: "unknown here: mount /boot"})
	}
	return r
}

func verdicts(t Table) (list []Verdict) {
	for _, c := range t.Cells {
		list = append(list, c.Verdict)
	}
	return list
}

func TestRun(t *testing.T) {
	var asked []string
	table, err := Run(t.Context(), ofTwo(), job.Options{Share: "/opt/share"}, func(_ context.Context, o job.Options) (job.Result, error) {
		asked = append(asked, o.Host.Flatcar+o.Host.Root+" "+o.DriverVersion)
		switch {
		case o.Host.Root == "/old":
			return job.Result{}, stage.New(stage.Detect, "the host root cannot be opened", "name a folder")
		case o.DriverVersion == "570.86.15":
			return job.Result{}, &stage.Error{Stage: stage.Driver, Kind: breaks.Check, Reason: "driver 570.86.15 does not compile", Hint: "take another"}
		case o.DriverVersion == "580.126.09":
			return result(o, modules.Passed, modules.NotAsked), nil
		}
		return result(o, modules.Passed, modules.NotCheckable, modules.Failed), nil
	})
	// The kernels one after the other; a kernel that is not to be had is asked for once.
	if diff := cmp.Diff([]string{"4593.2.5 535.309.01", "4593.2.5 570.86.15", "4593.2.5 580.126.09", "/old 535.309.01"}, asked); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Verdict{Built, KnownBreak, Proven, Failed, Failed, Failed}, verdicts(table)); diff != "" {
		t.Error(diff)
	}
	var failure *stage.Error
	if !errors.As(err, &failure) || failure.Stage != stage.Detect || len(failure.Findings) != 3 ||
		!strings.Contains(err.Error(), "3 of 6 builds failed, the first for kernel /old, driver 535.309.01: the host root cannot be opened") {
		t.Error(err)
	}
	first := table.Cells[0]
	if first.Why() != "failed and allowed: is-failed; not checkable: is-not-checkable (mount /boot)" || first.Version != "535.309.01" || first.Release != "6.12.102-flatcar" {
		t.Errorf("%q %+v", first.Why(), first)
	}
	if last := table.Cells[5]; last.Driver != "580.126.09 open" || last.Says != "the host root cannot be opened" {
		t.Errorf("%+v", last)
	}
}

// TestRunWithoutFailure has breaks that are known for no failure.
func TestRunWithoutFailure(t *testing.T) {
	table, err := Run(t.Context(), ofTwo(), job.Options{}, func(_ context.Context, o job.Options) (job.Result, error) {
		if o.DriverVersion == "570.86.15" {
			return job.Result{}, &stage.Error{Stage: stage.Build, Kind: breaks.Check, Reason: "it does not compile"}
		}
		return result(o), nil
	})
	if err != nil || table.Count(KnownBreak) != 2 || table.Count(Proven) != 4 {
		t.Error(err, verdicts(table))
	}
}

// TestRunEnds leaves the rest of the table where nothing more can come of it.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx   context.Context
		fail  func() error
		ended func(error) bool
	}{
		"another run holds the share": {t.Context(), func() error { return stage.New(stage.Share, "another run holds the share", "wait") },
			func(err error) bool { return stage.ExitCode(err) == 75 }},
		"interrupted": {ctx, func() error { cancel(); return ctx.Err() }, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		n := 0
		table, err := Run(c.ctx, ofTwo(), job.Options{}, func(_ context.Context, o job.Options) (job.Result, error) {
			if n++; n == 2 {
				return job.Result{}, c.fail()
			}
			return result(o), nil
		})
		if n != 2 || !c.ended(err) || table.Cells[0].Verdict != Proven || table.Count(NotRun) < 4 {
			t.Errorf("%s: after %d: %v %v", name, n, err, verdicts(table))
		}
	}
}

// TestRunRefusesFirst says what is wrong with any pair before the first is built.
func TestRunRefusesFirst(t *testing.T) {
	f := ofTwo()
	f.Drivers[2].ModuleType = "closed"
	table, err := Run(t.Context(), f, job.Options{}, func(context.Context, job.Options) (job.Result, error) {
		t.Error("it was built")
		return job.Result{}, nil
	})
	if stage.ExitCode(err) != 2 || len(table.Cells) != 0 || !strings.Contains(err.Error(), `kernel 4593.2.5 with driver 580.126.09 open: "closed" is not a module type`) {
		t.Error(err)
	}
}

// TestForms holds the page and the text against a table with each verdict; what a
// compiler or a file said is text in them.
func TestForms(t *testing.T) {
	table := ofTwo().table()
	table.Builder, table.Time = "0.1.0", "2026-11-30T06:00:00Z"
	table.Cells[0].fill(result(job.Options{DriverVersion: "535.309.01"}, modules.NotCheckable))
	table.Cells[1] = Cell{Kernel: "4593.2.5", Driver: "570.86.15", Verdict: Failed, Stage: stage.Build, Says: `nv.c: error: "<script>" & more`, Do: "take another"}
	table.Cells[2].fill(result(job.Options{DriverVersion: "580.126.09"}, modules.Passed))
	table.Cells[2].Artefact = "registry.example.com/cuda@sha256:0a"
	var page, text strings.Builder
	if err := errors.Join(table.WriteHTML(&page), table.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"6 builds: 1 proven, 1 built, 0 known breaks, 1 failed, 3 not run. By builder 0.1.0, 2026-11-30T06:00:00Z",
		`<td class="proven">proven<small>580.126.09 open<br>6.12.102-flatcar</small><details><summary>artefact</summary><code>registry.example.com/cuda@sha256:0a</code></details></td>`,
		`<td class="failed"><a href="#why-0-1">failed</a></td>`,
		`<dt id="why-0-1">4593.2.5, driver 570.86.15: failed</dt>`, "nv.c: error: &#34;&lt;script&gt;&#34; &amp; more<br>What to do: take another.",
		"not checkable: is-not-checkable (mount /boot)",
	} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("the page has no %s", part)
		}
	}
	if found := regexp.MustCompile(`(?i)<script|<link|@import|url\(|src=|https?:`).FindString(page.String()); found != "" {
		t.Errorf("the page needs something beside it: %s", found)
	}
	want := `
          535.309.01  570.86.15  580.126.09 open
4593.2.5  built       failed     proven
/old      not-run     not-run    not-run

4593.2.5, driver 535.309.01: not checkable: is-not-checkable (mount /boot)

4593.2.5, driver 570.86.15: build: nv.c: error: "<script>" & more
`
	if diff := cmp.Diff(want[1:], text.String()); diff != "" {
		t.Error(diff)
	}
}

// TestPageIsText has markup in every text that a table has: a compiler's words, a name in
// a file of somebody's.
func TestPageIsText(t *testing.T) {
	const markup = `"'><b>&`
	table := Table{Builder: markup, Time: markup, Kernels: []string{markup}, Drivers: []string{markup, markup}, Cells: []Cell{
		{Kernel: markup, Driver: markup, Verdict: markup, Release: markup, Version: markup, ModuleType: markup, Artefact: markup},
		{Kernel: markup, Driver: markup, Verdict: markup, Stage: markup, Says: markup, Do: markup, Allowed: []string{markup}, Unchecked: []modules.Group{{Checks: []string{markup}, Do: markup}}},
	}}
	var page strings.Builder
	if err := table.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	body := strings.TrimPrefix(page.String(), head)
	if n := strings.Count(body, "&#34;&#39;&gt;&lt;b&gt;&amp;"); n != 22 || strings.Contains(body, "<b>&") {
		t.Errorf("%d times:\n%s", n, body)
	}
}
