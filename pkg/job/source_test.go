package job

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestLackingSource has kbuild fail for want of a file that was not checked out, and
// of others: what builder did not fetch it does not complete, and says so.
func TestLackingSource(t *testing.T) {
	t.Parallel()
	const lacks = "the kernel source lacks a file that the build needs, and builder did not fetch it"
	for _, c := range []struct {
		name, complaint string
		code            int
		lacks           bool
	}{
		{"a file that was not checked out", "scripts/a.c:1:10: fatal error: include/linux/absent.h: No such file or directory", 12, true},
		{"a file that no source has", "include/linux/other.h: No such file or directory", 13, false},
		{"no file", "include/linux/absent.h:1:2: error: something else", 13, false},
	} {
		f := newFixture(t)
		write := func(path string, write func(*os.File) error) {
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			var file *os.File
			if err == nil {
				file, err = os.Create(path)
			}
			if err == nil {
				err = errors.Join(write(file), file.Close())
			}
			if err != nil {
				t.Error(err)
			}
		}
		write(filepath.Join(f.source, ".git/index"), func(file *os.File) error {
			return index.NewEncoder(file).Encode(&index.Index{Version: 3, Entries: []*index.Entry{
				{Name: "Makefile", Mode: filemode.Regular}, {Name: "include/linux/absent.h", Mode: filemode.Regular, SkipWorktree: true},
			}})
		})
		f.tools.fail = map[string]error{"make": errors.New("it fails")}
		f.tools.before["make"] = func() {
			write(filepath.Join(f.share, ".builder/logs", prepareTool+"-"+testRelease+"-"+testDriver+".log"), func(file *os.File) error {
				_, err := file.WriteString(c.complaint + "\n")
				return err
			})
		}
		o := f.build(t)
		if stage.ExitCode(o.err) != c.code || strings.Contains(o.err.Error(), lacks) != c.lacks {
			t.Errorf("%s: %v, want exit code %d", c.name, o.err, c.code)
		}
		if said := strings.Contains(o.log, `"path":"include/linux/absent.h"`); said != c.lacks {
			t.Errorf("%s: the log names the file: %t\n%s", c.name, said, o.log)
		}
	}
}
