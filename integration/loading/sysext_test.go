//go:build integration

package loading

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/node"
)

// TestSysext has a real systemd-sysext merge the extension of a driver for two kernels, on
// a host that calls itself Flatcar and has modules of its own; and a kernel load what is
// in it, by the command line of its unit, with a /usr that nobody can write to.
func TestSysext(t *testing.T) {
	b := needBench(t)
	dir := b.share(t)
	next := filepath.Join(b.dir, "share-of-the-next-kernel")
	const nextRelease = "6.12.103-flatcar"
	if _, err := os.Stat(next); err != nil {
		standins, err := b.lab.Standins(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target, err := b.target(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target.Release.Full = nextRelease
		if _, err := publish(t.Context(), next, newer, filepath.Join(standins, newer), target); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(next, "modules", nextRelease), filepath.Join(dir, "modules")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	export(t, dir, "sysext", "a-driver.raw")

	// The devices are for the loop device that systemd-sysext asks the kernel for.
	out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN",
		"--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined", "--device-cgroup-rule", "b 7:* rmw", "--device-cgroup-rule", "c 10:237 rmw",
		"--tmpfs", "/run", "--volume", "/dev:/dev", "--volume", filepath.Join(dir, "a-driver.raw")+":/a-driver.raw:ro",
		needSystemd(t), "bash", "-euxo", "pipefail", "-c", `
			printf 'ID=flatcar\nVERSION_ID=4593.2.5\nSYSEXT_LEVEL=1.0\n' >/usr/lib/os-release
			mkdir -p /usr/lib/modules/`+nextRelease+` /run/extensions
			echo "the host's" >/usr/lib/modules/`+nextRelease+`/modules.dep
			mount --make-rshared /
			cp /a-driver.raw /run/extensions/
			systemd-sysext merge
			trap 'systemd-sysext unmerge' EXIT
			nvidia-smi
			[ "$(cat /usr/lib/modules/*/modules.dep)" = "the host's" ]
			[ "$(cat /usr/lib64/libcuda.so.`+newer+`)" = "a library" ]
			[ -f "$(readlink -f /usr/lib64/libcuda.so.`+newer+`)" ]
			ls /usr/lib/cuda/share/modules/`+nextRelease+`/`+newer+`/nvidia.ko /usr/lib/cuda/share/modules/`+b.host.Release+`/`+newer+`/nvidia.ko
			systemd-analyze verify cuda-sysext.service
			grep Upholds=cuda-sysext.service /usr/lib/systemd/system/multi-user.target.d/*.conf
		`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	var argv []string
	tree := filepath.Join(dir, "tree.tar")
	unpack := lab.Builder{
		Image: needImage(t), Share: dir, Network: "none", Docker: []string{"--entrypoint", "bash"},
		Args: []string{"-euc", "unsquashfs -quiet -no-progress -d /tmp/root /opt/share/a-driver.raw >/dev/null && tar -cf /opt/share/tree.tar -C /tmp/root . && cat /tmp/root/usr/lib/systemd/system/cuda-sysext.service"},
	}
	var unit strings.Builder
	unpack.Stdout, unpack.Stderr = &unit, os.Stderr
	if code, err := unpack.Run(t.Context()); code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	for line := range strings.Lines(strings.ReplaceAll(unit.String(), "\\\n", " ")) {
		if command, ok := strings.CutPrefix(line, "ExecStart="); ok {
			// The shell, whose script is one word, is the machine's busybox.
			_, script, _ := strings.Cut(command, "'")
			script, words, _ := strings.Cut(script, "'")
			argv = append([]string{"/busybox", "sh", "-c", strings.ReplaceAll(script, "grep", "/busybox grep")}, append(strings.Fields(words), "--output=json", "--log-format=console")...)
		}
	}
	m := b.machine
	m.Files = maps.Clone(m.Files)
	for name := range m.Files {
		if strings.HasPrefix(name, "/opt/share/") || name == "/builder" {
			delete(m.Files, name)
		}
	}
	m.Files["/tree.tar"] = tree
	maps.Copy(m.Files, programs(t, map[string]string{"/busybox": "/usr/bin/busybox"}))
	const firmwarePath = "/sys/module/firmware_class/parameters/path"
	b.boot(t, m, []step{
		{"merge", plan.Step{Run: shell(`
			/busybox tar -xf /tree.tar -C /
			/busybox mkdir -p /etc/cdi /run
			/busybox mount --bind /usr /usr
			/busybox mount -o remount,ro,bind /usr
		`)}, ran},
		{"no device", plan.Step{Run: argv}, func(t *testing.T, r plan.Result) {
			if ran(t, r); len(r.Ran.Stderr) > 0 {
				t.Errorf("it says %s", r.Ran.Stderr)
			}
		}},
		{"start", plan.Step{Load: card("0x2330"), Run: argv, Read: []string{firmwarePath, "/etc/cdi/nvidia.com-gpu.json"}}, func(t *testing.T, r plan.Result) {
			loaded(t, r, node.Loaded, newer)
			if got, want := strings.TrimSpace(string(r.Read[firmwarePath])), "/usr/lib/cuda/share/modules/"+b.host.Release+"/"+newer+"/firmware"; got != want {
				t.Errorf("firmware is looked for in %q, want %q", got, want)
			}
			if !strings.Contains(string(r.Read["/etc/cdi/nvidia.com-gpu.json"]), "/usr/lib/cuda/share/driver/"+newer+"/usr/bin/nvidia-smi") {
				t.Errorf("containers are given\n%s", r.Read["/etc/cdi/nvidia.com-gpu.json"])
			}
		}},
		{"start again", plan.Step{Run: argv}, func(t *testing.T, r plan.Result) { loaded(t, r, node.AlreadyLoaded, newer) }},
	})
}
