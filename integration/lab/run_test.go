package lab

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/makeself"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
)

// TestPackRun reads what packRun wrote with the reader that builder has.
func TestPackRun(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "NVIDIA-Linux-x86_64-535.261.03")
	for name, content := range map[string]string{
		"nvidia-installer": "installer", "kernel/Kbuild": "obj-m", "kernel/nvidia-drm/drm.c": "int x;", "kernel/dkms.conf": "",
		"kernel-open/Kbuild": "obj-m",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeManifest(folder, "535.261.03", "x86_64"); err != nil {
		t.Fatal(err)
	}
	if err := packRun(folder, folder+".run", "535.261.03", "x86_64"); err != nil {
		t.Fatal(err)
	}

	file, err := os.Open(folder + ".run")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	archive, err := makeself.New(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if !archive.HasCRC || archive.MD5 == "" || archive.VersionString != "535.261.03" || archive.TargetArch != "x86_64" {
		t.Errorf("header %+v", archive.Header)
	}
	want := []string{"./", "./.manifest", "./kernel/", "./kernel/Kbuild", "./kernel/dkms.conf", "./kernel/nvidia-drm/", "./kernel/nvidia-drm/drm.c",
		"./kernel-open/", "./kernel-open/Kbuild", "./nvidia-installer"}
	if diff := cmp.Diff(want, members(t, archive)); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}

	found, err := cuda.Find(t.Context(), filepath.Dir(folder), kernel.X86_64, "")
	if err != nil {
		t.Fatal(err)
	}
	if found.Version != "535.261.03" {
		t.Errorf("builder finds %+v", found)
	}
}

func members(t *testing.T, archive *makeself.Archive) (names []string) {
	t.Helper()
	payload, err := archive.Payload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer payload.Close()
	for r := tar.NewReader(payload); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}
