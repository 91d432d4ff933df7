//go:build integration

package loading

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
)

// share is a share that has the newer stand-ins and what is beside them.
func (b *bench) share(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, what := range []string{"share-" + newer + "/modules", "user-space/driver"} {
		if out, err := exec.Command("cp", "-a", filepath.Join(b.dir, what), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

// export has the image under test export the newer driver of a share to a file in it.
func export(t *testing.T, share, as, file string) {
	t.Helper()
	var said bytes.Buffer
	run := lab.Builder{
		Image: needImage(t), Share: share, Network: "none", Args: []string{"export", as, "-f", "/opt/share/" + file, "--driver-version", newer},
		Stdout: &said, Stderr: &said,
	}
	if code, err := run.Run(t.Context()); code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, said.String())
	}
}

// artefact is what the image under test exports of the newer stand-ins, by the tag that
// NVIDIA's GPU Operator makes up: the files of the image in a tar, and its environment.
func (b *bench) artefact(t *testing.T) (file string, environ []string) {
	t.Helper()
	dir := b.share(t)
	export(t, dir, "tar", "artefact.tar")
	if out, err := exec.Command("tar", "-xf", filepath.Join(dir, "artefact.tar"), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] != newer+"-"+b.host.Release+"-flatcar4593.2.5" {
			continue
		}
		index, err := all.ImageIndex(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		image, err := index.Image(images.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(dir, "image.tar")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(out, mutate.Extract(image))
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		return file, config.Config.Env
	}
	t.Fatalf("the GPU Operator would not find it among %+v", list.Manifests)
	return "", nil
}

// programs are programs of the image under test with the libraries that they need, by
// where a machine has them.
func programs(t *testing.T, names map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	argv := append([]string{"run", "--rm", "--network", "none", "--entrypoint", "bash", needImage(t), "-euc",
		`for program; do echo "$program"; ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true; done | sort -u | tar -chPf - -T -`, "-"},
		slices.Sorted(maps.Values(names))...)
	var archive bytes.Buffer
	run := exec.Command("docker", argv...)
	run.Stdout = &archive
	if err := run.Run(); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, strings.ReplaceAll(h.Name, "/", "@"))
		text, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(path, text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = path
	}
	for inside, name := range names {
		files[inside] = files[name]
	}
	return files
}

// shell is the command line of a script in a machine, which ends at the first failure.
func shell(script string) []string { return []string{"/busybox", "sh", "-euc", script} }

// operators is a machine with the artefact unpacked to /image, as a container runtime has
// it, with a busybox of its own, and the first step, which unpacks it.
func (b *bench) operators(t *testing.T, more map[string]string) (m lab.Machine, environ []string, unpack step) {
	t.Helper()
	m = b.machine
	m.Files = maps.Clone(m.Files)
	m.Memory = 1536
	file, environ := b.artefact(t)
	m.Files["/image.tar"] = file
	more["/busybox"] = "/usr/bin/busybox"
	maps.Copy(m.Files, programs(t, more))
	return m, environ, step{"unpack", plan.Step{Run: shell(`
		/busybox mkdir -p /image /run/nvidia /host/lib /tmp
		/busybox tar -xf /image.tar -C /image
		/busybox rm -rf /opt/share /image.tar
	`)}, ran}
}

// ran expects a script to have ended well.
func ran(t *testing.T, r plan.Result) {
	t.Helper()
	if len(r.Errors) > 0 || r.Ran == nil || r.Ran.Exit != 0 {
		t.Errorf("%q %+v", r.Errors, r.Ran)
	}
}

// TestKMM has the artefact loaded by what the worker pod of the Kernel Module Management
// operator does with an image (2.6, internal/pod/workerpodmanager.go and
// internal/worker/worker.go): its init container copies, with the image's own shell, and
// its worker runs kmod's modprobe on the copy. nvidia-drm needs a drm that came with the
// kernel, which comes first. KMM_WORKER names the program of the real worker, which is in no
// registry that tests reach; without it the test runs the commands that it does.
func TestKMM(t *testing.T) {
	b := needBench(t)
	m, _, unpack := b.operators(t, map[string]string{"/sbin/modprobe": "/usr/bin/kmod"})
	release := b.host.Release
	load, unload := `
			/sbin/modprobe -vd /tmp/opt nvidia-drm
			/sbin/modprobe -vd /tmp/opt nvidia-uvm
		`, `/sbin/modprobe -rvd /tmp/opt nvidia-drm nvidia-uvm`
	read := []string{"/proc/modules", "/image/tmp/firmware/nvidia/" + newer + "/gsp_tu10x.bin"}
	if worker := os.Getenv("KMM_WORKER"); worker != "" {
		m.Files["/worker"] = worker
		for _, module := range []string{"nvidia-drm", "nvidia-uvm"} {
			config := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(config, fmt.Appendf(nil, "containerImage: image\nkernelVersion: %s\nmodprobe: {moduleName: %s, dirName: /opt, firmwarePath: /firmware}\n", release, module), 0o644); err != nil {
				t.Fatal(err)
			}
			m.Files["/"+module+".yaml"] = config
		}
		kmod := "/worker kmod %s --firmware-path /var/lib/firmware /%s.yaml 2>&1\n"
		path := "export PATH=/sbin\n"
		load = path + fmt.Sprintf(kmod, "load", "nvidia-drm") + fmt.Sprintf(kmod, "load", "nvidia-uvm")
		unload = path + fmt.Sprintf(kmod, "unload", "nvidia-uvm") + fmt.Sprintf(kmod, "unload", "nvidia-drm")
		read = append(read, "/var/lib/firmware/nvidia/"+newer+"/gsp_tu10x.bin")
	}
	b.boot(t, m, []step{
		unpack,
		{"init container", plan.Step{Run: []string{"/busybox", "chroot", "/image", "/bin/sh", "-c", `
mkdir -p /tmp/opt/lib/modules;
cp -R /opt/lib/modules/` + release + ` /tmp/opt/lib/modules;

mkdir -p /tmp/firmware;
cp -R /firmware/* /tmp/firmware;
`}}, ran},
		{"worker", plan.Step{Load: card("0x2330"), Run: shell(`
			/busybox ln -s /lib/modules /host/lib/modules
			/busybox mkdir -p /var/lib/firmware
			/busybox ln -s /image/tmp/opt /tmp/opt
			/busybox cp -R /image/tmp/firmware /tmp/firmware
		` + load), Read: read}, func(t *testing.T, r plan.Result) {
			ran(t, r)
			for _, want := range []string{"/host/kernel/drivers/gpu/drm/drm.ko", "/nvidia-drm.ko", "/nvidia-uvm.ko"} {
				if !strings.Contains(string(r.Ran.Stdout), want) {
					t.Errorf("modprobe did not insert %s", want)
				}
			}
			for _, want := range []string{"drm ", "nvidia_drm ", "nvidia_uvm ", "nvidia "} {
				if !strings.Contains("\n"+string(r.Read["/proc/modules"]), "\n"+want) {
					t.Errorf("%sis not loaded", want)
				}
			}
		}},
		{"unload", plan.Step{Run: shell(unload), Read: []string{"/proc/modules"}}, func(t *testing.T, r plan.Result) {
			ran(t, r)
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("still there: %q", got)
			}
		}},
	})
}

// TestGPUOperator runs the artefact as the driver's DaemonSet of NVIDIA's GPU Operator
// does (26.3, assets/state-driver/0500_daemonset.yaml): privileged, in the host's PID
// namespace, with the host's /run/nvidia and no other folder of the host's that matters.
func TestGPUOperator(t *testing.T) {
	b := needBench(t)
	m, environ, unpack := b.operators(t, map[string]string{"/sbin/modprobe": "/usr/bin/kmod"})
	container := append([]string{"/busybox", "env", "-i", "DRIVER_CONFIG_DIGEST=648926272"}, append(environ, "/busybox", "chroot", "/image")...)
	in := func(argv ...string) []string { return append(slices.Clip(container), argv...) }
	const (
		firmwarePath = "/sys/module/firmware_class/parameters/path"
		status       = "/run/nvidia/validations/.driver-daemons-status"
		state        = "/run/nvidia/nvidia-driver.state"
	)
	firmware := "/run/nvidia/cuda-share/modules/" + b.host.Release + "/" + newer + "/firmware"
	mounted := []string{"/run/nvidia/driver/usr/bin/nvidia-smi", "/run/nvidia/driver/usr/lib64/libcuda.so." + newer, "/run/nvidia/driver/dev/nvidia0", firmware + "/nvidia/" + newer + "/gsp_tu10x.bin"}
	b.boot(t, m, []step{
		unpack,
		{"runtime", plan.Step{Load: card("0x2330"), Run: shell(`
			/busybox mount -t tmpfs run /run/nvidia
			/busybox mount --make-shared /run/nvidia
			/busybox mkdir -p /run/nvidia/driver/lib/firmware /image/run/nvidia /image/proc /image/sys /image/dev /image/lib/firmware /image/drivers
			/busybox mount --bind /run/nvidia /image/run/nvidia
			/busybox mount --bind /run/nvidia/driver/lib/firmware /image/lib/firmware
			/busybox mount --bind /proc /image/proc
			/busybox mount --bind /sys /image/sys
			/busybox mount -t tmpfs dev /image/dev
			for node in null zero kmsg; do /busybox cp -a /dev/$node /image/dev/; done
			/busybox printf 'NVreg_EnableGpuFirmware=18\n' >/image/drivers/nvidia.conf
		`)}, ran},
		{"init", plan.Step{Start: in("nvidia-driver", "init"), Until: "nvidia-driver: ready", Read: []string{status, state, firmwarePath, "/proc/modules"}, Stat: mounted}, func(t *testing.T, r plan.Result) {
			if len(r.Errors) > 0 {
				t.Errorf("%q", r.Errors)
			}
			for name, want := range map[string]string{status: "Ready\n", state: "648926272\n", firmwarePath: firmware} {
				if got := string(r.Read[name]); strings.TrimSuffix(got, "\n") != strings.TrimSuffix(want, "\n") {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for _, name := range mounted {
				if r.Stat[name] == "" {
					t.Errorf("the host has no %s", name)
				}
			}
			if got := loadedModules(r); len(got) != 4 {
				t.Errorf("the modules that are there: %q", got)
			}
		}},
		{"startup probe", plan.Step{Run: in("sh", "-euc", `[ -f /sys/module/nvidia/refcnt ]; [ "$(cat `+status+`)" = Ready ]; nvidia-smi; echo ready >/run/nvidia/validations/.driver-ctr-ready`)}, ran},
		{"validator", plan.Step{Run: shell(`/run/nvidia/driver/usr/bin/nvidia-smi`)}, ran},
		{"peermem's probe", plan.Step{Run: in("nvidia-driver", "probe_nvidia_peermem")}, ran},
		{"stop", plan.Step{Stop: true, Read: []string{"/proc/modules", firmwarePath, "/proc/mounts"}, Stat: append([]string{status, state}, mounted...)}, func(t *testing.T, r plan.Result) {
			ran(t, r)
			if got := loadedModules(r); len(got) > 0 || len(r.Stat) > 0 || strings.TrimSpace(string(r.Read[firmwarePath])) != "" || strings.Contains(string(r.Read["/proc/mounts"]), "/run/nvidia/driver") {
				t.Errorf("left are %q, %v, the search path %q, and\n%s", got, r.Stat, r.Read[firmwarePath], r.Read["/proc/mounts"])
			}
		}},
		{"again, and killed", plan.Step{Start: in("nvidia-driver", "init"), Until: "nvidia-driver: ready", Run: shell(`
			for process in /proc/[0-9]*; do
				if /busybox grep -qsa nvidia-driver $process/cmdline || /busybox grep -qsa 'load.--stay' $process/cmdline; then /busybox kill -9 ${process#/proc/} || true; fi
			done
		`), Read: []string{"/proc/modules"}}, func(t *testing.T, r plan.Result) {
			if got := loadedModules(r); len(got) != 4 {
				t.Errorf("the modules that are there: %q", got)
			}
		}},
		{"what was left is gone on with", plan.Step{Start: in("nvidia-driver", "init"), Until: "nvidia-driver: ready", Read: []string{status, "/proc/mounts"}, Stat: mounted}, func(t *testing.T, r plan.Result) {
			if len(r.Errors) > 0 || string(r.Read[status]) != "Ready\n" || len(r.Stat) != len(mounted) {
				t.Errorf("%q, %q, %v", r.Errors, r.Read[status], r.Stat)
			}
			if n := strings.Count(string(r.Read["/proc/mounts"]), " /run/nvidia/driver "); n != 1 {
				t.Errorf("it is mounted %d times", n)
			}
		}},
	})
}
