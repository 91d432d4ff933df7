//go:build integration

package prune

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

// What a process that prunes prints when it begins, and at its end.
const begun, ended = "begun", "ended"

func init() {
	testkit.InMemory()
	testkit.Killable(func(dir string) error {
		fmt.Println(begun)
		_, err := Run(zerolog.New(os.Stdout).WithContext(context.Background()), Options{Share: dir, Remove: true, NoWait: true})
		fmt.Println(ended)
		return err
	})
}

// full is a share with something of each kind to remove, and something to keep.
func full(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const release, driver = "6.1.192-coreos-r1", "535.261.03"
	for _, kept := range []string{"modules/" + release + "/." + driver + "-0123456789ab", "driver/." + driver + "-0123456789ab"} {
		write(t, filepath.Join(dir, kept, "manifest.json"), "{}")
		if err := os.Symlink(filepath.Base(kept), filepath.Join(dir, filepath.Dir(kept), driver)); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			write(t, filepath.Join(dir, strings.Replace(kept, "0123456789ab", "ba9876543210", 1), fmt.Sprintf("lib/%d", i)), "replaced")
		}
	}
	write(t, filepath.Join(dir, ".builder/logs/prepare-"+release+"-"+driver+".log"), "a log")
	write(t, filepath.Join(dir, "cuda/NVIDIA-Linux-x86_64-"+driver+".run"), "the user's")
	for i := range 20 {
		write(t, filepath.Join(dir, fmt.Sprintf(".builder/prepared/%s-0123456789ab/%d/Makefile", release, i)), "a tree")
		write(t, filepath.Join(dir, fmt.Sprintf(".builder/scratch/driver/%d", i)), "left")
		write(t, filepath.Join(dir, fmt.Sprintf(".builder/downloads/NVIDIA-Linux-x86_64-535.%d.run", i)), "a package")
		write(t, filepath.Join(dir, fmt.Sprintf(".builder/digests/cuda/NVIDIA-Linux-x86_64-535.%d.run.json", i)), "{}")
	}
	to := filepath.Join(t.TempDir(), "linux.tar")
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(file)
	text := "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n"
	err = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "linux-6.1.192/Makefile", Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = archive.Write([]byte(text))
	}
	if err := errors.Join(err, archive.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	is, err := kernel.ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Checkout(t.Context(), kernel.Target{Release: is, Arch: kernel.X86_64}, source.Options{
		From: to, Dir: filepath.Join(dir, "linux"), Scratch: filepath.Join(dir, ".builder/scratch"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// everything is a picture of a share: each path, its mode and what is there. The
// lock's file names its last holder.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path) // path begins with dir
		var is unix.Stat_t
		if err := unix.Lstat(path, &is); err != nil {
			return err
		}
		content := ""
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		case e.Type().IsRegular() && name != ".builder/lock":
			var text []byte
			text, err = os.ReadFile(path)
			content = string(text)
		}
		seen[name] = fmt.Sprintf("%o of %d:%d %q", is.Mode, is.Uid, is.Gid, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// A prune that dies at any moment leaves to the next one what it did not come to, and
// that leaves what an undisturbed one does.
func TestSoakKilledPrune(t *testing.T) {
	const kills = 100
	template := full(t)
	dir := filepath.Join(t.TempDir(), "share")
	fill := func() {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", template, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if os.Geteuid() == 0 {
			if out, err := exec.Command("chown", "-hR", "1000:1000", dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	fill()
	undisturbed := run(t, Options{Share: dir, Remove: true})
	if len(undisturbed.Items) != 7 {
		t.Fatalf("removed %+v, kept %+v", undisturbed.Items, undisturbed.Kept)
	}
	want := everything(t, dir)
	says := func(text string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, text) }
	}
	parts := []*testkit.Part{
		{Name: "all of it", Begins: says(begun), Ends: says(ended)},
		{Name: "the removal", Begins: says(`"message":"removed"`), Ends: says(ended)},
	}
	killer := testkit.Killer{Random: testkit.Random(t, 13)}
	for i := 0; killer.Kills < kills; i++ {
		if i == 10*kills {
			t.Fatalf("%d of %d runs were killed where they were to be, want %d", killer.Kills, i, kills)
		}
		fill()
		part := parts[killer.Kills%len(parts)]
		after, _ := killer.RunPart(t, dir, part)
		run(t, Options{Share: dir, Remove: true, NoWait: true})
		if diff := cmp.Diff(want, everything(t, dir)); diff != "" {
			t.Fatalf("the share of the prune after kill %d, %s after the begin of %s (-undisturbed +got):\n%s", killer.Kills, after, part.Name, diff)
		}
	}
	for _, part := range parts {
		t.Logf("%3d kills in %-12s which takes %s", part.Kills, part.Name, part.Took)
	}
}
