package patch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestMain(m *testing.M) {
	testkit.InMemory()
	os.Exit(m.Run())
}

// numbered is a text of lines "1\n" to "n\n".
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

// hunk changes line 5 of numbered, to the letter of diff -u.
const hunk = `@@ -3,5 +3,5 @@
 3
 4
-5
+five
 6
 7
`

// trees are a folder with sources and one with patches.
func trees(t *testing.T, patches map[string]string) (sources, dir string) {
	t.Helper()
	top := testkit.PlainTemp(t)
	sources, dir = filepath.Join(top, "driver"), filepath.Join(top, "patches")
	for name, text := range map[string]string{
		"driver/kernel/nvidia/nv.c": numbered(20), "driver/kernel-open/nvidia/nv.c": numbered(20),
		"driver/kernel-open/nvidia/old.c": "old\n", "driver/kernel-open/nvidia/unended.c": "1\n2", "driver/nvidia-installer": "#!/bin/sh\n",
	} {
		write(t, filepath.Join(top, name), text)
	}
	for name, text := range patches {
		write(t, filepath.Join(dir, name), text)
	}
	return sources, dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	five := strings.Replace(numbered(20), "5\n", "five\n", 1)
	for _, c := range []struct {
		name  string
		patch string
		file  string
		want  string // "-" is a file that is gone
	}{
		{"of diff -u", "--- a/kernel-open/nvidia/nv.c\t2026-07-28 08:34:08.084158759 -0000\n+++ b/kernel-open/nvidia/nv.c\t2026-07-28 08:34:46.162723864 -0000\n" + hunk, "kernel-open/nvidia/nv.c", five},
		{"of git", "From: somebody\n\nWhy.\n---\n kernel/nvidia/nv.c | 2 +-\n\ndiff --git a/kernel/nvidia/nv.c b/kernel/nvidia/nv.c\nindex 9d2a0512..e473b66f 100644\n--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n" + hunk + "-- \n2.53.0\n", "kernel/nvidia/nv.c", five},
		{"of two folders of one's own", "--- NVIDIA-570.86.15/kernel/nvidia/nv.c\n+++ mine/kernel/nvidia/nv.c\n" + hunk, "kernel/nvidia/nv.c", five},
		{"lines before it were added", "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n" + strings.Replace(hunk, "@@ -3,5 +3,5 @@", "@@ -1,5 +1,5 @@", 1), "kernel/nvidia/nv.c", five},
		{"lines before it were taken away", "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n" + strings.Replace(hunk, "@@ -3,5 +3,5 @@", "@@ -900,5 +900,5 @@ static int f(void)", 1), "kernel/nvidia/nv.c", five},
		{"two hunks", "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n" + hunk + "@@ -18,2 +18,3 @@\n 18\n 19\n+nineteen and a half\n", "kernel/nvidia/nv.c",
			strings.Replace(five, "19\n", "19\nnineteen and a half\n", 1)},
		{"no context", "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n@@ -5,0 +6,1 @@\n+after five\n", "kernel/nvidia/nv.c", strings.Replace(numbered(20), "5\n", "5\nafter five\n", 1)},
		{"a new file", "--- /dev/null\n+++ b/kernel-open/common/inc/new.h\n@@ -0,0 +1,2 @@\n+#define NEW\n+1\n", "kernel-open/common/inc/new.h", "#define NEW\n1\n"},
		{"a file less", "--- a/kernel-open/nvidia/old.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n", "kernel-open/nvidia/old.c", "-"},
		{"a last line without its end", "--- a/kernel-open/nvidia/unended.c\n+++ b/kernel-open/nvidia/unended.c\n@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+two\n", "kernel-open/nvidia/unended.c", "1\ntwo\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sources, dir := trees(t, map[string]string{"a.patch": c.patch})
			set, err := Read(dir, Driver)
			if err == nil {
				err = set.Apply(sources, Driver)
			}
			if err != nil {
				t.Fatal(err)
			}
			at := filepath.Join(sources, c.file)
			got, err := os.ReadFile(at)
			if c.want == "-" {
				if !os.IsNotExist(err) {
					t.Errorf("it is there: %q, %v", got, err)
				}
				return
			}
			if string(got) != c.want || err != nil {
				t.Errorf("%q, want %q (%v)", got, c.want, err)
			}
		})
	}
}

// TestOrder has a patch go on where the one before it by name ended, and other files
// beside them stay what they are.
func TestOrder(t *testing.T) {
	t.Parallel()
	head := "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n"
	sources, dir := trees(t, map[string]string{
		"02-more.diff": head + "@@ -5 +5 @@\n-five\n+cinq\n", "01-first.patch": head + hunk, "README": "no patch", "03.patch.orig": "none either",
	})
	set, err := Read(dir, Driver)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.String(); !strings.HasPrefix(got, "01-first.patch sha256:") || !strings.Contains(got, ", 02-more.diff sha256:") || len(set) != 2 || len(set[0].SHA256) != 64 {
		t.Errorf("%s", got)
	}
	if err := set.Apply(sources, Driver); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(sources, "kernel/nvidia/nv.c"))
	if !strings.Contains(string(got), "4\ncinq\n6\n") || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDoesNotApply(t *testing.T) {
	t.Parallel()
	head := "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n"
	for _, c := range []struct{ name, patch, says string }{
		{"other lines", head + hunk + strings.NewReplacer("5", "fifteen", "five", "15").Replace(hunk), "kernel/nvidia/nv.c, hunk 2 (@@ -3,fifteen"},
		{"other context", head + strings.Replace(hunk, " 7\n", " seven\n", 1), "kernel/nvidia/nv.c, hunk 1 (@@ -3,5 +3,5 @@): the lines that it changes are not there"},
		{"in the wrong order", head + "@@ -18,2 +18,2 @@\n 18\n-19\n+nineteen\n" + hunk, "hunk 2 (@@ -3,5 +3,5 @@)"},
		{"no such file", "--- a/kernel/nvidia/none.c\n+++ b/kernel/nvidia/none.c\n" + hunk, "there is no kernel/nvidia/none.c"},
		{"a new file that is there", "--- /dev/null\n+++ b/kernel/nvidia/nv.c\n@@ -0,0 +1,1 @@\n+new\n", "it adds kernel/nvidia/nv.c, which is there already"},
		{"a file with more in it", "--- a/kernel/nvidia/nv.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-1\n-2\n", "kernel/nvidia/nv.c"},
		{"a link", "--- a/kernel/nvidia/link.c\n+++ b/kernel/nvidia/link.c\n" + hunk, "kernel/nvidia/link.c is no plain file"},
		{"a folder that is a link", "--- a/kernel/out/nv.c\n+++ b/kernel/out/nv.c\n" + hunk, "link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			patch := c.patch
			if c.name == "other lines" { // keep the header's counts
				patch = head + hunk + "@@ -13,3 +13,3 @@\n 13\n-fourteen\n+14\n 15\n"
				c.says = "kernel/nvidia/nv.c, hunk 2 (@@ -13,3 +13,3 @@): the lines that it changes are not there"
			}
			sources, dir := trees(t, map[string]string{"fix.patch": patch})
			outside := filepath.Join(filepath.Dir(sources), "outside")
			write(t, filepath.Join(outside, "nv.c"), numbered(20))
			for name, to := range map[string]string{"link.c": filepath.Join(outside, "nv.c"), "../out": outside} {
				if err := os.Symlink(to, filepath.Join(sources, "kernel/nvidia", name)); err != nil {
					t.Fatal(err)
				}
			}
			set, err := Read(dir, Driver)
			if err != nil {
				t.Fatal(err)
			}
			err = set.Apply(sources, Driver)
			if stage.ExitCode(err) != 11 || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "fix.patch") {
				t.Errorf("%v, want one of the driver stage with %q", err, c.says)
			}
			for _, same := range []string{filepath.Join(outside, "nv.c"), filepath.Join(sources, "kernel/nvidia/nv.c")} {
				if got, err := os.ReadFile(same); string(got) != numbered(20) || err != nil {
					t.Errorf("%s was changed: %q, %v", same, got, err)
				}
			}
		})
	}
}

// TestRefused are patches that are refused before anything is done, for what they say.
func TestRefused(t *testing.T) {
	t.Parallel()
	diff := func(name string) string { return "--- a/" + name + "\n+++ b/" + name + "\n" + hunk }
	for _, c := range []struct{ name, patch, says string }{
		{"above the package", diff("kernel/../../../etc/passwd"), "is not a path"},
		{"above it at once", diff("../kernel/nvidia/nv.c"), "is not a path"},
		{"from the root", "--- /kernel/nvidia/nv.c\n+++ /etc/passwd\n" + hunk, "is not a path"},
		{"quoted", "--- \"a/kernel/\\056\\056/nvidia-installer\"\n+++ \"b/kernel/\\056\\056/nvidia-installer\"\n" + hunk, "is not a path"},
		{"the installer", diff("nvidia-installer"), "is not a path"},
		{"the manifest", diff(".manifest"), "is not a path"},
		{"a folder itself", diff("kernel"), "is not a path"},
		{"a renamed file", "diff --git a/kernel/nvidia/nv.c b/kernel/nvidia/of.c\nsimilarity index 100%\nrename from kernel/nvidia/nv.c\nrename to kernel/nvidia/of.c\n", "is renamed or copied"},
		{"a link", "diff --git a/kernel/nvidia/l.c b/kernel/nvidia/l.c\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ b/kernel/nvidia/l.c\n@@ -0,0 +1 @@\n+/etc/passwd\n\\ No newline at end of file\n", "something else than a plain file"},
		{"a mode", "diff --git a/kernel/nvidia/nv.c b/kernel/nvidia/nv.c\nold mode 100644\nnew mode 100755\n", "of another mode"},
		{"a binary", "diff --git a/kernel/nvidia/nv.o b/kernel/nvidia/nv.o\nindex 1111111..2222222 100644\nBinary files a/kernel/nvidia/nv.o and b/kernel/nvidia/nv.o differ\n", "is a binary file"},
		{"no patch", "hello\n", "there is no change in it"},
		{"a torn one", "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n@@ -3,5 +3,5 @@\n 3\n", "fix.patch is no patch"},
	} {
		_, dir := trees(t, map[string]string{"fix.patch": c.patch})
		if _, err := Read(dir, Driver); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "fix.patch") {
			t.Errorf("%s: %v, want one of the usage stage with %q", c.name, err, c.says)
		}
	}
}

// TestDamaged are patches of which a part would be left out.
func TestDamaged(t *testing.T) {
	t.Parallel()
	const head, other = "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n", "--- a/kernel-open/nvidia/nv.c\n+++ b/kernel-open/nvidia/nv.c\n"
	const git = "diff --git a/kernel-open/nvidia/nv.c b/kernel-open/nvidia/nv.c\nindex 9d2a0512..e473b66f 100644\n"
	const last = "@@ -18,2 +18,3 @@\n 18\n 19\n+nineteen and a half\n"
	for _, c := range []struct{ name, patch, says string }{
		{"counts that are too small", head + "@@ -3,2 +3,2 @@\n 3\n 4\n-5\n+five\n 6\n", "line 6: this is of no hunk"},
		{"counts that are too small, before another", head + "@@ -3,4 +3,4 @@\n 3\n 4\n-5\n+five\n 6\n 7\n" + last, "line 10: "},
		{"a count that is too small", head + "@@ -3,5 +3,4 @@\n 3\n 4\n-5\n+five\n 6\n 7\n", "line 9: the hunk has more lines than its header says"},
		{"a torn header in another file", head + hunk + other + "@@ -5 +5\n-5\n+five\n", "line 12: this is no header of a hunk"},
		{"a torn header in another file of git's", head + hunk + git + other + "@@ -5 +5\n-5\n+five\n", "line 14: this is no header of a hunk"},
		{"a torn header of another hunk", head + hunk + "@@ -18,2 +18,3\n 18\n 19\n+nineteen and a half\n", "line 10: this is no header of a hunk"},
		{"another file without a hunk", head + hunk + other, "line 10: there is no hunk of this file"},
		{"a file without a hunk", other + head + hunk, "line 1: there is no hunk of this file"},
		{"a file without a hunk, of a mail", head + hunk + other + "-- \n2.53.0\n", "line 10: there is no hunk of this file"},
		{"one name of another file", head + hunk + "+++ b/kernel-open/nvidia/nv.c\n" + hunk, "line 10: this is of no hunk"},
		{"one name of a file", "+++ b/kernel-open/nvidia/nv.c\n" + hunk, "line 1: the next file's names are torn"},
		{"no name of a file", "Why.\n" + hunk, "line 2: the hunk is of no file"},
		{"two hunks in one", head + "@@@ -3,5 -3,5 +3,5 @@@\n  3\n", "line 3: this is no header of a hunk"},
		{"Windows line ends", strings.ReplaceAll(head+hunk, "\n", "\r\n"), "line 1: it has Windows line ends (CR LF)"},
		{"Windows line ends, by git", strings.ReplaceAll(git+other+hunk, "\n", "\r\n"), "line 1: it has Windows line ends (CR LF)"},
		{"no prefix", strings.NewReplacer(" a/", " ", " b/", " ").Replace(git + other + hunk), "it was made without a prefix (git diff --no-prefix): make it with a/ and b/"},
	} {
		_, dir := trees(t, map[string]string{"fix.patch": c.patch})
		if _, err := Read(dir, Driver); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "fix.patch") {
			t.Errorf("%s: %v, want one of the usage stage with %q", c.name, err, c.says)
		}
	}
}

// TestWhole are patches with words between their files, which are no part of a change.
func TestWhole(t *testing.T) {
	t.Parallel()
	const head, other = "--- a/kernel/nvidia/nv.c\n+++ b/kernel/nvidia/nv.c\n", "--- a/kernel-open/nvidia/nv.c\n+++ b/kernel-open/nvidia/nv.c\n"
	const mail = "From 1234 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] why\n\n- first\n+ second\n---\n nv.c | 2 +-\n\n"
	for name, patch := range map[string]string{
		"two mails":             mail + head + hunk + "-- \n2.53.0\n\n" + mail + other + hunk + "-- \n2.53.0\n",
		"words of diff's":       "diff -ru a b\n" + head + hunk + "Only in b: nv.o\ndiff -ru a b\n" + other + hunk,
		"words of others":       "Index: nv.c\n=====\n" + head + hunk + "\nIndex: nv.c\n=====\n" + other + hunk,
		"lines like names":      head + "@@ -1,4 +1,4 @@\n 1\n--- 2\n+++ 2\n 3\n 4\n" + other + hunk,
		"empty lines as such":   head + "@@ -1,3 +1,3 @@\n 1\n\n-2\n+two\n" + other + hunk,
		"an end without a line": head + "@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+two\n\\ No newline at end of file\n" + other + hunk,
		"CR in what is changed": head + "@@ -1,2 +1,2 @@\n 1\r\n-2\r\n+two\r\n" + other + hunk,
	} {
		_, dir := trees(t, map[string]string{"fix.patch": patch})
		if set, err := Read(dir, Driver); err != nil || len(set[0].files) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFolderOfPatches(t *testing.T) {
	t.Parallel()
	_, dir := trees(t, map[string]string{"README": ""})
	if _, err := Read(dir, Driver); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "there is no patch for the driver's sources in") {
		t.Errorf("%v", err)
	}
	if _, err := Read(filepath.Join(dir, "none"), Driver); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.patch")); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, Driver); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "it is no plain file") {
		t.Errorf("%v", err)
	}
	if Set(nil).Apply(dir, Driver) != nil || Set(nil).String() != "" {
		t.Error("no patches are something")
	}
}
