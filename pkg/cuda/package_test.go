package cuda

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// put makes a folder of empty packages; a name that ends in ".run" is a file.
func put(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		var err error
		if strings.HasSuffix(name, ".run") {
			err = os.WriteFile(path, nil, 0o644)
		} else {
			err = os.Mkdir(path, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		arch          kernel.Arch
		present       []string
		want          string
		seen          []string
	}{
		{
			name:    "newest by number",
			present: []string{"NVIDIA-Linux-x86_64-535.9.run", "NVIDIA-Linux-x86_64-535.104.05.run", "NVIDIA-Linux-x86_64-535.104.run"},
			want:    "NVIDIA-Linux-x86_64-535.104.05.run",
			seen:    []string{"NVIDIA-Linux-x86_64-535.104.05.run", "NVIDIA-Linux-x86_64-535.104.run", "NVIDIA-Linux-x86_64-535.9.run"},
		},
		{
			name:    "folder before file",
			present: []string{"NVIDIA-Linux-x86_64-535.261.03.run", "NVIDIA-Linux-x86_64-535.261.03"},
			want:    "NVIDIA-Linux-x86_64-535.261.03",
			seen:    []string{"NVIDIA-Linux-x86_64-535.261.03", "NVIDIA-Linux-x86_64-535.261.03.run"},
		},
		{
			name:    "newer file before older folder",
			present: []string{"NVIDIA-Linux-x86_64-550.54.14.run", "NVIDIA-Linux-x86_64-535.261.03"},
			want:    "NVIDIA-Linux-x86_64-550.54.14.run",
			seen:    []string{"NVIDIA-Linux-x86_64-550.54.14.run", "NVIDIA-Linux-x86_64-535.261.03"},
		},
		{
			name: "the version asked for", version: "440.44",
			present: []string{"NVIDIA-Linux-x86_64-440.44", "NVIDIA-Linux-x86_64-535.261.03"},
			want:    "NVIDIA-Linux-x86_64-440.44",
			seen:    []string{"NVIDIA-Linux-x86_64-535.261.03", "NVIDIA-Linux-x86_64-440.44"},
		},
		{
			name:    "variants",
			present: []string{"NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run", "NVIDIA-Linux-x86_64-550.54.14-no-compat32.run", "NVIDIA-Linux-x86_64-550.54.14.run"},
			want:    "NVIDIA-Linux-x86_64-550.54.14.run",
			seen:    []string{"NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run", "NVIDIA-Linux-x86_64-550.54.14.run", "NVIDIA-Linux-x86_64-550.54.14-no-compat32.run"},
		},
		{
			name:    "a cloud's, for its guests",
			present: []string{"NVIDIA-Linux-x86_64-580.105.08-grid-azure.run", "NVIDIA-Linux-x86_64-580.105.08-vgpu-kvm.run"},
			want:    "NVIDIA-Linux-x86_64-580.105.08-grid-azure.run",
			seen:    []string{"NVIDIA-Linux-x86_64-580.105.08-grid-azure.run", "NVIDIA-Linux-x86_64-580.105.08-vgpu-kvm.run"},
		},
		{
			name: "the other architecture", arch: kernel.AArch64,
			present: []string{"NVIDIA-Linux-aarch64-535.261.03.run", "NVIDIA-Linux-x86_64-550.54.14.run"},
			want:    "NVIDIA-Linux-aarch64-535.261.03.run",
			seen:    []string{"NVIDIA-Linux-x86_64-550.54.14.run", "NVIDIA-Linux-aarch64-535.261.03.run"},
		},
		{
			name:    "what is no package",
			present: []string{"NVIDIA-Linux-x86_64-440.44-no-compat32.run", "cuda_12.8.0_570.86.10_linux.run", "NVIDIA-Linux-x86_64-440.run.part", "samples"},
			want:    "NVIDIA-Linux-x86_64-440.44-no-compat32.run",
			seen:    []string{"NVIDIA-Linux-x86_64-440.44-no-compat32.run"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.arch == "" {
				c.arch = kernel.X86_64
			}
			dir := put(t, c.present...)
			got, err := Find(t.Context(), dir, c.arch, c.version)
			if err != nil {
				t.Fatal(err)
			}
			if got.Name() != c.want {
				t.Errorf("chose %s, want %s", got.Name(), c.want)
			}
			seen, err := list(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.seen, names(seen)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFindParses(t *testing.T) {
	t.Parallel()
	dir := put(t, "NVIDIA-Linux-x86_64-535.261.03-no-compat32.run")
	got, err := Find(t.Context(), dir, kernel.X86_64, "535.261.03")
	if err != nil {
		t.Fatal(err)
	}
	want := Package{
		Path: filepath.Join(dir, "NVIDIA-Linux-x86_64-535.261.03-no-compat32.run"),
		Kind: RunFile, Version: "535.261.03", Arch: kernel.X86_64, Variant: "no-compat32",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIsVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"535.261.03": true, "440.44": true, "580": false, "535.261.03.1": false, "v535.1": false, "535.1\n": false, "535.x": false, "": false,
	} {
		if got := IsVersion(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestFindErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		present       []string
		reason, hint  string
	}{
		{
			name:   "none",
			reason: "no NVIDIA driver package is in DIR, and the modules are built from one",
			hint:   "put NVIDIA-Linux-x86_64-VERSION.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version",
		},
		{
			name: "the toolkit only", present: []string{"cuda_12.8.0_570.86.10_linux.run"},
			reason: "no NVIDIA driver package is in DIR, and the modules are built from one; cuda_12.8.0_570.86.10_linux.run is none: it is the CUDA toolkit's installer, which holds a driver package",
			hint:   "put NVIDIA-Linux-x86_64-VERSION.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version",
		},
		{
			name: "another architecture only", present: []string{"NVIDIA-Linux-aarch64-535.261.03.run", "NVIDIA-Linux-x86-304.137"},
			reason: "the kernel is x86_64, and DIR has driver packages for other architectures only: NVIDIA-Linux-aarch64-535.261.03.run, NVIDIA-Linux-x86-304.137",
			hint:   "put NVIDIA-Linux-x86_64-VERSION.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version",
		},
		{
			name: "a hypervisor's only", present: []string{"NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run"},
			reason: "DIR has driver packages for hypervisors or of a kind that is not known only: NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run",
			hint:   "put NVIDIA-Linux-x86_64-VERSION.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version",
		},
		{
			name: "a hypervisor's of that version", version: "550.54.16",
			present: []string{"NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run", "NVIDIA-Linux-x86_64-535.261.03.run"},
			reason:  "the only package of driver 550.54.16 in DIR is for hypervisors or of a kind that is not known: NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run",
			hint:    "put NVIDIA-Linux-x86_64-550.54.16.run there, or take that package away to have it downloaded",
		},
		{
			name: "not that version", version: "535.1",
			present: []string{"NVIDIA-Linux-x86_64-440.44", "NVIDIA-Linux-x86_64-440.44.run", "NVIDIA-Linux-x86_64-535.261.03.run", "NVIDIA-Linux-aarch64-535.1.run"},
			reason:  "driver 535.1 is not in DIR, which has 535.261.03, 440.44",
			hint:    "ask for one of those or for none, which means the newest, or put the package there",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := put(t, c.present...)
			_, err := Find(t.Context(), dir, kernel.X86_64, c.version)
			if Absent(err) == strings.Contains(c.name, "of that version") {
				t.Errorf("absent: %v", Absent(err))
			}
			checkError(t, err, strings.ReplaceAll(c.reason, "DIR", dir), c.hint)
		})
	}
	t.Run("no folder", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cuda")
		_, err := Find(t.Context(), dir, kernel.X86_64, "")
		checkError(t, err, "no NVIDIA driver package is in "+dir+", and the modules are built from one",
			"put NVIDIA-Linux-x86_64-VERSION.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version")
	})
	t.Run("a file", func(t *testing.T) {
		dir := filepath.Join(put(t, "cuda.run"), "cuda.run")
		_, err := Find(t.Context(), dir, kernel.X86_64, "")
		checkError(t, err, "cannot look for a driver package in "+dir, "make the folder readable")
	})
}

func checkError(t *testing.T, err error, reason, hint string) {
	t.Helper()
	if got := stage.ExitCode(err); got != 11 {
		t.Errorf("exit code %d, want 11", got)
	}
	var e *stage.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is not a stage's error", err)
	}
	if diff := cmp.Diff([]string{reason, hint}, []string{e.Reason, e.Hint}); diff != "" {
		t.Error(diff)
	}
}

// TestPassedOver: what is there and not taken is named, with the reason.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	dir := put(t, "NVIDIA-Linux-x86_64-535.261.03", "NVIDIA-Linux-x86_64-535.261.03.run", "NVIDIA-Linux-x86_64-535.261.03-grid.run",
		"NVIDIA-Linux-x86_64-470.256.02.run", "NVIDIA-Linux-aarch64-550.78.run", "NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run",
		"NVIDIA-Linux-x86_64-440.run", "cuda_12.8.0_570.86.10_linux.run", "mine.run", "samples")
	if err := os.Symlink("mine.run", filepath.Join(dir, "NVIDIA-Linux-x86_64-999.1.run")); err != nil {
		t.Fatal(err)
	}
	said := func(version string) map[string]string {
		var log bytes.Buffer
		if _, err := Find(zerolog.New(&log).WithContext(t.Context()), dir, kernel.X86_64, version); err != nil {
			t.Fatal(err)
		}
		whys := map[string]string{}
		for line := range strings.Lines(log.String()) {
			var event struct{ Package, File, Why string }
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatal(err)
			}
			if name := event.Package + event.File; name != "" {
				whys[name] = event.Why
			}
		}
		return whys
	}
	const badName = "a driver's package is called NVIDIA-Linux-ARCH-VERSION.run as NVIDIA serves it, and without .run where it is unpacked"
	want := map[string]string{
		"NVIDIA-Linux-x86_64-535.261.03.run":         "its unpacked folder is there",
		"NVIDIA-Linux-x86_64-535.261.03-grid.run":    "its unpacked folder is there",
		"NVIDIA-Linux-x86_64-470.256.02.run":         "a newer one is there; --driver-version names another",
		"NVIDIA-Linux-aarch64-550.78.run":            "the kernel is x86_64",
		"NVIDIA-Linux-x86_64-550.54.16-vgpu-kvm.run": "it is for hypervisors or of a kind that is not known",
		"NVIDIA-Linux-x86_64-440.run":                badName,
		"mine.run":                                   badName,
		"cuda_12.8.0_570.86.10_linux.run":            "it is the CUDA toolkit's installer, which holds a driver package",
		"NVIDIA-Linux-x86_64-999.1.run":              "it is neither a file nor a folder",
	}
	if diff := cmp.Diff(want, said("")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := said("470.256.02")["NVIDIA-Linux-x86_64-535.261.03"]; got != "another version is asked for" {
		t.Errorf("asked for another version: %q", got)
	}
}

// TestMirrored has a folder that is laid out as NVIDIA's server, and packages beside that.
func TestMirrored(t *testing.T) {
	t.Parallel()
	const a, b = "XFree86/Linux-x86_64/580.126.09/NVIDIA-Linux-x86_64-580.126.09.run", "tesla/570.207/NVIDIA-Linux-x86_64-570.207.run"
	dir := t.TempDir()
	for _, name := range []string{
		a, b, "NVIDIA-Linux-x86_64-535.261.03.run",
		"tesla/595.1.1/NVIDIA-Linux-x86_64-595.1.2.run", // another than its folder says
		"tesla/596.1/README", "tesla/latest/NVIDIA-Linux-x86_64-597.1.run", "XFree86/aarch64/598.1/NVIDIA-Linux-aarch64-598.1.run",
	} {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range Mirrored(dir, kernel.X86_64) {
		got = append(got, r.Version+" "+r.Kind)
	}
	if diff := cmp.Diff([]string{"580.126.09 " + LongTerm, "570.207 " + Production, "535.261.03 " + LongTerm}, got); diff != "" {
		t.Error(diff)
	}
	for version, want := range map[string]string{"": a, "580.126.09": a, "570.207": b, "535.261.03": "NVIDIA-Linux-x86_64-535.261.03.run"} {
		if p, err := FindMirrored(t.Context(), dir, kernel.X86_64, version); err != nil || p.Path != filepath.Join(dir, want) {
			t.Errorf("%q: %s, %v", version, p.Path, err)
		}
	}
	_, err := FindMirrored(t.Context(), dir, kernel.X86_64, "595.1.1")
	if !Absent(err) || !strings.Contains(err.Error(), "driver 595.1.1 is not in "+dir+", which has 580.126.09, 570.207, 535.261.03") {
		t.Errorf("%v", err)
	}
	var many []Release
	for range 12 {
		many = append(many, Release{Version: "1.2"})
	}
	if got := listVersions(many); !strings.HasSuffix(got, ", 1.2 and 2 older") {
		t.Error(got)
	}
	if _, err := FindMirrored(t.Context(), t.TempDir(), kernel.X86_64, ""); !Absent(err) {
		t.Errorf("%v", err)
	}
}
