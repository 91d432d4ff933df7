package job

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestBuild(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.mustBuild(t)
	if o.Reused || o.Release != testRelease || o.Driver != testDriver || o.ModuleType != "proprietary" || len(o.Modules) != 4 {
		t.Errorf("%+v", o.Result)
	}
	for _, path := range []string{o.Manifest, o.UserSpace} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"gcc-12", "gcc-12", "make", "make", "nvidia-installer", "depmod"}, o.ran); diff != "" {
		t.Errorf("programs, -want +got:\n%s", diff)
	}
	stages := []string{"detect", "driver", "source", "prepare", "build", "check", "publish"}
	for _, said := range []string{"started", "finished"} {
		if diff := cmp.Diff(stages, stagesThat(t, o.log, said)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", said, diff)
		}
	}
	left, err := os.ReadDir(filepath.Join(f.share, ".builder/scratch"))
	if len(left) > 0 {
		t.Errorf("scratch is left: %v, %v", left, err)
	}
	if strings.Contains(o.log, `"level":"warn"`) {
		t.Errorf("there is nothing to warn of:\n%s", o.log)
	}
	for _, what := range []string{"unpacking the driver, preparing the kernel tree, compiling and publishing", "laying out the driver's libraries", "publishing"} {
		if !slices.ContainsFunc(strings.Split(o.log, "\n"), func(line string) bool {
			return strings.Contains(line, "disk space for "+what+`"`) && strings.Contains(line, `"free":`) && !strings.Contains(line, "not known")
		}) {
			t.Errorf("nothing is said of the disk space for %s:\n%s", what, o.log)
		}
	}
	if m := f.manifest(t); m.Source.Rung != source.RungLocal || m.Source.Ref != "linux" || m.Source.Commit == "" {
		t.Errorf("%+v", m.Source)
	}
}

// TestWhatIsTheUsersStaysTheirs has the share be another's than the kernel's source
// that a build was pointed at.
func TestWhatIsTheUsersStaysTheirs(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	f := newFixture(t)
	if err := os.Chown(f.share, 1, 1); err != nil {
		t.Fatal(err)
	}
	o := f.mustBuild(t)
	for path, want := range map[string]uint32{f.source: 0, filepath.Join(f.source, "Makefile"): 0, o.Manifest: 1, o.UserSpace: 1, filepath.Join(f.share, ".builder/logs"): 1} {
		var is unix.Stat_t
		if err := unix.Stat(path, &is); err != nil || is.Uid != want {
			t.Errorf("%s is of %d, want %d (%v)", path, is.Uid, want, err)
		}
	}
}

// TestOptionsThatMakeNoSense are refused before anything is written.
func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		change func(*Options)
		says   string
	}{
		{func(o *Options) { o.ModuleType = "closed" }, `"closed" is not a module type. Name one of auto, proprietary, open`},
		{func(o *Options) { o.Allow = []string{"signature", "sign"} }, `"sign" is not a check`},
		{func(o *Options) { o.Exclude = []string{"nvidia"} }, "nvidia cannot be left out"},
		{func(o *Options) { o.Modules = []string{"nouveau"} }, `"nouveau" is not a module`},
		{func(o *Options) { o.UserSpace = "some" }, `"some" is not a part of the driver's user-space side`},
		{func(o *Options) { o.DriverSHA256 = "0a0b" }, `"0a0b" is not a SHA-256`},
		{func(o *Options) { o.Jobs = -1 }, "cannot be negative"},
		{func(o *Options) { o.BuildTimeout = -1 }, "cannot be negative"},
		{func(o *Options) { o.Host.ImageSHA256 = strings.Repeat("0", 64) }, "a digest of a kernel image was given, and no image"},
		{func(o *Options) { o.Host.Image, o.Host.ImageSHA256 = "/vmlinuz", "0a0b" }, `"0a0b" is not a SHA-256`},
	} {
		o := f.build(t, c.change)
		if stage.ExitCode(o.err) != 2 || !strings.Contains(o.err.Error(), c.says) {
			t.Errorf("%v, want a wrong usage with %q", o.err, c.says)
		}
		if _, err := os.Stat(filepath.Join(f.share, ".builder/logs")); !errors.Is(err, os.ErrNotExist) || len(o.ran) > 0 {
			t.Errorf("%s: it ran %q (%v)", c.says, o.ran, err)
		}
	}
}

// TestCompiler is the one that the options find, and is warned of where it is not
// the kernel's own.
func TestCompiler(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.build(t, func(o *Options) { o.LookPath = func(string) (string, error) { return "", fs.ErrNotExist } })
	if stage.ExitCode(o.err) != 13 || len(o.ran) > 0 {
		t.Errorf("without any: %v, ran %q", o.err, o.ran)
	}
	f.write(t, "host/proc/version", strings.Replace(testBanner, "12.2.0", "11.2.0", 1)+"\n")
	if o := f.mustBuild(t); !slices.ContainsFunc(strings.Split(o.log, "\n"), func(line string) bool {
		return strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "gcc-12")
	}) {
		t.Errorf("it is not said that the compiler is another:\n%s", o.log)
	}
}

// stagesThat are those that the log says something of, in its order.
func stagesThat(t *testing.T, log, said string) (stages []string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var entry struct{ Stage, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Message == said {
			stages = append(stages, entry.Stage)
		}
	}
	return stages
}

// TestPlanIsTheBuild: what a dry run finds in the way a build finds before its
// work, and where neither finds anything their stages are the same.
func TestPlanIsTheBuild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*testing.T, *fixture)
		code    int
		says    string
	}{
		{"nothing in the way", func(*testing.T, *fixture) {}, 0, ""},
		{"a folder in the modules' place", func(t *testing.T, f *fixture) {
			f.write(t, "share/modules/"+testRelease+"/"+testDriver+"/mine", "")
		}, 16, "is not a link that builder made"},
		{"a folder in the libraries' place", func(t *testing.T, f *fixture) {
			f.write(t, "share/driver/"+testDriver+"/mine", "")
		}, 16, "is not a link that builder made"},
		{"no driver", func(_ *testing.T, f *fixture) { f.options.DriverVersion = "1.2" }, 11, "driver 1.2"},
		{"another source", func(t *testing.T, f *fixture) {
			f.write(t, "source/Makefile", "VERSION = 6\nPATCHLEVEL = 2\nSUBLEVEL = 0\nEXTRAVERSION =\n")
		}, 12, "is the source of 6.2.0"},
		{"another driver than was asked for", func(_ *testing.T, f *fixture) { f.options.DriverSHA256 = strings.Repeat("0", 64) }, 11, "another than was asked for"},
		{"a compiler that is not there", func(t *testing.T, f *fixture) {
			f.write(t, "host/proc/version", strings.Replace(testBanner, "12.2.0 (", "13.1.0 (", 1))
			f.options.LookPath = func(string) (string, error) { return "", fs.ErrNotExist }
		}, 13, "gcc 13"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			c.prepare(t, f)
			steps, planned := Plan(t.Context(), f.options)
			if _, err := os.Stat(filepath.Join(f.share, ".builder")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the plan has written to the share (%v)", err)
			}
			built := f.build(t)
			if stage.ExitCode(planned) != c.code || stage.ExitCode(built.err) != c.code {
				t.Fatalf("the plan ends in %v, the build in %v; want exit code %d", planned, built.err, c.code)
			}
			if c.code != 0 {
				if planned.Error() != built.err.Error() || !strings.Contains(planned.Error(), c.says) {
					t.Errorf("the plan ends in %v, the build in %v", planned, built.err)
				}
				if built.compiled() {
					t.Error("what could only fail was found after the compile")
				}
				return
			}
			var stages []string
			for _, s := range steps {
				if len(stages) == 0 || stages[len(stages)-1] != string(s.Stage) {
					stages = append(stages, string(s.Stage))
				}
			}
			if diff := cmp.Diff(stagesThat(t, built.log, "started"), stages); diff != "" {
				t.Errorf("-build +plan:\n%s", diff)
			}
		})
	}
}

// TestPlanOfARerun says what serves, and what does not.
func TestPlanOfARerun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	steps, err := Plan(t.Context(), f.options)
	if err != nil || len(steps) != 3 || !strings.HasPrefix(steps[2].Does, "nothing: ") {
		t.Errorf("%+v, %v", steps, err)
	}
	if err := os.RemoveAll(filepath.Join(f.share, "driver")); err != nil {
		t.Fatal(err)
	}
	steps, err = Plan(t.Context(), f.options)
	if err != nil || len(steps) != 4 || !strings.HasPrefix(steps[2].Does, "no modules: ") || !strings.Contains(steps[3].Does, "user-space") {
		t.Errorf("%+v, %v", steps, err)
	}
	o := f.mustBuild(t)
	if !o.Reused || o.compiled() || o.UserSpace == "" {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(o.UserSpace); err != nil {
		t.Error(err)
	}
}

// TestChangedPackage changes the package between the time when it was digested and
// the one when it is built from.
func TestChangedPackage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	// The digest is noted with a fingerprint of names, sizes and times.
	path := filepath.Join(f.driver(), "kernel/nvidia/nv.c")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/kernel/nvidia/nv.c", "/* A source */\n")
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	published := f.published(t)
	o := f.build(t, rebuild)
	if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "was changed") || o.compiled() {
		t.Errorf("%v, compiled: %v", o.err, o.compiled())
	}
	if f.published(t) != published {
		t.Error("what was published is another now")
	}
	if o := f.build(t, rebuild); o.err != nil {
		t.Errorf("the run after: %v", o.err)
	}
}

func rebuild(o *Options) { o.Rebuild = true }

// lost is a lock that another run has taken over.
type lost struct{}

func (lost) Check() error { return stage.New(stage.Share, "taken over", "run again") }

// TestStrip takes debugging information out, unless it is asked for.
func TestStrip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tools.debug = true
	if o := f.mustBuild(t); !slices.Contains(o.ran, "strip") {
		t.Errorf("ran %v", o.ran)
	}
	if o := f.build(t, func(o *Options) { o.Debug = true }); o.err != nil || slices.Contains(o.ran, "strip") {
		t.Errorf("with --debug-info: %v, ran %v", o.err, o.ran)
	}
}

// TestLostLock publishes nothing once another run has the share.
func TestLostLock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	published := f.published(t)
	s, err := newSite(f.options, false)
	if err != nil {
		t.Fatal(err)
	}
	s.lock = lost{}
	p := project{site: s}
	if _, err := p.layingOut().do(t.Context(), unpacked{}); stage.ExitCode(err) != 75 {
		t.Errorf("libraries: %v", err)
	}
	if _, err := p.publishing().do(t.Context(), laidOut{}); stage.ExitCode(err) != 75 {
		t.Errorf("modules: %v", err)
	}
	if f.published(t) != published {
		t.Error("what was published is another now")
	}
}

// TestSourcesAreGoneBeforePublishing: a share that is nearly full has room for
// either.
func TestSourcesAreGoneBeforePublishing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	there := func() bool {
		_, err := os.Stat(filepath.Join(f.share, ".builder/scratch/driver/kernel/nvidia/nv.c"))
		return err == nil
	}
	var compiling, publishing bool
	f.tools.before["nvidia-installer"] = func() { compiling = there() }
	f.tools.before["depmod"] = func() { publishing = there() }
	f.mustBuild(t)
	if !compiling || publishing {
		t.Errorf("the sources are there at the compile: %v, and at the end: %v", compiling, publishing)
	}
}

// TestKernelImageDigest holds an image against its digest, whether it is a file or
// was fetched.
func TestKernelImageDigest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := f.write(t, "share/vmlinuz", string(kernelImage(t, nil)))
	o := f.build(t, func(o *Options) { o.Host.Image, o.Host.ImageSHA256 = path, strings.Repeat("0", 64) })
	if stage.ExitCode(o.err) != 10 || !strings.Contains(o.err.Error(), "another than was asked for") {
		t.Errorf("an image of another digest: %v", o.err)
	}
	digest, _, err := sha256Of(path)
	if err != nil {
		t.Fatal(err)
	}
	f.mustBuild(t, func(o *Options) { o.Host.Image, o.Host.ImageSHA256 = path, digest })
	if _, err := os.Stat("image"); err == nil {
		t.Errorf("a copy is left in the working folder: %v", os.Remove("image"))
	}
	if m := f.manifest(t); m.Target.BuildID != "0a0b" || m.Target.Symbols.From != "--kernel-image" {
		t.Errorf("%+v", m.Target)
	}
}

// TestFailureLeavesWhatWasPublished has a run fail in each of the programs that it
// needs.
func TestFailureLeavesWhatWasPublished(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	published := f.published(t)
	for program, code := range map[string]int{"make": 13, "nvidia-installer": 14, "depmod": 16} {
		f.tools.fail = map[string]error{program: errors.New("it fails")}
		if err := os.RemoveAll(filepath.Join(f.share, ".builder/prepared")); err != nil {
			t.Fatal(err)
		}
		o := f.build(t, rebuild)
		if stage.ExitCode(o.err) != code {
			t.Errorf("%s fails: %v, want exit code %d", program, o.err, code)
		}
		if f.published(t) != published {
			t.Errorf("%s fails: what was published is another now", program)
		}
		if strings.Contains(o.log, "cannot tell whether the kernel source lacks a file") {
			t.Errorf("%s fails: a source of the user's own lacks nothing that builder left out:\n%s", program, o.log)
		}
	}
}

// TestFailureAfterAnotherPackage: a build of another package that fails at its end
// leaves the libraries of the one before.
func TestFailureAfterAnotherPackage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	published := f.published(t)
	for name, text := range map[string]string{"kernel/nvidia/nv.c": "/* another */\n", "libcuda.so." + testDriver: "another libcuda\n"} {
		f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/"+name, text)
	}
	f.tools.fail = map[string]error{"depmod": errors.New("it fails")}
	if o := f.build(t); stage.ExitCode(o.err) != 16 {
		t.Errorf("%v", o.err)
	}
	if f.published(t) != published {
		t.Error("what was published is another now")
	}
}

// TestAcceptedOnceOnly: what only the package can tell, and was accepted on record,
// stops the next run on other terms, which builds nothing for that.
func TestAcceptedOnceOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := os.Remove(filepath.Join(f.driver(), "firmware/gsp_tu10x.bin")); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(f.driver(), ".manifest")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.Contains(line, "gsp_tu10x") })
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/.manifest", strings.Join(lines, ""))
	if o := f.build(t); stage.ExitCode(o.err) != 15 || !strings.Contains(o.err.Error(), "gsp_tu10x") {
		t.Fatalf("without firmware: %v", o.err)
	}
	allow := func(o *Options) { o.Allow = []string{"firmware"} }
	f.mustBuild(t, allow)
	if o := f.build(t); stage.ExitCode(o.err) != 15 || o.compiled() {
		t.Errorf("on other terms: %v, compiled: %v", o.err, o.compiled())
	}
	if o := f.mustBuild(t, allow); !o.Reused {
		t.Error("what was accepted is built again on the same terms")
	}
}

// TestModulesThatNobodyThoughtOf: of most of a kernel's modules only the names of
// what they export are read. Where the driver uses one of them, all are, and it is
// built for what they say; a rerun serves, and a check of it, too.
func TestModulesThatNobodyThoughtOf(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	odd, err := os.ReadFile("../../internal/ko/testdata/intree.ko")
	if err != nil {
		t.Fatal(err)
	}
	const folder = "host/lib/modules/" + testRelease + "/"
	f.write(t, folder+"kernel/net/odd.ko", string(odd))
	symbols := "alias symbol:acpi_video_register odd\nalias symbol:drm_dev_register odd\nalias symbol:pci_enable_device odd\n"
	f.write(t, folder+"modules.symbols", symbols)
	f.write(t, folder+"modules.dep", "kernel/net/odd.ko:\n")
	allow := func(o *Options) { o.Allow = []string{"depends", "sample"} }
	const all = "reading what all of them export"
	var unpacked [][]string // the drivers in the scratch folder, compile by compile
	f.tools.before["nvidia-installer"] = func() {
		var found []string
		err := filepath.WalkDir(filepath.Join(f.share, ".builder/scratch"), func(path string, _ fs.DirEntry, err error) error {
			if filepath.Base(path) == ".manifest" {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		unpacked = append(unpacked, found)
	}
	o := f.mustBuild(t, allow)
	if len(unpacked) != 2 || len(unpacked[1]) != 1 || !slices.Equal(unpacked[0], unpacked[1]) {
		t.Errorf("the second walk has not the same room as the first: %q", unpacked)
	}
	installer := 0
	for _, program := range o.ran {
		if program == "nvidia-installer" {
			installer++
		}
	}
	if strings.Count(o.log, all) != 1 || installer != 2 {
		t.Errorf("compiled %d times\n%s", installer, o.log)
	}
	for _, c := range f.manifest(t).Checks {
		if (c.Name == "gpl" || c.Name == "symbols") && c.Verdict != modules.Passed {
			t.Errorf("published although %s", c)
		}
	}
	if o := f.mustBuild(t, allow); !o.Reused || strings.Count(o.log, all) != 1 {
		t.Errorf("a rerun is reused: %v\n%s", o.Reused, o.log)
	}
	published := filepath.Join(f.share, "modules", testRelease, testDriver)
	checks, err := Verify(t.Context(), published, f.options.Host, "", nil)
	if err != nil || len(checks) == 0 {
		t.Errorf("verify: %d checks, %v", len(checks), err)
	}
	// Where it is one that is looked at first there is nothing to do twice.
	if err := os.Rename(filepath.Join(f.host, "lib/modules", testRelease, "kernel/net"), filepath.Join(f.host, "lib/modules", testRelease, "kernel/lib")); err != nil {
		t.Fatal(err)
	}
	f.write(t, folder+"modules.dep", "kernel/lib/odd.ko:\n")
	if o := f.mustBuild(t, allow, func(o *Options) { o.Rebuild = true }); strings.Contains(o.log, all) {
		t.Errorf("of a module that was thought of:\n%s", o.log)
	}
}

// TestAllowedNowIsOnRecord: a load takes what the manifest says was allowed, so
// what is allowed only at a rerun has to get there.
func TestAllowedNowIsOnRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(t, "host/proc/config.gz", testConfig+"CONFIG_MODULE_SIG=y\n")
	f.mustBuild(t)
	f.write(t, "host/proc/cmdline", "module.sig_enforce=1\n")
	f.mustBuild(t, func(o *Options) { o.Allow = []string{"signature"} })
	if m := f.manifest(t); !slices.Equal(m.Overridden, []string{"signature"}) {
		t.Errorf("overridden: %q", m.Overridden)
	}
}

// TestLibrariesThatCameLater: a folder that is still being unpacked lacks some.
func TestLibrariesThatCameLater(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	name := "libcuda.so." + testDriver
	if err := os.Remove(filepath.Join(f.driver(), name)); err != nil {
		t.Fatal(err)
	}
	f.mustBuild(t)
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/"+name, "libcuda\n")
	o := f.mustBuild(t)
	if !o.Reused {
		t.Error("the modules are built again")
	}
	if _, err := os.Stat(filepath.Join(f.share, "driver", testDriver, "usr/lib64", name)); err != nil {
		t.Error(err)
	}
	if o := f.mustBuild(t); !strings.Contains(o.log, "nothing to build") || strings.Contains(o.log, "laying it out again") {
		t.Errorf("the third run:\n%s", o.log)
	}
	// What else changed there is laid out where somebody asks for it.
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/"+name, "another libcuda\n")
	f.mustBuild(t, rebuild)
	if data, err := os.ReadFile(filepath.Join(f.share, "driver", testDriver, "usr/lib64", name)); err != nil || string(data) != "another libcuda\n" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestTermsOfAnEarlierResult: what would be found again and would not do stops a run,
// which builds nothing for that.
func TestTermsOfAnEarlierResult(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	o := f.build(t, func(o *Options) { o.Strict, o.Allow = true, []string{cuda.DigestCheck} })
	if stage.ExitCode(o.err) != 15 || o.compiled() {
		t.Errorf("strict: %v, compiled: %v", o.err, o.compiled())
	}
	// A failure that was accepted, on record, is not accepted for ever.
	f = newFixture(t)
	f.write(t, "host/proc/version", strings.Replace(testBanner, "12.2.0", "11.2.0", 1))
	f.hostModule(t, "SMX")
	allow := func(o *Options) { o.Allow = []string{"sample"} }
	if o := f.build(t); stage.ExitCode(o.err) != 15 || !strings.Contains(o.err.Error(), "sample") {
		t.Fatalf("modules of another version magic than the host's own: %v", o.err)
	}
	f.mustBuild(t, allow)
	if m := f.manifest(t); !cmp.Equal(m.Overridden, []string{"sample"}) {
		t.Errorf("overridden: %v", m.Overridden)
	}
	if o := f.mustBuild(t, allow); !o.Reused {
		t.Error("what was accepted is built again on the same terms")
	}
	if o := f.build(t); stage.ExitCode(o.err) != 15 || o.compiled() {
		t.Errorf("on other terms: %v, compiled: %v", o.err, o.compiled())
	}
	f.hostModule(t, "SMP")
	if o := f.build(t); o.err != nil || !o.Reused {
		t.Errorf("for a kernel that accepts them: %v, reused: %v", o.err, o.Reused)
	}
}
