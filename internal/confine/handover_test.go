package confine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// A user who owns the share, and another.
const (
	owner = 1000
	other = 1001
)

// uid is who has a file, not what it leads to.
func uid(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestHandover: what the share's owner puts into a command's folder while it runs
// is given to nobody.
func TestHandover(t *testing.T) {
	if !capable(unix.CAP_CHOWN) || !mapped("/proc/self/uid_map", owner) {
		t.Skip("only root gives files away: TestConfinedInContainers runs this as root")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(path("out/in"), 0o755), os.WriteFile(path("out/in/ours"), nil, 0o644),
		os.WriteFile(path("secret"), nil, 0o600), os.WriteFile(path("linked"), nil, 0o600), os.Mkdir(path("elsewhere"), 0o700),
		os.Symlink(path("elsewhere"), path("out/in/link")))
	var o handover
	h, err := o.hand([]string{path("out")}, owner, owner)
	must(t, err)
	for name, want := range map[string]int{"out": owner, "out/in": owner, "out/in/ours": 0, "out/in/link": 0, "elsewhere": 0} {
		if got := uid(t, path(name)); got != want {
			t.Errorf("%s is user %d's, want %d's", name, got, want)
		}
	}
	// The command leaves a program and a file; somebody else puts root's there.
	must(t, os.WriteFile(path("out/left"), nil, 0o666), os.Chown(path("out/left"), owner, owner), os.Chmod(path("out/left"), 0o4777),
		os.WriteFile(path("out/changed"), nil, 0o644), os.Chown(path("out/changed"), owner, owner),
		os.Symlink(path("secret"), path("out/led")), os.Lchown(path("out/led"), owner, owner),
		os.Rename(path("secret"), path("out/moved")), os.Link(path("linked"), path("out/linked")))
	h.back()
	for _, name := range []string{"out", "out/in", "out/left", "out/changed", "out/moved", "out/linked", "out/led"} {
		if got := uid(t, path(name)); got != 0 {
			t.Errorf("%s is user %d's", name, got)
		}
	}
	info, err := os.Stat(path("out/left"))
	must(t, err)
	if info.Mode() != 0o755 {
		t.Errorf("what was left has the mode %v", info.Mode())
	}
	must(t, os.WriteFile(path("out/changed"), []byte("ours now"), 0o644))
	h, err = o.hand([]string{path("out")}, owner, owner)
	must(t, err)
	for name, want := range map[string]int{"out/left": owner, "out/led": owner, "out/changed": 0, "out/moved": 0, "linked": 0, "out/in/ours": 0} {
		if got := uid(t, path(name)); got != want {
			t.Errorf("the second time, %s is user %d's, want %d's", name, got, want)
		}
	}
	h.back()
}

// TestHandoverByLinks: in a share no link is gone by.
func TestHandoverByLinks(t *testing.T) {
	if !capable(unix.CAP_CHOWN) || !mapped("/proc/self/uid_map", owner) {
		t.Skip("only root gives files away: TestConfinedInContainers runs this as root")
	}
	dir := t.TempDir()
	share, err := beneath.Hold(dir)
	must(t, err)
	defer share.Release()
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(path("victim/out"), 0o755), os.Symlink("victim", path("link")))
	var o handover
	if _, err := o.hand([]string{path("link/out")}, owner, owner); !errors.Is(err, unix.ELOOP) {
		t.Errorf("error %v, want ELOOP", err)
	}
	if got := uid(t, path("victim/out")); got != 0 {
		t.Errorf("it is user %d's", got)
	}
	if _, err := o.hand([]string{path("no")}, owner, owner); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v, want ENOENT", err)
	}
}

// TestHandoverOfTheOwners: what is the user's already stays theirs.
func TestHandoverOfTheOwners(t *testing.T) {
	if !capable(unix.CAP_CHOWN) || !mapped("/proc/self/uid_map", owner) {
		t.Skip("only root gives files away: TestConfinedInContainers runs this as root")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, owner, owner), os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644))
	var o handover
	h, err := o.hand([]string{dir}, owner, owner)
	must(t, err)
	h.back()
	if got := uid(t, dir); got != owner {
		t.Errorf("it is user %d's", got)
	}
	if got := uid(t, filepath.Join(dir, "mine")); got != 0 {
		t.Errorf("what is root's in it is user %d's", got)
	}
}
