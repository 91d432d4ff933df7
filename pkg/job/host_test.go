package job

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// TestCapture has a build see in a tar of the host what it sees of the host.
func TestCapture(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := t.TempDir()
	for _, name := range []string{"host.tar", "host.tar.gz"} {
		path := filepath.Join(dir, name)
		if err := CaptureFile(t.Context(), f.host, path); err != nil {
			t.Fatal(err)
		}
		head, err := os.ReadFile(path)
		if packed := strings.HasPrefix(string(head), "\x1f\x8b"); err != nil || packed != strings.HasSuffix(name, ".gz") {
			t.Errorf("%s is packed: %t, %v", name, packed, err)
		}
		if o := f.mustBuild(t, rebuild, func(o *Options) { o.Host.Root = path }); o.Release != testRelease {
			t.Errorf("of %s: %+v", name, o.Result)
		}
		if o := f.mustBuild(t); !o.Reused {
			t.Errorf("what was built of %s is built again:\n%s", name, o.log)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, "host.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, says string }{
		"cut.tar":  {string(whole[:len(whole)/2]), "the tar is cut short"},
		"none.tar": {"no tar", "cannot be opened"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if o := f.build(t, func(o *Options) { o.Host.Root = path }); stage.ExitCode(o.err) != 10 || !strings.Contains(o.err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, o.err, c.says)
		}
	}
	if left, err := os.ReadDir(dir); len(left) != 4 {
		t.Errorf("left: %v, %v", left, err)
	}
	err = CaptureFile(t.Context(), f.host, filepath.Join(dir, "absent", "host.tar"))
	if stage.ExitCode(err) != 10 || !strings.Contains(err.Error(), "the capture cannot be written") {
		t.Errorf("into a folder that is not there: %v", err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	err = CaptureFile(t.Context(), f.host, taken)
	if stage.ExitCode(err) != 10 || !strings.Contains(err.Error(), "the capture cannot be written") {
		t.Errorf("over a folder: %v", err)
	}
}

// TestVerify holds what is published against its manifest, and modules against a host.
func TestVerify(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.mustBuild(t)
	failed := func(manifest string) (names []string) {
		t.Helper()
		checks, err := Verify(t.Context(), filepath.Dir(manifest), Host{Root: f.host}, "", nil)
		if err != nil || len(checks) == 0 {
			t.Fatalf("%+v, %v", checks, err)
		}
		for _, c := range checks {
			if c.Verdict == modules.Failed {
				names = append(names, c.Name)
			}
		}
		return names
	}
	for _, manifest := range []string{o.Manifest, o.UserSpace} {
		if got := failed(manifest); len(got) > 0 {
			t.Errorf("%s: %q", manifest, got)
		}
	}
	library := filepath.Join(filepath.Dir(o.UserSpace), "usr/lib64/libcuda.so."+testDriver)
	if err := os.WriteFile(library, []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := failed(o.UserSpace); len(got) != 1 || got[0] != "intact" {
		t.Errorf("a changed library: %q", got)
	}
	f.write(t, "host/proc/config.gz", strings.Replace(testConfig, "CONFIG_SMP=y\n", "", 1))
	if got := failed(o.Manifest); len(got) == 0 {
		t.Error("modules for a kernel of another config pass")
	}
	if _, err := Verify(t.Context(), filepath.Dir(o.Manifest), Host{Root: f.host}, f.source, nil); err == nil {
		t.Error("a folder is taken for a certificate")
	}
	if _, err := Verify(t.Context(), filepath.Dir(o.Manifest), Host{Root: filepath.Join(f.host, "absent")}, "", nil); stage.ExitCode(err) != 10 {
		t.Errorf("of no host: %v", err)
	}
}
