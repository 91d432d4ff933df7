//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// rootsFolder is where a container has a folder of root's, which the owner of the
// share has no business in.
const rootsFolder = "/elsewhere"

// victim is that folder on this machine.
func victim(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"victim", "etc/shadow", "tree/Makefile", "manifest.json", "nvidia.ko"} {
		write(t, filepath.Join(dir, name), []byte("root's\n"))
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// picture is all that is below a folder: names, kinds, modes, owners and contents.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		var text []byte
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(path)
		}
		fmt.Fprintf(&out, "%s %v %d:%d %q\n", path, info.Mode(), st.Uid, st.Gid, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// attackedShare is a share of somebody's, with what a run left in it whose driver
// did not build, so that the next one soon comes to the installer.
func attackedShare(t *testing.T, does string) (string, func(t *testing.T, docker ...string) outcome) {
	t.Helper()
	const version = "1.2.3"
	share := usedShare(t)
	installer(t, secondDriver(t, share, version), does)
	own(t, share)
	return share, func(t *testing.T, docker ...string) outcome {
		t.Helper()
		b := online(t, "--driver-version="+version)
		b.Share, b.HostRoot, b.Docker = share, needHost(t).Dir, docker
		return run(t, b)
	}
}

// own gives a share to its owner.
func own(t *testing.T, share string) {
	t.Helper()
	err := filepath.WalkDir(share, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinksOfTheOwners has the owner of the share put a link where builder writes:
// to a file or folder of root's, nothing of which changes, nor its owner.
func TestLinksOfTheOwners(t *testing.T) {
	share, try := attackedShare(t, "echo ERROR: no >/dev/null; exit 1")
	if o := try(t); o.code != 14 {
		t.Fatalf("undisturbed: exit code %d, want 14", o.code)
	}
	foreign := []string{}
	err := filepath.WalkDir(share, func(path string, e fs.DirEntry, err error) error {
		if info, infoErr := e.Info(); err == nil && infoErr == nil && info.Sys().(*syscall.Stat_t).Uid != owner {
			foreign = append(foreign, path)
		}
		return err
	})
	if err != nil || len(foreign) > 0 {
		t.Errorf("not the owner's: %q, %v", foreign, err)
	}
	if info, err := os.Stat(filepath.Join(share, ".builder/lock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("who may hold the lock: %v, %v", info.Mode(), err)
	}
	release := strings.TrimSpace(read(t, filepath.Join(needHost(t).Dir, "proc/sys/kernel/osrelease")))
	for _, tt := range []struct {
		links []string
		to    string
		code  int // 0: whichever
	}{
		{[]string{".builder"}, "", 2},
		{[]string{"linux"}, "", 2},
		{[]string{"modules"}, "", 2},
		{[]string{"driver"}, "", 2},
		{[]string{"cdi"}, "", 2},
		{[]string{"cuda"}, "", 2},
		{[]string{".builder/lock"}, "victim", 75},
		{[]string{".builder/lock.range"}, "victim", 75},
		{[]string{".builder/scratch"}, "", 0},
		{[]string{".builder/logs"}, "", 0},
		{[]string{".builder/prepared"}, "", 0},
		{[]string{".builder/exports", ".builder/digests", "loaded", "modules/" + release}, "", 0},
		{[]string{".builder/logs/prepare-" + release + "-1.2.3.log", ".builder/logs/nvidia-installer-" + release + "-1.2.3.log", "linux/.git/builder.json", "linux/Makefile", "linux/.git/index"}, "victim", 0},
		{[]string{"linux/include", "linux/scripts"}, "tree", 0},
	} {
		t.Run(strings.ReplaceAll(strings.Join(tt.links, " "), "/", "-"), func(t *testing.T) {
			dir := victim(t)
			before := picture(t, dir)
			for _, link := range tt.links {
				path := filepath.Join(share, link)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				aside := path + ".aside"
				had := os.Rename(path, aside) == nil
				if err := errors.Join(os.Symlink(filepath.Join(rootsFolder, tt.to), path), os.Lchown(path, owner, owner)); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					err := os.RemoveAll(path)
					if had {
						err = errors.Join(err, os.Rename(aside, path))
					}
					if err != nil {
						t.Fatal(err)
					}
				})
			}
			o := try(t, "-v", dir+":"+rootsFolder)
			if tt.code != 0 && o.code != tt.code || o.code <= 1 || o.code > 100 {
				t.Errorf("exit code %d, want %d", o.code, tt.code)
			}
			if diff := cmp.Diff(before, picture(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestExchangedMeanwhile has the owner exchange builder's folders for links, and
// back, all the time that a run takes.
func TestExchangedMeanwhile(t *testing.T) {
	share, try := attackedShare(t, "sleep 2; exit 1")
	dir := victim(t)
	for _, name := range []string{"scratch", "prepared", "logs", "digests", "include", "linux"} {
		write(t, filepath.Join(dir, name, "of-roots"), []byte("root's\n"))
	}
	before := picture(t, dir)
	for _, name := range []string{".builder/scratch", ".builder/prepared", ".builder/logs", ".builder/digests", "linux/include", "linux"} {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			path := filepath.Join(share, name)
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond): // or no run came far
				}
				if os.Rename(path, path+".aside") != nil {
					continue
				}
				_ = os.Symlink(filepath.Join(rootsFolder, filepath.Base(path)), path)
				time.Sleep(time.Millisecond)
				_ = os.RemoveAll(path) // the link, or what builder has put there
				_ = os.Rename(path+".aside", path)
			}
		}()
		o := try(t, "-v", dir+":"+rootsFolder)
		close(stop)
		<-done
		if o.code <= 1 || o.code > 100 {
			t.Errorf("%s: exit code %d", name, o.code)
		}
		t.Logf("%s: exit code %d", name, o.code)
		if diff := cmp.Diff(before, picture(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// TestLittleMemory has a container with 512 MB look at what unpacks to more.
func TestLittleMemory(t *testing.T) {
	dir := t.TempDir()
	kernel := imagetest.Flatcar()
	kernel.Config = "CONFIG_X86_64=y\nCONFIG_MODULES=y\n"
	kernel.Rodata = make([]byte, 300<<20)
	write(t, filepath.Join(dir, "vmlinuz"), kernel.BzImage(t))
	kernel.Rodata = nil
	debug.FreeOSMemory() // what is left of it is many times that
	hosts := map[string]*tar.Header{
		"large":      {Name: "proc/version", Typeflag: tar.TypeReg, Size: 900 << 20},
		"too large":  {Name: "proc/version", Typeflag: tar.TypeReg, Size: 2 << 30},
		"climbing":   {Name: "proc/../../version", Typeflag: tar.TypeReg},
		"absolute":   {Name: "/etc/os-release", Typeflag: tar.TypeReg},
		"a link out": {Name: "etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		"a hard one": {Name: "passwd", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		"a device":   {Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
	}
	for name, h := range hosts {
		writeTar(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".tar.gz"), h)
	}
	if info, err := os.Stat(filepath.Join(dir, "vmlinuz")); err != nil || info.Size() > 16<<20 {
		t.Fatalf("the image is of %d bytes, %v", info.Size(), err)
	}
	try := func(t *testing.T, args ...string) outcome {
		t.Helper()
		b := offline(t, args...)
		b.Share, b.Docker = dir, []string{"--memory", "512m", "--memory-swap", "512m"}
		return run(t, b)
	}
	t.Run("an image", func(t *testing.T) {
		if o := try(t, "--kernel-image=/opt/share/vmlinuz"); o.code != 11 || !strings.Contains(lastLine(o.stderr), "no NVIDIA driver package") {
			t.Errorf("exit code %d, want 11 for want of a driver: %s", o.code, lastLine(o.stderr))
		}
	})
	for name := range hosts {
		t.Run(name, func(t *testing.T) {
			o := try(t, "--host-root=/opt/share/"+strings.ReplaceAll(name, " ", "-")+".tar.gz")
			if o.code != 10 {
				t.Errorf("exit code %d, want 10: %s", o.code, lastLine(o.stderr))
			}
		})
	}
}

// writeTar writes a compressed archive of one member, all zeros.
func writeTar(t *testing.T, path string, h *tar.Header) {
	t.Helper()
	var out bytes.Buffer
	packed, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(packed)
	err = archive.WriteHeader(h)
	for left := h.Size; err == nil && left > 0; left -= 1 << 20 {
		_, err = io.Copy(archive, bytes.NewReader(make([]byte, 1<<20)))
	}
	if err := errors.Join(err, archive.Close(), packed.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, path, out.Bytes())
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLeastPrivileges comes to the driver's installer with what the DaemonSet's build
// has, in a share of somebody's and in one of root's, and leaves nothing of anybody
// else's in either.
func TestLeastPrivileges(t *testing.T) {
	least := []string{
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp:exec", "--tmpfs", "/var/lib/nvidia",
		"--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "CHOWN",
	}
	for name, uid := range map[string]int{"somebody's": owner, "root's": 0} {
		t.Run(name, func(t *testing.T) {
			share, try := attackedShare(t, `echo "ERROR: this is user $(id -u)" >"$(for a; do case $a in --log-file-name=*) echo "${a#*=}";; esac; done)"; exit 1`)
			if err := filepath.WalkDir(share, func(path string, _ fs.DirEntry, err error) error {
				return errors.Join(err, os.Lchown(path, uid, uid))
			}); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time from what the first left
				if o := try(t, least...); o.code != 14 || !strings.Contains(lastLine(o.stderr), "this is user 0") {
					t.Errorf("exit code %d, want 14 by the installer: %s", o.code, lastLine(o.stderr))
				}
			}
			err := filepath.WalkDir(share, func(path string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err == nil && int(info.Sys().(*syscall.Stat_t).Uid) != uid {
					t.Errorf("%s is user %d's", path, info.Sys().(*syscall.Stat_t).Uid)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
