package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

// TestHeaders: trees have the same digest of what their headers are made from where the
// same compiles against both, and else another.
func TestHeaders(t *testing.T) {
	t.Parallel()
	type made struct {
		target kernel.Target
		src    source.Tree
		o      Options
		gcc    *fakeKbuild
	}
	header := func(name, text string) func(t *testing.T, m *made) {
		return func(t *testing.T, m *made) {
			path := filepath.Join(filepath.Dir(m.target.Tree.Build), name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, path, text)
		}
	}
	anyRung, hosts := []string{source.RungTag, source.RungHostTree, source.RungHostSource}, []string{source.RungHostTree, source.RungHostSource}
	for _, tt := range []struct {
		name   string
		rungs  []string
		change func(t *testing.T, m *made)
		same   bool
	}{
		{"nothing", anyRung, func(*testing.T, *made) {}, true},
		{"other exports", anyRung, func(_ *testing.T, m *made) { m.target.Exports.Digest = "sha256:2" }, true},
		{"another config", anyRung, func(_ *testing.T, m *made) { m.target.Config.Digest = "sha256:" + strings.Repeat("2", 64) }, false},
		{"another release of the compiler", anyRung, func(_ *testing.T, m *made) { m.gcc.banner = "gcc-12 (Debian 12.2.0-14+deb12u9) 12.2.0" }, false},
		{"another commit", anyRung[:1], func(_ *testing.T, m *made) { m.src.Commit = "decaf" }, false},
		{"a patch", anyRung[:1], func(_ *testing.T, m *made) { m.src.Patches = []source.Patch{{Name: "1.patch", SHA256: "ab"}} }, false},
		{"another text in a header", hosts, header("source/include/linux/mm.h", "int mn;"), false},
		{"another header", hosts, header("source/arch/x86/include/asm/page2.h", ""), false},
		{"another generated header", hosts, header("build/include/generated/autoconf.h", "#define CONFIG_X 1"), false},
		{"another file that is none", hosts, header("source/include/linux/README", ""), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, rung := range tt.rungs {
				m := made{gcc: newFake()}
				m.target, m.src, m.o = setupHost(t, m.gcc, rung)
				header("source/include/linux/mm.h", "int mm;")(t, &m)
				first, err := Prepare(t.Context(), m.target, m.src, m.o)
				if err != nil {
					t.Fatal(err)
				}
				tt.change(t, &m)
				second, err := Prepare(t.Context(), m.target, m.src, m.o)
				if err != nil {
					t.Fatal(err)
				}
				if len(first.Headers) != 64 || first.Headers == second.Headers != tt.same {
					t.Errorf("%s: %q and %q, which should be the same: %v", rung, first.Headers, second.Headers, tt.same)
				}
			}
		})
	}
}
