package share

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		"/opt/share":                  s.Dir(),
		"/opt/share/cuda":             s.CUDA(),
		"/opt/share/linux":            s.Linux(),
		"/opt/share/modules":          s.Modules(),
		"/opt/share/modules/6.1":      s.Release("6.1"),
		"/opt/share/modules/6.1/535":  s.Result("6.1", "535"),
		"/opt/share/driver":           s.Drivers(),
		"/opt/share/driver/535":       s.Driver("535"),
		"/opt/share/driver/.535-0a":   Content(s.Driver("535"), "0a", 0),
		"/opt/share/driver/.535-0a.2": Content(s.Driver("535"), "0a", 2),
		"/opt/share/cdi":              s.CDI(),
		"/opt/share/loaded":           s.Loaded(),

		"/opt/share/.builder":                           s.Private(),
		"/opt/share/.builder/logs":                      s.Logs(),
		"/opt/share/.builder/logs/make-6.1-535.log":     s.Log("make", "6.1", "535"),
		"/opt/share/.builder/exports":                   s.Exports(),
		"/opt/share/.builder/downloads":                 s.Downloads(),
		"/opt/share/.builder/downloads/kernel-image-0a": s.Image("0a"),
		"/opt/share/.builder/prepared":                  s.Prepared(),
		"/opt/share/.builder/digests":                   s.Digests(),
		"/opt/share/.builder/digests/cuda/535.run.json": s.Digest("/opt/share/cuda/535.run"),
		"/opt/share/.builder/scratch":                   s.Scratch(),
		"/opt/share/.builder/lock":                      s.lockFile(),
		"/opt/share/.builder/lock.range":                s.rangeFile(),
		"/opt/share/.builder/lock.d":                    s.lockFolder(),
		"/opt/share/.builder/dead-1":                    s.deadFolder("1"),
		"/opt/share/.builder/left-1":                    s.leftFolder("1"),
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
		"forbidden": {unix.EACCES, []string{"cannot be written", "Let the container's root"}},
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

func TestChownCoversTheTreeAndOnlyWhatDiffers(t *testing.T) {
	s := open(t)
	tree := filepath.Join(s.Dir(), "modules", "6.1.0")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	var got []string
	s.lchown = func(path string, uid, gid int) error {
		if uid != 4001 || gid != 4002 {
			t.Errorf("given to %d:%d", uid, gid)
		}
		got = append(got, path)
		return nil
	}
	s.uid, s.gid = 4001, 4002
	if err := s.Chown(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{tree, filepath.Join(tree, "link")}, got); diff != "" {
		t.Error(diff)
	}

	got = nil
	info, err := os.Stat(tree)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	s.uid, s.gid = int(st.Uid), int(st.Gid)
	if err := s.Chown(t.Context(), tree); err != nil || got != nil {
		t.Errorf("files that were right were changed: %v, %v", got, err)
	}
}

// TestChownPassesOverWhatIsGone removes a folder while it is walked, as another
// run does with its scratch.
func TestChownPassesOverWhatIsGone(t *testing.T) {
	s := open(t)
	s.uid++
	tree := filepath.Join(s.Dir(), "tree")
	if err := os.MkdirAll(filepath.Join(tree, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.lchown = func(path string, _, _ int) error {
		if path == tree {
			return os.RemoveAll(filepath.Join(tree, "a"))
		}
		return nil
	}
	if err := s.Chown(t.Context(), tree); err != nil {
		t.Error(err)
	}
	if err := s.Chown(t.Context(), filepath.Join(tree, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v of a path that was never there", err)
	}
}

func TestChownIsBestEffort(t *testing.T) {
	s := open(t)
	s.uid, s.gid = 4001, 4002
	for _, errno := range []error{unix.EPERM, unix.EINVAL, unix.ENOTSUP} {
		s.lchown = func(path string, _, _ int) error { return &os.PathError{Op: "lchown", Path: path, Err: errno} }
		if err := s.Chown(t.Context(), s.Dir()); err != nil {
			t.Errorf("%v stopped the job", errno)
		}
		if err := s.MkdirAll(filepath.Join(s.Dir(), errno.Error())); err != nil {
			t.Errorf("%v stopped the job", errno)
		}
	}
	s.lchown = func(string, int, int) error { return unix.EIO }
	if err := s.Chown(t.Context(), s.Dir()); !errors.Is(err, unix.EIO) {
		t.Errorf("a broken disk went unnoticed: %v", err)
	}
	if err := s.MkdirAll(filepath.Join(s.Dir(), "another")); !errors.Is(err, unix.EIO) {
		t.Errorf("a broken disk went unnoticed: %v", err)
	}
}

// TestChownWhatIsAnothers gives away what differs in its user or its group, and
// nothing else, in a share of root's as in any.
func TestChownWhatIsAnothers(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	for name, tt := range map[string]struct {
		uid, gid int
		want     bool
	}{
		"another user and group":  {uid + 4001, gid + 4002, true},
		"another user":            {uid + 4001, gid, true},
		"another group":           {uid, gid + 4002, true},
		"the same":                {uid, gid, false},
		"root, of another group":  {0, gid + 4002, true},
		"a user of root's group":  {uid + 4001, 0, true},
		"root, who keeps all his": {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.uid, s.gid = tt.uid, tt.gid
			var got []string
			s.lchown = func(path string, uid, gid int) error {
				if uid != tt.uid || gid != tt.gid {
					t.Errorf("given to %d:%d", uid, gid)
				}
				got = append(got, filepath.Base(path))
				return nil
			}
			var want []string
			if tt.want {
				want = []string{"made", "made"}
			}
			dir := filepath.Join(s.Dir(), "made")
			if err := errors.Join(s.MkdirAll(dir), s.Chown(t.Context(), dir)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChownEndsWithItsContext(t *testing.T) {
	s := open(t)
	s.uid++
	s.lchown = func(path string, _, _ int) error { t.Errorf("%s was given away", path); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Chown(ctx, s.Dir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestMkdirAllGivesEachFolderAway(t *testing.T) {
	s := open(t)
	s.uid, s.gid = 4001, 4002
	var got []string
	s.lchown = func(path string, _, _ int) error { got = append(got, path); return nil }
	if err := s.MkdirAll(filepath.Join(s.Modules(), "6.1.0")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{s.Modules(), filepath.Join(s.Modules(), "6.1.0")}, got); diff != "" {
		t.Error(diff)
	}
	file := filepath.Join(s.Dir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.MkdirAll(file); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("MkdirAll of a file: %v", err)
	}
}
