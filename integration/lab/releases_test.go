package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHostAs(t *testing.T) {
	h := Host{Dir: t.TempDir(), Release: "6.1.192-coreos-r1"}
	for name, content := range map[string]string{
		"proc/version":              "Linux version 6.1.192-coreos-r1 (gcc-12) #1 SMP Debian 6.1.192-2\n",
		"proc/sys/kernel/osrelease": "6.1.192-coreos-r1\n",
		"proc/config.gz":            string(compress([]byte("#\n# Linux/x86 6.1.192 Kernel Configuration\n"))),
	} {
		if err := writeFile(filepath.Join(h.Dir, name), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	updated, err := h.As(filepath.Join(t.TempDir(), "updated"), "6.1.190")
	if err != nil {
		t.Fatal(err)
	}
	if updated.Release != "6.1.190-coreos-r1" {
		t.Errorf("release %s", updated.Release)
	}
	for name, want := range map[string]string{
		"proc/version":              "Linux version 6.1.190-coreos-r1 (gcc-12) #1 SMP Debian 6.1.192-2\n",
		"proc/sys/kernel/osrelease": "6.1.190-coreos-r1\n",
		"proc/config.gz":            string(compress([]byte("#\n# Linux/x86 6.1.190 Kernel Configuration\n"))),
	} {
		got, err := os.ReadFile(filepath.Join(updated.Dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, want %q (%v)", name, got, want, err)
		}
	}
	if _, err := (Host{Dir: h.Dir, Release: "5.10.1-coreos"}).As(t.TempDir(), "5.10.2"); err == nil {
		t.Error("a host of another release was updated")
	}
}
