package cuda

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The manifest of the package NVIDIA-Linux-x86_64-440.44, as NVIDIA wrote it.
func readManifest440(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "manifest-440.44.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseManifest(t *testing.T) {
	t.Parallel()
	m, err := ParseManifest(bytes.NewReader(readManifest440(t)))
	if err != nil {
		t.Fatal(err)
	}
	head := m
	head.Files = nil
	want := Manifest{
		Description:    "NVIDIA Accelerated Graphics Driver for Linux-x86_64",
		Version:        "440.44",
		Modules:        []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"},
		BuildDir:       "./kernel/",
		PrecompiledDir: "./kernel/precompiled/",
	}
	if diff := cmp.Diff(want, head); diff != "" {
		t.Error(diff)
	}
	if got, want := len(m.Files), 577; got != want {
		t.Errorf("%d files, want %d", got, want)
	}
	for _, want := range []File{
		{"kernel/nvidia/nv.c", 0o644, "KERNEL_MODULE_SRC", []string{"INHERIT_PATH_DEPTH:1"}, "resman"},
		{"nvidia-installer", 0o755, "INSTALLER_BINARY", nil, "installer"},
	} {
		i := slices.IndexFunc(m.Files, func(f File) bool { return f.Path == want.Path })
		if i < 0 {
			t.Errorf("%s is not listed", want.Path)
			continue
		}
		if diff := cmp.Diff(want, m.Files[i]); diff != "" {
			t.Error(diff)
		}
	}
	names := m.buildFiles()
	// 333 sources, kernel/dkms.conf, the installer and the manifest.
	if len(names) != 336 || !slices.IsSorted(names) || slices.Contains(names, "libcuda.so.440.44") {
		t.Errorf("%d files to build from: %v", len(names), names)
	}
}

const head = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n535.261.03\n \nnvidia nvidia-uvm \n \n \n./kernel/\n./kernel/precompiled/\n"

func TestParseManifestNewer(t *testing.T) {
	t.Parallel()
	m, err := ParseManifest(strings.NewReader(head + `kernel/Makefile 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman
./kernel-open/Makefile 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman-open
firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp
something 0755 TYPE_OF_2030 a b
libcuda.so.1 0000 CUDA_SYMLINK NATIVE . libcuda.so.535.261.03 MODULE:gpgpu

what follows the first empty line is not read
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{"kernel/Makefile", 0o644, "KERNEL_MODULE_SRC", []string{"INHERIT_PATH_DEPTH:1"}, "resman"},
		{"kernel-open/Makefile", 0o644, "KERNEL_MODULE_SRC", []string{"INHERIT_PATH_DEPTH:1"}, "resman-open"},
		{"firmware/gsp_ga10x.bin", 0o644, "FIRMWARE", []string{"INHERIT_PATH_DEPTH:1"}, "gsp"},
		{"something", 0o755, "TYPE_OF_2030", []string{"a", "b"}, ""},
		{"libcuda.so.1", 0, "CUDA_SYMLINK", []string{"NATIVE", ".", "libcuda.so.535.261.03"}, "gpgpu"},
	}
	if diff := cmp.Diff(want, m.Files); diff != "" {
		t.Error(diff)
	}
	d := Driver{Manifest: m}
	if diff := cmp.Diff([]string{Proprietary, Open}, d.ModuleTypes()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"nvidia", "nvidia-uvm"}, d.Modules(Open)); diff != "" {
		t.Error(diff)
	}
}

func TestDriverOfOneType(t *testing.T) {
	t.Parallel()
	m, err := ParseManifest(bytes.NewReader(readManifest440(t)))
	if err != nil {
		t.Fatal(err)
	}
	d := Driver{Manifest: m}
	if diff := cmp.Diff([]string{Proprietary}, d.ModuleTypes()); diff != "" {
		t.Error(diff)
	}
	if got := d.Modules(Open); got != nil {
		t.Errorf("open modules: %v", got)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "ends at line 0"},
		{"cut", "NVIDIA\n535.261.03\n", "ends at line 2"},
		{"no version", strings.Replace(head, "535.261.03", "latest", 1), `line 2: "latest" is not a driver version`},
		{"no modules", strings.Replace(head, "nvidia nvidia-uvm ", " ", 1), "line 4 names no kernel modules"},
		{"a module elsewhere", strings.Replace(head, "nvidia-uvm", "../nvidia-uvm", 1), `line 4: "../nvidia-uvm" is not a module's name`},
		{"two words", head + "kernel/nv.c 0644\n", "line 9: "},
		{"no mode", head + "kernel/nv.c rw KERNEL_MODULE_SRC\n", `line 9: "rw" is not a mode`},
		{"the second file's line", head + "kernel/nv.c 0644 KERNEL_MODULE_SRC\nkernel/nv.h\n", `line 10: "kernel/nv.h" is not a path, a mode and a type`},
		{"absolute", head + "/etc/passwd 0644 KERNEL_MODULE_SRC\n", "not a path inside the package"},
		{"climbs out", head + "kernel/../../passwd 0644 KERNEL_MODULE_SRC\n", "not a path inside the package"},
		{"a long line", head + strings.Repeat("x", maxManifestLine+1), "too long"},
		{"a long file", head + strings.Repeat("kernel/nv.c 0644 KERNEL_MODULE_SRC\n", maxManifest/32), "longer than 4 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseManifest(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseManifest = %v, want %q", err, c.want)
			}
		})
	}
}

// A manifest may be as large as its limit, and not a byte more.
func TestParseManifestOfTheLimit(t *testing.T) {
	t.Parallel()
	const line = " 0644 KERNEL_MODULE_SRC\n"
	file := strings.Repeat("x", 32<<10-len(line)) + line
	n := (maxManifest - len(head)) / len(file)
	text := head + strings.Repeat(file, n-1)
	text += strings.Repeat("x", maxManifest-len(text)-len(line)) + line
	if m, err := ParseManifest(strings.NewReader(text)); err != nil || len(m.Files) != n {
		t.Errorf("%d bytes: %d files, %v, want %d", len(text), len(m.Files), err, n)
	}
	if _, err := ParseManifest(strings.NewReader(text + "\n")); err == nil || err.Error() != "longer than 4 MiB" {
		t.Errorf("%d bytes: error %v", len(text)+1, err)
	}
}

// Firmware is installed without as many folders of its path as its line counts.
func TestFirmware(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path       string
		attributes []string
		want       string
	}{
		{"firmware/gsp_ga10x.bin", []string{"INHERIT_PATH_DEPTH:1"}, "nvidia/1.2/gsp_ga10x.bin"},
		{"firmware/a/b.bin", []string{"NATIVE", "INHERIT_PATH_DEPTH:1"}, "nvidia/1.2/a/b.bin"},
		{"firmware/a/b.bin", []string{"INHERIT_PATH_DEPTH:2"}, "nvidia/1.2/b.bin"},
		{"firmware/b.bin", []string{"INHERIT_PATH_DEPTH:0"}, "nvidia/1.2/firmware/b.bin"},
		{"firmware/b.bin", nil, "nvidia/1.2/firmware/b.bin"},
		{"firmware/b.bin", []string{"1"}, "nvidia/1.2/firmware/b.bin"},
		{"firmware/b.bin", []string{"INHERIT_PATH_DEPTH:2"}, "nvidia/1.2/firmware/b.bin"}, // all of it
		{"firmware/b.bin", []string{"INHERIT_PATH_DEPTH:-1"}, "nvidia/1.2/firmware/b.bin"},
		{"firmware/b.bin", []string{"INHERIT_PATH_DEPTH:x", "INHERIT_PATH_DEPTH:1"}, "nvidia/1.2/b.bin"},
	} {
		d := Driver{Dir: "/scratch/driver", Version: "1.2", Manifest: Manifest{Files: []File{
			{Path: "kernel/nv.c", Type: "KERNEL_MODULE_SRC"}, {Path: tt.path, Type: "FIRMWARE", Attributes: tt.attributes},
		}}}
		if diff := cmp.Diff([]string{tt.want}, d.Firmware()); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", tt.path, tt.attributes, diff)
		}
		if diff := cmp.Diff(map[string]string{tt.want: "/scratch/driver/" + tt.path}, d.FirmwareFiles()); diff != "" {
			t.Errorf("the files of %s %v (-want +got):\n%s", tt.path, tt.attributes, diff)
		}
	}
	if diff := cmp.Diff([]string{}, driver("1.2", Proprietary).Firmware()); diff != "" {
		t.Errorf("none (-want +got):\n%s", diff)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(readManifest440(f))
	f.Add([]byte(head + "kernel/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, name := range m.buildFiles() {
			if !filepath.IsLocal(name) {
				t.Errorf("%q leaves the package", name)
			}
		}
	})
}
