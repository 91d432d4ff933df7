//go:build integration

package job

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/index"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// edition is a driver package that is built from: another edition of a version has
// other contents.
type edition struct{ version, text string }

// otherDriver is a version that is built for a change.
const otherDriver = "535.300.01"

// killedBuild is what a process that is to be killed builds.
type killedBuild struct {
	Share, Host, Source, StateDir, Driver string
	Rebuild                               bool
}

func init() { testkit.Killable(killedBuild.build) }

// ofVersion has a build be of a driver version. The recorded modules are of one, and
// of another lack their firmware.
func ofVersion(version string) func(*Options) {
	return func(o *Options) { o.DriverVersion, o.NoWait, o.Allow = version, true, []string{"firmware"} }
}

// left is the last line of a build's process.
const left = "the share is left"

// build builds, with the tools of the fixture, and logs to the standard output.
func (k killedBuild) build() error {
	f := &fixture{share: k.Share, host: k.Host, source: k.Source, tools: newTools()}
	o := f.standard(k.StateDir)
	ofVersion(k.Driver)(&o)
	o.Rebuild = k.Rebuild
	if _, err := Build(zerolog.New(os.Stdout).WithContext(context.Background()), o); err != nil {
		return err
	}
	fmt.Println(left)
	return nil
}

// The parts that only a build has which replaces results.
const (
	sweepLibraries = "sweep of user-space sides"
	sweepModules   = "sweep of modules"
)

// parts are those of a build in which it is killed: its stages, what is left in the
// share within the last one, and after that how it leaves the share.
func parts() []*testkit.Part {
	says := func(name stage.Name, message string) func(string) bool {
		return func(line string) bool {
			return strings.Contains(line, fmt.Sprintf("%q:%q", "stage", name)) && strings.Contains(line, fmt.Sprintf("%q:%q", "message", message))
		}
	}
	var list []*testkit.Part
	for _, name := range []stage.Name{stage.Detect, stage.Driver, stage.Source, stage.Prepare, stage.Build, stage.Check, stage.Publish} {
		list = append(list, &testkit.Part{Name: string(name), Begins: says(name, "started"), Ends: says(name, "finished")})
	}
	laidOut, published := says(stage.Publish, "the driver's user-space side"), says(stage.Publish, "module")
	removing := func(what string) func(string) bool {
		return func(line string) bool {
			return says(stage.Publish, "removing an earlier result")(line) && strings.Contains(line, "/"+what+"/")
		}
	}
	return append(list,
		&testkit.Part{Name: "user-space side", Begins: says(stage.Publish, "disk space for publishing"), Ends: laidOut},
		&testkit.Part{Name: "modules", Begins: laidOut, Ends: published},
		&testkit.Part{Name: sweepLibraries, Begins: removing("driver"), Ends: laidOut},
		&testkit.Part{Name: sweepModules, Begins: removing("modules"), Ends: published},
		&testkit.Part{Name: "end", Begins: says(stage.Publish, "finished"), Ends: func(line string) bool { return line == left+"\n" }},
	)
}

// everything is a picture of a share but for times: each path that builder made, of
// whom it is and what is there. The locks' files name their last holder.
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
		case name == "cuda":
			return fs.SkipDir // the user's
		case e.Type()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		case name == "linux/.git/index":
			content, err = indexed(path)
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

// indexed is what a git index has, but for the times and inodes of its files.
func indexed(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var all index.Index
	if err := index.NewDecoder(file).Decode(&all); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, e := range all.Entries {
		fmt.Fprintf(&text, "%s %s %s %d %t\n", e.Name, e.Mode, e.Hash, e.Size, e.SkipWorktree)
	}
	return text.String(), nil
}

// soak is a fixture whose builds are killed.
type soak struct {
	*fixture
	stateDir string
	// built are the editions of the share's results, by their versions, and first is
	// the version that was built first, by which the log of kbuild is called.
	built map[string]string
	first string
	// want is what undisturbed builds leave, by state.
	want map[string]map[string]string
}

func newSoak(t *testing.T) *soak {
	s := &soak{fixture: newFixture(t), want: map[string]map[string]string{}}
	s.stateDir, s.source = s.options.StateDir, s.tarball(t)
	s.options.Source.From = s.source
	if os.Geteuid() == 0 {
		if err := os.Chown(s.share, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	s.pack(t, edition{otherDriver, ""})
	for _, history := range [][]edition{
		{{testDriver, "a"}}, {{testDriver, "b"}}, {{otherDriver, ""}},
		{{otherDriver, ""}, {testDriver, "a"}}, {{otherDriver, ""}, {testDriver, "b"}},
		{{testDriver, "a"}, {otherDriver, ""}}, {{testDriver, "b"}, {otherDriver, ""}},
	} {
		s.clear(t)
		for _, e := range history {
			s.pack(t, e)
			s.undisturbed(t, e)
		}
		s.want[s.state()] = everything(t, s.share)
	}
	return s
}

// tarball is a kernel's source as one.
func (f *fixture) tarball(t *testing.T) string {
	t.Helper()
	file, err := os.Create(f.source + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	to := tar.NewWriter(file)
	add := func(name, text string) {
		err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "linux-6.1.192/" + name, Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(1e9, 0)})
		if err == nil {
			_, err = to.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n")
	for i := range 50 {
		add(fmt.Sprintf("include/linux/%d.h", i), fmt.Sprintf("#define N %d\n", i))
	}
	if err := errors.Join(to.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// pack has the share's driver package of a version be an edition, of many
// files, so that it takes its time to lay them out, and to remove them.
func (s *soak) pack(t *testing.T, e edition) {
	t.Helper()
	s.writeDriver(t, e.version, e.text)
	name := "NVIDIA-Linux-x86_64-" + e.version
	dir := filepath.Join(s.share, "cuda", name)
	manifest, err := os.ReadFile(filepath.Join(dir, ".manifest"))
	if err != nil {
		t.Fatal(err)
	}
	lines := string(manifest)
	for i := range 12 {
		library, firmware := fmt.Sprintf("lib%d.so.%s", i, e.version), fmt.Sprintf("firmware/%d.bin", i)
		lines += library + " 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n" + firmware + " 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp\n"
		s.write(t, "share/cuda/"+name+"/"+library, library+e.text)
		s.write(t, "share/cuda/"+name+"/"+firmware, firmware+e.text)
	}
	s.write(t, "share/cuda/"+name+"/.manifest", lines)
	at := time.Unix(1e9, 0).Add(time.Duration(len(e.text)) * time.Second)
	if e.text == "b" {
		at = at.Add(time.Hour)
	}
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chtimes(path, at, at)) }); err != nil {
		t.Fatal(err)
	}
}

// clear removes all that builder made.
func (s *soak) clear(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(s.share)
	for _, e := range entries {
		if e.Name() != "cuda" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.share, e.Name())))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s.built, s.first = map[string]string{}, ""
}

func (s *soak) state() string {
	return fmt.Sprint(s.built, s.first) // sorted
}

// undisturbed builds an edition, or finds it built.
func (s *soak) undisturbed(t *testing.T, e edition) {
	t.Helper()
	s.mustBuild(t, ofVersion(e.version))
	s.built[e.version], s.first = e.text, cmp.Or(s.first, e.version)
}

// differs is what is another in the share than undisturbed builds leave. A tool's log
// is of its last run, also of one that was killed where the next build needs none.
func (s *soak) differs(t *testing.T) string {
	t.Helper()
	want, got := maps.Clone(s.want[s.state()]), everything(t, s.share)
	for name := range want {
		if strings.HasPrefix(name, ".builder/logs/") {
			delete(want, name)
			delete(got, name)
		}
	}
	return gocmp.Diff(want, got)
}

// change has something be different, so that there is something to build, and says
// what is built.
func (s *soak) change(t *testing.T, random *rand.Rand, part *testkit.Part) (e edition, rebuild bool) {
	t.Helper()
	e = edition{testDriver, "a"}
	if s.built[testDriver] == "a" {
		e.text = "b"
	}
	const anew, again, another = 0, 1, 2
	how := random.IntN(3)
	switch part.Name {
	case string(stage.Source), string(stage.Prepare):
		how = anew // they have little to do otherwise
	case sweepLibraries, sweepModules:
		how = another
	}
	switch how {
	case anew:
		s.clear(t)
	case again:
		rebuild = true
		if random.IntN(2) == 0 {
			e = edition{otherDriver, ""}
		} else if text, ok := s.built[testDriver]; ok {
			e.text = text
		}
	}
	s.pack(t, e)
	return e, rebuild
}

// whole fails where results that were there are not any more, or not whole.
func (s *soak) whole(t *testing.T) error {
	t.Helper()
	at, err := share.Open(s.share)
	if err != nil {
		return err
	}
	for version := range s.built {
		_, ofModules := modules.Find(at, testRelease, version, nil)
		_, _, ofLibraries := userspace.Published(at, version, nil)
		err = errors.Join(err, ofModules, ofLibraries)
	}
	return err
}

// A build that dies at any moment leaves the results that were there, or new ones,
// whole; and the next one makes of the share what an undisturbed one does, with
// nothing left over.
func TestSoakKilledBuild(t *testing.T) {
	const kills, least = 200, 10
	s, list := newSoak(t), parts()
	killer := testkit.Killer{Random: testkit.Random(t, 11)}
	var turn []*testkit.Part
	i := 0
	for ; killer.Kills < kills; i++ {
		if i == 10*kills {
			t.Errorf("%d of %d builds were killed where they were to be, want %d", killer.Kills, i, kills)
			break
		}
		if len(turn) == 0 {
			turn = slices.Clone(list)
			killer.Random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		e, rebuild := s.change(t, killer.Random, turn[0])
		after, died := killer.RunPart(t, killedBuild{s.share, s.host, s.source, s.stateDir, e.version, rebuild}, turn[0])
		when := fmt.Sprintf("kill %d, %s after the begin of %s", killer.Kills, after, turn[0].Name)
		if err := s.whole(t); err != nil {
			t.Fatalf("%s: what was published is not whole: %v", when, err)
		}
		s.undisturbed(t, e)
		if diff := s.differs(t); diff != "" {
			t.Fatalf("the share of the run after %s (-undisturbed +got):\n%s", when, diff)
		}
		if died {
			turn = turn[1:]
		}
	}
	t.Logf("%d kills in %d runs", killer.Kills, i)
	for _, part := range list {
		t.Logf("%3d kills in %-25s which takes %s", part.Kills, part.Name, part.Took)
		if part.Kills < least {
			t.Errorf("%d kills in %s, want %d", part.Kills, part.Name, least)
		}
	}
}
