package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/modules"
)

func TestBuildPublishesAndARerunHasNothingToDo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.build(t)
	manifest := filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json")
	if first.stdout != manifest+"\n" {
		t.Errorf("stdout %q, want the manifest's path and nothing else", first.stdout)
	}
	for _, stage := range []string{"detect", "driver", "source", "prepare", "build", "check", "publish"} {
		if !strings.Contains(first.stderr, `"stage":"`+stage+`","seconds":`) {
			t.Errorf("the log has no time of stage %s", stage)
		}
	}
	for _, name := range []string{"gsp_ga10x.bin", "gsp_tu10x.bin"} {
		got, err := os.ReadFile(filepath.Join(filepath.Dir(manifest), "firmware", "nvidia", fixtureDriver, name))
		if err != nil || string(got) != name+" of "+fixtureDriver+"\n" {
			t.Errorf("firmware %s is %q, %v", name, got, err)
		}
	}
	before := f.results(t)

	// With the installer broken, only a run that does not build can succeed.
	f.writeInstallerTimeStamped(t)
	second := f.build(t)
	if !strings.Contains(second.stderr, "nothing to build") {
		t.Errorf("the rerun does not say that there is nothing to build:\n%s", second.stderr)
	}
	if strings.Contains(second.stderr, `"stage":"build"`) {
		t.Error("the rerun builds")
	}
	if second.stdout != first.stdout || f.results(t) != before {
		t.Error("the rerun left something else")
	}
}

// writeInstallerTimeStamped makes nothing different but the network: the
// repository is gone, so any stage beyond driver would fail.
func (f *fixture) writeInstallerTimeStamped(t *testing.T) {
	t.Helper()
	if err := os.Rename(f.repository, f.repository+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.share, "linux")); err != nil {
		t.Fatal(err)
	}
}

func TestBuildAgainWhere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(t *testing.T, f *fixture) []string
	}{
		{"a published module was altered", func(t *testing.T, f *fixture) []string {
			write(t, filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "nvidia.ko"), 0o644, "altered")
			return nil
		}},
		{"the manifest is gone", func(t *testing.T, f *fixture) []string {
			if err := os.Remove(filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "manifest.json")); err != nil {
				t.Fatal(err)
			}
			return nil
		}},
		{"the kernel's config is another", func(t *testing.T, f *fixture) []string {
			write(t, filepath.Join(f.host, "boot/config-"+fixtureRelease), 0o644, "CONFIG_X86_64=y\nCONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_PCI=y\nCONFIG_DRM=m\n")
			return nil
		}},
		{"a firmware file was altered", func(t *testing.T, f *fixture) []string {
			write(t, filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver, "firmware", "nvidia", fixtureDriver, "gsp_tu10x.bin"), 0o644, "altered")
			return nil
		}},
		{"the driver's firmware is another", func(t *testing.T, f *fixture) []string {
			write(t, filepath.Join(f.driver(fixtureDriver), "firmware/gsp_tu10x.bin"), 0o644, "another\n")
			return nil
		}},
		{"the driver's source is another", func(t *testing.T, f *fixture) []string {
			write(t, filepath.Join(f.driver(fixtureDriver), "kernel/nvidia/nv.c"), 0o644, "/* patched */\n")
			return nil
		}},
		{"an option that changes the modules", func(*testing.T, *fixture) []string {
			return []string{"--exclude-modules=nvidia-drm"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.build(t)
			args := tt.change(t, f)
			again := f.run(t, args...)
			if again.code != 0 {
				t.Fatalf("exit code %d\n%s", again.code, again.stderr)
			}
			if !strings.Contains(again.stderr, `"stage":"build"`) {
				t.Error("nothing was built")
			}
			if verified := f.run(t, "verify", filepath.Dir(strings.TrimSpace(again.stdout))); verified.code != 0 {
				t.Errorf("what was published does not verify:\n%s%s", verified.stdout, verified.stderr)
			}
		})
	}
}

// TestTwoSharesGiveTheSameBytes builds the same in two folders, the manifest
// included. (That compilers give the same is integration's to see.)
func TestTwoSharesGiveTheSameBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	want := files(t, filepath.Join(f.share, "modules"))
	other := *f
	other.share = filepath.Join(t.TempDir(), "a", "longer", "name")
	if err := os.CopyFS(filepath.Join(other.share, "cuda"), os.DirFS(filepath.Join(f.share, "cuda"))); err != nil {
		t.Fatal(err)
	}
	if o := other.run(t, "--share="+other.share, "--jobs=7"); o.code != 0 || strings.Contains(o.stderr, "nothing to build") {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if diff := cmp.Diff(want, files(t, filepath.Join(other.share, "modules"))); diff != "" {
		t.Errorf("the second share holds something else (-first +second):\n%s", diff)
	}
}

func TestBuildOutputJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.run(t, "--output", "json")
	var result struct {
		Manifest, Release, Driver string
		Reused                    bool
		Modules                   []struct{ Name, Vermagic string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
		t.Fatalf("%v\n%s%s", err, o.stdout, o.stderr)
	}
	if result.Release != fixtureRelease || result.Driver != fixtureDriver || result.Reused || len(result.Modules) != 4 {
		t.Errorf("result %+v", result)
	}
	if result.Modules[0].Name != "nvidia" {
		t.Errorf("the first module to load is %s", result.Modules[0].Name)
	}
}

// TestEndOfABuild: what the gate found, what would have shown the rest, what was written
// and the next command are the last lines, of a rerun too.
func TestEndOfABuild(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.environ = append(f.environ, "BUILDER_LOG_FORMAT=console")
	for _, made := range []string{"written", "there already"} {
		o := f.run(t, "--output=json")
		var result struct {
			Modules []map[string]any
			Checks  []modules.Check
		}
		if err := json.Unmarshal([]byte(o.stdout), &result); err != nil || o.code != 0 || len(result.Checks) < 20 || result.Modules[0]["parameters"] != nil {
			t.Errorf("exit code %d, %v, %d checks, %v", o.code, err, len(result.Checks), result.Modules)
		}
		lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
		end := strings.Join(lines[max(0, len(lines)-9):], "\n")
		for _, want := range []string{
			" INF passed: ", " findings of ", " INF not checkable: ", "; to have them: mount the host's /lib/modules at /host/lib/modules",
			" INF " + made + " ", "modules=4", "ready to be loaded\n  -> on a host that runs this kernel", "cuda load --host-share SHARE",
		} {
			if !strings.Contains(end, want) {
				t.Errorf("%s: it does not say %q:\n%s", made, want, end)
			}
		}
	}
}

// TestFailureOutputJSON: whoever reads stdout finds there what was in the way, also of
// a dry run.
func TestFailureOutputJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, args := range [][]string{{"--dry-run"}, nil} {
		o := f.run(t, append(args, "--output=json", "--driver-version=1.2")...)
		var out struct {
			Failures []struct{ Name, Says, Do string }
		}
		if err := json.Unmarshal([]byte(o.stdout), &out); err != nil || o.code != 11 || len(out.Failures) != 1 {
			t.Fatalf("%q: exit code %d, %v\n%s", args, o.code, err, o.stdout)
		}
		if got := out.Failures[0]; got.Name != "driver" || !strings.Contains(got.Says, "driver 1.2") || got.Do == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// TestModules builds for a node that only computes. What the installer makes
// beyond that is not published.
func TestModules(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	o := f.run(t, "--modules=nvidia_uvm", "--output=json")
	var result struct {
		Manifest string
		Reused   bool
		Modules  []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
		t.Fatalf("exit code %d, %v\n%s", o.code, err, o.stderr)
	}
	if result.Reused || len(result.Modules) != 2 || result.Modules[0].Name != "nvidia" || result.Modules[1].Name != "nvidia_uvm" {
		t.Errorf("result %+v, want nvidia and nvidia_uvm, built anew", result)
	}
	dir := filepath.Dir(result.Manifest)
	if left, err := filepath.Glob(filepath.Join(dir, "*.ko")); err != nil || len(left) != 2 {
		t.Errorf("published %v, %v", left, err)
	}
	var manifest modules.Manifest
	if err := json.Unmarshal([]byte(read(t, result.Manifest)), &manifest); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, c := range manifest.Checks {
		if c.Name == "built" {
			said[c.Module] = c.Detail
		}
	}
	const left = "left out as the user asked"
	if diff := cmp.Diff(map[string]string{"nvidia": "", "nvidia_uvm": "", "nvidia_modeset": left, "nvidia_drm": left}, said); diff != "" {
		t.Errorf("the check of what was built (-want +got):\n%s", diff)
	}
	if o := f.run(t, "verify", dir); o.code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	// The same, said the other way.
	if o := f.run(t, "--exclude-modules=nvidia-drm,nvidia-modeset,nvidia-peermem"); o.code != 0 || !strings.Contains(o.stderr, "nothing to build") {
		t.Errorf("exit code %d, and it is built again\n%s", o.code, o.stderr)
	}
}

func TestDryRunSaysWhatEachStageWouldDoAndDoesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if o := f.run(t, "--dry-run", "--output", "env"); o.code != 0 || o.stdout != "" || !strings.Contains(o.stderr, "nvidia-installer --kernel-module-only") {
		t.Errorf("CI would read: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	o := f.run(t, "--dry-run")
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	for _, want := range []string{
		"detect   kernel " + fixtureRelease, "driver   driver " + fixtureDriver, "v6.1.192-coreos",
		"prepare  ", "gcc-12", "build    ", "check    ", "publish  " + filepath.Join(f.share, "modules", fixtureRelease, fixtureDriver),
	} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("the plan does not say %q:\n%s", want, o.stdout)
		}
	}
	entries, err := os.ReadDir(f.share)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "cuda" {
		t.Errorf("a dry run left %v in the share", entries)
	}
}

func TestCaptureIsAHostRoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tar := filepath.Join(t.TempDir(), "node.tar.gz")
	if o := f.run(t, "capture", "--file", tar); o.code != 0 || o.stdout != tar+"\n" {
		t.Fatalf("capture: exit code %d, stdout %q\n%s", o.code, o.stdout, o.stderr)
	}
	direct := f.build(t)
	if o := f.run(t, "--host-root", tar); o.code != 0 || o.stdout != direct.stdout || !strings.Contains(o.stderr, "nothing to build") {
		t.Errorf("the captured host is another to a build: exit code %d\n%s", o.code, o.stderr)
	}
}

func TestVerifyAgainstAnotherKernel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := filepath.Dir(strings.TrimSpace(f.build(t).stdout))
	if o := f.run(t, "verify", filepath.Join(dir, "manifest.json")); o.code != 0 || !regexp.MustCompile(`(?m)^passed +vermagic +nvidia-uvm\.ko`).MatchString(o.stdout) {
		t.Errorf("verify of what a build prints: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := f.run(t, "verify", dir); o.code != 0 || !strings.Contains(o.stdout, "passed") {
		t.Errorf("verify: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for _, name := range []string{"proc/version", "proc/sys/kernel/osrelease"} {
		text, err := os.ReadFile(filepath.Join(f.host, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(f.host, name), 0o644, strings.ReplaceAll(string(text), fixtureRelease, "6.1.193-coreos"))
	}
	if err := os.Rename(filepath.Join(f.host, "boot/config-"+fixtureRelease), filepath.Join(f.host, "boot/config-6.1.193-coreos")); err != nil {
		t.Fatal(err)
	}
	o := f.run(t, "verify", dir)
	if o.code != 15 || !strings.Contains(o.stdout, "failed") || !strings.Contains(o.stderr, "6.1.193-coreos") {
		t.Errorf("verify against another kernel: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// TestStricterTermsNeedNoSecondBuild asks for the verdict on what is published
// already.
func TestStricterTermsNeedNoSecondBuild(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	before := f.results(t)
	if o := f.run(t, "--strict"); o.code != 11 || !strings.Contains(lastLine(o.stderr), "nobody vouches for the driver package") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	o := f.run(t, "--strict", "--allow=driver-digest")
	if o.code != 15 || strings.Contains(o.stderr, `"stage":"build"`) || !strings.Contains(lastLine(o.stderr), "not-checkable") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if f.results(t) != before {
		t.Error("the result was touched")
	}
}

// TestAllowIsOneCheckAndOnRecord lets kbuild change an option of the host's
// config: that stops the job, unless the user lets just that pass.
func TestAllowIsOneCheckAndOnRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	script := filepath.Join(f.bin, "make")
	write(t, script, 0o755, read(t, script)+`sed -i 's/^CONFIG_SMP=y/# CONFIG_SMP is not set/' "$out/.config"`+"\n")
	if o := f.run(t, "--allow", "vermagic"); o.code != 13 || !strings.Contains(o.stderr, "SMP is y on the host and n in the tree") || !strings.Contains(o.stderr, "--allow config-drift") {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	o := f.run(t, "--allow", "config-drift")
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	var manifest struct{ Overridden []string }
	if err := json.Unmarshal([]byte(read(t, strings.TrimSpace(o.stdout))), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Overridden) != 1 || manifest.Overridden[0] != "config-drift" {
		t.Errorf("overridden: %v", manifest.Overridden)
	}
	if again := f.run(t); again.code != 13 {
		t.Errorf("without --allow the same result is accepted: exit code %d", again.code)
	}
}
