//go:build integration

package loading

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/node"
)

// says is part of a refusal's sentence, where the whole depends on files of the
// machine.
func says(name, part string) func(*testing.T, plan.Result) {
	return func(t *testing.T, r plan.Result) {
		t.Helper()
		out := result[struct{ Failures []node.Finding }](t, r.Ran, 17)
		if len(out.Failures) != 1 || out.Failures[0].Name != name || !strings.Contains(out.Failures[0].Says, part) {
			t.Errorf("got %q, want %s with %q", out.Failures, name, part)
		}
	}
}

// TestRefusals has every refusal that a machine can stage, one after the other
// on one that has a card. What cannot be taken back comes last.
func TestRefusals(t *testing.T) {
	b := needBench(t)
	run := func(words string, c plan.Confined) plan.Step {
		return plan.Step{Run: builder(words), Confined: c}
	}
	const longPath = "/a-folder-whose-name-is-as-long-as-that-of-no-folder-that-anybody-would-give-a-name-to"
	here := b.host.Release
	steps := []step{
		{"no-device", run("load", plan.Confined{}), refused(node.NoDevice.Of())},
		{"not-built", plan.Step{Load: card("0x2330"), Run: builder("load --share /other")}, refused(node.NotBuilt.Of(here, "6.12.103-flatcar"))},
		{"no-version", run("load --driver-version 1.2", plan.Confined{}), refused(node.NoVersion.Of("1.2", here, older+", "+newer))},
		{"other-host", run("load --host-root /node", plan.Confined{}), refused(node.OtherHost.Of("6.12.103-flatcar", here))},
		{"rootless", run("load", plan.Confined{User: true}), refused(node.Rootless.Of(), node.NoMknod.Of("/dev"))},
		{"cap-sys-module", run("load", plan.Confined{Drop: []uintptr{unix.CAP_SYS_MODULE}}), refused(node.NoCapability.Of())},
		{"no-tree", run("load --modules nvidia-drm", plan.Confined{Hidden: []string{"/lib/modules"}}), refused(node.NoTree.Of("drm"))},
		{"read-only-dev", run("load", plan.Confined{ReadOnly: []string{"/dev"}}), refused(node.ReadOnlyDev.Of("/dev"))},
		{"cap-mknod", run("load", plan.Confined{Drop: []uintptr{unix.CAP_MKNOD}}), refused(node.NoMknod.Of("/dev"))},
		{"device-cgroup", run("load", plan.Confined{Devices: true}), refused(node.DeviceCgroup.Of("/dev"))},
		{"no-firmware", run("load --share /bare", plan.Confined{}), refused(node.NoFirmware.Of("nvidia/" + older + "/gsp_tu10x.bin"))},
		{"long-path", run("load --host-share "+strings.Repeat(longPath, 3), plan.Confined{}),
			refused(node.LongPath.Of(strings.Repeat(longPath, 3) + "/modules/" + here + "/" + newer + "/firmware"))},
		{"read-only-sys", run("load", plan.Confined{ReadOnly: []string{"/sys"}}), refused(node.ReadOnlySys.Of())},
		{"all at once", run("load --modules nvidia-drm", plan.Confined{
			Drop: []uintptr{unix.CAP_SYS_MODULE}, ReadOnly: []string{"/dev", "/sys"}, Hidden: []string{"/lib/modules"},
		}), refused(node.NoCapability.Of(), node.NoTree.Of("drm"), node.ReadOnlyDev.Of("/dev"), node.ReadOnlySys.Of())},
		{"without /lib/modules", run("load --try-without-device", plan.Confined{Hidden: []string{"/lib/modules"}}), func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.Loaded, newer); len(got.LeftOut) != 1 || got.LeftOut[0] != "nvidia_drm" {
				t.Errorf("left out %q, want nvidia_drm", got.LeftOut)
			}
		}},
		{"check without it", run("load --check", plan.Confined{Hidden: []string{"/lib/modules"}}), func(t *testing.T, r plan.Result) {
			if got := loaded(t, r, node.AlreadyLoaded, newer); len(got.LeftOut) != 1 || got.LeftOut[0] != "nvidia_drm" {
				t.Errorf("left out %q, want nvidia_drm", got.LeftOut)
			}
		}},
		{"load without more than a device file", run("load", plan.Confined{Drop: []uintptr{unix.CAP_SYS_MODULE}, ReadOnly: []string{"/sys"}}), func(t *testing.T, r plan.Result) {
			loaded(t, r, node.AlreadyLoaded, newer)
		}},
		{"unload", run("unload", plan.Confined{}), func(t *testing.T, r plan.Result) { result[node.UnloadResult](t, r.Ran, 0) }},
		{"not-served", plan.Step{Remove: []string{"standin_pci"}, Load: card("0x1db4"), Run: builder("load")}, says("not-served", "10de:1db4 at 0000:65:00.0")},
		{"held-device", plan.Step{
			Remove: []string{"standin_pci"}, Load: append(card("0x2330"), plan.Module{File: "/standin/nouveau.ko"}), Run: builder("load"),
		}, refused(node.HeldDevice.Of("10de:2330 at 0000:65:00.0", "nouveau"))},
		{"damaged", plan.Step{
			Remove: []string{"nouveau"}, Run: builder("load"),
			Write: []plan.Text{{Name: "/opt/share/modules/" + here + "/" + newer + "/nvidia-uvm.ko", Content: "another file\n"}},
		}, says("damaged", "nvidia-uvm.ko")},
		{"lockdown", plan.Step{
			Write: []plan.Text{{Name: "/sys/kernel/security/lockdown", Content: "integrity"}}, Run: builder("load --driver-version " + older),
		}, says("signature", "sys/kernel/security/lockdown")},
		{"modules-disabled", plan.Step{
			Write: []plan.Text{{Name: "/proc/sys/kernel/modules_disabled", Content: "1"}}, Run: builder("load --driver-version " + older),
		}, func(t *testing.T, r plan.Result) {
			out := result[struct{ Failures []node.Finding }](t, r.Ran, 17)
			if len(out.Failures) != 2 || out.Failures[0] != node.Disabled.Of() || out.Failures[1].Name != node.Unsigned.Name {
				t.Errorf("%q", out.Failures)
			}
		}},
	}
	b.boot(t, b.with(t, map[string]string{
		"/other/modules/6.12.103-flatcar/" + older + "/README": "modules of another kernel\n",
		"/node/proc/sys/kernel/osrelease":                      "6.12.103-flatcar\n",
	}), steps)
}

// TestNoBAR is a host whose only GPU the driver has no room for: its init fails.
func TestNoBAR(t *testing.T) {
	b := needBench(t)
	b.boot(t, b.with(t, nil), []step{{"the only GPU has no BAR1", plan.Step{Load: card("0x2330"), Run: builder("load --parameters nvidia.standin_bar=0")},
		says("no-bar", "BAR1 is 0M @ 0x0 (PCI:0000:65:00.0)")}})
}

// TestCommandLine has what a kernel's command line refuses, all told at once.
func TestCommandLine(t *testing.T) {
	b := needBench(t)
	m := b.with(t, nil)
	m.Append = "module.sig_enforce=1 module_blacklist=nvidia_uvm,nouveau"
	b.boot(t, m, []step{{"all of it", plan.Step{Run: builder("load")}, func(t *testing.T, r plan.Result) {
		out := result[struct{ Failures []node.Finding }](t, r.Ran, 17)
		if len(out.Failures) != 3 || out.Failures[0] != node.NoDevice.Of() || out.Failures[1] != node.Blacklisted.Of("nvidia_uvm") || out.Failures[2].Name != node.Unsigned.Name {
			t.Errorf("%q", out.Failures)
		}
	}}})
}
