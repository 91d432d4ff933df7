package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	before, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil {
		t.Fatal(err)
	}
	const absent = "drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c"
	if _, err := os.Stat(filepath.Join(o.Dir, absent)); !os.IsNotExist(err) {
		t.Fatalf("%s is there already: %v", absent, err)
	}
	after, err := Complete(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("tree (-before +after):\n%s", diff)
	}
	gittest.Run(t, r.dir, "checkout", "--quiet", before.Commit)
	if diff := cmp.Diff(snapshot(t, r.dir), snapshot(t, o.Dir)); diff != "" {
		t.Errorf("the tree differs from the whole one (-whole +got):\n%s", diff)
	}
	if out := gittest.Run(t, o.Dir, "status", "--porcelain", "--ignored"); out != "" {
		t.Errorf("git status says\n%s", out)
	}
	wantEmpty(t, o.Scratch)
	again, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil || !again.Reused {
		t.Errorf("the whole tree is not reused: %v", err)
	}
}

func TestCompleteRefuses(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	_, err := Complete(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "builder did not fetch it", "move it away")
	if _, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o); err != nil {
		t.Fatal(err)
	}
	asked := len(r.requests())
	o.Offline = true
	_, err = Complete(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "it lacks a file", "--offline forbids to fetch it")
	if len(r.requests()) != asked {
		t.Error("the network was asked")
	}
	o.Offline = false
	write(t, filepath.Join(o.Dir, "kernel/mine.c"), "mine")
	_, err = Complete(t.Context(), target(t, "4.7.3-coreos"), o)
	wantError(t, err, stage.Source, "holds changes (kernel/mine.c)")
}

func TestMissing(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	tree, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), o)
	if err != nil {
		t.Fatal(err)
	}
	const aux, crlf = "drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c", "lib/crlf.txt"
	for name, test := range map[string]struct{ log, want string }{
		"a compiler's":        {"a.c:3:10: fatal error: subdev/i2c/aux.c: No such file or directory", aux},
		"make's":              {"make[2]: *** No rule to make target 'lib/crlf.txt', needed by 'prepare0'.  Stop.", crlf},
		"with the tree":       {"/bin/sh: 0: cannot open " + o.Dir + "/lib/crlf.txt: No such file", crlf},
		"relative":            {"gcc: error: ../../lib/crlf.txt: No such file or directory", crlf},
		"in ‘quotes’":         {"cc1: fatal error: can't open ‘lib/crlf.txt’", crlf},
		"later":               {"CC lib/crlf.txt\n" + strings.Repeat("x\n", 1000) + "cat: lib/crlf.txt: No such file or directory", crlf},
		"what is made of it":  {"make[1]: *** Waiting for unfinished jobs....\n/bin/sh: 1: cannot open " + aux[:len(aux)-2] + ".s: No such file", aux},
		"an object":           {"make[3]: *** No rule to make target '" + aux[:len(aux)-2] + ".o', needed by 'prepare0'.  Stop.", aux},
		"an object elsewhere": {"make[3]: *** No rule to make target '/share/out/" + aux[:len(aux)-2] + ".o', needed by 'prepare0'.  Stop.", aux},
		"an object of a folder": {
			"make[4]: Entering directory '/share/out/drivers/gpu/drm/nouveau/nvkm/subdev/i2c'\nmake[4]: *** No rule to make target 'aux.o', needed by 'all'.  Stop.", aux,
		},
		"an object of another folder": {"make[4]: Entering directory '/share/out/i2c'\nmake[4]: *** No rule to make target 'aux.o', needed by 'all'.  Stop.", ""},
		"an object of nobody's":       {"make[3]: *** No rule to make target 'lib/crlf.o', needed by 'prepare0'.  Stop.", ""},
		"another's":                   {"fatal error: nv-linux.h: No such file or directory", ""},
		"there":                       {"fatal error: scripts/setlocalversion: No such file or directory", ""},
		"only a name":                 {"fatal error: aux.c: No such file or directory", ""},
		"no complaint":                {"  CC      lib/crlf.txt", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Missing(tree, strings.NewReader(test.log))
			if err != nil || got != test.want {
				t.Errorf("Missing = %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if got, err := Missing(Tree{Dir: t.TempDir()}, strings.NewReader("lib/crlf.txt: No such file or directory")); got != "" || err != nil {
		t.Errorf("Missing of a host's tree = %q, %v", got, err)
	}
}
