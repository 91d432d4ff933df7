//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/modules"
)

// elsewhere is where a container has a share that is not at /opt/share: whatever
// a compiler writes of paths differs.
const elsewhere = "/srv/elsewhere"

// TestProofCoreOS is the whole way of a CoreOS node, on a kernel that was built
// as CoreOS built its own: recorded on the node by builder's binary alone,
// built for elsewhere from the tag, and loaded by the node's kernel. The kernel's
// image alone then gives the same bytes, in another folder at another path, and these
// serve the node as they are.
func TestProofCoreOS(t *testing.T) {
	host, err := shared.Lab(t).CoreOS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := newShare(t)
	captured := capture(t, host)

	b := online(t, "--host-root=/node.tar", "--module-type=proprietary")
	b.Share, b.Docker = dir, []string{"-v", captured + ":/node.tar:ro"}
	built := build(t, b)
	if got, want := filepath.Base(built.manifest.Source.Ref), "v"+needKernel(t).Version+"-coreos"; got != want {
		t.Errorf("built from %s, want %s", got, want)
	}
	wantCompiler(t, built, "gcc-14", modules.NotCheckable) // gcc 15 built the kernel
	wantTypes(t, built)
	t.Run("loads", func(t *testing.T) { prove(t, host, built) })
	t.Run("builder load", func(t *testing.T) { load(t, host, built) })

	t.Run("image", func(t *testing.T) {
		b := online(t, "--kernel-image=/vmlinuz", "--module-type=proprietary", "--github-repository=coreos/linux")
		b.Share, b.At, b.Docker = newShare(t), elsewhere, []string{"-v", host.Image() + ":/vmlinuz:ro"}
		again := build(t, b)
		if diff := cmp.Diff(digests(built.manifest), digests(again.manifest)); diff != "" {
			t.Errorf("modules (-capture +image):\n%s", diff)
		}
		t.Run("serves the node", func(t *testing.T) { serves(t, host, again) })
		t.Run("serves no other", func(t *testing.T) { servesNot(t, again, captured) })
	})
}

// TestProofDebian builds on the trees that a distribution has for its own
// kernels, with symbol versions, with the compiler that built them and with a newer
// one, and the open form of the modules on one of them.
func TestProofDebian(t *testing.T) {
	for _, tt := range []struct {
		suite, line, form string
		image             func(testing.TB) string
		compiler          string
		verdict           modules.Verdict
	}{
		{"bookworm", "6.1.", "proprietary", needImage, "gcc-12", modules.Passed},
		{"trixie", "6.12.", "proprietary", needGCC15, "gcc-15", modules.Passed},
		{"bookworm", "6.1.", "open", needImage, "gcc-12", modules.Passed},
		{"bullseye", "5.10.", "proprietary", needOldImage, "gcc-10", modules.Passed},
	} {
		t.Run(tt.suite+"-"+tt.form, func(t *testing.T) {
			host, err := shared.Lab(t).Debian(t.Context(), tt.suite)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(host.Release, tt.line) {
				t.Fatalf("the kernel is %s, want one of %s", host.Release, tt.line)
			}
			b := offline(t, "--module-type="+tt.form)
			b.Share, b.HostRoot, b.Image = newShare(t), host.Dir, tt.image(t)
			if tt.form == "open" {
				write(t, filepath.Join(b.Share, "patches", "exclude-bars.patch"), []byte(excludeBars))
				b.Args = append(b.Args, "--driver-patches=/opt/share/patches")
			}
			built := build(t, b)
			if got := built.manifest.Driver.Patches; (len(got) == 1) != (tt.form == "open") {
				t.Errorf("the manifest has the patches %+v", got)
			}
			if got := built.manifest.Source.Rung; got != "host-tree" {
				t.Errorf("built from %s, want the host's tree", got)
			}
			if got := built.manifest.Driver.ModuleType; got != tt.form {
				t.Errorf("the modules are %s, want %s", got, tt.form)
			}
			wantCompiler(t, built, tt.compiler, tt.verdict)
			wantTypes(t, built)
			prove(t, host, built)
			if tt.suite == "bookworm" && tt.form == "proprietary" {
				t.Run("would not be right tomorrow", func(t *testing.T) { wantOtherTypes(t, built) })
			}
		})
	}
}

// wantOtherTypes asks of published modules whether they are right for the kernel of
// Debian's next release: of what they were compiled with much is otherwise there.
func wantOtherTypes(t *testing.T, made built) {
	t.Helper()
	next, err := shared.Lab(t).Debian(t.Context(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	b := made.by
	b.Name, b.HostRoot = lab.ContainerName("verify"), next.Dir
	b.Args = []string{"verify", "--output=json", filepath.Join(b.Mounted(), "modules", made.manifest.Target.Release, made.manifest.Driver.Version)}
	o := run(t, b)
	var found []modules.Check
	if err := json.Unmarshal([]byte(o.stdout), &found); o.code != 15 || err != nil {
		t.Fatalf("exit code %d, %v", o.code, err)
	}
	for _, name := range []string{modules.LayoutCheck, modules.PrototypesCheck} {
		i := slices.IndexFunc(found, func(c modules.Check) bool { return c.Name == name })
		if i < 0 || found[i].Verdict != modules.Failed || found[i].Compared == 0 {
			t.Errorf("%s: %+v", name, found)
		} else {
			t.Log(found[i])
		}
	}
}

// wantTypes wants what modules were compiled with to be the kernel's, and that to be
// more than a few things.
func wantTypes(t *testing.T, made built) {
	t.Helper()
	for name, least := range map[string]int{modules.LayoutCheck: 1000, modules.PrototypesCheck: 200} {
		i := slices.IndexFunc(made.manifest.Checks, func(c modules.Check) bool { return c.Name == name })
		if i < 0 || made.manifest.Checks[i].Verdict != modules.Passed || made.manifest.Checks[i].Compared < least {
			t.Errorf("want %s passed, with %d compared: %+v", name, least, made.manifest.Checks)
		}
	}
	if made.manifest.Types == nil {
		t.Error("what the modules were compiled with is not beside them")
	}
}

// TestWrongSource builds for Debian 13's kernel by headers of which one is not that
// kernel's: nothing else than the kernel's own type information could tell.
func TestWrongSource(t *testing.T) {
	host, err := shared.Lab(t).Debian(t.Context(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	header := "usr/src/" + strings.TrimSuffix("linux-headers-"+host.Release, "-amd64") + "-common/include/linux/pci.h"
	text, err := os.ReadFile(filepath.Join(host.Dir, header))
	if err != nil {
		t.Fatal(err)
	}
	const begins = "struct pci_dev {\n"
	if n := strings.Count(string(text), begins); n != 1 {
		t.Fatalf("%s has %q %d times", header, begins, n)
	}
	altered := filepath.Join(t.TempDir(), "pci.h")
	write(t, altered, []byte(strings.Replace(string(text), begins, begins+"\tunsigned long x[8];\n", 1)))
	b := offline(t, "--module-type=proprietary", "--modules=nvidia")
	b.Share, b.HostRoot = newShare(t), host.Dir
	b.Docker = []string{"-v", altered + ":/host/" + header + ":ro"}
	o := run(t, b)
	if o.code != 15 {
		t.Fatalf("exit code %d, want 15", o.code)
	}
	for _, want := range []string{"layout failed (struct pci_dev: member x is not in this kernel, member bus_list is at byte 0 in this kernel and at byte 64 in the source (and ", "the kernel was not built from this source with this config (host-tree, boot/config-" + host.Release + ")"} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(b.Share, "modules")); err == nil && len(left) > 0 {
		t.Errorf("published: %v", left)
	}
}

// excludeBars has the open modules call pci_resize_resource() as the kernels of the
// tests want it, also those of the lines 6.1 and 6.12.
const excludeBars = `--- a/kernel-open/nvidia/nv-pci.c
+++ b/kernel-open/nvidia/nv-pci.c
@@ -221,5 +221,5 @@
 resize:
     /* Attempt to resize BAR1 to the largest supported size */
-    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);
+    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size, 0);
 
     if (r) {
`

// newShare is a share with nothing in it but the driver's package.
func newShare(t *testing.T) string { return newShareOf(t, needDriver(t)) }

// newShareOf is one with another driver's.
func newShareOf(t *testing.T, driver lab.Driver) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "cuda", filepath.Base(driver.Run))
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(driver.Run)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// capture records a host from the inside: its kernel runs, with builder's
// binary and os-release, and nothing else.
func capture(t *testing.T, host lab.Host) string {
	machine := lab.Machine{
		Kernel: host.Image(),
		Files: map[string]string{
			"/builder":        binary(t),
			"/etc/os-release": filepath.Join(host.Dir, "etc/os-release"),
		},
	}
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, plan.Plan{
		{Run: []string{"/builder", "capture", "--file=/node.tar"}, Read: []string{"/node.tar"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	result := outcome.Results[0]
	if result.Ran == nil || result.Ran.Exit != 0 {
		t.Fatalf("builder capture: %q\n%s", result.Errors, result.Ran.Stderr)
	}
	captured := filepath.Join(t.TempDir(), "node.tar")
	if err := os.WriteFile(captured, result.Read["/node.tar"], 0o644); err != nil {
		t.Fatal(err)
	}
	return captured
}

// binary is builder's own, as the image has it.
func binary(t *testing.T) string { return fromImage(t, "/usr/local/bin/builder") }

// binaryFor is builder's own for a host: for another architecture the image has none.
func binaryFor(t *testing.T, host lab.Host) string {
	t.Helper()
	if host.Arch == "" {
		return binary(t)
	}
	program, err := shared.Lab(t).ProgramFor(t.Context(), host.Arch)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// node is a machine that runs a host's kernel and has its modules, builder's binary
// and what was published for it.
func node(t *testing.T, host lab.Host, made built) lab.Machine {
	machine := lab.Machine{Kernel: host.Image(), Arch: host.Arch, Memory: 2048, Files: map[string]string{"/builder": binaryFor(t, host)}}
	published, err := filepath.EvalSymlinks(made.dir)
	if err != nil {
		t.Fatal(err)
	}
	m := made.manifest
	err = errors.Join(
		machine.Folder("/opt/share/modules/"+m.Target.Release+"/"+m.Driver.Version, published),
		machine.Folder("/lib/modules", filepath.Join(host.Dir, "lib/modules")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return machine
}

// noGPU is what nvidia says where there is none, since 390 and before.
var noGPU = regexp.MustCompile("NVRM: No NVIDIA (GPU|graphics adapter) found")

// load has builder itself load what it published, on a machine that has its
// binary and the share and no GPU: it sees that on the bus, and nvidia finds the same.
// All that came first goes again.
func load(t *testing.T, host lab.Host, made built) {
	machine := node(t, host, made)
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, plan.Plan{
		{Run: []string{"/builder", "load", "--log-format=json"}, Read: []string{"/proc/modules"}},
		{Run: []string{"/builder", "load", "--log-format=json", "--try-without-device"}, Read: []string{"/proc/modules"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range outcome.Results {
		if r.Ran == nil || r.Ran.Exit != 17 {
			t.Fatalf("step %d: %+v", i, r)
		}
		log := string(r.Ran.Stderr)
		tried := noGPU.MatchString(log)
		if !strings.Contains(log, `"kind":"no-device"`) || tried != (i == 1) || len(r.Read["/proc/modules"]) > 0 {
			t.Errorf("step %d: still loaded %q\n%s", i, r.Read["/proc/modules"], log)
		}
	}
}

// built are modules that the job published, of a driver.
type built struct {
	by       lab.Builder
	driver   lab.Driver
	dir      string
	manifest modules.Manifest
	log      string
}

func build(t *testing.T, b lab.Builder) built {
	t.Helper()
	return buildOf(t, b, needDriver(t))
}

func buildOf(t *testing.T, b lab.Builder, driver lab.Driver) built {
	t.Helper()
	o := run(t, b)
	if o.code != 0 {
		t.Fatalf("exit code %d, want 0", o.code)
	}
	path := filepath.Join(b.Share, strings.TrimPrefix(strings.TrimSpace(o.stdout), b.Mounted()))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := modules.ParseManifest(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return built{b, driver, filepath.Dir(path), m, o.stderr}
}

// wantCompiler wants what was built by a compiler, and that of the gate where another
// built the kernel.
func wantCompiler(t *testing.T, made built, name string, verdict modules.Verdict) {
	t.Helper()
	if got, _, _ := strings.Cut(made.manifest.Build.Compiler, " "); got != name {
		t.Errorf("built by %s, want %s", made.manifest.Build.Compiler, name)
	}
	found := false
	for _, c := range made.manifest.Checks {
		if c.Name == "compiler" {
			found = found || c.Verdict == verdict
			if c.Verdict != verdict && c.Verdict != modules.Passed {
				t.Errorf("%s compiler: %s", c.Verdict, c.Detail)
			}
		}
	}
	if !found {
		t.Errorf("no check compiler is %s", verdict)
	}
}

// digests are those of a manifest's modules, by name.
func digests(m modules.Manifest) map[string]string {
	sums := map[string]string{}
	for _, module := range m.Modules {
		sums[module.Name] = module.SHA256
	}
	return sums
}

// prove has a host's kernel load what was built for it, in the manifest's
// order. There is no GPU: nvidia gets as far as to say so and leaves, and the
// others are loaded over a stub that exports what it would.
func prove(t *testing.T, host lab.Host, made built) {
	if made.manifest.Driver.ModuleType == "proprietary" { // for integration/agreement
		if err := shared.Lab(t).KeepModules(t.Context(), made.driver, host, made.dir); err != nil {
			t.Fatal(err)
		}
	}
	machine := lab.Machine{Kernel: host.Image(), Arch: host.Arch}
	steps := plan.Plan{
		{Load: machine.Install(inTree(t, host, made.manifest))},
		{Load: machine.Install([]string{filepath.Join(made.dir, "nvidia.ko")})},
		{Load: machine.Install([]string{stub(t, host, made)})},
	}
	for _, m := range made.manifest.Modules {
		if m.Name != "nvidia" {
			steps = append(steps, plan.Step{Load: machine.Install([]string{filepath.Join(made.dir, m.File)})})
		}
	}
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, steps)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]string{ // what a module itself ends with, without a GPU
		"nvidia.ko":         "ENODEV",
		"nvidia-peermem.ko": "EINVAL",
	}
	for i, result := range outcome.Results {
		if result.Crashed || len(result.Errors) > 0 || len(result.Load) != len(steps[i].Load) {
			t.Errorf("step %d: %q, loaded %+v", i, result.Errors, result.Load)
		}
		for _, l := range result.Load {
			file, log := filepath.Base(l.File), strings.Join(l.Log, "\n")
			if !l.Accepted() || l.Error != own[file] {
				t.Errorf("%s: %q, want %q\n%s", file, l.Error, own[file], log)
			}
			if file == "nvidia.ko" && !noGPU.MatchString(log) {
				t.Errorf("nvidia does not miss a GPU:\n%s", log)
			}
		}
	}
	if !t.Failed() {
		proved(host, made, loaded)
	}
}

// inTree are the files of the kernel's own modules that the manifest's need
// first, in load order.
func inTree(t *testing.T, host lab.Host, m modules.Manifest) []string {
	var names []string
	for _, module := range m.Modules {
		names = append(names, module.InTree...)
	}
	files, err := host.InTree(names...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stub makes the module that stays in nvidia's place.
func stub(t *testing.T, host lab.Host, made built) string {
	compiler, _, _ := strings.Cut(made.manifest.Build.Compiler, " ") // "gcc-12 (Debian …"
	stub, err := lab.Stub{
		By: made.by, Release: host.Release,
		NVIDIA: filepath.Join(made.dir, "nvidia.ko"), Driver: made.driver, Compiler: compiler,
	}.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return stub
}
