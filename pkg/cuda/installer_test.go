package cuda

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/stage"
)

// knownTo are the options of a real installer, as it listed them itself.
func knownTo(t *testing.T, version string) options {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "installer", "options-"+version+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known, err := parseOptions(f)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// driver is one whose package has sources of the given forms.
func driver(version string, types ...string) Driver {
	d := Driver{Dir: "/scratch/driver", Version: version, Manifest: Manifest{
		Description: "NVIDIA Accelerated Graphics Driver for Linux-x86_64",
		Version:     version,
		Modules:     []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem"},
		BuildDir:    "./kernel/",
	}}
	for _, moduleType := range types {
		d.Manifest.Files = append(d.Manifest.Files, File{Path: sourceFolder(moduleType) + "/Makefile", Type: "KERNEL_MODULE_SRC"})
	}
	return d
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		count   int
		has     []string
		lacks   []string
	}{
		{"440.44", 74, []string{"kernel-module-only", "no-drm", "skip-depmod"}, []string{"no-peermem", "kernel-module-build-directory", "it"}},
		{"470.86", 84, []string{"kernel-module-only", "no-peermem", "kernel-module-build-directory"}, []string{"kernel-modules-only", "skip-module-load"}},
		{"535.216.01", 91, []string{"kernel-modules-only", "dkms", "no-dkms", "concurrency-level"}, []string{"kernel-module-only", "skip-module-load", "no-cc-version-check"}},
		{"580.105.08", 100, []string{"kernel-module-type", "skip-module-load", "no-rebuild-initramfs"}, []string{"kernel-module-only"}},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			known := knownTo(t, tt.version)
			if len(known) != tt.count {
				t.Errorf("%d options, want %d", len(known), tt.count)
			}
			for _, name := range tt.has {
				if !known[name] {
					t.Errorf("--%s is not known", name)
				}
			}
			for _, name := range tt.lacks {
				if known[name] {
					t.Errorf("--%s is known", name)
				}
			}
		})
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	options := BuildOptions{
		Release:   "6.1.192-coreos-r1",
		SourceDir: "/share/linux",
		OutputDir: "/share/.builder/prepared/x",
		Jobs:      2,
	}
	// What every installer is told, after the name of its mode.
	common := []string{
		"--silent",
		"--kernel-name=6.1.192-coreos-r1",
		"--kernel-source-path=/share/linux",
		"--kernel-output-path=/share/.builder/prepared/x",
		"--kernel-install-path=/scratch/installer/modules",
		"--log-file-name=/scratch/installer/log",
		"--accept-license",
		"--no-questions",
		"--no-precompiled-interface",
		"--no-nouveau-check",
		"--no-x-check",
		"--no-check-for-alternate-installs",
		"--no-distro-scripts",
	}
	tests := []struct {
		name       string
		version    string
		types      []string
		moduleType string
		exclude    []string
		mode       string
		rest       []string
	}{
		{"440.44", "440.44", []string{Proprietary}, Proprietary, nil, "--kernel-module-only",
			[]string{"--no-cc-version-check", "--no-backup", "--no-kernel-module-source", "--skip-depmod", "--concurrency-level=2"}},
		{"470.86", "470.86", []string{Proprietary}, Proprietary, []string{"nvidia-peermem"}, "--kernel-module-only",
			[]string{"--no-cc-version-check", "--no-backup", "--no-kernel-module-source", "--skip-depmod", "--concurrency-level=2",
				"--kernel-module-build-directory=kernel", "--no-peermem"}},
		{"535", "535.216.01", []string{Proprietary, Open}, Proprietary, nil, "--kernel-modules-only",
			[]string{"--no-dkms", "--no-backup", "--no-kernel-module-source", "--skip-depmod", "--concurrency-level=2",
				"--kernel-module-build-directory=kernel"}},
		{"535 open", "535.216.01", []string{Proprietary, Open}, Open, nil, "--kernel-modules-only",
			[]string{"--no-dkms", "--no-backup", "--no-kernel-module-source", "--skip-depmod", "--concurrency-level=2",
				"--kernel-module-build-directory=kernel-open"}},
		{"580", "580.105.08", []string{Proprietary, Open}, Proprietary, []string{"nvidia-uvm", "nvidia-drm"}, "--kernel-modules-only",
			[]string{"--no-dkms", "--no-backup", "--no-kernel-module-source", "--no-rebuild-initramfs", "--skip-depmod", "--skip-module-load",
				"--concurrency-level=2", "--kernel-module-type=proprietary", "--no-drm", "--no-unified-memory"}},
		{"580 open", "580.105.08", []string{Proprietary, Open}, Open, []string{"nvidia-modeset"}, "--kernel-modules-only",
			[]string{"--no-dkms", "--no-backup", "--no-kernel-module-source", "--no-rebuild-initramfs", "--skip-depmod", "--skip-module-load",
				"--concurrency-level=2", "--kernel-module-type=open"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options
			o.Exclude, o.ModuleType = tt.exclude, tt.moduleType
			args, err := compose(knownTo(t, tt.version), driver(tt.version, tt.types...), o, "/scratch/installer")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range args {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(slices.Concat([]string{tt.mode}, common, tt.rest), got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	without := func(name string) options {
		known := knownTo(t, "535.216.01")
		delete(known, name)
		return known
	}
	tests := []struct {
		name       string
		known      options
		moduleType string
		exclude    []string
		want       string
	}{
		{"no modules-only mode", without("kernel-modules-only"), Proprietary, nil, "does not know --kernel-module-only"},
		{"no install path", without("kernel-install-path"), Proprietary, nil, "does not know --kernel-install-path"},
		{"no choice of form", without("kernel-module-build-directory"), Open, nil, "cannot be told to build the open modules"},
		{"an option it does not know", without("no-peermem"), Proprietary, []string{"nvidia-peermem"}, "cannot leave out nvidia-peermem"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compose(tt.known, driver("535.261.03", Proprietary, Open), BuildOptions{Exclude: tt.exclude, ModuleType: tt.moduleType}, "/m")
			if stage.ExitCode(err) != 14 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want exit code 14 and %q", err, tt.want)
			}
		})
	}
}

// An installer without a choice builds the form that its package is of.
func TestComposeWithoutAChoice(t *testing.T) {
	t.Parallel()
	known := knownTo(t, "440.44")
	for _, tt := range []struct {
		dir, form string
		ok        bool
	}{
		{"./kernel/", Proprietary, true},
		{"kernel", Proprietary, true},
		{"./kernel-open/", Open, true},
		{"./kernel/", Open, false},
		{"./kernel-open/", Proprietary, false},
		{"", Proprietary, false},
	} {
		d := driver("440.44", Proprietary, Open)
		d.Manifest.BuildDir = tt.dir
		args, err := formArgument(known, d, tt.form)
		if args != nil || (err == nil) != tt.ok || err != nil && stage.ExitCode(err) != 14 {
			t.Errorf("%s of %q: %v, %v", tt.form, tt.dir, args, err)
		}
	}
}

// Without a number of jobs there is one for each processor that Go may use,
// which is what a container's quota leaves of them.
func TestJobsOfTheContainer(t *testing.T) {
	t.Parallel()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	args, err := compose(knownTo(t, "535.216.01"), driver("535.261.03", Proprietary), BuildOptions{ModuleType: Proprietary}, "/m")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(args, func(a argument) bool { return a.String() == "--concurrency-level=3" }) {
		t.Errorf("arguments %v, want --concurrency-level=3", args)
	}
}
