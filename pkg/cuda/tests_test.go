package cuda

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda/conftest"
	standins "github.com/k8sp/cuda/pkg/cuda/conftest/standin"
)

// testingDriver is a driver that tests the kernel in the way that is known.
func testingDriver(t *testing.T) Driver {
	d := driver("535.261.03", Proprietary)
	d.Dir = testkit.WriteTree(t, map[string]string{
		"kernel/Kbuild":      "NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) \"$(CC)\" $(ARCH)\n",
		"kernel/conftest.sh": "#!/bin/sh\n",
	})
	return d
}

// TestAnswers: the driver's tests find what is known, and what they find out is known
// afterwards, also where the build fails.
func TestAnswers(t *testing.T) {
	t.Parallel()
	yes, no, more := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	for _, fails := range []error{nil, failed} {
		r := &fakeInstaller{options: "535.216.01", modules: allModules, err: fails}
		o := buildOptions(t, r)
		o.Scratch = testkit.PlainTemp(t)
		o.Compiler = "gcc-12"
		o.Answers = &conftest.Answers{Known: conftest.Set{yes: true, no: false}}
		known := filepath.Join(o.Scratch, "conftest.known")
		notes := filepath.Join(o.Scratch, "installer", "conftest")
		r.during = func() {
			makefile, err := os.ReadFile(filepath.Join(o.Scratch, "askonce.mk"))
			if err != nil || !strings.Contains(string(makefile), " "+standins.Word+" "+known+" "+notes+` $(strip $(CC))" $(ARCH)`) {
				t.Errorf("%v\n%s", err, makefile)
			}
			text, err := os.ReadFile(known)
			if err != nil || string(text) != yes+" y\n"+no+" n\n" {
				t.Errorf("known is %q, %v", text, err)
			}
			for _, name := range []string{yes + ".k", more + ".y", "x"} {
				if err := os.WriteFile(filepath.Join(notes, name), nil, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := Build(t.Context(), testingDriver(t), o); (err != nil) != (fails != nil) {
			t.Fatal(err)
		}
		want := conftest.Answers{Known: conftest.Set{yes: true, no: false}, Used: conftest.Set{yes: true}, Learned: conftest.Set{more: true}}
		if diff := cmp.Diff(want, *o.Answers); diff != "" {
			t.Error(diff)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		tried, built := r.calls[1], r.calls[2]
		if diff := cmp.Diff([]string{self, standins.Word, known, notes, "gcc-12", "--version"}, tried.Args); diff != "" {
			t.Errorf("tried %s", diff)
		}
		if diff := cmp.Diff([][]string{{self, known}, {notes}}, [][]string{tried.Reads, tried.Writes}); diff != "" {
			t.Errorf("the stand-in is given %s", diff)
		}
		if !slices.Contains(built.Reads, self) || !slices.Contains(built.Reads, known) {
			t.Errorf("the installer is given %q", built.Reads)
		}
	}
}

// TestWithoutAnswers: where the stand-in cannot be had the compiler is asked.
func TestWithoutAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(d Driver, r *fakeInstaller, o *BuildOptions) error
	}{
		{"nobody wants it", func(_ Driver, _ *fakeInstaller, o *BuildOptions) error { o.Answers = nil; return nil }},
		{"it does not run there", func(_ Driver, r *fakeInstaller, _ *BuildOptions) error { r.standin = failed; return nil }},
		{"no Kbuild", func(d Driver, _ *fakeInstaller, _ *BuildOptions) error {
			return os.Remove(filepath.Join(d.Dir, "kernel", "Kbuild"))
		}},
		{"no conftest.sh", func(d Driver, _ *fakeInstaller, _ *BuildOptions) error {
			return os.Remove(filepath.Join(d.Dir, "kernel", "conftest.sh"))
		}},
		{"an unknown Kbuild", func(d Driver, _ *fakeInstaller, _ *BuildOptions) error {
			return os.WriteFile(filepath.Join(d.Dir, "kernel", "Kbuild"), nil, 0o644)
		}},
		{"a file in the way", func(_ Driver, _ *fakeInstaller, o *BuildOptions) error {
			return os.Mkdir(filepath.Join(o.Scratch, "conftest.known"), 0o755)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &fakeInstaller{options: "535.216.01", modules: allModules}
			o, d := buildOptions(t, r), testingDriver(t)
			o.Scratch = testkit.PlainTemp(t)
			o.Answers = &conftest.Answers{Known: conftest.Set{strings.Repeat("a", 64): true}}
			if err := tt.spoil(d, r, &o); err != nil {
				t.Fatal(err)
			}
			if _, err := Build(t.Context(), d, o); err != nil {
				t.Fatal(err)
			}
			makefile, err := os.ReadFile(filepath.Join(o.Scratch, "askonce.mk"))
			if err != nil || strings.Contains(string(makefile), "NV_CONFTEST_CMD") {
				t.Errorf("%v\n%s", err, makefile)
			}
			if o.Answers != nil && len(o.Answers.Learned)+len(o.Answers.Used) > 0 {
				t.Errorf("%+v", o.Answers)
			}
			if last := r.calls[len(r.calls)-1]; slices.ContainsFunc(last.Reads, func(path string) bool {
				_, err := os.Lstat(path)
				return strings.HasPrefix(path, o.Scratch) && errors.Is(err, os.ErrNotExist)
			}) {
				t.Errorf("the installer is to read what is not there: %q", last.Reads)
			}
		})
	}
}
