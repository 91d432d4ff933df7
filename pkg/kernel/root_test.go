package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
)

func TestFindRoot(t *testing.T) {
	t.Parallel()
	host := testkit.WriteTree(t, map[string]string{"proc/version": "Linux version 6.1.0\n"})
	unmounted := testkit.WriteTree(t, map[string]string{"etc/os-release": "ID=x\n"})
	if err := os.Mkdir(filepath.Join(unmounted, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	empty := testkit.WriteTree(t, map[string]string{"proc/self/status": "", "home/file": ""})
	keys := testkit.WriteTree(t, map[string]string{"proc/keys": ""})
	for _, c := range []struct {
		name, explicit, mount string
		dir                   string
		mounted               bool
	}{
		{"the mount holds nothing of a host", "", empty, "/", false},
		{"the mount holds a proc", "", host, host, true},
		{"the mount holds no more than the keys", "", keys, keys, true},
		{"the mount's proc is empty", "", unmounted, unmounted, true},
		{"no mount", "", filepath.Join(host, "absent"), "/", false},
		{"named", unmounted, host, unmounted, true},
		{"the running system, named", "/", host, "/", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := FindRoot(c.explicit, c.mount)
			if err != nil {
				t.Fatal(err)
			}
			if r.Dir() != c.dir || r.Mounted() != c.mounted {
				t.Errorf("%s, mounted %v", r.Dir(), r.Mounted())
			}
		})
	}
	for _, dir := range []string{filepath.Join(host, "absent"), filepath.Join(host, "proc/version")} {
		if _, err := FindRoot(dir, ""); err == nil {
			t.Errorf("%s was taken for a root", dir)
		}
	}
}

// TestPartsOfAHost: with single folders of the host mounted, the kernel is what
// every container sees of it, and processes are nobody's.
func TestPartsOfAHost(t *testing.T) {
	t.Parallel()
	dir := testkit.WriteTree(t, map[string]string{"etc/os-release": "ID=flatcar\n", "proc/keys": "the host's\n", "sys/kernel/security/lockdown": "[none]\n"})
	r, err := FindRoot("", dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/os-release": "ID=flatcar", "proc/keys": "the host's", "sys/kernel/security/lockdown": "[none]", "proc/version": strings.TrimSpace(string(own)),
		"proc/1/comm": "", "proc/self/comm": "", "proc/mounts": "", "etc/passwd": "", "proc/../etc/passwd": "",
	} {
		if got := r.Text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !r.Exists("sys/module") {
		t.Error("the kernel's own sys is not looked at")
	}
}

func TestOwnRootShowsTheKernelOnly(t *testing.T) {
	t.Parallel()
	r, err := FindRoot("", filepath.Join(t.TempDir(), "absent"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/passwd", "/etc/passwd", "proc/../etc/passwd", "proc"} {
		if _, err := r.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Exists(name) {
			t.Errorf("%s exists", name)
		}
	}
	if text, err := r.ReadFile("proc/version"); err != nil || len(text) == 0 {
		t.Errorf("proc/version: %q, %v", text, err)
	}
}

func TestSymlinksStayInsideTheRoot(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := testkit.WriteTree(t, map[string]string{"usr/lib/os-release": "ID=inside\n"})
	for link, target := range map[string]string{
		"etc":     "usr/lib",                      // relative
		"abs":     "/usr/lib/os-release",          // absolute on the host
		"climbs":  "../../../../../../../../../x", // above the root
		"outside": outside,
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/os-release", "abs", "../../usr/lib/os-release"} {
		if text, err := r.ReadFile(name); err != nil || string(text) != "ID=inside\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for _, name := range []string{"climbs", "outside"} {
		if text, err := r.ReadFile(name); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestReadFileRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := testkit.WriteTree(t, map[string]string{"proc/version": "x"})
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if err := large.Truncate(fileLimit + 1); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "proc", "large"} {
		if _, err := r.ReadFile(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
