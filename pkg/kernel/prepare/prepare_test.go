package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

const gccBanner = "gcc-12 (Debian 12.4.0-5) 12.4.0"

// fakeKbuild stands in for gcc and make: it records what it was asked and
// leaves in O= what kbuild would, so far as Prepare looks.
type fakeKbuild struct {
	ran []command.Command
	// banner is what gcc says; release what kernel.release will hold.
	banner, release string
	// drop is a line that olddefconfig takes out of the config.
	drop string
	// fail, prints: the goal that fails with what it prints.
	fail, prints string
	// err is returned by the goal that fails instead of an exit status.
	err error
}

func (f *fakeKbuild) Run(_ context.Context, c command.Command) error {
	f.ran = append(f.ran, c)
	goal := c.Args[len(c.Args)-1]
	if goal == f.fail {
		fmt.Fprint(c.Output, f.prints)
		if f.err != nil {
			return f.err
		}
		return &command.ExitError{Program: c.Args[0], Code: 2, State: "exit status 2"}
	}
	if goal != "--version" {
		fmt.Fprintf(c.Output, "made %s\n", goal)
	}
	out := ""
	for _, a := range c.Args {
		if dir, ok := strings.CutPrefix(a, "O="); ok {
			out = dir
		}
	}
	config := filepath.Join(out, ".config")
	switch goal {
	case "--version":
		fmt.Fprintf(c.Output, "%s\nCopyright (C)\n", f.banner)
	case "olddefconfig":
		b, err := os.ReadFile(config)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(b), f.drop, "")
		return os.WriteFile(config, []byte(text+"CONFIG_GCC_VERSION=120400\n"), 0o644)
	case "modules_prepare":
		dir := filepath.Join(out, "include", "config")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "kernel.release"), []byte(f.release+"\n"), 0o644)
	}
	return nil
}

func (f *fakeKbuild) goals() []string {
	var goals []string
	for _, c := range f.ran {
		goals = append(goals, c.Args[len(c.Args)-1])
	}
	return goals
}

func newFake() *fakeKbuild {
	return &fakeKbuild{banner: gccBanner, release: "6.1.192-coreos-r1"}
}

const hostText = `CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"
CONFIG_LOCALVERSION="-other"
CONFIG_LOCALVERSION_AUTO=y
CONFIG_64BIT=y
CONFIG_DEBUG_INFO_BTF=y
`

// setup is a target, its source and the options of a run.
func setup(t *testing.T, f *fakeKbuild) (kernel.Target, source.Tree, Options) {
	t.Helper()
	config, err := kernel.ParseConfig([]byte(hostText))
	if err != nil {
		t.Fatal(err)
	}
	release, err := kernel.ParseRelease("6.1.192-coreos-r1")
	if err != nil {
		t.Fatal(err)
	}
	target := kernel.Target{
		Release: release,
		Arch:    kernel.X86_64,
		Config:  config,
		Exports: kernel.Exports{Symbols: []kernel.Symbol{{Name: "printk", Module: "vmlinux"}}, Digest: "sha256:1"},
	}
	dir := t.TempDir()
	src := source.Tree{Dir: filepath.Join(dir, "linux"), Version: "6.1.192", Commit: "c0ffee"}
	if err := os.Mkdir(src.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return target, src, Options{
		Runner:   f,
		Dir:      filepath.Join(dir, "prepared"),
		Compiler: "gcc-12",
		Jobs:     2,
		LogFile:  filepath.Join(dir, "logs", "prepare.log"),
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	f := newFake()
	target, src, o := setup(t, f)
	tree, err := Prepare(t.Context(), target, src, o)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(o.Dir, "6.1.192-coreos-r1-"+strings.TrimPrefix(target.Config.Digest, "sha256:")[:12])
	want := Tree{
		Source: src.Dir, Output: out,
		Compiler: "gcc-12", CompilerVersion: gccBanner,
		Release: "6.1.192-coreos-r1", Headers: tree.Headers,
	}
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}

	makeArgs := []string{"make", "-C", src.Dir, "O=" + out, "ARCH=x86_64",
		"CC=gcc-12", "HOSTCC=gcc-12", "LOCALVERSION=", "-j2"}
	wantArgs := [][]string{
		{"gcc-12", "--version"},
		append(makeArgs[:len(makeArgs):len(makeArgs)], "olddefconfig"),
		append(makeArgs[:len(makeArgs):len(makeArgs)], "modules_prepare"),
	}
	var args [][]string
	for _, c := range f.ran {
		args = append(args, c.Args)
	}
	if diff := cmp.Diff(wantArgs, args); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	wantEnv := append(slices.Clone(environment), "MAKEFILES="+filepath.Join(tree.Output, onceFile), "TMPDIR="+tree.Output)
	if diff := cmp.Diff(wantEnv, f.ran[1].Env); diff != "" {
		t.Errorf("make's environment (-want +got):\n%s", diff)
	}

	for name, want := range map[string]string{
		filepath.Join(out, "Module.symvers"): "0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
		filepath.Join(out, ".config"): `CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"
CONFIG_64BIT=y
CONFIG_DEBUG_INFO_BTF=y
CONFIG_LOCALVERSION="-coreos-r1"
# CONFIG_LOCALVERSION_AUTO is not set
CONFIG_GCC_VERSION=120400
`,
		o.LogFile: "made olddefconfig\nmade modules_prepare\n",
	} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPrepareReuses(t *testing.T) {
	t.Parallel()
	cold := []string{"--version", "olddefconfig", "modules_prepare"}
	warm := []string{"--version"}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, f *fakeKbuild, target *kernel.Target, src *source.Tree, out string)
		want   []string
	}{
		{"nothing changed", func(*testing.T, *fakeKbuild, *kernel.Target, *source.Tree, string) {}, warm},
		{"another commit", func(_ *testing.T, _ *fakeKbuild, _ *kernel.Target, src *source.Tree, _ string) { src.Commit = "decaf" }, cold},
		{"other exports", func(_ *testing.T, _ *fakeKbuild, k *kernel.Target, _ *source.Tree, _ string) {
			k.Exports.Digest = "sha256:2"
		}, cold},
		{"a newer gcc-12", func(_ *testing.T, f *fakeKbuild, _ *kernel.Target, _ *source.Tree, _ string) {
			f.banner = "gcc-12 (Debian 12.5.0-1) 12.5.0"
		}, cold},
		{"half made", func(t *testing.T, _ *fakeKbuild, _ *kernel.Target, _ *source.Tree, out string) {
			remove(t, filepath.Join(out, stampFile))
		}, cold},
		{"no symbols", func(t *testing.T, _ *fakeKbuild, _ *kernel.Target, _ *source.Tree, out string) {
			remove(t, filepath.Join(out, "Module.symvers"))
		}, cold},
		{"another release", func(t *testing.T, _ *fakeKbuild, _ *kernel.Target, _ *source.Tree, out string) {
			write(t, filepath.Join(out, "include", "config", "kernel.release"), "6.1.192\n")
		}, cold},
		{"a stamp that is none", func(t *testing.T, _ *fakeKbuild, _ *kernel.Target, _ *source.Tree, out string) {
			write(t, filepath.Join(out, stampFile), "{")
		}, cold},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake()
			f.drop = "CONFIG_DEBUG_INFO_BTF=y\n"
			target, src, o := setup(t, f)
			o.AllowDrift = true
			first, err := Prepare(t.Context(), target, src, o)
			if err != nil {
				t.Fatal(err)
			}
			stale := filepath.Join(first.Output, "stale")
			write(t, stale, "")
			f.ran = nil
			test.change(t, f, &target, &src, first.Output)
			second, err := Prepare(t.Context(), target, src, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, f.goals()); diff != "" {
				t.Errorf("ran (-want +got):\n%s", diff)
			}
			reused := len(test.want) == 1
			if second.Reused != reused {
				t.Errorf("Reused = %v, want %v", second.Reused, reused)
			}
			if _, err := os.Stat(stale); (err == nil) != reused {
				t.Errorf("a file of the earlier tree: %v, reused %v", err, reused)
			}
			if diff := cmp.Diff(first.Drift, second.Drift); diff != "" {
				t.Errorf("drift of the second run (-first +second):\n%s", diff)
			}
		})
	}
}

func TestPrepareFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(f *fakeKbuild, target *kernel.Target, src *source.Tree)
		want   string
	}{
		{
			name: "a config that kbuild rejects",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) {
				f.fail, f.prints = "olddefconfig", "  HOSTCC  scripts/kconfig/conf.o\n***\n*** Can't find default configuration \"arch/x86/defconfig\"!\n***\nmake[2]: *** [scripts/kconfig/Makefile:77: olddefconfig] Error 1\n"
			},
			want: `prepare: make olddefconfig failed (*** Can't find default configuration "arch/x86/defconfig"!): make: exit status 2. Read what make printed in LOG.`,
		},
		{
			name: "a tool that is missing",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) {
				f.fail, f.prints = "modules_prepare", "  HOSTCC  scripts/sorttable\n/bin/sh: 1: flex: not found\nmake[1]: *** [Makefile:12: x] Error 127\nmake: *** [Makefile:3: y] Error 2\n"
			},
			want: "prepare: make modules_prepare failed (/bin/sh: 1: flex: not found): make: exit status 2. Read what make printed in LOG.",
		},
		{
			name: "no make",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) {
				f.fail, f.err = "olddefconfig", errors.New("start make: not there")
			},
			want: "prepare: could not run make olddefconfig: start make: not there. Run builder in its own image, which has kbuild's tools.",
		},
		{
			name: "no pahole",
			change: func(f *fakeKbuild, _ *kernel.Target, src *source.Tree) {
				f.drop = "CONFIG_DEBUG_INFO_BTF=y\n"
			},
			want: "prepare: kbuild changed an option of the host's config, so modules may not fit its kernel: " +
				"DEBUG_INFO_BTF is y on the host and n in the tree (pahole is missing, or too old or new for this kernel). " +
				"Remove the cause, or accept the change, on record, with --allow config-drift.",
		},
		{
			name: "another compiler",
			change: func(f *fakeKbuild, k *kernel.Target, src *source.Tree) {
				f.drop = "CONFIG_64BIT=y\n"
				k.Compiler = kernel.Compiler{Name: "gcc", Major: 10, Version: "10.2.1"}
			},
			want: "prepare: kbuild changed an option of the host's config, so modules may not fit its kernel: " +
				"64BIT is y on the host and n in the tree (gcc-12 in the place of gcc 10.2.1). " +
				"Remove the cause, or accept the change, on record, with --allow config-drift.",
		},
		{
			name: "another source",
			change: func(f *fakeKbuild, _ *kernel.Target, src *source.Tree) {
				f.drop = "CONFIG_64BIT=y\nCONFIG_DEBUG_INFO_BTF=y\n"
				kconfig := "config DEBUG_INFO_BTF\n\tbool\n\nconfig 64BITS\n"
				if err := os.WriteFile(filepath.Join(src.Dir, "Kconfig.debug"), []byte(kconfig), 0o644); err != nil {
					panic(err)
				}
			},
			want: "prepare: kbuild changed 2 options of the host's config, so modules may not fit its kernel: " +
				"64BIT is y on the host and n in the tree (the source does not know it and is of another version, or lacks a patch of the distribution's); " +
				"DEBUG_INFO_BTF is y on the host and n in the tree (pahole is missing, or too old or new for this kernel). " +
				"Apply the distribution's patches to the source with --source-patches, name its own source with --source, or accept the change, on record, with --allow config-drift.",
		},
		{
			name: "another config altogether",
			change: func(f *fakeKbuild, k *kernel.Target, _ *source.Tree) {
				for c := 'A'; c <= 'I'; c++ {
					f.drop += fmt.Sprintf("CONFIG_%c=y\n", c)
				}
				k.Config.Text = append([]byte(f.drop), k.Config.Text...)
			},
			want: "prepare: kbuild changed 9 options of the host's config, so modules may not fit its kernel: " +
				strings.Repeat("X is y on the host and n in the tree (other build tools than the kernel's, or a source that is not quite its own); ", 8) + "and 1 more. " +
				"Remove the cause, or accept the change, on record, with --allow config-drift.",
		},
		{
			name: "no compiler",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) {
				f.fail, f.err = "--version", errors.New("start gcc-12: not there")
			},
			want: "prepare: could not run the compiler: start gcc-12: not there. Run builder in its own image, which has kbuild's tools.",
		},
		{
			name:   "the release comes out different",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) { f.release = "6.1.192-coreos-r1+" },
			want: "prepare: the prepared tree calls itself 6.1.192-coreos-r1+ and the host's kernel 6.1.192-coreos-r1, so that kernel would refuse its modules. " +
				"Check that the source is the one the kernel was built from, or name its tag with --source-ref.",
		},
		{
			name:   "the source is another kernel's",
			change: func(_ *fakeKbuild, _ *kernel.Target, src *source.Tree) { src.Version = "6.1.191" },
			want: "prepare: the source is of 6.1.191, so its modules cannot be of the host's 6.1.192-coreos-r1. " +
				"Name the tag that the kernel was built from with --source-ref.",
		},
		{
			name:   "an architecture kbuild was never asked for",
			change: func(_ *fakeKbuild, k *kernel.Target, _ *source.Tree) { k.Arch = "vax" },
			want:   `prepare: kbuild's name for the architecture "vax" is not known. Build for a kernel of x86_64 or aarch64.`,
		},
		{
			name: "the disk is full",
			change: func(f *fakeKbuild, _ *kernel.Target, _ *source.Tree) {
				f.fail, f.prints = "modules_prepare", "/usr/bin/ld: final link failed: No space left on device\nmake: *** [Makefile:3: y] Error 2\n"
			},
			want: "prepare: make modules_prepare failed (/usr/bin/ld: final link failed: No space left on device): make: exit status 2. Read what make printed in LOG.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake()
			target, src, o := setup(t, f)
			test.change(f, &target, &src)
			_, err := Prepare(t.Context(), target, src, o)
			if err == nil {
				t.Fatal("no error")
			}
			if code := stage.ExitCode(err); code != 13 {
				t.Errorf("exit code %d, want 13", code)
			}
			got := regexp.MustCompile(`\b[A-H] is`).ReplaceAllString(err.Error(), "X is")
			if diff := cmp.Diff(strings.ReplaceAll(test.want, "LOG", o.LogFile), got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

// What one run let pass, the next is asked about again, from the same tree.
func TestPrepareDrift(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.drop = "CONFIG_DEBUG_INFO_BTF=y\n"
	target, src, o := setup(t, f)
	if _, err := Prepare(t.Context(), target, src, o); stage.ExitCode(err) != 13 {
		t.Fatalf("drift: %v", err)
	}
	if diff := cmp.Diff([]string{"--version", "olddefconfig"}, f.goals()); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	allowed := o
	allowed.AllowDrift = true
	for _, reused := range []bool{false, true} {
		tree, err := Prepare(t.Context(), target, src, allowed)
		if err != nil {
			t.Fatal(err)
		}
		want := []drift.Change{{Name: "DEBUG_INFO_BTF", Was: "y", Is: "n"}}
		if diff := cmp.Diff(want, tree.Drift); diff != "" || tree.Reused != reused {
			t.Errorf("reused %v, drift (-want +got):\n%s", tree.Reused, diff)
		}
	}
	if _, err := Prepare(t.Context(), target, src, o); stage.ExitCode(err) != 13 {
		t.Errorf("drift of a tree that was there: %v", err)
	}
}

// A kernel's Rust is done without, on record.
func TestPrepareRust(t *testing.T) {
	t.Parallel()
	const rust = "CONFIG_RUST=y\nCONFIG_RUSTC_VERSION=108501\n"
	f := newFake()
	f.drop = rust
	target, src, o := setup(t, f)
	const bits = "CONFIG_64BIT=y\n"
	target.Config.Text = bytes.Replace(target.Config.Text, []byte(bits), []byte(rust+bits), 1)
	for _, reused := range []bool{false, true} {
		tree, err := Prepare(t.Context(), target, src, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(tree.Drift) > 0 || !tree.WithoutRust || tree.Reused != reused {
			t.Errorf("reused %v, without Rust %v, drift %v", tree.Reused, tree.WithoutRust, tree.Drift)
		}
	}
	f.drop = rust + bits
	target.Config.Digest = "sha256:other"
	_, err := Prepare(t.Context(), target, src, o)
	if want := "64BIT is y on the host and n in the tree (perhaps it needs Rust, which the kernel has (CONFIG_RUST=y) and this image has not)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

// A tree of another config is not the failed one's to lose.
func TestPrepareFailureKeepsOtherTrees(t *testing.T) {
	t.Parallel()
	f := newFake()
	target, src, o := setup(t, f)
	first, err := Prepare(t.Context(), target, src, o)
	if err != nil {
		t.Fatal(err)
	}
	other := target
	other.Config.Digest = "sha256:ffffffffffffffff"
	f.fail = "modules_prepare"
	if _, err := Prepare(t.Context(), other, src, o); err == nil {
		t.Fatal("no error")
	}
	f.fail = ""
	again, err := Prepare(t.Context(), target, src, o)
	if err != nil {
		t.Fatal(err)
	}
	if again.Output != first.Output || !again.Reused {
		t.Errorf("tree %s, reused %v; want %s reused", again.Output, again.Reused, first.Output)
	}
}

// A host that has loaded another module since is the same host, and what that
// module exports is known from then on.
func TestPrepareReusedTreeHasTheExportsOfToday(t *testing.T) {
	t.Parallel()
	target, src, o := setup(t, newFake())
	if _, err := Prepare(t.Context(), target, src, o); err != nil {
		t.Fatal(err)
	}
	target.Exports.Symbols = append(target.Exports.Symbols, kernel.Symbol{Name: "drm_open", Module: "drm"})
	tree, err := Prepare(t.Context(), target, src, o)
	if err != nil || !tree.Reused {
		t.Fatalf("reused %v, error %v", tree.Reused, err)
	}
	symvers, err := os.ReadFile(filepath.Join(tree.Output, "Module.symvers"))
	if err != nil || !strings.Contains(string(symvers), "\tdrm_open\tdrm\t") {
		t.Errorf("Module.symvers (%v):\n%s", err, symvers)
	}
}

func TestPrepareInterrupted(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.fail, f.err = "modules_prepare", context.Canceled
	target, src, o := setup(t, f)
	_, err := Prepare(t.Context(), target, src, o)
	if code := stage.ExitCode(err); code != stage.ExitInterrupted {
		t.Errorf("exit code %d for %v, want %d", code, err, stage.ExitInterrupted)
	}
	if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestFailedSaysThatDiskIsFull(t *testing.T) {
	t.Parallel()
	err := failed(&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, "could not write Module.symvers")
	want := "prepare: could not write Module.symvers: write x: no space left on device. Free some space on the share: a prepared tree takes about 30 MB."
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// Without a number of jobs there is one for each processor that Go may use,
// which is what a container's quota leaves of them.
func TestJobsOfTheContainer(t *testing.T) {
	t.Parallel()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	f := newFake()
	target, src, o := setup(t, f)
	o.Jobs = 0
	if _, err := Prepare(t.Context(), target, src, o); err != nil {
		t.Fatal(err)
	}
	if args := f.ran[1].Args; !slices.Contains(args, "-j3") {
		t.Errorf("ran %v, want -j3", args)
	}
}
