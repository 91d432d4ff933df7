package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/patch"
	"github.com/k8sp/cuda/pkg/stage"
)

// compat changes a file that a build needs, one that it does not, and adds one.
const compat = `--- a/scripts/setlocalversion
+++ b/scripts/setlocalversion
@@ -1 +1,2 @@
 #!/bin/sh
+exit 0
--- a/drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c
+++ b/drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c
@@ -1 +1 @@
-/* a name that NTFS reserves */
+/* a reserved name */
--- /dev/null
+++ b/net/ipv4/Kconfig
@@ -0,0 +1 @@
+config NF_CONNTRACK_IPV4_COMPAT
`

// patches reads a user's patches, by the names of their files.
func patches(t *testing.T, files map[string]string) patch.Set {
	t.Helper()
	dir := testkit.WriteTree(t, files)
	set, err := patch.Read(dir, patch.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPatches(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	archive, digest := tarball(t, r, "v4.7.3")
	for name, from := range map[string]string{"git": "", "tarball": archive} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := r.options(t)
			if from != "" {
				o.APIURL, o.CloneURL, o.From, o.SHA256 = "", "", from, digest
			}
			o.Patches = patches(t, map[string]string{"z0001-compat.patch": compat})
			to := target(t, "4.7.3")
			got, err := Checkout(t.Context(), to, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Patch{{"z0001-compat.patch", o.Patches[0].SHA256}}, got.Patches); diff != "" {
				t.Error(diff)
			}
			if got.Identity() != got.Commit+"+"+o.Patches[0].SHA256 {
				t.Errorf("it is known as %s", got.Identity())
			}
			for file, want := range map[string]string{
				"scripts/setlocalversion": "#!/bin/sh\nexit 0\n", "net/ipv4/Kconfig": "config NF_CONNTRACK_IPV4_COMPAT\n",
				"drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c": "/* a reserved name */\n",
			} {
				if text, err := os.ReadFile(filepath.Join(o.Dir, file)); string(text) != want || err != nil {
					t.Errorf("%s: %q, %v", file, text, err)
				}
			}
			if from == "" { // what git says to who looks at it
				want := "M  drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c\nA  net/ipv4/Kconfig\nM  scripts/setlocalversion"
				if diff := cmp.Diff(want, gittest.Run(t, o.Dir, "status", "--porcelain")); diff != "" {
					t.Error(diff)
				}
				if said := gittest.Run(t, o.Dir, "diff", "--cached"); !strings.Contains(said, "+exit 0") {
					t.Errorf("git diff --cached: %s", said)
				}
				gittest.Run(t, o.Dir, "fsck")
			}
			wantReuse(t, r, o)
		})
	}
}

// wantReuse wants a tree to serve again with the same patches, and with no others.
func wantReuse(t *testing.T, r *repository, o Options) {
	t.Helper()
	to := target(t, "4.7.3")
	again, err := Checkout(t.Context(), to, o)
	if err != nil || !again.Reused {
		t.Fatalf("with the same patches: %+v, %v", again, err)
	}
	o.Patches = patches(t, map[string]string{"z0001-compat.patch": strings.Replace(compat, "exit 0", "exit 1", 1)})
	other, err := Checkout(t.Context(), to, o)
	if err != nil || other.Reused {
		t.Fatalf("with other patches: %+v, %v", other, err)
	}
	if text, err := os.ReadFile(filepath.Join(o.Dir, "scripts/setlocalversion")); string(text) != "#!/bin/sh\nexit 1\n" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	o.Patches = nil
	if plain, err := Checkout(t.Context(), to, o); err != nil || plain.Reused || plain.Identity() != plain.Commit {
		t.Errorf("without: %+v, %v", plain, err)
	}
	if why, err := Occupied(o.Dir); why != "" || err != nil {
		t.Errorf("it is not ours any more: %s, %v", why, err)
	}
	o.Patches = patches(t, map[string]string{"z0001-compat.patch": compat})
	if _, err := Checkout(t.Context(), to, o); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(o.Dir, "net/ipv4/Kconfig"), "config MINE\n")
	_, err = Checkout(t.Context(), target(t, "4.8.1"), o)
	wantError(t, err, stage.Source, "holds changes (net/ipv4/Kconfig)")
}

func TestPatchesThatDoNotApply(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	o.Patches = patches(t, map[string]string{"fix.patch": strings.Replace(compat, " #!/bin/sh", " #!/bin/bash", 1)})
	_, err := Checkout(t.Context(), target(t, "4.7.3"), o)
	wantError(t, err, stage.Source, "the patch fix.patch does not apply to the kernel's source: scripts/setlocalversion, hunk 1", "--source-patches")
	wantEmpty(t, o.Scratch)
	if _, err := os.Lstat(o.Dir); !os.IsNotExist(err) {
		t.Errorf("a tree was left: %v", err)
	}
	o = r.options(t)
	o.APIURL, o.CloneURL, o.From = "", "", o.Dir
	if err := os.MkdirAll(o.From, 0o755); err != nil {
		t.Fatal(err)
	}
	o.Patches = patches(t, map[string]string{"fix.patch": compat})
	_, err = Checkout(t.Context(), target(t, "4.7.3"), o)
	wantError(t, err, stage.Usage, "a folder that --source names is used as it is")
}
