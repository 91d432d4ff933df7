package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
)

// Owner of the share in these tests.
const owner = 1000

// hold is a folder of somebody's, which is held.
func hold(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		// What is above is root's, and passed by everybody.
		for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			if err := os.Chmod(up, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	h, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Release() })
	return h.Dir()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// all are the functions, each with a path at its mercy.
var all = map[string]func(path string) error{
	"Open":       func(p string) error { return closed(Open(p)) },
	"OpenRW":     func(p string) error { return closed(OpenRW(p)) },
	"OpenLock":   func(p string) error { return closed(OpenLock(p)) },
	"CreateNew":  func(p string) error { return closed(CreateNew(p, 0o644)) },
	"Create":     func(p string) error { return closed(Create(p, 0o644)) },
	"CreateTemp": func(p string) error { return closed(CreateTemp(filepath.Dir(p), "x-*")) },
	"MkdirTemp":  func(p string) error { _, err := MkdirTemp(filepath.Dir(p), "x-*"); return err },
	"ReadFile":   func(p string) error { _, err := ReadFile(p); return err },
	"WriteFile":  func(p string) error { return WriteFile(p, []byte("x"), 0o644) },
	"Readlink":   func(p string) error { _, err := Readlink(p); return err },
	"Lstat":      func(p string) error { _, err := Lstat(p); return err },
	"LstatSys":   func(p string) error { return LstatSys(p, new(unix.Stat_t)) },
	"Chmod":      func(p string) error { return Chmod(p, 0o777) },
	"ChmodFile": func(p string) error {
		f, err := Open(p)
		if err == nil {
			err = closed(f, ChmodFile(f, 0o777))
		}
		return err
	},
	"Symlink":    func(p string) error { return Symlink("x", p) },
	"Link":       func(p string) error { return Link(p, p+".linked") },
	"LinkOrCopy": func(p string) error { return LinkOrCopy(p, p+".linked") },
	"Rename":     func(p string) error { return Rename(p, p+".renamed") },
	"Mkdir":      func(p string) error { return Mkdir(p, 0o755) },
	"MkdirAll":   func(p string) error { return MkdirAll(filepath.Join(p, "a", "b"), 0o755) },
	"Remove":     Remove,
	"RemoveAll":  RemoveAll,
	"ReadDir":    func(p string) error { _, err := ReadDir(p); return err },
	"OpenFD":     in(func(f Folder, name string) error { return closedFD(f.OpenFD(name, new(unix.Stat_t))) }),
	"CreateFD":   in(func(f Folder, name string) error { return closedFD(f.CreateFD(name, 0o644)) }),
	"Folder.Link": in(func(f Folder, name string) error {
		to, err := MkdirTemp(f.path, "x-")
		if err != nil {
			return err
		}
		defer RemoveAll(to)
		return In(to, func(to Folder) error { return f.Link(name, to, new(unix.Stat_t)) })
	}),
	"WalkDir": func(p string) error { return WalkDir(p, func(_ string, _ fs.DirEntry, err error) error { return err }) },
}

// in does something with the name of a path in the folder that it is in.
func in(do func(f Folder, name string) error) func(path string) error {
	return func(path string) error {
		return In(filepath.Dir(path), func(f Folder) error { return do(f, filepath.Base(path)) })
	}
}

func closedFD(fd int, err error) error {
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func closed(f *os.File, err error) error {
	if err == nil {
		err = f.Close()
	}
	return err
}

// picture is all that is in a folder: names, modes, owners, contents.
func picture(t *testing.T, dir string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := ""
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(b)
		}
		list = append(list, strings.Join([]string{path, d.Type().String(), fs.FileMode(st.Mode & 0o7777).String(), string(rune('0' + st.Uid%10)), text}, " "))
		return nil
	}))
	return list
}

// TestNoLinkIsFollowed has each function meet a link to a folder of root's on its
// way: that folder stays as it was, and so it does where the link is the last part.
func TestNoLinkIsFollowed(t *testing.T) { atOnceAndByName(t, testNoLinkIsFollowed) }

// atOnceAndByName tests with folders opened in one system call, and one after the other as
// on kernels that have none for it.
func atOnceAndByName(t *testing.T, test func(*testing.T)) {
	t.Run("at once", func(t *testing.T) {
		if fd, ok := openAtOnce(unix.AT_FDCWD, []string{".", "."}); ok {
			must(t, unix.Close(fd))
		} else {
			t.Log("this kernel, or its seccomp profile, has no openat2")
		}
		test(t)
	})
	t.Run("by name", func(t *testing.T) {
		had := noOpenat2.Swap(true)
		defer noOpenat2.Store(had)
		test(t)
	})
}

func testNoLinkIsFollowed(t *testing.T) {
	for name, do := range all {
		for _, way := range []string{"elsewhere/file", "folder/elsewhere/file", "elsewhere/absent", "elsewhere/folder", "file", "dangling"} {
			t.Run(name+" "+way, func(t *testing.T) {
				share, victim := hold(t), t.TempDir()
				must(t, os.WriteFile(filepath.Join(victim, "file"), []byte("root's"), 0o600), os.Mkdir(filepath.Join(victim, "folder"), 0o700),
					os.Mkdir(filepath.Join(share, "folder"), 0o777), os.Chmod(filepath.Join(share, "folder"), 0o777),
					os.Symlink(victim, filepath.Join(share, "elsewhere")), os.Symlink(victim, filepath.Join(share, "folder/elsewhere")),
					os.Symlink(filepath.Join(victim, "file"), filepath.Join(share, "file")), os.Symlink(filepath.Join(victim, "new"), filepath.Join(share, "dangling")))
				before := picture(t, victim)
				err := do(filepath.Join(share, way))
				if strings.Contains(way, "elsewhere/") && !errors.Is(err, unix.ELOOP) {
					t.Errorf("error %v", err)
				}
				if diff := cmp.Diff(before, picture(t, victim)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestExchanged exchanges a folder for a link all the time: whatever is done by
// the path, nothing comes to be, or changes, where the link leads.
func TestExchanged(t *testing.T) { atOnceAndByName(t, testExchanged) }

func testExchanged(t *testing.T) {
	share, victim := hold(t), t.TempDir()
	real, aside, link := filepath.Join(share, "work"), filepath.Join(share, "aside"), filepath.Join(share, "link")
	must(t, os.Mkdir(real, 0o777), os.Chmod(real, 0o777), os.Symlink(victim, link), os.WriteFile(filepath.Join(victim, "file"), []byte("root's"), 0o600))
	before := picture(t, victim)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Rename(real, aside)
				_ = os.Rename(link, real)
				_ = os.Rename(real, link)
				_ = os.Rename(aside, real)
			}
		}
	}()
	for range 300 {
		_ = WriteFile(filepath.Join(real, "file"), []byte("builder's"), 0o644)
		_ = Chmod(filepath.Join(real, "file"), 0o777)
		_ = MkdirAll(filepath.Join(real, "a", "b"), 0o755)
		_ = WriteFile(filepath.Join(real, "a", "b", "file"), []byte("builder's"), 0o644)
		_ = RemoveAll(real + "/file")
		_ = RemoveAll(real + "/a")
	}
	close(stop)
	<-done
	if diff := cmp.Diff(before, picture(t, victim)); diff != "" {
		t.Error(diff)
	}
}

// TestMadeAsTheOwner: what is made in somebody's folder is theirs, with the mode
// that was asked for.
func TestMadeAsTheOwner(t *testing.T) {
	testkit.NeedRoot(t)
	share := hold(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	in := func(name string) string { return filepath.Join(share, name) }
	f, err := CreateTemp(share, "temp-*.x")
	must(t, err, f.Close())
	dir, err := MkdirTemp(share, "dir-")
	must(t, err)
	must(t, WriteFile(in("file"), []byte("text"), 0o644), MkdirAll(in("a/b"), 0o755), Symlink("x", in("link")), Link(in("file"), in("name")),
		closed(OpenLock(in("lock"))), closed(CreateNew(in("program"), 0o755)))
	modes := map[string]fs.FileMode{
		f.Name(): 0o600, dir: 0o700, in("file"): 0o644, in("a"): 0o755, in("a/b"): 0o755, in("link"): 0o777, in("name"): 0o644, in("lock"): 0o600, in("program"): 0o755,
	}
	for path, mode := range modes {
		var st unix.Stat_t
		must(t, LstatSys(path, &st))
		if st.Uid != owner || st.Gid != owner || fs.FileMode(st.Mode&0o777) != mode {
			t.Errorf("%s is %d:%d's, of mode %o, want %o", path, st.Uid, st.Gid, st.Mode&0o777, mode)
		}
	}
	if uid, gid := is(0, 0), is(owner, owner); !uid || gid {
		t.Error("the identity was not given back")
	}
	if filepath.Ext(f.Name()) != ".x" || !strings.HasPrefix(filepath.Base(f.Name()), "temp-") {
		t.Errorf("the name is %s", f.Name())
	}
}

// TestNoMoreThanTheOwner: root's files, moved to where builder works, are as closed
// to it as they are to whom the folder belongs.
func TestNoMoreThanTheOwner(t *testing.T) {
	testkit.NeedRoot(t)
	for name, do := range all {
		switch name {
		// These change the folder that the file is in, or look at it, as its owner may.
		case "Lstat", "LstatSys", "Rename", "Remove", "CreateTemp", "MkdirTemp":
			continue
		}
		for _, what := range []string{"file", "folder", "folder/inside"} {
			t.Run(name+" "+what, func(t *testing.T) {
				share := hold(t)
				path := filepath.Join(share, what)
				must(t, os.WriteFile(filepath.Join(share, "file"), []byte("root's"), 0o600), os.Mkdir(filepath.Join(share, "folder"), 0o700),
					os.WriteFile(filepath.Join(share, "folder/inside"), []byte("root's"), 0o644))
				before := picture(t, share)
				err := do(path)
				if slices.Contains([]string{"Create", "WriteFile", "RemoveAll", "WalkDir"}, name) && what == "file" {
					return // its name is the folder's: it is listed, and another may take its place
				}
				if err == nil {
					t.Error("no error")
				}
				if diff := cmp.Diff(before, picture(t, share)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestWithoutCapabilities has all that is made as the share's owner, and open files'
// modes, need no more of root than to be that owner.
func TestWithoutCapabilities(t *testing.T) {
	testkit.NeedRoot(t)
	dir := hold(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		only := [2]unix.CapUserData{{Effective: 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID, Permitted: 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID}}
		err := unix.Capset(&header, &only[0])
		lock := filepath.Join(dir, "lock")
		if err == nil {
			err = WriteFile(lock, nil, 0o644)
		}
		if err == nil {
			err = closed(OpenLock(lock))
		}
		var f *os.File
		if err == nil {
			f, err = CreateTemp(dir, "x-*")
		}
		if err == nil {
			err = errors.Join(ChmodFile(f, 0o640), f.Close(), Rename(f.Name(), filepath.Join(dir, "file")))
		}
		done <- err
	}()
	must(t, <-done)
	for name, want := range map[string]fs.FileMode{"lock": 0o600, "file": 0o640} {
		info, err := Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// TestOfManyNames: a file that has a name elsewhere is not written to.
func TestOfManyNames(t *testing.T) {
	share := hold(t)
	file := filepath.Join(share, "lock")
	must(t, WriteFile(file, []byte("text"), 0o600))
	must(t, closed(OpenRW(file)))
	must(t, Link(file, filepath.Join(share, "other")))
	for _, open := range []func(string) (*os.File, error){OpenRW, OpenLock} {
		if _, err := open(file); err == nil || !strings.Contains(err.Error(), "another name") {
			t.Errorf("error %v", err)
		}
	}
	must(t, WriteFile(file, []byte("new"), 0o600)) // is another file from now on
	if text, err := ReadFile(filepath.Join(share, "other")); err != nil || string(text) != "text" {
		t.Errorf("the other name has %q, %v", text, err)
	}
}

// TestLinkOrCopy: within a file system it is the same file, and else a copy.
func TestLinkOrCopy(t *testing.T) {
	share := hold(t)
	file, to := filepath.Join(share, "file"), filepath.Join(share, "to")
	must(t, WriteFile(file, []byte("text"), 0o640), LinkOrCopy(file, to))
	var a, b unix.Stat_t
	must(t, LstatSys(file, &a), LstatSys(to, &b))
	if a.Ino != b.Ino {
		t.Error("it is another file")
	}
	if err := LinkOrCopy(file, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over one that is there: %v", err)
	}
	if err := LinkOrCopy(file+".absent", to+".absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of one that is not there: %v", err)
	}
	copied := filepath.Join(share, "version")
	must(t, LinkOrCopy("/proc/version", copied))
	want, err := os.ReadFile("/proc/version")
	text, readErr := ReadFile(copied)
	info, statErr := Lstat(copied)
	must(t, err, readErr, statErr)
	if string(text) != string(want) || info.Mode() != 0o444 {
		t.Errorf("%v %q", info.Mode(), text)
	}
}

// TestIrregular: a pipe is not waited for.
func TestIrregular(t *testing.T) {
	path := filepath.Join(hold(t), "pipe")
	must(t, unix.Mkfifo(path, 0o666), os.Chmod(path, 0o666))
	for _, open := range []func(string) (*os.File, error){Open, OpenRW, OpenLock} {
		if _, err := open(path); !errors.Is(err, ErrIrregular) && !errors.Is(err, unix.ENXIO) {
			t.Errorf("error %v", err)
		}
	}
}

func TestRemoveAll(t *testing.T) {
	share := hold(t)
	top := filepath.Join(share, "top")
	must(t, MkdirAll(filepath.Join(top, "a/b/c"), 0o755), Symlink("/", filepath.Join(top, "a/root")))
	for i := range 2000 { // more than one listing of a folder
		must(t, WriteFile(filepath.Join(top, "a", strings.Repeat("x", i%100)+strconv.Itoa(i)), nil, 0o644))
	}
	must(t, RemoveAll(top), RemoveAll(top))
	if _, err := Lstat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestWalkDir(t *testing.T) {
	share := hold(t)
	must(t, MkdirAll(filepath.Join(share, "a/b"), 0o755), WriteFile(filepath.Join(share, "a/file"), []byte("text"), 0o644), Symlink("..", filepath.Join(share, "a/up")))
	var got []string
	must(t, WalkDir(share, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		got = append(got, strings.TrimPrefix(path, share)+" "+info.Mode().Type().String())
		return err
	}))
	d, l, r := fs.ModeDir.String(), fs.ModeSymlink.Type().String(), fs.FileMode(0).String()
	if diff := cmp.Diff([]string{" " + d, "/a " + d, "/a/b " + d, "/a/file " + r, "/a/up " + l}, got); diff != "" {
		t.Error(diff)
	}
	if paths, err := Glob(filepath.Join(share, "a"), "*i*"); err != nil || len(paths) != 1 || paths[0] != filepath.Join(share, "a/file") {
		t.Errorf("%q, %v", paths, err)
	}
	if _, err := Glob(share, "["); err == nil {
		t.Error("no error of a pattern that is none")
	}
}

// TestHeld: of a folder that is held twice one stays, and what is below it goes on
// from there.
func TestHeld(t *testing.T) {
	dir := hold(t)
	must(t, WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	again, err := Hold(link)
	must(t, err)
	if again.Dir() != dir {
		t.Errorf("held as %s", again.Dir())
	}
	if uid, gid := again.Owner(); os.Geteuid() == 0 && (uid != owner || gid != owner) {
		t.Errorf("of %d:%d", uid, gid)
	}
	must(t, again.Release())
	if !Holds(filepath.Join(dir, "file")) || !Holds(dir) || Holds(filepath.Dir(dir)) {
		t.Error("it is held no longer")
	}
	if path, err := Resolve(filepath.Join(dir, "absent")); err != nil || path != filepath.Join(dir, "absent") {
		t.Errorf("%s, %v", path, err)
	}
	if path, err := Resolve(filepath.Join(link, "file")); err != nil || path != filepath.Join(dir, "file") {
		t.Errorf("%s, %v", path, err)
	}
	// Its name may be another's by now.
	must(t, os.Rename(dir, dir+".moved"), os.Mkdir(dir, 0o755))
	if _, err := Lstat(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{filepath.Join(dir, "absent"), filepath.Join(dir, "file")} {
		if _, err := Hold(bad); err == nil {
			t.Errorf("%s is held", bad)
		}
	}
}

// TestDir keeps to names that are in the folder.
func TestDir(t *testing.T) {
	dir := Dir(hold(t))
	for _, name := range []string{"..", "../x", "/etc/passwd", "a/../../x", ""} {
		f, err := dir.Open(name)
		if err == nil {
			_ = f.Close()
		}
		_, created := dir.CreateNew(name, 0o644)
		_, stat := dir.Stat(name)
		_, list := dir.ReadDir(name)
		for i, err := range []error{err, created, stat, list, dir.Mkdir(name, 0o755), dir.MkdirAll(name, 0o755), dir.Symlink("x", name), dir.Link(name, "x"), dir.Link("x", name)} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q, %d: error %v", name, i, err)
			}
		}
	}
	must(t, dir.MkdirAll("a/b", 0o755), dir.Symlink("b", "a/link"), closed(dir.CreateNew("a/file", 0o644)), dir.Link("a/file", "a/name"), dir.Mkdir("c", 0o755))
	if list, err := dir.ReadDir("a"); err != nil || len(list) != 4 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestReleased: a folder that is held twice is released once in the middle of work
// below it.
func TestReleased(t *testing.T) {
	dir := hold(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				h, err := Hold(dir)
				if err != nil {
					t.Error(err)
					return
				}
				_ = h.Release()
			}
		}
	}()
	for range 2000 {
		if err := WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}
