package hosttree

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
)

const release = "6.1.0-56-amd64"

const config = "CONFIG_64BIT=y\nCONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\nCONFIG_SMP=y\n"

// common and flavour are the halves of a split tree, as far as Check looks.
var (
	common = map[string]string{
		"Makefile": "VERSION = 6\n", "include/linux/kernel.h": "", "scripts/Kbuild.include": "",
		"arch/x86/include/asm/page.h": "", "arch/arm64/include/asm/page.h": "",
	}
	flavour = map[string]string{
		"Makefile":                       "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n",
		".config":                        config,
		".kernelvariables":               "override KERNELRELEASE = " + release + "\n",
		"Module.symvers":                 "0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
		"vmlinux":                        "\x7fELF",
		"include/config/auto.conf":       config,
		"include/generated/autoconf.h":   "#define CONFIG_SMP 1\n",
		"include/generated/utsrelease.h": "#define UTS_RELEASE \"" + release + "\"\n",
		"scripts/basic/fixdep":           "\x7fELF", "scripts/mod/modpost": "\x7fELF", "tools/objtool/objtool": "\x7fELF",
	}
	sources = map[string]string{
		"Kconfig": "", "init/Kconfig": "", "kernel/bounds.c": "", "scripts/basic/fixdep.c": "int main",
		"scripts/kconfig/conf.c": "", "scripts/mod/modpost.c": "",
	}
)

func populate(t *testing.T, dir string, trees ...map[string]string) string {
	t.Helper()
	for _, files := range trees {
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func split(t *testing.T) kernel.Target {
	t.Helper()
	host := filepath.Join(t.TempDir(), "usr", "src")
	return kernel.Target{
		Release: kernel.Release{Full: release},
		Config:  kernel.Config{Text: []byte(config)},
		Tree: kernel.HostTree{
			Build:  populate(t, filepath.Join(host, "linux-headers-6.1.0-56-amd64"), flavour),
			Source: populate(t, filepath.Join(host, "linux-headers-6.1.0-56-common"), common),
		},
	}
}

// runner plays the programs: what they print and how they end, by name.
type runner map[string]struct {
	prints string
	err    error
}

func (r runner) Run(_ context.Context, c command.Command) error {
	program := c.Args[0]
	if strings.HasSuffix(program, "/ld.so") && len(c.Args) == 4 && slices.Contains(c.Reads, program) && slices.Contains(c.Reads, "/host/lib64") {
		if _, ok := r["ld.so"]; ok {
			return nil // what it runs, runs
		}
		program = c.Args[3]
		c.Args = c.Args[3:]
	}
	p, ok := r[filepath.Base(program)]
	if !ok || len(c.Args) != 1 {
		return fmt.Errorf("unexpected %v", c.Args)
	}
	fmt.Fprint(c.Output, strings.ReplaceAll(p.prints, "SELF", c.Args[0]))
	return p.err
}

func status(code int) error { return &command.ExitError{Program: "p", Code: code} }

func TestCheck(t *testing.T) {
	t.Parallel()
	good := runner{
		"fixdep":  {"Usage: fixdep <depfile> <target> <cmdline>\n", status(1)},
		"modpost": {},
		"objtool": {"objtool: SRCARCH variable not defined\n", status(1)},
	}
	with := func(name, prints string, err error) runner {
		r := runner{}
		for k, v := range good {
			r[k] = v
		}
		r[name] = struct {
			prints string
			err    error
		}{prints, err}
		return r
	}
	const glibc = "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found"
	for _, test := range []struct {
		name   string
		change func(t *testing.T, target *kernel.Target)
		runner runner
		use    Use
		err    string
	}{
		{name: "as Debian leaves it", use: AsItIs},
		{
			name:   "none",
			change: func(_ *testing.T, target *kernel.Target) { target.Tree = kernel.HostTree{} },
			err:    "the host has none, or it is not mounted",
		},
		{
			name:   "half of it is not mounted",
			change: func(_ *testing.T, target *kernel.Target) { target.Tree.Source += "-gone" },
			err:    "it has no Makefile, or only a link that leads nowhere here",
		},
		{
			name: "a link that leads nowhere",
			change: func(t *testing.T, target *kernel.Target) {
				scripts := filepath.Join(target.Tree.Build, "scripts")
				if err := os.RemoveAll(scripts); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("/nonexistent/linux-kbuild-6.1/scripts", scripts); err != nil {
					t.Fatal(err)
				}
			},
			err: "it has no scripts/basic/fixdep, or only a link that leads nowhere here",
		},
		{
			name:   "of another kernel",
			change: func(_ *testing.T, target *kernel.Target) { target.Release.Full = "6.1.0-57-amd64" },
			err:    "it is the tree of kernel 6.1.0-56-amd64",
		},
		{
			name: "of no kernel",
			change: func(t *testing.T, target *kernel.Target) {
				populate(t, target.Tree.Build, map[string]string{"include/generated/utsrelease.h": "\n"})
			},
			err: "its include/generated/utsrelease.h defines no UTS_RELEASE",
		},
		{
			name:   "of another config",
			change: func(_ *testing.T, target *kernel.Target) { target.Config.Text = []byte("CONFIG_64BIT=y\nCONFIG_A=m\n") },
			err:    "its config is not the kernel's: A is m on the host and n in the tree, the first of 2",
		},
		{
			name: "a newer libc's", runner: with("modpost", "SELF: "+glibc+" (required by SELF)\n", status(1)),
			err: "its scripts/mod/modpost does not run here: " + glibc + " (required by BUILD/scripts/mod/modpost), and the source to build it anew is not there",
		},
		{
			name: "a library is missing", runner: with("objtool", "SELF: error while loading shared libraries: libelf.so.1: cannot open shared object file: No such file or directory\n", status(127)),
			err: "its tools/objtool/objtool does not run here: error while loading shared libraries: libelf.so.1: cannot open shared object file: No such file or directory, and the source to build it anew is not there",
		},
		{
			name: "another machine's", runner: with("fixdep", "", fmt.Errorf("start x: %w", &fs.PathError{Op: "fork/exec", Path: "x", Err: unix.ENOEXEC})),
			err: "its scripts/basic/fixdep does not run here: exec format error, and the source to build it anew is not there",
		},
		{
			name: "a newer libc's, and the host's is there", runner: func() runner {
				r := with("modpost", "SELF: "+glibc+" (required by SELF)\n", status(1))
				r["ld.so"] = good["modpost"]
				return r
			}(),
			change: func(_ *testing.T, target *kernel.Target) {
				target.Tree.Loader = kernel.Loader{Path: "/host/lib64/ld.so", Libraries: []string{"/host/lib64"}}
			},
			use: ByLoader,
		},
		{
			name: "a newer libc's, and the host's does not run it either", runner: with("modpost", "SELF: "+glibc+" (required by SELF)\n", status(1)),
			change: func(_ *testing.T, target *kernel.Target) {
				target.Tree.Loader = kernel.Loader{Path: "/host/lib64/ld.so", Libraries: []string{"/host/lib64"}}
			},
			err: "its scripts/mod/modpost does not run here: " + glibc + " (required by BUILD/scripts/mod/modpost), and the source to build it anew is not there",
		},
		{
			name: "another machine's, with a source", runner: with("fixdep", "", fmt.Errorf("start x: %w", unix.ENOEXEC)),
			change: func(t *testing.T, target *kernel.Target) { populate(t, target.Tree.Source, sources) },
			use:    AsSource,
			err:    "its scripts/basic/fixdep does not run here: exec format error",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := split(t)
			build := target.Tree.Build
			if test.change != nil {
				test.change(t, &target)
			}
			if test.runner == nil {
				test.runner = good
			}
			use, err := Check(t.Context(), target, test.runner)
			if use != test.use {
				t.Errorf("use %d, want %d", use, test.use)
			}
			text := ""
			if err != nil {
				text = strings.ReplaceAll(err.Error(), build, "BUILD")
			}
			if diff := cmp.Diff(test.err, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// listing is what a folder holds: links as they lead, files with their text.
func listing(t *testing.T, dir string, replace ...string) map[string]string {
	t.Helper()
	names := strings.NewReplacer(append(replace, dir, "DIR")...)
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.Type() == fs.ModeSymlink {
			to, err := os.Readlink(path)
			list[name] = "-> " + names.Replace(to)
			return err
		}
		text, err := os.ReadFile(path)
		list[name] = names.Replace(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLinkSplit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, makefile, want string }{
		{"since 4.20", "# Automatically generated by Makefile: don't edit\ninclude /usr/src/linux-headers-6.1.0-56-common/Makefile\n", "# Automatically generated by Makefile: don't edit\ninclude SOURCE/Makefile\n"},
		{"before", "MAKEARGS := -C /usr/src/linux-4.19\nMAKEARGS += O=$(CURDIR)\n", "MAKEARGS := -C SOURCE\nMAKEARGS += O=$(CURDIR)\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := split(t).Tree
			populate(t, tree.Build, map[string]string{"Makefile": test.makefile})
			before := listing(t, tree.Build)
			dir := filepath.Join(t.TempDir(), "prepared", "tree")
			source, output, err := Link(tree, dir, false)
			if err != nil {
				t.Fatal(err)
			}
			if source != tree.Source || output != dir {
				t.Errorf("source %s, output %s", source, output)
			}
			want := map[string]string{
				".config": "-> BUILD/.config", ".kernelvariables": "-> BUILD/.kernelvariables", "Makefile": test.want,
				"include": "-> BUILD/include", "scripts": "-> BUILD/scripts", "tools": "-> BUILD/tools",
			}
			if diff := cmp.Diff(want, listing(t, dir, tree.Build, "BUILD", tree.Source, "SOURCE")); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, listing(t, tree.Build)); diff != "" {
				t.Errorf("the host's tree was changed:\n%s", diff)
			}
		})
	}
}

func TestLinkWhole(t *testing.T) {
	t.Parallel()
	build := populate(t, t.TempDir(), flavour, common)
	dir := filepath.Join(t.TempDir(), "tree")
	source, output, err := Link(kernel.HostTree{Build: build, Source: build}, dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if source != dir || output != dir {
		t.Errorf("source %s, output %s, want both %s", source, output, dir)
	}
	// The Makefile is a file: the build reads it, and follows no link in what is ours.
	want := map[string]string{
		".config": "-> BUILD/.config", ".kernelvariables": "-> BUILD/.kernelvariables", "Makefile": "VERSION = 6\n",
		"arch": "-> BUILD/arch", "include": "-> BUILD/include", "scripts": "-> BUILD/scripts", "tools": "-> BUILD/tools",
	}
	if diff := cmp.Diff(want, listing(t, dir, build, "BUILD")); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// TestLinkByLoader: the programs are run by the host's loader, and all else is the host's.
func TestLinkByLoader(t *testing.T) {
	t.Parallel()
	tree := split(t).Tree
	populate(t, tree.Build, map[string]string{
		"scripts/basic/fixdep": "#!/bin/sh\necho \"fixdep $*\"\n", "scripts/basic/README": "x", "scripts/module.lds": "x",
	})
	host := populate(t, filepath.Join(t.TempDir(), "host's root"), map[string]string{"ld.so": "#!/bin/sh\n[ \"$1\" = --library-path ] && echo \"by $2\" && shift 2 && exec \"$@\"\n"})
	tree.Loader = kernel.Loader{Path: filepath.Join(host, "ld.so"), Libraries: []string{"/a b", "/c"}}
	dir := filepath.Join(t.TempDir(), "tree")
	if _, _, err := Link(tree, dir, true); err != nil {
		t.Fatal(err)
	}
	got := listing(t, dir, tree.Build, "BUILD", tree.Source, "SOURCE", strings.ReplaceAll(host, "'", `'\''`), "HOST")
	script := func(program string) string {
		return "#!/bin/sh\nexec 'HOST/ld.so' '--library-path' '/a b:/c' 'BUILD/" + program + "' \"$@\"\n"
	}
	want := map[string]string{
		".config": "-> BUILD/.config", ".kernelvariables": "-> BUILD/.kernelvariables", "Makefile": "include SOURCE/Makefile\n", "include": "-> BUILD/include",
		"scripts/module.lds": "-> BUILD/scripts/module.lds", "scripts/basic/README": "-> BUILD/scripts/basic/README",
		"scripts/basic/fixdep": script("scripts/basic/fixdep"), "scripts/mod/modpost": script("scripts/mod/modpost"), "tools/objtool/objtool": script("tools/objtool/objtool"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts/basic/fixdep"), "a b", "c").Output()
	if err != nil || string(out) != "by /a b:/c\nfixdep a b c\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// What an earlier build left is not copied: kbuild would refuse the source.
func TestCopy(t *testing.T) {
	t.Parallel()
	build := populate(t, t.TempDir(), flavour, common, sources, map[string]string{
		"arch/x86/include/generated/asm/x.h": "", "arch/x86/Kconfig": "",
		"scripts/mod/modpost.o": "", "scripts/mod/.modpost.o.cmd": "", "scripts/pahole-flags.sh": "#!/bin/sh\n",
	})
	if err := os.Symlink("../../include", filepath.Join(build, "scripts", "prefix")); err != nil {
		t.Fatal(err)
	}
	before := listing(t, build)
	dir := filepath.Join(t.TempDir(), "source")
	if err := Copy(kernel.HostTree{Build: build, Source: build}, dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		".kernelvariables": "-> BUILD/.kernelvariables", "Makefile": "-> BUILD/Makefile", "Kconfig": "-> BUILD/Kconfig",
		"init": "-> BUILD/init", "kernel": "-> BUILD/kernel", "tools": "-> BUILD/tools", "include/linux": "-> BUILD/include/linux",
		"arch/arm64": "-> BUILD/arch/arm64", "arch/x86/Kconfig": "-> BUILD/arch/x86/Kconfig",
		"arch/x86/include/asm":   "-> BUILD/arch/x86/include/asm",
		"scripts/Kbuild.include": "", "scripts/basic/fixdep.c": "int main", "scripts/kconfig/conf.c": "", "scripts/mod/modpost.c": "",
		"scripts/pahole-flags.sh": "#!/bin/sh\n", "scripts/prefix": "-> ../../include",
	}
	if diff := cmp.Diff(want, listing(t, dir, build, "BUILD")); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "scripts", "pahole-flags.sh")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("a script is not executable: %v", err)
	}
	if diff := cmp.Diff(before, listing(t, build)); diff != "" {
		t.Errorf("the host's tree was changed:\n%s", diff)
	}
}
