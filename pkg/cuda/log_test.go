package cuda

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/progress"
)

func TestFindingsOfRealLogs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		log  string
		want findings
	}{
		{"succeeds", findings{}},
		{"does-not-compile", findings{
			Cause:     "/scratch/driver/kernel/nvidia-modeset/nvidia-modeset-linux.c:200:31: error: implicit declaration of function 'no_such_function' [-Werror=implicit-function-declaration]",
			Complaint: "The nvidia-modeset kernel module was not created.",
		}},
		{"no-compiler", findings{
			Complaint: "The CC sanity check failed: The C compiler 'gcc-99' does not appear to be able to create object files.  Please make sure you have your Linux distribution's libc development package installed and that 'gcc-99' is a valid C compiler name.",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.log, func(t *testing.T) {
			got, err := readLog(filepath.Join("testdata", "installer", "log-"+tt.log+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// A cause in the midst of what make prints beside it.
func TestCause(t *testing.T) {
	t.Parallel()
	causes := []string{
		"kernel/nvidia/nv-caps.c:625:5: error: implicit declaration of function 'sys_close'",
		"kernel/nvidia/nv.c:12:10: fatal error: linux/gone.h: No such file or directory",
		"kernel/nvidia/nv.c:12: error: old gcc names no column",
		"gcc-12: fatal error: Killed signal terminated program cc1",
		"cc1: error: unrecognized command-line option '-mharden-sls=all'",
		"/usr/bin/x86_64-linux-gnu-gcc: error: no such thing",
		"ld: cannot find kernel/nvidia/nv-kernel.o: No such file or directory",
		"/usr/bin/ld.bfd: nv.o: file not recognized: file truncated",
		`ERROR: modpost: "drm_dev_put" [kernel/nvidia-drm.ko] undefined!`,
		`ERROR: "drm_dev_put" [kernel/nvidia-drm.ko] undefined!`,
		"ERROR: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol 'rcu_read_lock'",
		"make[3]: *** No rule to make target 'scripts/module.lds', needed by 'nvidia.ko'.  Stop.",
		"/linux/Makefile:713: *** missing separator.  Stop.",
		"/bin/sh: 1: bc: not found",
		"/bin/sh: 1: cannot open kernel/sched/rq-offsets.s: No such file",
		"/tmp/cc9.s: No space left on device",
		"Killed",
	}
	noise := []string{
		// The estimate of a build's length, where a package has none, and of 535.
		"make: count-lines.mk: No such file or directory",
		"make: *** No rule to make target 'count-lines.mk'.  Stop.",
		"/bin/sh: 1: .: cannot open .config: No such file",
		"make[3]: *** Waiting for unfinished jobs....",
		"make[1]: Entering directory '/linux'",
		"uname -a",
		" CONFTEST: cc_sanity_check",
		"  CC [M]  kernel/nvidia/nv.o",
		"ld -m elf_x86_64 -r -o nv-interface.o nv.o",
		"ld: warning: nv.o: missing .note.GNU-stack section implies executable stack",
		"ld: NOTE: This behaviour is deprecated and will be removed in a future version of the linker",
		"kernel/nvidia/nv.c:200:53: warning: unused variable 'error'",
		"kernel/nvidia/nv.c:200:53: note: each undeclared identifier is reported only once",
		"kernel/nvidia/nv.c: In function 'nv_open':",
		"nvidia.o: warning: objtool: nv_open() falls through",
		"+ [ modules = modules ]",
		"build: all of it",
	}
	for _, cause := range causes {
		log := "-> Building kernel modules\n   " + strings.Join(noise, "\n   ") + "\n   " + cause +
			"\n   make[2]: *** [nv.o] Error 1\n   later.c:1:1: error: another\nERROR: An error occurred. See the log.\n"
		got, err := readFindings(strings.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		if got.Cause != cause {
			t.Errorf("cause %q, want %q", got.Cause, cause)
		}
	}
}

func TestComplaintIsTheInstallersFirstThatSaysWhy(t *testing.T) {
	t.Parallel()
	const log = `-> Installing NVIDIA driver version 535.261.03.
ERROR: An error occurred while performing the step: "Building kernel modules". See the log.
ERROR: The Xen sanity check failed:

Your kernel is
a Xen kernel.
WARNING: something else
ERROR: Installation has failed.  Please see the log.
`
	got, err := readFindings(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if want := "The Xen sanity check failed: Your kernel is a Xen kernel."; got.Complaint != want {
		t.Errorf("complaint %q, want %q", got.Complaint, want)
	}
}

// The first word about why, and of an installer that does not say why, its first.
func TestComplaints(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 990)
	for _, tt := range []struct{ name, log, want string }{
		{"summaries only", "ERROR: An error occurred while building.\nERROR: Installation has failed.\n", "An error occurred while building."},
		{"a summary is no paragraph", "ERROR: Failed to run a command.\nSee below.\n", "Failed to run a command."},
		{"the first of two", "ERROR: a is wrong.\nERROR: b is wrong.\nAnd c.\n", "a is wrong."},
		{"until a step", "ERROR: a is\nwrong.\n-> Next.\nb.\n", "a is wrong."},
		{"until a warning", "ERROR: a is\nwrong.\nWARNING: b.\nc.\n", "a is wrong."},
		{"until a command's output", "ERROR: a is\nwrong.\n   make: b.\nc.\n", "a is wrong."},
		{"over an empty line", "ERROR: a is\n\nwrong.\n", "a is wrong."},
		{"what no error begins", "a is wrong.\n", ""},
		{"a line more of 999 bytes", "ERROR: " + long + "\n12345678\ny\nz\n", long + " 12345678 y"},
		{"none more of 1000", "ERROR: " + long + "\n123456789\ny\n", long + " 123456789"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := readFindings(strings.NewReader(tt.log))
			if err != nil || got.Complaint != tt.want {
				t.Errorf("complaint %q, %v, want %q", got.Complaint, err, tt.want)
			}
		})
	}
}

func TestEachLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", logLine)
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"an end", "a\n\nb\n", []string{"a", "", "b"}},
		{"no end", "a\r\nb", []string{"a", "b"}},
		{"the longest", long[1:] + "\nb\n", []string{long[1:], "b"}},
		{"longer", long + "y\nb\n", []string{long, "b"}},
		{"longer twice over, without an end", "a\n" + long + long + "y", []string{"a", long}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			if err := eachLine(strings.NewReader(tt.text), func(line string) { got = append(got, line) }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
	broken := errors.New("the disk is broken")
	if err := eachLine(iotest.ErrReader(broken), func(line string) { t.Errorf("a line %q of nothing", line) }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// A line whose end does not come is kept no longer than a line is looked at.
func TestFollowerOfALongLine(t *testing.T) {
	t.Parallel()
	const step = stepPrefix + "Building"
	for name, tt := range map[string]struct {
		begun int // bytes of the line that are there at first
		want  []string
	}{
		"the longest": {logLine, []string{"Building" + strings.Repeat("x", logLine-len(step)) + " modules"}},
		"longer":      {logLine + 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			var done []string
			f := follower{path: path, step: func(step string) { done = append(done, step) }}
			begun := step + strings.Repeat("x", tt.begun-len(step))
			for _, text := range []string{begun, begun + " modules\n"} {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				f.poll()
			}
			if diff := cmp.Diff(tt.want, done); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUndefinedSymbols(t *testing.T) {
	t.Parallel()
	const log = `   WARNING: modpost: "drm_open" [/d/kernel/nvidia-drm.ko] undefined!
   WARNING: modpost: "drm_ioctl" [/d/kernel/nvidia-drm.ko] undefined!
   WARNING: "drm_open" [/d/kernel/nvidia-drm.ko] undefined!
`
	got, err := readFindings(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(findings{Undefined: []string{"drm_ioctl", "drm_open"}}, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20)
	got, err := readFindings(strings.NewReader("ERROR: a\n" + huge + "\n" + huge + "\n   a.c:1:1: error: " + huge))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Complaint) + len(got.Cause); n > 3*logLine {
		t.Errorf("kept %d bytes", n)
	}
}

func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		var said bytes.Buffer
		var done []string
		task := progress.Begin(zerolog.New(&said).WithContext(t.Context()), "kernel modules", "steps", 4)
		f := follower{path: path, task: task, left: steps{tests: 1, objects: 3}, step: func(step string) { done = append(done, step) }}
		f.poll() // nothing there yet
		for _, text := range []string{
			"-> Building kernel modules\n    CONFTEST: a\n    CONFTEST: b\n     CC [M]  a.",
			"o\n     CC [M]  b.o\n     LD [M]  nvidia.o\n",
			"",
			"     CC      nvidia.mod.o\n-> done.\n-> Kernel module compilation complete.\n",
		} {
			file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(text); err != nil {
				t.Fatal(err)
			}
			file.Close()
			f.poll()
			time.Sleep(6 * time.Second) // of the test's own clock
		}
		task.End()
		if diff := cmp.Diff([]string{"Building kernel modules", "Kernel module compilation complete."}, done); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		want := []string{
			"kernel modules: 2 of 5 steps, testing the kernel's interfaces, 7s left",
			"kernel modules: 4 of 5 steps, compiling, 2s left",
			"kernel modules: 5 of 5 steps, compiling, 0s left",
		}
		var got []string
		for line := range strings.Lines(said.String()) {
			_, message, _ := strings.Cut(line, `"message":"`)
			got = append(got, strings.TrimSuffix(message, "\"}\n"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func FuzzFindings(f *testing.F) {
	logs, err := filepath.Glob("testdata/installer/log-*.txt")
	if err != nil || len(logs) == 0 {
		f.Fatal(logs, err)
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("-> Building\n   a.c:1:1: error: x\nERROR: y\nz\n")
	f.Fuzz(func(t *testing.T, log string) {
		found, err := readFindings(strings.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		// What is said to have been found is in the log.
		for _, words := range append(found.Undefined, found.Cause) {
			if !strings.Contains(log, words) {
				t.Errorf("%q is not in the log", words)
			}
		}
		if len(found.Complaint) > len(log) || !slices.IsSorted(found.Undefined) {
			t.Errorf("%+v", found)
		}
	})
}
