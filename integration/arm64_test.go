//go:build integration

package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
)

var (
	needCross       = shared.Image(lab.CrossImage, (*lab.Lab).MakeCrossImage)
	needArm64Driver = shared.Thing((*lab.Lab).Arm64Driver)
	needArm64Host   = shared.Thing((*lab.Lab).Arm64Host)
)

// TestProofArm64 is the whole way of an arm64 node, as far as a machine of another
// architecture goes it: modules are cross-compiled here, of NVIDIA's sources and core
// objects for arm64, for the node's root, from the tag; the gate passes; and builder, built
// for arm64, says on the node's own kernel in QEMU what the node is, and loads them.
func TestProofArm64(t *testing.T) {
	host, driver := needArm64Host(t), needArm64Driver(t)
	b := online(t, "--module-type=proprietary", "--modules=nvidia,nvidia-peermem")
	b.Share, b.HostRoot, b.Image = newShareOf(t, driver), host.Dir, needCross(t)
	built := buildOf(t, b, driver)

	m := built.manifest
	if m.Target.Arch != kernel.AArch64 || m.Source.Rung != source.RungTag || m.Source.Ref != "refs/tags/v"+needKernel(t).Version+"-coreos" {
		t.Errorf("built for %s from %+v", m.Target.Arch, m.Source)
	}
	if len(m.Build.InstallerFlags) > 0 || !strings.Contains(m.Build.WithoutInstaller, "nvidia-installer is a program for aarch64") {
		t.Errorf("the manifest has %+v", m.Build)
	}
	if len(m.Overridden) > 0 {
		t.Errorf("allowed were %v", m.Overridden)
	}
	wantCompiler(t, built, "aarch64-linux-gnu-gcc-12", modules.Passed)
	wantTypes(t, built)
	nvidia, err := ko.Open(filepath.Join(built.dir, "nvidia.ko"))
	if err != nil {
		t.Fatal(err)
	}
	if got := nvidia.Value("vermagic"); got != host.Release+" SMP mod_unload modversions aarch64" {
		t.Errorf("the version magic is %q", got)
	}
	t.Run("loads", func(t *testing.T) { prove(t, host, built) })
	t.Run("builder load", func(t *testing.T) { load(t, host, built) })
	t.Run("capture", func(t *testing.T) { verifyThere(t, host, built) })
	t.Run("without a cross compiler", func(t *testing.T) {
		b := b
		b.Name, b.Image, b.Share = lab.ContainerName("test"), needImage(t), newShareOf(t, driver)
		o := run(t, b)
		if o.code != 10 || !strings.Contains(lastLine(o.stderr), "--build-arg CROSS=arm64") {
			t.Errorf("exit code %d, want 10 and how to have one", o.code)
		}
	})
}

// verifyThere has the node itself be captured by builder, and what was published held
// against the capture, on its own kernel. Nothing of it comes out of the machine, whose serial
// port would take minutes for a kernel's image.
func verifyThere(t *testing.T, host lab.Host, made built) {
	machine := node(t, host, made)
	machine.Files["/etc/os-release"] = filepath.Join(host.Dir, "etc/os-release")
	machine.Files["/tmp/os-release"] = machine.Files["/etc/os-release"] // a host has that folder
	if err := machine.Folder("/boot", filepath.Join(host.Dir, "boot")); err != nil {
		t.Fatal(err)
	}
	published := "/opt/share/modules/" + made.manifest.Target.Release + "/" + made.manifest.Driver.Version
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, plan.Plan{
		{Run: []string{"/builder", "capture", "--host-root=/", "--file=/node.tar"}},
		{Run: []string{"/builder", "verify", "--output=json", "--host-root=/node.tar", published}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range outcome.Results {
		if r.Ran == nil || r.Ran.Exit != 0 {
			t.Fatalf("step %d: %+v\n%s", i, r, said(r))
		}
	}
	var found []modules.Check
	if err := json.Unmarshal(outcome.Results[1].Ran.Stdout, &found); err != nil {
		t.Fatal(err)
	}
	passed := map[string]bool{}
	for _, c := range found {
		passed[c.Name] = passed[c.Name] || c.Verdict == modules.Passed
	}
	for _, name := range []string{"elf", "crcs", "relocations", modules.LayoutCheck, modules.PrototypesCheck} {
		if !passed[name] {
			t.Errorf("there %s did not pass: %+v", name, found)
		}
	}
}

// said is what a step's program has told people.
func said(r plan.Result) string {
	if r.Ran == nil {
		return ""
	}
	return string(r.Ran.Stderr)
}
