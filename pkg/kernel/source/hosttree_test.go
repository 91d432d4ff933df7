package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// programs is a runner for which every program ends alike.
type programs struct{ err error }

func (p programs) Run(context.Context, command.Command) error { return p.err }

// hostTree gives the target a whole tree of a host's, of 4.7.3.
func hostTree(t *testing.T, release string) kernel.Target {
	t.Helper()
	host := target(t, release)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Makefile":                       "VERSION = 4\nPATCHLEVEL = 7\nSUBLEVEL = 3\nEXTRAVERSION =\n",
		"include/config/auto.conf":       "CONFIG_SMP=y\n",
		"include/generated/autoconf.h":   "",
		"include/generated/utsrelease.h": "#define UTS_RELEASE \"" + release + "\"\n",
		"include/linux/kernel.h":         "",
		"scripts/Kbuild.include":         "", "scripts/basic/fixdep": "", "scripts/mod/modpost": "",
		"Kconfig": "", "init/Kconfig": "", "kernel/bounds.c": "",
		"scripts/basic/fixdep.c": "", "scripts/kconfig/conf.c": "", "scripts/mod/modpost.c": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host.Config.Text = []byte("CONFIG_SMP=y\n")
	host.Tree = kernel.HostTree{Build: dir, Source: dir, From: "lib/modules/" + release + "/build"}
	return host
}

// TestMadeElsewhere: Debian's 6.1.0-49-amd64 is made of 6.1.174, and v6.1 is
// neither.
func TestMadeElsewhere(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	host := target(t, "4.7.3-49-amd64")
	host.Config.Version = "4.7.9"
	for name, o := range map[string]Options{"by itself": r.options(t), "asked for": r.options(t)} {
		if name == "asked for" {
			o.Ref = "v4.7.3-coreos"
		}
		_, err := Checkout(t.Context(), host, o)
		if stage.ExitCode(err) != 12 || !strings.Contains(err.Error(), "its distribution's own build of 4.7.9") || !strings.Contains(err.Error(), "-v /usr/src:/host/usr/src:ro") {
			t.Errorf("%s: %v", name, err)
		}
		if _, planned := plan(t.Context(), host, o); planned == nil || planned.Error() != err.Error() {
			t.Errorf("%s: planned %v", name, planned)
		}
	}
	host = hostTree(t, "4.7.3-49-amd64")
	host.Config.Version = "4.7.9"
	o := r.options(t)
	o.Runner = programs{}
	if tree, err := Checkout(t.Context(), host, o); err != nil || tree.Rung != RungHostTree {
		t.Errorf("with the host's own tree: %+v, %v", tree, err)
	}
}

// TestNotUpstreams: a kernel of a distribution that patches it is not built from
// kernel.org's tag of the same number, unless somebody names a source.
func TestNotUpstreams(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	host := target(t, "4.7.3+deb13-amd64")
	host.Config.Version = "4.7.3"
	o := r.options(t)
	named := o
	o.CloneURL, o.Repository = "", ""
	_, err := Checkout(t.Context(), host, o)
	if stage.ExitCode(err) != 12 || !strings.Contains(err.Error(), "is Debian's, which carries patches of its own") || !strings.Contains(err.Error(), "nstall linux-headers-4.7.3+deb13-amd64 on the host") {
		t.Errorf("%v", err)
	}
	if tree, err := Checkout(t.Context(), host, named); err != nil || tree.Rung != RungUpstream {
		t.Errorf("of a repository that somebody named: %+v, %v", tree, err)
	}
}

func TestHostTree(t *testing.T) {
	t.Parallel()
	const where = "lib/modules/4.7.3-coreos-r2/build"
	for _, test := range []struct {
		name    string
		options func(*Options)
		change  func(*kernel.Target)
		rung    string // of the tree that serves
		first   Step
	}{
		{
			name: "serves", rung: RungHostTree,
			first: Step{RungHostTree, where, true, "is this kernel's own"},
		},
		{
			name: "serves as a source", rung: RungHostSource,
			options: func(o *Options) { o.Runner = programs{unix.ENOEXEC} },
			first:   Step{RungHostSource, where, true, "is this kernel's own, but has to be prepared anew: its scripts/basic/fixdep does not run here: exec format error"},
		},
		{
			name: "is no source for the release", rung: RungTag,
			options: func(o *Options) { o.Runner = programs{unix.ENOEXEC} },
			change: func(k *kernel.Target) {
				makefile := []byte("VERSION = 4\nPATCHLEVEL = 7\nSUBLEVEL = 9\n")
				if err := os.WriteFile(filepath.Join(k.Tree.Source, "Makefile"), makefile, 0o644); err != nil {
					panic(err)
				}
			},
			first: Step{RungHostTree, where, false, "its scripts/basic/fixdep does not run here: exec format error, and what is prepared anew from it would be a 4.7.9"},
		},
		{
			name: "the user names another", rung: RungTag,
			options: func(o *Options) { o.Ref = "v4.7.3-coreos" },
			first:   Step{RungHostTree, where, false, "--source-ref names another source"},
		},
		{
			name: "of another build", rung: RungTag,
			change: func(k *kernel.Target) { k.Config.Text = []byte("CONFIG_SMP=y\nCONFIG_HZ=250\n") },
			first:  Step{RungHostTree, where, false, "its config is not the kernel's: HZ is 250 on the host and n in the tree, the first of 1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRepository(t)
			o := r.options(t)
			o.Runner = programs{}
			if test.options != nil {
				test.options(&o)
			}
			host := hostTree(t, "4.7.3-coreos-r2")
			if test.change != nil {
				test.change(&host)
			}
			before := snapshot(t, host.Tree.Build)
			steps, err := plan(t.Context(), host, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.first, steps[0]); diff != "" {
				t.Errorf("first step (-want +got):\n%s", diff)
			}
			if test.first.Serves != (len(steps) == 1) {
				t.Errorf("plan goes on where the host's tree serves, or ends where it does not: %v", steps)
			}
			tree, err := Checkout(t.Context(), host, o)
			if err != nil {
				t.Fatal(err)
			}
			if tree.Rung != test.rung {
				t.Errorf("rung %s, want %s", tree.Rung, test.rung)
			}
			want := Tree{Dir: host.Tree.Source, Rung: test.rung, Version: "4.7.3", Reused: true}
			if diff := cmp.Diff(want, tree); test.first.Serves && diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(o.Dir); test.first.Serves != os.IsNotExist(err) {
				t.Errorf("the share's tree: %v", err)
			}
			if diff := cmp.Diff(before, snapshot(t, host.Tree.Build)); diff != "" {
				t.Errorf("the host's tree was changed:\n%s", diff)
			}
		})
	}
}

func TestHostTreeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host := hostTree(t, "4.7.3-coreos-r2")
	o := Options{Dir: filepath.Join(t.TempDir(), "linux"), Runner: programs{context.Canceled}}
	if _, err := Checkout(ctx, host, o); stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("Checkout: %v", err)
	}
	if _, err := plan(ctx, host, o); stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("Plan: %v", err)
	}
}
