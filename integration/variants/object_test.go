package variants

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/ko"
)

// file is one of the modules that pkg/modules has recorded.
func file(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../pkg/modules/testdata/ko", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func read(t *testing.T, content []byte) ko.File {
	t.Helper()
	m, err := ko.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A file that was taken apart and put together says what it said.
func TestObject(t *testing.T) {
	for _, name := range []string{"nvidia.ko", "nvidia-uvm.ko", "nvidia-modeset.ko", "nvidia-drm.ko"} {
		o, err := parse(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(read(t, file(t, name)), read(t, o.bytes())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Every edit changes what it says it does, and nothing else.
func TestEdits(t *testing.T) {
	plain := read(t, file(t, "nvidia.ko"))
	for name, c := range map[string]struct {
		edit edit
		want func(*ko.File)
	}{
		"addTag":    {addTag("a", "b"), func(m *ko.File) { m.Info = append(m.Info, ko.Tag{Key: "a", Value: "b"}) }},
		"dropTag":   {dropTag("vermagic"), func(m *ko.File) { m.Info = slices.DeleteFunc(m.Info, isVermagic) }},
		"changeTag": {changeTag("vermagic", func(string) string { return "new" }), func(m *ko.File) { m.Info[slices.IndexFunc(m.Info, isVermagic)].Value = "new" }},
		"undefined": {undefined("new"), func(m *ko.File) { m.Imports = append(m.Imports, ko.Import{Name: "new"}) }},
		"weak":      {weak("new"), func(m *ko.File) { m.Imports = append(m.Imports, ko.Import{Name: "new", Weak: true}) }},
		"undefinedFirst": {undefinedFirst("new"), func(m *ko.File) {
			m.Imports = slices.Concat([]ko.Import{{Name: "new"}}, m.Imports[1:], m.Imports[:1])
		}},
		"dropSection": {dropSection(thisModule), func(m *ko.File) {
			m.ThisModule = ko.ThisModule{}
		}},
		"copySection": {copySection(modinfo), func(m *ko.File) { m.InfoSections = 2 }},
		"setVersion": {all(setVersion("a", 1), setVersion("b", 2), setVersion("a", 3)), func(m *ko.File) {
			m.HasVersions, m.Versions = true, []ko.Version{{Name: "a", CRC: 3}, {Name: "b", CRC: 2}}
		}},
		"dropVersion": {all(setVersion("a", 1), dropVersion("a")), func(m *ko.File) { m.HasVersions = true }},
		"addDebug":    {all(addDebug, relocateDebug(uint32(elf.R_X86_64_GOTPCRELX))), func(m *ko.File) { m.Debug = []string{debug} }},
		"header":      {header(func(h *elf.Header64) { h.Type = uint16(elf.ET_DYN) }), func(m *ko.File) { m.Type = elf.ET_DYN }},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(file(t, "nvidia.ko"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.edit(o); err != nil {
				t.Fatal(err)
			}
			want := plain
			want.Info, want.Imports = slices.Clone(plain.Info), slices.Clone(plain.Imports)
			c.want(&want)
			if diff := cmp.Diff(want, read(t, o.bytes())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func isVermagic(tag ko.Tag) bool { return tag.Key == "vermagic" }

// An edit of what is not there says so, so that no variant is sound by mistake.
func TestEditsOfNothing(t *testing.T) {
	for name, e := range map[string]edit{
		"changeTag":       changeTag("none", nil),
		"dropSection":     dropSection("none"),
		"copySection":     copySection("none"),
		"dropVersion":     all(setVersion("a", 1), dropVersion("b")),
		"renameExport":    renameExport("none", "new"),
		"renameSection":   renameSection("none", "new"),
		"firstRelocation": firstRelocation(".none", nil),
	} {
		o, err := parse(file(t, "nvidia.ko"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
