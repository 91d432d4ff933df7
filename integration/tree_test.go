//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/modules"
)

// What TestTree is given: the folder of a kernel's source, a file with the config of its
// kernel where that is not to be the small one, and folders of driver packages, separated
// by colons. scripts/lab-kernel.sh sets them.
const (
	treeVariable    = "CUDA_LAB_TREE"
	configVariable  = "CUDA_LAB_CONFIG"
	driversVariable = "CUDA_LAB_DRIVERS"
)

// TestTree is the whole way of a CoreOS node of a line that no package has any more:
// the kernel is built of a tree that somebody has, boots and runs builder's own binary,
// which records it; the modules are built for it elsewhere from the tag, and loaded by it.
func TestTree(t *testing.T) {
	dir := os.Getenv(treeVariable)
	if dir == "" {
		t.Skipf("NOT TRIED: kernels of 4.9 to 5.4. No package has their source: scripts/lab-kernel.sh DIR tries it with a tree of yours (%s is not set)", treeVariable)
	}
	l := shared.Lab(t)
	tree, err := l.Tree(t.Context(), dir, os.Getenv(configVariable))
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Serve(t.Context(), tree.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	captured := capture(t, tree.Host)
	old := needOldImage(t)
	of := func(t *testing.T, image string, driver lab.Driver) lab.Builder {
		b := job(t, server.APIURL(), []string{"--host-root=/node.tar", "--module-type=proprietary", "--user-space=none", "--driver-version=" + driver.Version, "--github-repository=coreos/linux"})
		b.Share, b.Image = t.TempDir(), image
		b.Docker = []string{"-v", captured + ":/node.tar:ro", "-v", driver.Package() + ":/opt/share/cuda/" + filepath.Base(driver.Package()) + ":ro"}
		return b
	}
	drivers := treeDrivers(t)
	t.Run("default image", func(t *testing.T) {
		if o := run(t, of(t, needImage(t), drivers[0])); o.code != 10 || !strings.Contains(o.stderr, "docker build -t cuda:bullseye --build-arg BASE=debian:bullseye-slim") {
			t.Errorf("exit code %d, want 10 and the image to build", o.code)
		}
	})
	for _, driver := range drivers {
		t.Run(driver.Version, func(t *testing.T) {
			built := buildOf(t, of(t, old, driver), driver)
			if got, want := filepath.Base(built.manifest.Source.Ref), tree.Tag; got != want {
				t.Errorf("built from %s, want %s", got, want)
			}
			for _, c := range built.manifest.Checks {
				if c.Verdict == modules.NotCheckable || c.Verdict == modules.Failed {
					t.Log(c)
				}
			}
			t.Logf("relocations: %q", built.manifest.Build.Relocations)
			t.Run("loads", func(t *testing.T) { prove(t, tree.Host, built) })
			t.Run("builder load", func(t *testing.T) { load(t, tree.Host, built) })
		})
	}
}

// treeDrivers are the drivers to build, the lab's where none is named.
func treeDrivers(t *testing.T) (list []lab.Driver) {
	named := os.Getenv(driversVariable)
	if named == "" {
		return []lab.Driver{needDriver(t)}
	}
	for folder := range strings.SplitSeq(named, ":") {
		driver, err := lab.DriverIn(folder)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, driver)
	}
	return list
}
