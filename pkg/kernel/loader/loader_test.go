package loader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// source is as the file of the kernel's is: the switches of both widths, and one of the
// types in a comment.
const source = `
#ifdef CONFIG_X86_32
		switch (ELF32_R_TYPE(rel[i].r_info)) {
		case R_386_32:
			break;
#else /*X86_64*/
		switch (ELF64_R_TYPE(rel[i].r_info)) {
		case R_X86_64_NONE:
			break;
		case R_X86_64_64:
		case R_X86_64_32: /* in the lower half */
		case R_X86_64_PC32:
			break;
		/* as long as nobody needs it:
		case R_X86_64_PC64:
		*/
		// case R_X86_64_GOT32:
		default:
#endif
`

func TestRead(t *testing.T) {
	dir := t.TempDir()
	got, err := Read(dir)
	if got != nil || err != nil {
		t.Errorf("a source without the file: %v, %v", got, err)
	}
	file := filepath.Join(dir, "arch/x86/kernel/module.c")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(source, "case R_X86_64_PC32:", "case R_X86_64_PC32:\n\t\tcase R_X86_64_PLT32:\n\t\t\tif (*(u32 *)loc != 0)\n\t\t\t\tgoto invalid_relocation;", 1)
	for text, want := range map[string]Loader{
		source: {Relocations: []string{"R_X86_64_32", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32"}},
		later:  {Relocations: []string{"R_X86_64_32", "R_X86_64_64", "R_X86_64_NONE", "R_X86_64_PC32", "R_X86_64_PLT32"}, WantsZeros: true},
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if diff := cmp.Diff(&want, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
		if got.Knows("R_X86_64_PLT32") != want.WantsZeros || got.Knows("R_X86_64_PC64") {
			t.Errorf("%v knows what it does not", got)
		}
	}
}
