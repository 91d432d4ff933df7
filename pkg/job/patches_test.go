package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/stage"
)

// change is a patch that changes the fixture's source of a form to another.
func change(form, to string) string {
	return fmt.Sprintf("--- a/%s/nvidia/nv.c\n+++ b/%[1]s/nvidia/nv.c\n@@ -1 +1 @@\n-/* a source */\n+/* %s */\n", form, to)
}

// patchesIn makes a folder of patches, by name.
func patchesIn(t *testing.T, patches map[string]string) string {
	t.Helper()
	dir := testkit.PlainTemp(t)
	for name, text := range patches {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sees has the fixture's installer note what a source is when it is to be compiled.
func (f *fixture) sees(t *testing.T, name string) *string {
	t.Helper()
	var seen string
	f.tools.before["nvidia-installer"] = func() {
		text, err := os.ReadFile(filepath.Join(f.share, ".builder/scratch/driver", name))
		if err != nil {
			t.Error(err)
		}
		seen = string(text)
	}
	return &seen
}

// TestPatches are applied to what is compiled, and to nothing of the user's; they are
// on record, and other ones build again.
func TestPatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	digest := f.digest(t)
	seen := f.sees(t, "kernel/nvidia/nv.c")
	dir := patchesIn(t, map[string]string{"2.diff": change("kernel-open", "an open one"), "1.patch": change("kernel", "a patched one"), "README": ""})
	patches := func(o *Options) { o.DriverPatches = dir }

	o := f.mustBuild(t, patches)
	if *seen != "/* a patched one */\n" || o.Reused || !strings.Contains(o.log, "driver patches (was nothing, is 1.patch sha256:") {
		t.Errorf("compiled %q\n%s", *seen, o.log)
	}
	m := f.manifest(t)
	if p := m.Driver.Patches; len(p) != 2 || p[0].Name != "1.patch" || len(p[0].SHA256) != 64 || p[1].Name != "2.diff" {
		t.Errorf("%+v", m.Driver.Patches)
	}
	if m.Driver.Digest != "sha256:"+digest {
		t.Errorf("the package's digest is %s, want the one before the patches, %s", m.Driver.Digest, digest)
	}
	if text, err := os.ReadFile(filepath.Join(f.driver(), "kernel/nvidia/nv.c")); string(text) != "/* a source */\n" || err != nil {
		t.Errorf("the user's package is %q, %v", text, err)
	}
	if o := f.mustBuild(t, patches); !o.Reused {
		t.Errorf("the same again is built again:\n%s", o.log)
	}
	if err := os.Remove(filepath.Join(dir, "2.diff")); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t, patches); o.Reused || !strings.Contains(o.log, "driver patches (was 1.patch sha256:") {
		t.Errorf("other patches, and reused: %v\n%s", o.Reused, o.log)
	}
	if o := f.mustBuild(t); o.Reused || *seen != "/* a source */\n" || len(f.manifest(t).Driver.Patches) != 0 {
		t.Errorf("without patches, reused: %v, compiled %q\n%s", o.Reused, *seen, o.log)
	}
	// A digest that is asked for is the package's.
	f.mustBuild(t, patches, func(o *Options) { o.DriverSHA256, o.Strict = digest, false })
}

// TestPatchesAreTriedOnAKnownBreak: the table knows nothing of a patched driver.
func TestPatchesAreTriedOnAKnownBreak(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := patchesIn(t, map[string]string{"fix.patch": change("kernel-open", "fixed")})
	o := f.mustBuild(t, open, func(o *Options) { o.DriverPatches = dir })
	if !o.compiled() || !strings.Contains(o.log, "patched it may be another matter") || len(f.manifest(t).Overridden) > 0 {
		t.Errorf("overridden %q\n%s", f.manifest(t).Overridden, o.log)
	}
}

// TestPatchThatDoesNotApply ends the build before anything is compiled or fetched of the
// kernel.
func TestPatchThatDoesNotApply(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	before := f.published(t)
	dir := patchesIn(t, map[string]string{"fix.patch": strings.Replace(change("kernel", "x"), "a source", "another source", 1)})
	o := f.build(t, func(o *Options) { o.DriverPatches = dir })
	const says = "the patch fix.patch does not apply to the driver's sources: kernel/nvidia/nv.c, hunk 1 (@@ -1,1 +1,1 @@): the lines that it changes are not there"
	if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), says) || o.compiled() {
		t.Errorf("%v, compiled: %v, want one of the driver stage with %q", o.err, o.compiled(), says)
	}
	if after := f.published(t); after != before {
		t.Errorf("what was published was touched:\n%s\nwant\n%s", after, before)
	}
}

// TestNoPatches are wrong options, also in a dry run.
func TestNoPatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, dir := range []string{patchesIn(t, nil), filepath.Join(t.TempDir(), "none"), patchesIn(t, map[string]string{"a.patch": "--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-1\n+2\n"})} {
		f.options.DriverPatches = dir
		if o := f.build(t); stage.ExitCode(o.err) != 2 || len(o.ran) > 0 {
			t.Errorf("%v, and %v ran", o.err, o.ran)
		}
		if _, err := Plan(t.Context(), f.options); stage.ExitCode(err) != 2 {
			t.Errorf("%v", err)
		}
	}
}
