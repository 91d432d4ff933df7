//go:build integration

package kernels

import (
	"archive/tar"
	_ "embed"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source/needs"
)

//go:embed build.sh
var buildScript string

// defconfigs are the tree's own configs for an architecture. No build needs
// them: a host has its own.
var defconfigs = map[kernel.Arch]string{
	kernel.X86_64:  "arch/x86/configs/x86_64_defconfig",
	kernel.AArch64: "arch/arm64/configs/defconfig",
}

// TestSourceNeeds prepares and compiles a module on trees that have exactly
// what the lists name.
func TestSourceNeeds(t *testing.T) {
	l := shared.Lab(t)
	for _, test := range []struct{ suite, name string }{
		{"bullseye", "linux-source-5.10"},
		{"bookworm", "linux-source-6.1"},
		{"bookworm", "linux-source-6.12"},
		{"trixie", "newest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kbuild, err := l.Kbuild(t.Context(), test.suite)
			if err != nil {
				t.Fatal(err)
			}
			archive, line, err := sourceOf(t, kbuild, test.name)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			source, out := t.TempDir(), t.TempDir()
			unpack(t, archive, source, line)
			if err := kbuild.Run(t.Context(), "source=/source\n"+buildScript, out, source+":/source"); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"defconfig", "everything", "arm64"} {
				wantModule(t, out, name)
			}
			wantOptions(t, filepath.Join(out, "everything.config"))
			t.Logf("%.0f s, once its parts were there", time.Since(began).Seconds())
		})
	}
}

// sourceOf is a kernel's source, and the line that it is of.
func sourceOf(t *testing.T, kbuild lab.Kbuild, name string) (archive, line string, err error) {
	t.Helper()
	line, ok := strings.CutPrefix(name, "linux-source-")
	if !ok {
		return kbuild.NewestSource(t.Context())
	}
	archive, err = kbuild.Source(t.Context(), name)
	return archive, line, err
}

// unpack leaves what the lists name for a kernel line in x86_64 and aarch64 below
// dir, and the defconfigs beside them.
func unpack(t *testing.T, archive, dir, line string) {
	t.Helper()
	release, err := kernel.ParseRelease(line)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	lists := map[kernel.Arch]*needs.List{}
	for arch := range defconfigs {
		if lists[arch], err = needs.For(arch, release); err != nil {
			t.Fatal(err)
		}
	}
	members := tar.NewReader(plain)
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		var places []string
		for arch, list := range lists {
			if list.Match(name) {
				places = append(places, filepath.Join(dir, string(arch), name))
			}
			if name == defconfigs[arch] {
				places = append(places, filepath.Join(dir, string(arch)+".defconfig"))
			}
		}
		if h.Typeflag != tar.TypeDir && len(places) > 0 {
			put(t, h, members, places)
		}
	}
}

// put writes a member to each of the places.
func put(t *testing.T, h *tar.Header, content io.Reader, places []string) {
	t.Helper()
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range places {
		err := os.MkdirAll(filepath.Dir(place), 0o755)
		if err == nil && h.Typeflag == tar.TypeSymlink {
			err = os.Symlink(h.Linkname, place)
		} else if err == nil {
			err = os.WriteFile(place, text, os.FileMode(h.Mode).Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wantModule shows what make printed where a build left no module.
func wantModule(t *testing.T, out, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(out, name+".ko")); err == nil {
		return
	}
	log, err := os.ReadFile(filepath.Join(out, name+".log"))
	if err != nil {
		t.Errorf("%s: not built", name)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	t.Errorf("%s: no module; make printed\n%s", name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// wantOptions fails where kconfig turned an option off whose build is the point.
func wantOptions(t *testing.T, config string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Error(err)
		return
	}
	for _, option := range []string{"DEBUG_INFO_BTF", "STACK_VALIDATION", "UNWINDER_FRAME_POINTER", "MODULE_SIG", "MODVERSIONS", "SECURITY_SELINUX"} {
		if !strings.Contains(string(text), "\nCONFIG_"+option+"=y\n") {
			t.Errorf("the config has no %s: its build was not tried", option)
		}
	}
}
