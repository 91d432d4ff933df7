package needs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/pkg/kernel"
)

// paths are a kernel's, with what is needed on x86-64 marked.
const paths = `
+ Makefile
+ .gitignore
+ Kconfig
+ include/linux/kernel.h
+ include/uapi/linux/netfilter/xt_MARK.h
+ arch/x86/Makefile
+ arch/x86/Makefile_32.cpu
+ arch/x86/Kconfig.cpu
+ arch/x86/include/asm/io.h
+ arch/x86/kernel/asm-offsets_64.c
- arch/x86/kernel/setup.c
- arch/x86/kernel/Makefile
- arch/arm64/include/asm/io.h
+ arch/arm64/Kconfig
- drivers/gpu/drm/drm_drv.c
- drivers/gpu/drm/Makefile
+ drivers/gpu/drm/Kconfig
+ drivers/gpu/drm/Kconfig.debug
+ kernel/bounds.c
- kernel/fork.c
+ kernel/time/timeconst.bc
+ scripts/mod/modpost.c
+ tools/lib/string.c
+ tools/lib/bpf/libbpf.c
- tools/lib/perf/lib.c
- tools/perf/perf.c
+ tools/objtool/arch/x86/decode.c
- Documentation/Makefile
- my/include/file.h
- my/Makefile
`

func TestMatch(t *testing.T) {
	list, err := For(kernel.X86_64, release(t, "6.12.103-flatcar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "linux")
	gittest.Init(t, dir, "main")
	var want, got []string
	for line := range strings.Lines(paths) {
		needed, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if needed == "+" {
			want = append(want, name)
		}
		if list.Match(name) {
			got = append(got, name)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Match (-want +got):\n%s", diff)
	}

	gittest.Run(t, dir, "add", "--all")
	gittest.Run(t, dir, "commit", "--quiet", "-m", "x")
	gittest.Pipe(t, dir, strings.NewReader(list.Patterns()), "sparse-checkout", "set", "--no-cone", "--stdin")
	var gits []string
	for line := range strings.Lines(gittest.Run(t, dir, "ls-files", "-t")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "H "); ok {
			gits = append(gits, name)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(gits)), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("git and this package read the list differently (-git +got):\n%s", diff)
	}
}

func TestSpare(t *testing.T) {
	list, err := For(kernel.AArch64, release(t, "6.12.103-flatcar"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"include/uapi/linux/netfilter/xt_MARK.h":      true,
		"include/uapi/linux/netfilter_ipv4/ipt_ECN.h": true,
		"include/uapi/linux/netfilter/x_tables.h":     false,
		"include/linux/kernel.h":                      false,
	} {
		if got := list.Spare(name); got != want {
			t.Errorf("Spare(%s) = %v", name, got)
		}
	}
}

// A line is not burdened with what a later one needs.
func TestLines(t *testing.T) {
	for full, want := range map[string]bool{"6.12.103-flatcar": false, "6.17.13": false, "6.18.0-rc1": true, "6.18.15-flatcar": true, "7.3.4+deb13-amd64": true} {
		for arch := range lists {
			list, err := For(arch, release(t, full))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"kernel/sched/rq-offsets.c", "kernel/sched/ext/ext.h", "kernel/workqueue_internal.h"} {
				if got := list.Match(name); got != want {
					t.Errorf("%s of %s for %s: %v", name, full, arch, got)
				}
			}
			if got := list.Match("arch/x86/entry/syscalls/syscall_32.tbl"); got != (want || arch == kernel.X86_64) {
				t.Errorf("x86's table of system calls, of %s for %s: %v", full, arch, got)
			}
			if list.Match("kernel/fork.c") || !list.Match("kernel/bounds.c") {
				t.Errorf("%s for %s: the rest of kernel/", full, arch)
			}
		}
	}
}

func release(t *testing.T, full string) kernel.Release {
	t.Helper()
	r, err := kernel.ParseRelease(full)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUnknownArchitecture(t *testing.T) {
	if _, err := For("s390x", release(t, "6.12.1")); err == nil {
		t.Error("there is a list for s390x")
	}
}
