//go:build integration

package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/modules"
)

// TestFlatcarsTree has no network and builds from the tree that every Flatcar host has,
// which was made before the firmware in the kernel's config was named, and by a compiler
// that the image has not. Where the C library is older than the host's, the tree's
// programs run by the host's own loader.
func TestFlatcarsTree(t *testing.T) {
	host := needFlatcar(t)
	tree := filepath.Join(host.Dir, "usr/lib/modules", host.Release, "build")
	before := treeDigest(t, tree)

	b := offline(t, "--module-type=proprietary", "--modules=nvidia")
	b.Share, b.HostRoot, b.Network = newShare(t), host.Dir, "none"
	made := build(t, b)

	m := made.manifest
	if got := m.Source.Rung; got != "host-tree" {
		t.Errorf("built from %s, want the host's tree", got)
	}
	if got := m.Target; got.Release != host.Release || got.Distribution != "flatcar 4790.0.0" || !strings.HasPrefix(got.Compiler, "gcc 15.") {
		t.Errorf("the target is %+v", got)
	}
	if got := m.Build.Compiler; !strings.HasPrefix(got, "gcc-14 ") {
		t.Errorf("built by %s, want the gcc-14 that the image has", got)
	}
	said := map[string]modules.Check{}
	for _, check := range m.Checks {
		if said[check.Name] = check; check.Verdict == modules.Failed {
			t.Errorf("%s failed: %s", check.Name, check.Detail)
		}
	}
	for _, name := range []string{"config-drift", "symbols", "gpl", "namespaces"} {
		if got := said[name]; got.Verdict != modules.Passed {
			t.Errorf("the manifest says of %s: %q %s", name, got.Verdict, got.Detail)
		}
	}
	if got := said["compiler"]; got.Verdict != modules.NotCheckable || !strings.Contains(got.Detail, "compiled by gcc 14, older than the kernel's 15") {
		t.Errorf("the manifest says of the compiler: %q %s", got.Verdict, got.Detail)
	}
	// Flatcar's kernels have type information; nobody has built this one.
	if got := said[modules.LayoutCheck]; got.Verdict != modules.NotCheckable || !strings.Contains(got.Detail, "mount the host's /sys") {
		t.Errorf("the manifest says of the types: %q %s", got.Verdict, got.Detail)
	}
	if len(m.Overridden) > 0 {
		t.Errorf("%v let pass", m.Overridden)
	}
	t.Run("by the loader", func(t *testing.T) { byLoader(t, host) })
	if after := treeDigest(t, tree); after != before {
		t.Error("the host's tree was changed")
	}
	if !t.Failed() {
		proved(host, made, checked)
	}
}

// byLoader looks at the host in a Debian that is older than the image: the tree serves
// there too, and its programs have been run.
func byLoader(t *testing.T, host lab.Host) {
	kbuild, err := shared.Lab(t).Kbuild(t.Context(), "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	dir := newShare(t)
	script := "install /builder /usr/local/bin/\n" + // what came out of the image is no program yet
		"builder --share=/out --host-root=/host --module-type=proprietary --modules=nvidia --dry-run >plan 2>log || true"
	if err := kbuild.Run(t.Context(), script, dir, binary(t)+":/builder", host.Dir+":/host"); err != nil {
		t.Fatal(err)
	}
	plan, err := os.ReadFile(filepath.Join(dir, "plan"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "build is this kernel's own; its programs run by the host's own loader\n"; !strings.Contains(string(plan), want) {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Errorf("the plan has no %q:\n%s%s", want, plan, log)
	}
}

// treeDigest is of everything in a folder: names, modes, links and contents.
func treeDigest(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %s %s\n", path, info.Mode(), info.ModTime())
		var content []byte
		switch {
		case entry.Type().IsRegular():
			content, err = os.ReadFile(path)
		case entry.Type() == fs.ModeSymlink:
			var to string
			to, err = os.Readlink(path)
			content = []byte(to)
		}
		fmt.Fprintf(sum, "%d %s\n", len(content), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
