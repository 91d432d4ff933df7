//go:build integration

package integration

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/cdi"
	builder "github.com/k8sp/cuda/pkg/share"
)

// driverRoot is what the demo's job laid out for containers.
func (c *checkout) driverRoot(t *testing.T) userspace.Root {
	t.Helper()
	s, err := builder.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := userspace.Find(s, c.manifest(t).Driver.Version, nil)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// same fails the test unless two files have the same bytes.
func same(t *testing.T, got, want string) {
	t.Helper()
	a, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s is not %s", got, want)
	}
}

// TestFirmwareAndUserSpace holds what the job left beside the modules against
// the driver package that it was given.
func TestFirmwareAndUserSpace(t *testing.T) {
	c := needDemo(t)
	driver, version := needDriver(t), c.manifest(t).Driver.Version
	var firmware []string
	for _, f := range c.manifest(t).Firmware {
		firmware = append(firmware, f.Name)
		if version == driver.Version {
			same(t, filepath.Join(c.published(), f.Name), filepath.Join(driver.Folder, "firmware", path.Base(f.Name)))
		}
	}
	prefix := "firmware/nvidia/" + version + "/gsp_"
	if diff := cmp.Diff([]string{prefix + "ga10x.bin", prefix + "tu10x.bin"}, firmware); diff != "" {
		t.Errorf("firmware (-want +got):\n%s", diff)
	}

	root := c.driverRoot(t)
	names := map[string]string{}
	for _, item := range root.Items {
		for _, name := range item.Names {
			names[name] = filepath.Join(root.Dir, item.Path)
		}
		if version == driver.Version {
			same(t, filepath.Join(root.Dir, item.Path), filepath.Join(driver.Folder, path.Base(item.Path)))
		}
	}
	for name, file := range map[string]string{
		"libcuda.so": "libcuda.so." + version, "libcuda.so.1": "libcuda.so." + version, "libnvidia-ml.so.1": "libnvidia-ml.so." + version,
		"libnvidia-ptxjitcompiler.so.1": "libnvidia-ptxjitcompiler.so." + version, "nvidia-smi": "nvidia-smi",
	} {
		if filepath.Base(names[name]) != file {
			t.Errorf("%s is %q, want %s", name, names[name], file)
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "libGL") || name == "nvidia-installer" {
			t.Errorf("%s is no part of what serves to compute", name)
		}
	}
}

// TestContainersFindTheDriver mounts the driver's libraries as the CDI
// specification says, by hand, since Docker's own CDI is newer than the Docker
// of CI. The loaders of two distributions must find each library by each of its
// names, and NVIDIA's own nvidia-smi get as far as to miss the driver.
func TestContainersFindTheDriver(t *testing.T) {
	c := needDemo(t)
	root := c.driverRoot(t)
	var mounts, names []string
	for _, m := range cdi.Spec(cdi.Options{Root: root, HostDir: root.Dir, Arch: kernel.X86_64}).ContainerEdits.Mounts {
		mounts = append(mounts, "-v", m.HostPath+":"+m.ContainerPath+":ro")
	}
	for _, item := range root.Items {
		// Those of confidential computing need the image's libcrypto.
		if item.Kind == userspace.Library && !strings.Contains(item.Path, "pkcs11") {
			names = append(names, item.Names...)
		}
	}
	const script = `for name; do LD_PRELOAD=$name /bin/true; done 2>&1; nvidia-smi; echo "exit $?"`
	for _, base := range []string{"debian:trixie-slim", "debian:bookworm-slim"} {
		t.Run(base, func(t *testing.T) {
			args := slices.Concat([]string{"run", "--rm", "--read-only", "--user", "1000", "--network", "none"}, mounts, []string{base, "sh", "-c", script, "sh"}, names)
			out := docker(t, args...)
			if strings.Contains(out, "cannot be preloaded") {
				t.Errorf("the loader says\n%s", out)
			}
			if !strings.Contains(out, "couldn't communicate with the NVIDIA driver") || !strings.HasSuffix(out, "exit 9") {
				t.Errorf("nvidia-smi says\n%s", out)
			}
		})
	}
	absent := docker(t, "run", "--rm", "debian:trixie-slim", "sh", "-c", "LD_PRELOAD=libcuda.so.1 /bin/true 2>&1")
	if !strings.Contains(absent, "cannot be preloaded") {
		t.Errorf("without the mounts the loader says %q", absent)
	}
}
