//go:build integration

package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
)

// TestAnswers has the demo's answers to the driver's tests of the kernel serve a second
// build of the driver, and then, as somebody vouched for that, the next driver of its
// line. Each time nvidia is built, which is the module that a build makes which asks
// everything, to the byte.
func TestAnswers(t *testing.T) {
	c := needDemo(t)
	share, version := c.cached(t), needDriver(t).Version
	const next = "535.274.02"
	if _, err := needDriver(t).As(filepath.Join(share, "cuda"), next); err != nil {
		t.Fatal(err)
	}
	builds := func(version string) (built, int, int) {
		b := c.builder(t, "--modules=nvidia", "--user-space=none", "--debug", "--driver-version="+version, "--driver-sha256="+digestOf(t, share, version))
		b.Share = share
		made := build(t, b)
		known, asked := answered(t, made.log)
		t.Logf("driver %s: %d answers were known, %d questions were asked", version, known, asked)
		return made, known, asked
	}

	again, known, asked := builds(version)
	if known < 200 || asked > 0 {
		t.Errorf("of the driver that the demo built %d answers are known, and %d questions are asked", known, asked)
	}
	if diff := cmp.Diff(c.manifest(t).Modules[:1], again.manifest.Modules); diff != "" {
		t.Errorf("with answers another module is built (-the demo's +got):\n%s", diff)
	}

	with, known, asked := builds(next)
	if known < 200 || asked > 0 {
		t.Errorf("of the next driver %d answers are known, and %d questions are asked", known, asked)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(share, ".builder/answers")), os.RemoveAll(filepath.Join(share, "modules"))); err != nil {
		t.Fatal(err)
	}
	without, known, asked := builds(next)
	if known > 0 || asked < 200 {
		t.Errorf("without answers %d are known, and %d questions are asked", known, asked)
	}
	if diff := cmp.Diff(without.manifest, with.manifest); diff != "" {
		t.Errorf("with answers of another driver something else is built (-without +with):\n%s", diff)
	}
}

// cached is another share with the driver, the kernel and the caches of the demo's.
func (c *checkout) cached(t *testing.T) string {
	t.Helper()
	share := newShare(t)
	for _, name := range []string{"linux", ".builder/prepared", ".builder/answers"} {
		to := filepath.Join(share, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		// With times, by which builder knows its own tree, and as this share's owner's.
		cmd := exec.CommandContext(t.Context(), "cp", "-R", "--preserve=mode,timestamps,links", filepath.Join(c.dir, name), to)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return share
}

// digestOf is the digest of a package in a share, as --driver-sha256 takes it.
func digestOf(t *testing.T, share, version string) string {
	t.Helper()
	pkg, err := cuda.Find(t.Context(), filepath.Join(share, "cuda"), kernel.X86_64, version)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := pkg.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(digest, "sha256:")
}

// answered is how many of the driver's questions about the kernel a log says were
// answered by what is known, and how many by the compiler.
func answered(t *testing.T, log string) (known, asked int) {
	t.Helper()
	m := regexp.MustCompile(`"known":(\d+),"asked":(\d+),`).FindStringSubmatch(log)
	if m == nil {
		t.Fatal("the log does not say how many of the driver's tests were answered")
	}
	known, _ = strconv.Atoi(m[1]) // digits
	asked, _ = strconv.Atoi(m[2])
	return known, asked
}
