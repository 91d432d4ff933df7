package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args string
		want map[string]string
	}{
		{"", map[string]string{}},
		{"--silent -K", map[string]string{"silent": "", "kernel-module-only": ""}},
		{"-zq", map[string]string{"no-nouveau-check": "", "no-questions": ""}},
		{"--kernel-name=6.1 --kernel-source-path /linux", map[string]string{"kernel-name": "6.1", "kernel-source-path": "/linux"}},
		{"-k 6.1 -j8", map[string]string{"kernel-name": "6.1", "concurrency-level": "8"}},
		{"--no-dkms --systemd", map[string]string{"dkms": "no", "systemd": ""}},
		{"--silent -- --bogus", map[string]string{"silent": ""}},
	}
	for _, tt := range tests {
		got, err := parse(strings.Fields(tt.args))
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
	}
}

// The words are those of NVIDIA's 535.216.01, which was run with the same
// arguments.
func TestBadCommandLineIsFatal(t *testing.T) {
	tests := map[string]string{
		"--bogus":                   `./nvidia-installer: unrecognized option: "--bogus"`,
		"--bogus=1":                 `./nvidia-installer: unrecognized option: "--bogus"`,
		"--kernel-module-type=open": `./nvidia-installer: unrecognized option: "--kernel-module-type"`,
		"--skip-module-load":        `./nvidia-installer: unrecognized option: "--skip-module-load"`,
		"bogus":                     `./nvidia-installer: invalid option: "bogus"`,
		"--kernel-name":             `./nvidia-installer: option "--kernel-name" requires an argument.`,
		"--kernel-name=":            `./nvidia-installer: option "--kernel-name" requires an argument.`,
		"--silent=3":                `./nvidia-installer: option "--silent" does not take an argument, but was given an argument of "3".`,
		"--concurrency-level=x":     `./nvidia-installer: "x" is not a valid argument for option "--concurrency-level".`,
	}
	for args, want := range tests {
		var stdout, stderr bytes.Buffer
		i := installer{program: "./nvidia-installer", stdout: &stdout, stderr: &stderr}
		if code := i.run(strings.Fields(args)); code != 1 {
			t.Errorf("%s: exit status %d, want 1", args, code)
		}
		want += "\n\nERROR: Invalid commandline, please run `./nvidia-installer --help` for usage information.\n\n"
		if diff := cmp.Diff(want, stderr.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

// Its options are those that the real installer listed, and it says what it is.
func TestListsTheRealOptions(t *testing.T) {
	spellings := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "  -") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	recorded, err := os.ReadFile("../../pkg/cuda/testdata/installer/options-535.216.01.txt")
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	i := installer{program: "./nvidia-installer", stdout: &stdout}
	if code := i.run([]string{"-A"}); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if diff := cmp.Diff(spellings(string(recorded)), spellings(stdout.String())); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	if !strings.Contains(stdout.String(), "stand-in for tests, not NVIDIA's") {
		t.Error("it does not say that it is a stand-in")
	}
}

// lab is a package whose sources are a Makefile that makes each module from
// nothing, and trees that look like a kernel's.
type lab struct {
	dir    string
	stderr bytes.Buffer
	installer
}

func newLab(t *testing.T, makefile string) *lab {
	l := &lab{dir: t.TempDir()}
	files := map[string]string{
		"d/.manifest":                                  "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n535.261.03\n \nnvidia nvidia-uvm nvidia-drm \n \n \n./kernel/\n./precompiled/\n",
		"d/kernel/Makefile":                            makefile,
		"linux/include/linux/kernel.h":                 "",
		"linux/include/generated/uapi/linux/version.h": "",
		"modprobe":                                     "/bin/sh\n",
		"record":                                       "535.261.03\nNVIDIA Accelerated Graphics Driver for Linux-x86_64\n",
	}
	for name, content := range files {
		path := filepath.Join(l.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l.installer = installer{
		program: filepath.Join(l.dir, "d", "nvidia-installer"),
		running: "6.12.1",
		record:  filepath.Join(l.dir, "record"),
		helper:  filepath.Join(l.dir, "modprobe"),
		stdout:  &l.stderr,
		stderr:  &l.stderr,
	}
	return l
}

// build runs the installer as builder does and returns its exit status and log.
func (l *lab) build(t *testing.T, extra ...string) (int, string) {
	args := append([]string{"--kernel-modules-only", "--silent", "--kernel-name=6.1.192-coreos-r1", "--kernel-source-path=" + l.dir + "/linux",
		"--kernel-install-path=" + l.dir + "/out", "--log-file-name=" + l.dir + "/log", "-j2"}, extra...)
	code := l.run(args)
	log, err := os.ReadFile(filepath.Join(l.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return code, string(log)
}

const works = `MODULES := $(filter-out $(NV_EXCLUDE_KERNEL_MODULES),nvidia nvidia-uvm nvidia-drm)
all: $(MODULES:=.ko)
%.ko:
	@echo "  CC [M]  $*.o against $(SYSSRC) and $(SYSOUT)"
	@echo $* > $@
clean:
	rm -f *.ko
`

func TestBuildsAndInstalls(t *testing.T) {
	l := newLab(t, works)
	code, log := l.build(t, "--no-drm")
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, log)
	}
	got, err := filepath.Glob(filepath.Join(l.dir, "out", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{l.dir + "/out/nvidia-uvm.ko", l.dir + "/out/nvidia.ko"}, got); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"nvidia-installer log file '" + l.dir + "/log'\n",
		"installer version: 535 (stand-in for tests, not NVIDIA's)\n",
		"    --kernel-name=6.1.192-coreos-r1\n",
		"-> Installing NVIDIA driver version 535.261.03.\n",
		"WARNING: The nvidia-drm module will not be installed.",
		fmt.Sprintf(`   executing: 'cd ./kernel; make -k -j2  NV_EXCLUDE_KERNEL_MODULES="nvidia-drm" SYSSRC="%s/linux" SYSOUT="%s/linux" clean'...`, l.dir, l.dir),
		"-> Building kernel modules\n",
		"     CC [M]  nvidia.o against " + l.dir + "/linux and " + l.dir + "/linux\n",
		"-> Kernel module compilation complete.\n",
		"(version: 535.261.03) is now complete.\n",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %q", line)
		}
	}
}

func TestFails(t *testing.T) {
	tests := []struct {
		name     string
		makefile string
		spoil    func(l *lab) error
		extra    []string
		want     string
	}{
		{"no record", works, func(l *lab) error { return os.Remove(l.record) }, nil, "ERROR: No NVIDIA driver is currently installed; "},
		{"a record of another version", works, func(l *lab) error { return os.WriteFile(l.record, []byte("470.86\nx\n"), 0o644) }, nil,
			"The existing driver installation is 470.86, but the kernel modules are 535.261.03."},
		{"another machine's modprobe", works, func(l *lab) error { return os.WriteFile(l.helper, []byte("/nix/store/x/bin/modprobe\n"), 0o644) }, nil,
			"modprobe`, differs from the path determined by `nvidia-installer`, "},
		{"not root", works, func(l *lab) error { l.uid = 1000; return nil }, nil, "ERROR: nvidia-installer must be run as root\n"},
		{"no manifest", works, func(l *lab) error { return os.Remove(l.dir + "/d/.manifest") }, nil, "ERROR: No package found for installation."},
		{"no source tree", works, nil, []string{"--kernel-source-path=/nowhere"}, "ERROR: The kernel source path '/nowhere' does not exist."},
		{"a tree that is not prepared", works, func(l *lab) error { return os.RemoveAll(l.dir + "/linux/include/generated") }, nil, "have not been configured."},
		{"the running kernel", works, nil, []string{"--kernel-name=6.12.1"}, "ERROR: Unable to load the kernel module 'nvidia.ko'."},
		{"does not compile", "all:\n\t@echo 'a.c:1:1: error: broken'; false\nclean:\n", nil, nil, "   a.c:1:1: error: broken\n"},
		{"module not created", "all:\nclean:\n", nil, nil, "ERROR: The nvidia kernel module was not created.\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tt.makefile)
			if tt.spoil != nil {
				if err := tt.spoil(l); err != nil {
					t.Fatal(err)
				}
			}
			code, log := l.build(t, tt.extra...)
			if code != 1 {
				t.Errorf("exit status %d, want 1", code)
			}
			if !strings.Contains(log, tt.want) || !strings.Contains(log, "ERROR: Installation has failed.") {
				t.Errorf("log lacks %q:\n%s", tt.want, log)
			}
			if _, err := os.Stat(l.dir + "/out"); err == nil {
				t.Error("something was installed")
			}
		})
	}
}
