package modules

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/types/typestest"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

const (
	release = "6.1.192-coreos-r1"
	version = "535.261.03"
)

// shelf is a share and the options to publish the recorded modules in it.
func shelf(t *testing.T) (*share.Share, PublishOptions) {
	t.Helper()
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s, PublishOptions{
		Share: s, Scratch: scratchOf(t, s), Dir: filepath.Join("testdata", "ko"), Exports: recordedExports(t),
		Types: typestest.New().Record(t), Manifest: manifest(t, driver(t)), Firmware: giveAway(t),
	}
}

// recordedExports are those that are listed beside the recorded modules.
func recordedExports(t *testing.T) kernel.Exports {
	t.Helper()
	exports, err := Manifest{Exports: File{Name: ExportsFile}}.exports(filepath.Join("testdata", "ko"))
	if err != nil {
		t.Fatal(err)
	}
	return exports
}

// giveAway makes firmware for one publication.
func giveAway(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(firmwareFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gsp_ga10x.bin")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"firmware/nvidia/" + version + "/gsp_ga10x.bin": file}
}

func scratchOf(t *testing.T, s *share.Share) string {
	t.Helper()
	dir := filepath.Join(s.Private(), "scratch")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// published is what [Find] finds, and the manifest's path.
func published(s *share.Share, release, version string) (Manifest, string, error) {
	f, err := Find(s, release, version, nil)
	if err != nil {
		return Manifest{}, "", err
	}
	return f.Manifest, f.Path(), nil
}

func mustPublish(t *testing.T, o PublishOptions) string {
	t.Helper()
	path, err := Publish(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newer is another result for the same release and driver version.
func newer(o PublishOptions) PublishOptions {
	o.Manifest.Inputs = map[string]string{"driver": digestOf('b')}
	return o
}

func link(s *share.Share) string { return filepath.Join(s.Modules(), release, version) }

// entries are the names in REL.
func entriesOf(t *testing.T, s *share.Share) []string {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(s.Modules(), release))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range found {
		list = append(list, e.Name())
	}
	return list
}

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

// TestPublishedIsUploadedWhole: what uploads a folder's files may leave out those whose
// path has a name that begins with a dot.
func TestPublishedIsUploadedWhole(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	err := filepath.WalkDir(s.Modules(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".") {
			err = os.RemoveAll(path)
			if err == nil && e.IsDir() {
				err = fs.SkipDir
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := published(s, release, version); err != nil {
		t.Error(err)
	}
}

func TestPublish(t *testing.T) {
	s, o := shelf(t)
	path := mustPublish(t, o)
	if want := filepath.Join(link(s), ManifestFile); path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	target, err := os.Readlink(link(s))
	if err != nil || !strings.HasPrefix(target, version+"@") || strings.Contains(target, "/") {
		t.Errorf("the link is %q, %v: want a name beside it", target, err)
	}
	found, err := os.ReadDir(link(s))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range found {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, info.Mode().String()+" "+e.Name())
	}
	want := []string{"drwxr-xr-x firmware", "-rw-r--r-- " + ExportsFile, "-rw-r--r-- manifest.json", "-rw-r--r-- modules.dep", "-rw-r--r-- nvidia-drm.ko", "-rw-r--r-- nvidia-modeset.ko", "-rw-r--r-- nvidia-uvm.ko", "-rw-r--r-- nvidia.ko", "-rw-r--r-- " + TypesFile}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	m, found2, err := published(s, release, version)
	if err != nil || found2 != path {
		t.Fatalf("Published = %s, %v", found2, err)
	}
	o.Manifest.Schema = SchemaVersion
	if m.Types == nil || m.Types.Name != TypesFile {
		t.Errorf("what the modules were compiled with is in %+v", m.Types)
	}
	m.Types = nil
	if diff := cmp.Diff(o.Manifest, m); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(o.Scratch); err != nil || len(left) != 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
}

func TestPublishAgainChangesNothing(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	times := func() map[string]time.Time {
		seen := map[string]time.Time{}
		err := filepath.WalkDir(s.Modules(), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			seen[path] = info.ModTime()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	before := times()
	mustPublish(t, o)
	if diff := cmp.Diff(before, times()); diff != "" {
		t.Error(diff)
	}
}

func TestPublishReplacesAndRemovesTheOld(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	first, err := os.Readlink(link(s))
	if err != nil {
		t.Fatal(err)
	}
	// What is not this driver version's, or is named by a link, stays.
	keep := filepath.Join(s.Modules(), release, "."+version+"-0123456789ab")
	for _, dir := range []string{keep, filepath.Join(s.Modules(), release, "."+version+".1-0123456789ab")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Base(keep), filepath.Join(s.Modules(), release, "mine")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", filepath.Join(s.Modules(), release, "."+version+".tmp-abc")); err != nil {
		t.Fatal(err)
	}

	mustPublish(t, newer(o))
	second, err := os.Readlink(link(s))
	if err != nil || second == first {
		t.Fatalf("the link is %s, %v", second, err)
	}
	want := sortedSet([]string{"." + version + ".1-0123456789ab", filepath.Base(keep), version, "mine", second})
	if diff := cmp.Diff(want, entriesOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

// A crash, at any step, leaves the old result or the new one, and the next run
// tidies up.
func TestPublishCrash(t *testing.T) {
	crash := errors.New("crash")
	for n := 0; ; n++ {
		s, o := shelf(t)
		mustPublish(t, o)
		old, err := os.Readlink(link(s))
		if err != nil {
			t.Fatal(err)
		}
		steps, last := 0, ""
		crashing := newer(o)
		crashing.step = func(name string) error {
			last = name
			if steps++; steps > n {
				return crash
			}
			return nil
		}
		_, err = crashing.publish(t.Context())
		if err == nil && steps <= n {
			if n < 7 {
				t.Errorf("only %d steps were crashed at", n)
			}
			return
		}
		m, _, err := published(s, release, version)
		if err != nil {
			t.Fatalf("after a crash at %q: %v", last, err)
		}
		now, err := os.Readlink(link(s))
		if err != nil {
			t.Fatal(err)
		}
		if (now == old) != (maps.Equal(m.Inputs, o.Manifest.Inputs)) {
			t.Errorf("after a crash at %q the link %s holds %s", last, now, m.Inputs)
		}
		mustPublish(t, newer(o))
		if got := entriesOf(t, s); len(got) != 2 {
			t.Errorf("after a crash at %q and another run there are %v", last, got)
		}
	}
}

// TestPublishFirmwareOnce publishes a driver for a second release: the firmware
// takes no more space, and is copied again where it was damaged.
func TestPublishFirmwareOnce(t *testing.T) {
	const name = "firmware/nvidia/" + version + "/gsp_ga10x.bin"
	for _, damaged := range []bool{false, true} {
		s, o := shelf(t)
		mustPublish(t, o)
		first := filepath.Join(link(s), name)
		if damaged {
			if err := os.Truncate(first, 1); err != nil {
				t.Fatal(err)
			}
		}
		other := o
		other.Firmware = giveAway(t)
		other.Manifest.Target.Release = "6.1.193-coreos"
		second := filepath.Join(filepath.Dir(mustPublish(t, other)), name)
		one, err := os.Stat(first)
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.Stat(second)
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(one, two) == damaged {
			t.Errorf("damaged: %v, and one file: %v", damaged, os.SameFile(one, two))
		}
		if _, _, err := published(s, other.Manifest.Target.Release, version); err != nil {
			t.Error(err)
		}
		if _, _, err := published(s, release, version); (err != nil) != damaged {
			t.Errorf("the first is damaged: %v, %v", damaged, err)
		}
	}
}

func TestVerifyFirmware(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	if err := os.WriteFile(filepath.Join(link(s), "firmware/nvidia", version, "gsp_ga10x.bin"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	checks, err := Verify(led(t, s), target(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(findings(checks), "\n"); !strings.Contains(got, "gsp_ga10x.bin is not the file of") {
		t.Errorf("found %q", got)
	}
}

// TestPublishedBeforeFirmware reads what an older builder published.
func TestPublishedBeforeFirmware(t *testing.T) {
	s, o := shelf(t)
	o.Manifest.Firmware, o.Firmware = nil, nil
	path := mustPublish(t, o)
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), `"file": "firmware`) {
		t.Errorf("firmware in %s (%v)", text, err)
	}
	if _, _, err := published(s, release, version); err != nil {
		t.Error(err)
	}
}

func TestPublishOverDamage(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	first, err := os.Readlink(link(s))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(link(s), "nvidia.ko")
	if err := os.Truncate(file, 100); err != nil {
		t.Fatal(err)
	}
	if _, _, err := published(s, release, version); err == nil || !strings.Contains(err.Error(), "nvidia.ko is not the file of") {
		t.Errorf("a damaged result: %v", err)
	}
	mustPublish(t, o)
	if _, _, err := published(s, release, version); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{version, first + ".1"}, entriesOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestPublishedDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"altered": {func(t *testing.T, dir string) {
			data := bytesOf(t)
			data[len(data)-1] ^= 1
			if err := os.WriteFile(filepath.Join(dir, "nvidia.ko"), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "nvidia.ko has digest"},
		"removed": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "nvidia-drm.ko")); err != nil {
				t.Fatal(err)
			}
		}, "nvidia-drm.ko cannot be read"},
		"a link instead": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "nvidia-uvm.ko")
			if err := errors.Join(os.Rename(path, path+".moved"), os.Symlink("nvidia-uvm.ko.moved", path)); err != nil {
				t.Fatal(err)
			}
		}, "nvidia-uvm.ko is not the file"},
		"no manifest": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, ManifestFile)); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		"another's manifest": {func(t *testing.T, dir string) {
			m := manifest(t, driver(t))
			m.Target.Release = "6.1.193"
			text, err := m.Encode()
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, ManifestFile), text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "for 6.1.193"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := shelf(t)
			mustPublish(t, o)
			c.damage(t, link(s))
			_, _, err := published(s, release, version)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestPublishedAnew has another result be published as the manifest is read:
// one that lacks a file of the first, and one that has all of them.
func TestPublishedAnew(t *testing.T) {
	for _, fewer := range []bool{true, false} {
		s, first := shelf(t)
		second := newer(first)
		lacks := &first
		if fewer {
			lacks = &second
		}
		lacks.Manifest.Firmware, lacks.Firmware = nil, nil
		mustPublish(t, first)
		f, err := between(t, s, func() error {
			_, err := Publish(t.Context(), second)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(f.Manifest.Inputs, second.Manifest.Inputs) || f.Link != link(s) || f.Replaced() {
			t.Errorf("found inputs %s in %s, replaced: %v", f.Manifest.Inputs, f.Link, f.Replaced())
		}
		third := second
		third.Manifest.Inputs, third.Manifest.Firmware = map[string]string{"driver": digestOf('c')}, nil
		mustPublish(t, third)
		if !f.Replaced() {
			t.Error("what was replaced is not said to be")
		}
	}
}

// TestPublishedDamageMeanwhile has a file go as the manifest is read, with
// nothing in its place.
func TestPublishedDamageMeanwhile(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	_, err := between(t, s, func() error { return os.Remove(filepath.Join(link(s), "nvidia.ko")) })
	if err == nil || !strings.Contains(err.Error(), "nvidia.ko cannot be read") {
		t.Errorf("error %v", err)
	}
}

// between finds a result, and calls a function when its manifest was read the first
// time, and its files were not.
func between(t *testing.T, s *share.Share, f func() error) (Found, error) {
	t.Helper()
	called := false
	return find(s, release, version, func(dir string) (Manifest, error) {
		m, err := readManifest(dir, nil)
		if !called {
			called = true
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		return m, err
	})
}

func TestPublishedNothing(t *testing.T) {
	s, _ := shelf(t)
	if _, _, err := published(s, release, version); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestPublishRefusesAUsersFolder(t *testing.T) {
	s, o := shelf(t)
	mine := filepath.Join(link(s), "mine")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	failure(t, Ready(s, o.Scratch, release, version), 16, "is not a link that builder made", "Move it away")
	_, err := Publish(t.Context(), o)
	failure(t, err, 16, "is not a link that builder made")
	if diff := cmp.Diff([]string{version}, entriesOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestReady(t *testing.T) {
	s, o := shelf(t)
	for range 2 { // before the first result, and after it
		if err := Ready(s, o.Scratch, release, version); err != nil {
			t.Error(err)
		}
		mustPublish(t, o)
	}
	if left, err := os.ReadDir(o.Scratch); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	failure(t, Ready(s, o.Scratch, "../../etc", version), 16, `"../../etc" cannot be the name of a folder`)
	failure(t, Ready(s, filepath.Join("/proc", strconv.Itoa(os.Getpid())), release, version), 16, "has no symbolic links", "over NFS")
}

func TestPublishKeepsTheOldOnFailure(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, o *PublishOptions)
		code   int
		words  []string
	}{
		"no scratch": {func(t *testing.T, o *PublishOptions) { o.Scratch = filepath.Join(o.Scratch, "none") }, 16, []string{"earlier results are as they were"}},
		"a file changed since the check": {func(t *testing.T, o *PublishOptions) {
			o.Manifest.Modules[0].SHA256 = strings.Repeat("0", 64)
		}, 16, []string{"changed after it was checked"}},
		"a file gone": {func(t *testing.T, o *PublishOptions) { o.Dir = t.TempDir() }, 16, []string{"no such file"}},
		"a file from elsewhere": {func(t *testing.T, o *PublishOptions) {
			o.Manifest.Modules[0].File = "../ko/nvidia.ko"
		}, 16, []string{"not one of its folder"}},
		"firmware from elsewhere": {func(t *testing.T, o *PublishOptions) {
			o.Manifest.Firmware = []File{{Name: "firmware/nvidia/../../../x"}}
		}, 16, []string{"not one of its folder"}},
		"an odd version": {func(t *testing.T, o *PublishOptions) { o.Manifest.Driver.Version = "." }, 16, []string{"cannot be the name"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := shelf(t)
			mustPublish(t, o)
			before := entriesOf(t, s)
			other := newer(o)
			other.Manifest.Modules = append([]Entry{}, o.Manifest.Modules...)
			c.change(t, &other)
			_, err := Publish(t.Context(), other)
			failure(t, err, c.code, c.words...)
			if diff := cmp.Diff(before, entriesOf(t, s)); diff != "" {
				t.Error(diff)
			}
			if _, _, err := published(s, release, version); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPublishWhenTheShareFillsUp(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	filling := newer(o)
	filling.step = func(name string) error {
		if name == "copy nvidia-drm.ko" {
			return &os.PathError{Op: "write", Path: "nvidia-drm.ko", Err: unix.ENOSPC}
		}
		return nil
	}
	_, err := Publish(t.Context(), filling)
	failure(t, err, 16, "is full", "Free space there")
	if m, _, err := published(s, release, version); err != nil || !maps.Equal(m.Inputs, o.Manifest.Inputs) {
		t.Errorf("the earlier result is %s, %v", m.Inputs, err)
	}
}

func TestPublishInterrupted(t *testing.T) {
	s, o := shelf(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Publish(ctx, o)
	failure(t, err, 130)
	if _, err := os.Stat(s.Modules()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was published: %v", err)
	}
}

func TestVerify(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	checks, err := Verify(led(t, s), target(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := findings(checks); got != nil {
		t.Errorf("found %v", got)
	}

	patched, other := target(t), typestest.New()
	other.Bus.Members[0].Name = "nr"
	other.Functions["pci_enable_device"].Return = typestest.Long
	patched.Types.BTF = other.Kernel(t)
	checks, err = Verify(led(t, s), patched, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	failure(t, Judge(checks, Policy{}), 15, "layout failed (struct pci_bus: member number is not in this kernel", "prototypes failed (pci_enable_device(): returns long int in this kernel and int in the source",
		"refs/tags/v6.1.192-coreos of coreos/linux, proc/config.gz")

	if err := os.WriteFile(filepath.Join(link(s), "nvidia-uvm.ko"), []byte("no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(link(s), "nvidia-drm.ko")); err != nil {
		t.Fatal(err)
	}
	tomorrow := target(t)
	tomorrow.Release.Full = "6.1.193-coreos"
	checks, err = Verify(led(t, s), tomorrow, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = Judge(checks, Policy{})
	failure(t, err, 15, "intact nvidia_uvm failed", "intact nvidia_drm failed", "built nvidia_drm failed", "nvidia-uvm.ko is not ELF", "nvidia.ko has version magic")
}

func TestVerifyNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := Verify(dir, target(t), nil, nil)
	failure(t, err, 15, "holds no manifest.json", "SHARE/modules/REL/VER")
	if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Verify(dir, target(t), nil, nil)
	failure(t, err, 15, "cannot be read", "Publish again")
}

// TestExpectation: of what only the driver package could tell, what was found good
// when it was at hand counts, and what was not does not.
func TestExpectation(t *testing.T) {
	entry := Entry{Name: "nvidia", Firmware: []string{"nvidia/1/a.bin"}, InTree: []string{"drm"}}
	for verdict, want := range map[Verdict]Expect{
		Passed:       {Firmware: []string{"nvidia/1/a.bin"}, Debug: true},
		Failed:       {},
		NotCheckable: {},
	} {
		m := Manifest{Modules: []Entry{entry}, Checks: []Check{
			{Name: "firmware", Module: "nvidia", Verdict: verdict}, {Name: "debug", Module: "nvidia", Verdict: verdict},
			{Name: "firmware", Module: "nvidia_uvm", Verdict: Passed}, {Name: "debug", Module: "nvidia_uvm", Verdict: Passed},
		}}
		want.TypesUnknown = "the modules were published by a builder that did not record what they were compiled with: build again"
		want.Modules, want.InTree = []string{"nvidia"}, map[string][]string{"nvidia": {"drm"}}
		if diff := cmp.Diff(want, m.expect("", []string{"nvidia"})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", verdict, diff)
		}
	}
}

// led is the folder of the result.
func led(t *testing.T, s *share.Share) string {
	t.Helper()
	dir, err := publish.Led(link(s))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
