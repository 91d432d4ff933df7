//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadInstaller puts a second driver package beside the first, an unpacked
// one whose build goes wrong.
func TestBadInstaller(t *testing.T) {
	share := usedShare(t)
	// The folder is the lab's driver under this version, with the stand-in
	// for nvidia-installer at kernel/installer.
	const version = "1.2.3"
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, folder string)
		args  []string
		says  []string
	}{
		{"kbuild stops", func(t *testing.T, folder string) {
			write(t, filepath.Join(folder, "kernel", "Kbuild"), []byte("$(error this driver is broken)\n"))
		}, nil, []string{"this driver is broken"}},
		{"it hangs", func(t *testing.T, folder string) {
			installer(t, folder, "sleep 1000 & sleep 1000")
		}, []string{"--build-timeout=20s"}, []string{"did not end by itself and was stopped", "--build-timeout"}},
		{"it reports success without modules", func(t *testing.T, folder string) {
			installer(t, folder, "exit 0")
		}, nil, []string{"nvidia-uvm", "reported success"}},
		{"it is not executable", func(t *testing.T, folder string) {
			if err := os.Chmod(filepath.Join(folder, "nvidia-installer"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"not executable"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := results(t, share)
			tt.spoil(t, secondDriver(t, share, version))
			b := online(t, append(tt.args, "--driver-version="+version)...)
			b.Share, b.HostRoot = share, needHost(t).Dir
			o := run(t, b)
			if o.code != 14 {
				t.Errorf("exit code %d, want 14", o.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(lastLine(o.stderr), want) {
					t.Errorf("the error does not say %q", want)
				}
			}
			if after := results(t, share); after != before {
				t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// secondDriver adds an unpacked driver package to the share, until the test
// ends.
func secondDriver(t *testing.T, share, version string) string {
	t.Helper()
	driver := needDriver(t)
	folder := filepath.Join(share, "cuda", "NVIDIA-Linux-x86_64-"+version)
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.CopyFS(folder, os.DirFS(driver.Folder)); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(folder, ".manifest"))
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(manifest), "\n"+driver.Version+"\n", "\n"+version+"\n", 1)
	// What the manifest does not list is not the package's, and not copied.
	edited += "kernel/installer 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n"
	write(t, filepath.Join(folder, ".manifest"), []byte(edited))
	content, err := os.ReadFile(filepath.Join(folder, "nvidia-installer"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "kernel", "installer"), content)
	return folder
}

// installer replaces a package's nvidia-installer by a script that knows the
// options of the one it replaces, and does what it is told instead of building.
func installer(t *testing.T, folder, does string) {
	t.Helper()
	script := "#!/bin/sh\ncase \"$1\" in -A|--advanced-options)\n" +
		"  cp \"$(dirname \"$0\")/kernel/installer\" \"$TMPDIR/installer\" && chmod +x \"$TMPDIR/installer\" && exec \"$TMPDIR/installer\" \"$1\";;\nesac\n" + does + "\n"
	write(t, filepath.Join(folder, "nvidia-installer"), []byte(script))
}
