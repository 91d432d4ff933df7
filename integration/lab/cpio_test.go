package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInitramfs reads an archive back as the kernel does: member by member,
// each with its name and content on whole words, folders before what is in
// them.
func TestInitramfs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "initramfs")
	files := initramfs{"/init": []byte("program"), "/a/b/c.ko": nil, "/a/d": []byte("1234")}
	if err := files.write(file); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	field := func(n int) int {
		value, err := strconv.ParseUint(string(archive[6+8*n:14+8*n]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(value)
	}
	var got []string
	for len(archive) > 0 {
		if !bytes.HasPrefix(archive, []byte("070701")) {
			t.Fatalf("after %q there is no member", got)
		}
		mode, size, length := field(1), field(6), field(11)
		name := strings.TrimSuffix(string(archive[110:110+length]), "\x00")
		from := (110 + length + 3) / 4 * 4
		got = append(got, strconv.FormatInt(int64(mode), 8)+" "+name+" "+string(archive[from:from+size]))
		archive = archive[from+(size+3)/4*4:]
	}
	want := []string{
		"40755 a ", "40755 a/b ", "100755 a/b/c.ko ", "100755 a/d 1234", "100755 init program", "0 TRAILER!!! ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}
