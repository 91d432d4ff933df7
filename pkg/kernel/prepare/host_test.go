package prepare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// setupHost is a host that has a split tree.
func setupHost(t *testing.T, f *fakeKbuild, rung string) (kernel.Target, source.Tree, Options) {
	t.Helper()
	target, _, o := setup(t, f)
	host := t.TempDir()
	target.Tree = kernel.HostTree{Build: filepath.Join(host, "build"), Source: filepath.Join(host, "source")}
	for _, dir := range []string{"build/include", "source/include/linux", "source/arch/x86", "source/scripts"} {
		if err := os.MkdirAll(filepath.Join(host, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(host, "build", "Makefile"), "include /usr/src/source/Makefile\n")
	write(t, filepath.Join(host, "build", "Module.symvers"), "0x00000000\tnot_believed\tvmlinux\tEXPORT_SYMBOL\t\n")
	return target, source.Tree{Dir: target.Tree.Source, Rung: rung, Version: "6.1.192", Reused: true}, o
}

func TestPrepareHostTree(t *testing.T) {
	t.Parallel()
	f := newFake()
	target, src, o := setupHost(t, f, source.RungHostTree)
	// Whatever is there is not the host's tree of today.
	for range 2 {
		tree, err := Prepare(t.Context(), target, src, o)
		if err != nil {
			t.Fatal(err)
		}
		want := Tree{
			Source: target.Tree.Source, Output: filepath.Join(o.Dir, folder(target)),
			Compiler: "gcc-12", CompilerVersion: gccBanner, Release: "6.1.192-coreos-r1", Headers: tree.Headers,
		}
		if diff := cmp.Diff(want, tree); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		for name, want := range map[string]string{
			"Module.symvers": "0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
			"Makefile":       "include " + target.Tree.Source + "/Makefile\n",
		} {
			got, err := os.ReadFile(filepath.Join(tree.Output, name))
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
		}
	}
	if diff := cmp.Diff([]string{"--version", "--version"}, f.goals()); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
}

// A failure leaves the host's files alone, which links lead to.
func TestPrepareHostTreeFails(t *testing.T) {
	t.Parallel()
	target, src, o := setupHost(t, newFake(), source.RungHostTree)
	write(t, filepath.Join(target.Tree.Build, "include", "kept"), "")
	if _, err := Prepare(t.Context(), target, src, o); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(target.Tree.Build, "Makefile")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(target.Tree.Build, "Makefile"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Prepare(t.Context(), target, src, o)
	if stage.ExitCode(err) != 13 || !strings.HasPrefix(err.Error(), "prepare: could not link the host's build tree: ") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
	if _, err := os.Stat(filepath.Join(target.Tree.Build, "include", "kept")); err != nil {
		t.Error(err)
	}
}

// A tree whose programs do not run is prepared anew, from a clean copy.
func TestPrepareHostSource(t *testing.T) {
	t.Parallel()
	f := newFake()
	target, src, o := setupHost(t, f, source.RungHostSource)
	for _, reused := range []bool{false, true} {
		tree, err := Prepare(t.Context(), target, src, o)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(o.Dir, folder(target))
		want := Tree{
			Source: out + ".source", Output: out, Reused: reused,
			Compiler: "gcc-12", CompilerVersion: gccBanner, Release: "6.1.192-coreos-r1", Headers: tree.Headers,
		}
		if diff := cmp.Diff(want, tree); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		if to, err := os.Readlink(filepath.Join(tree.Source, "include", "linux")); err != nil || to != filepath.Join(target.Tree.Source, "include", "linux") {
			t.Errorf("include/linux leads to %q: %v", to, err)
		}
	}
	if diff := cmp.Diff([]string{"--version", "olddefconfig", "modules_prepare", "--version"}, f.goals()); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
}

func TestPrepareHostSourceFails(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.fail, f.prints = "modules_prepare", "make[1]: *** No rule to make target 'arch/x86/tools/relocs.c'.  Stop.\n"
	target, src, o := setupHost(t, f, source.RungHostSource)
	_, err := Prepare(t.Context(), target, src, o)
	want := "prepare: make modules_prepare failed (make[1]: *** No rule to make target 'arch/x86/tools/relocs.c'.  Stop.): make: exit status 2. " +
		"Read what make printed in " + o.LogFile + ", or take another source than the host's own tree with --source-ref."
	if err == nil || err.Error() != want || stage.ExitCode(err) != 13 {
		t.Errorf("error %v\nwant %s", err, want)
	}
	if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
}

// TestTryCompiler has another compiler than the kernel's compile for the host's own tree
// before a driver does, whose failure would be taken for the driver's.
func TestTryCompiler(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		built  int
		prints string // and fails
		err    error
		goals  []string
		want   string
	}{
		{name: "the kernel's own", built: 12, goals: []string{"--version"}},
		{name: "not known", goals: []string{"--version"}},
		{name: "older", built: 14, goals: []string{"--version", "trial.o"}},
		{name: "newer", built: 10, goals: []string{"--version", "trial.o"}},
		{
			name: "one without a flag", built: 14, goals: []string{"--version", "trial.o"},
			prints: "gcc-12: error: unrecognized command-line option '-fmin-function-alignment=16'\n",
			want:   "the kernel was built by gcc 14.2.0, and gcc-12, the nearest that this image has, does not compile for its tree: gcc-12: error: unrecognized command-line option '-fmin-function-alignment=16'",
		},
		{name: "no make", built: 14, goals: []string{"--version", "trial.o"}, prints: " ", err: os.ErrNotExist, want: "could not try gcc-12"},
	} {
		f := newFake()
		target, src, o := setupHost(t, f, source.RungHostTree)
		target.Compiler = kernel.Compiler{Name: "gcc", Version: "14.2.0", Major: tt.built}
		if tt.prints != "" {
			f.fail, f.prints, f.err = "trial.o", tt.prints, tt.err
		}
		tree, err := Prepare(t.Context(), target, src, o)
		if diff := cmp.Diff(tt.goals, f.goals()); diff != "" {
			t.Errorf("%s: ran (-want +got):\n%s", tt.name, diff)
		}
		if tt.want == "" && err != nil || tt.want != "" && (stage.ExitCode(err) != 13 || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if err == nil {
			if _, err := os.Stat(filepath.Join(tree.Output, ".trial")); !os.IsNotExist(err) {
				t.Errorf("%s: the trial is left: %v", tt.name, err)
			}
		}
		if last := f.ran[len(f.ran)-1]; len(tt.goals) > 1 && (!slices.Contains(last.Args, "O="+filepath.Join(o.Dir, folder(target))) || !slices.Contains(last.Args, "CC=gcc-12")) {
			t.Errorf("%s: ran %q", tt.name, last.Args)
		}
	}
}
