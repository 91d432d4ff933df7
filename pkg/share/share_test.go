package share

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

func open(t *testing.T) *Share {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// failure checks an error's exit code and that its text has all of the words.
func failure(t *testing.T, err error, code int, words ...string) {
	t.Helper()
	if got := stage.ExitCode(err); got != code {
		t.Errorf("exit code %d, want %d, of %v", got, code, err)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir   string
		words []string
	}{
		"missing": {filepath.Join(t.TempDir(), "none"), []string{"there is no share at", "docker run -v", "--share"}},
		"file":    {file, []string{"is not a folder"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(c.dir)
			failure(t, err, 2, append(c.words, c.dir)...)
		})
	}
}

func TestLayout(t *testing.T) {
	s := &Share{dir: "/opt/share"}
	for want, got := range map[string]string{
		"/opt/share":                 s.Dir(),
		"/opt/share/cuda":            s.CUDA(),
		"/opt/share/linux":           s.Linux(),
		"/opt/share/modules":         s.Modules(),
		"/opt/share/modules/6.1":     s.Release("6.1"),
		"/opt/share/modules/6.1/535": s.Result("6.1", "535"),
		"/opt/share/driver":          s.Drivers(),
		"/opt/share/driver/535":      s.Driver("535"),
		"/opt/share/driver/535@0a":   Content(s.Driver("535"), "0a", 0),
		"/opt/share/driver/535@0a.2": Content(s.Driver("535"), "0a", 2),
		"/opt/share/cdi":             s.CDI(),
		"/opt/share/loaded":          s.Loaded(),

		"/opt/share/.builder":                                  s.Private(),
		"/opt/share/.builder/logs":                             s.Logs(),
		"/opt/share/.builder/logs/make-6.1-535.log":            s.Log("make", "6.1", "535"),
		"/opt/share/.builder/exports":                          s.Exports(),
		"/opt/share/.builder/answers":                          s.Answers(),
		"/opt/share/.builder/answers/6.1-0123456789ab.answers": s.AnswersOf("6.1", "0123456789abcdef"),
		"6.1.0-coreos-r1":                                      ReleaseOfAnswers(s.AnswersOf("6.1.0-coreos-r1", "0123456789abcdef")),
		"":                                                     ReleaseOfAnswers("notes"),
		"/opt/share/.builder/downloads":                        s.Downloads(),
		"/opt/share/.builder/downloads/kernel-image-0a":        s.Image("0a"),
		"/opt/share/.builder/prepared":                         s.Prepared(),
		"/opt/share/.builder/digests":                          s.Digests(),
		"/opt/share/.builder/digests/cuda/535.run.json":        s.Digest("/opt/share/cuda/535.run"),
		"/opt/share/.builder/scratch":                          s.Scratch(),
		"/opt/share/.builder/lock":                             s.lockFile(),
		"/opt/share/.builder/lock.range":                       s.rangeFile(),
		"/opt/share/.builder/lock.d":                           s.lockFolder(),
		"/opt/share/.builder/dead-1":                           s.deadFolder("1"),
		"/opt/share/.builder/left-1":                           s.leftFolder("1"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestWritableLeavesNothing(t *testing.T) {
	s := open(t)
	if err := s.Writable(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Private())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}

// Root writes wherever the mode forbids it, so what the kernel would answer is
// put in its place.
func TestWritableExplains(t *testing.T) {
	for name, c := range map[string]struct {
		errno error
		words []string
	}{
		"read-only": {unix.EROFS, []string{"is read-only", "without :ro"}},
		"full":      {unix.ENOSPC, []string{"is full", "Free space"}},
		"quota":     {unix.EDQUOT, []string{"is full"}},
		"forbidden": {unix.EACCES, []string{"cannot be written", "Let its owner, as whom builder works there"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.create = func(dir, pattern string) (*os.File, error) {
				return nil, &os.PathError{Op: "open", Path: filepath.Join(dir, pattern), Err: c.errno}
			}
			err := s.Writable()
			failure(t, err, 16, append(c.words, s.Dir())...)
			if !errors.Is(err, c.errno) {
				t.Errorf("%v hides its cause", err)
			}
			if _, err := s.Lock(t.Context(), LockOptions{}); stage.ExitCode(err) != 16 {
				t.Errorf("Lock of it: %v", err)
			}
		})
	}
}

// TestExplainOfOthersFiles: what an earlier builder left as root's, or somebody by
// sudo, is in the way of one that works as the owner.
func TestExplainOfOthersFiles(t *testing.T) {
	s := open(t)
	s.uid, s.gid = 1000, 1001
	err := &os.PathError{Op: "remove", Path: filepath.Join(s.Private(), "scratch/x"), Err: unix.EACCES}
	failure(t, s.Explain(stage.Share, err), 75, "scratch/x: permission denied", "is not user 1000's", "chown -R 1000:1001 "+s.Dir())
	s.uid = 0
	if got := s.Explain(stage.Share, err); got != error(err) {
		t.Errorf("in a share of root's: %v", got)
	}
}

func TestWritableWhereNothingCanBeMade(t *testing.T) {
	// A file system on which nobody, root included, can make a folder.
	s, err := Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	failure(t, s.Writable(), 16, "cannot be written")
}

func TestSpace(t *testing.T) {
	if diff := cmp.Diff(Space{Bytes: 11, Files: 22}, Space{1, 2}.Plus(Space{10, 20})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Space{Bytes: 15, Files: 30}, Space{10, 20}.Times(3, 2)); diff != "" {
		t.Error(diff)
	}
}

func TestMayBeWritten(t *testing.T) {
	s := open(t)
	if err := s.MayBeWritten(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.Private()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was tried by writing: %v", err)
	}
	if err := os.Remove(s.Dir()); err != nil {
		t.Fatal(err)
	}
	failure(t, s.MayBeWritten(), 16, "cannot be written", s.Dir())
}

func TestExplainLeavesOtherErrors(t *testing.T) {
	s := open(t)
	err := errors.New("other")
	if got := s.Explain(stage.Build, err); got != err {
		t.Errorf("Explain = %v", got)
	}
	failure(t, s.Explain(stage.Source, &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}), 12, "is full")
	failure(t, s.Explain(stage.Publish, &os.PathError{Op: "remove", Path: "x", Err: unix.ELOOP}), 16, "there is a link where builder has", "Remove the link")
}

func TestNeed(t *testing.T) {
	for name, c := range map[string]struct {
		st    unix.Statfs_t
		need  Space
		words []string
	}{
		"enough":           {unix.Statfs_t{Blocks: 100, Bavail: 10, Frsize: 1e6, Files: 100, Ffree: 20}, Space{10e6, 20}, nil},
		"too little":       {unix.Statfs_t{Blocks: 9000, Bavail: 2500, Bfree: 9000, Frsize: 1e6}, Space{4e9, 1}, []string{"has 2.5 GB free and the kernel tree needs 4.0 GB"}},
		"old, in MB":       {unix.Statfs_t{Blocks: 100, Bavail: 9, Bsize: 1e6}, Space{10e6, 1}, []string{"has 9 MB free and the kernel tree needs 10 MB"}},
		"too few inodes":   {unix.Statfs_t{Blocks: 100, Bavail: 100, Frsize: 1e6, Files: 65536, Ffree: 1200}, Space{10e6, 12000}, []string{"takes 1200 more files and the kernel tree needs 12000"}},
		"inodes on demand": {unix.Statfs_t{Blocks: 100, Bavail: 100, Frsize: 1e6}, Space{10e6, 12000}, nil},
		"not telling":      {unix.Statfs_t{}, Space{1 << 60, 1 << 60}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.statfs = func(path string, st *unix.Statfs_t) error {
				if path != s.Dir() {
					t.Errorf("asked about %s", path)
				}
				*st = c.st
				return nil
			}
			err := s.Need(stage.Source, c.need, "the kernel tree")
			if c.words == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			failure(t, err, 12, append(c.words, s.Dir(), "builder prune")...)
		})
	}
}

func TestFreeOfTheRealOne(t *testing.T) {
	free, err := open(t).Free()
	if err != nil || free.Bytes == 0 || free.Bytes == Unknown || free.Files == 0 {
		t.Errorf("Free = %+v, %v", free, err)
	}
}

func TestMkdirAll(t *testing.T) {
	s := open(t)
	if err := s.MkdirAll(filepath.Join(s.Modules(), "6.1.0")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.MkdirAll(file); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("MkdirAll of a file: %v", err)
	}
}

// TestBuildable: what would fail after minutes, in other words, fails at once.
func TestBuildable(t *testing.T) {
	for _, name := range []string{"my share", "a:b", "a,b", "it's", "a$b", "a%b", "a#b", "a\nb"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		failure(t, s.Buildable(), 2, "no kernel's build gets along with that", "-v DIR:/opt/share")
	}
	if got, err := Plain("/opt/share"); got != "/opt/share" || err != nil {
		t.Errorf("Plain moves a plain path: %q, %v", got, err)
	}
	_, err := Plain("/a\nb")
	failure(t, err, 2, "nor can it be shown at another path", "-v DIR:/opt/share")
	t.Setenv(plainVariable, "/mnt/builder-share")
	at, err := Plain("/my share")
	if at != "/mnt/builder-share" || err != nil {
		t.Errorf("begun again, the share is at %q, %v", at, err)
	}
	var out strings.Builder
	fmt.Fprintf(Shown(&out, "/my share"), "%s/modules/1/2\n", at)
	if out.String() != "/my share/modules/1/2\n" {
		t.Errorf("its user is shown %q", out.String())
	}
	s := open(t)
	s.dir = "/home/jörg/a.b_c+d-e@f"
	s.statfs = func(_ string, st *unix.Statfs_t) error { return nil }
	if err := s.Buildable(); err != nil {
		t.Error(err)
	}
	s.statfs = func(_ string, st *unix.Statfs_t) error { st.Flags = unix.ST_NOEXEC; return nil }
	failure(t, s.Buildable(), 2, "is mounted noexec", "remount,exec")
}
