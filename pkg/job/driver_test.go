package job

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// TestPlanNamesTheDriver says where it is, or is to come from, and what is built
// of it.
func TestPlanNamesTheDriver(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("0a", 32)
	for _, c := range []struct {
		name   string
		change func(*Options)
		stage  stage.Name
		says   []string
		not    string
	}{
		{"it is there", func(*Options) {}, stage.Driver,
			[]string{"driver " + testDriver + " from ", "/cuda/NVIDIA-Linux-x86_64-" + testDriver + "; proprietary modules"}, "downloaded"},
		{"it is not, and its digest is given", func(o *Options) { o.DriverVersion, o.DriverSHA256 = "999.1", strings.ToUpper(digest) }, stage.Driver,
			[]string{"driver 999.1 from " + cuda.Server, ", downloaded to ", " if its digest is sha256:" + digest}, ""},
		{"it is not, on a server of one's own", func(o *Options) {
			o.DriverVersion, o.DriverBaseURL, o.Allow = "999.1", "http://127.0.0.1:9/drivers", []string{cuda.DigestCheck}
		}, stage.Driver, []string{"driver 999.1 from http://127.0.0.1:9/drivers, downloaded to "}, "digest"},
		{"all modules", func(*Options) {}, stage.Build, []string{"proprietary modules"}, "without"},
		{"fewer modules", func(o *Options) { o.Exclude = []string{"nvidia-drm", "nvidia-peermem"} }, stage.Build,
			[]string{"proprietary modules without nvidia-drm, nvidia-peermem"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			c.change(&f.options)
			steps, err := Plan(t.Context(), f.options)
			if err != nil {
				t.Fatal(err)
			}
			var does string
			for _, s := range steps {
				if s.Stage == c.stage {
					does += s.Does + "\n"
				}
			}
			for _, part := range c.says {
				if !strings.Contains(does, part) {
					t.Errorf("it does not say %q:\n%s", part, does)
				}
			}
			if c.not != "" && strings.Contains(does, c.not) {
				t.Errorf("it says %q:\n%s", c.not, does)
			}
		})
	}
}

// TestDriverThatIsNotThere is downloaded, where that is allowed and its digest known.
func TestDriverThatIsNotThere(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no such driver", http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	digest := strings.Repeat("0a", 32)
	for _, c := range []struct {
		name   string
		change func(*Options)
		says   string
		asks   bool
	}{
		{"with a digest", func(o *Options) { o.DriverSHA256 = digest }, "404", true},
		{"with a digest, and others allowed", func(o *Options) { o.DriverSHA256, o.Allow = digest, []string{cuda.DigestCheck} }, "404", true},
		{"without a digest", func(*Options) {}, "driver 999.1 for x86_64 is not to be had: ", true},
		{"without a digest, which is allowed", func(o *Options) { o.Allow = []string{cuda.DigestCheck} }, "404", true},
		{"offline", func(o *Options) { o.DriverSHA256, o.Offline = digest, true }, "driver 999.1 was not downloaded earlier, and --offline forbids to do so", false},
		{"offline, without a digest", func(o *Options) { o.Allow, o.Offline = []string{cuda.DigestCheck}, true }, "--offline forbids to do so", false},
	} {
		f := newFixture(t)
		f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = "999.1", server.URL, time.Nanosecond
		c.change(&f.options)
		asked.Store(0)
		o := f.build(t)
		if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), c.says) {
			t.Errorf("%s: %v, want one of the driver stage with %q", c.name, o.err, c.says)
		}
		if asks := asked.Load() > 0; asks != c.asks {
			t.Errorf("%s: the server was asked %d times", c.name, asked.Load())
		}
		if o.compiled() {
			t.Errorf("%s: something was compiled", c.name)
		}
	}
}

// TestDigestThatTheServerNames vouches for a package that is in no table, on record, and
// without the network once it was read. It pins nothing.
func TestDigestThatTheServerNames(t *testing.T) {
	t.Parallel()
	const version, name = "999.1", "NVIDIA-Linux-x86_64-999.1.run"
	content := "a package"
	sums := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(content)), name)
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		switch r.URL.Path {
		case "/tesla/999.1/" + name:
			_, _ = io.WriteString(w, content)
		case "/tesla/999.1/" + name + ".sha256sum":
			_, _ = io.WriteString(w, sums)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	f := newFixture(t)
	f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = version, server.URL, time.Nanosecond
	strict := f.build(t, func(o *Options) { o.Strict = true })
	if stage.ExitCode(strict.err) != 11 || !strings.Contains(strict.err.Error(), "nobody vouches for the driver package "+name) {
		t.Errorf("strict: %v", strict.err)
	}
	asked = nil
	o := f.build(t) // which ends at the package, that is none
	if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), name) || strings.Contains(o.err.Error(), "digest") {
		t.Errorf("%v\n%s", o.err, o.log)
	}
	if n := len(asked); n != 2 || strings.HasSuffix(asked[n-1], "sum") {
		t.Errorf("what the server says of it was asked for again: %q", asked)
	}
	kept, err := os.ReadFile(filepath.Join(f.share, ".builder/downloads", name+".sha256sum"))
	if want := strings.Replace(sums, name, server.URL+"/tesla/999.1/"+name, 1); err != nil || string(kept) != want {
		t.Errorf("kept is %q, %v, want %q", kept, err, want)
	}
	// Another package than the server says.
	f = newFixture(t)
	f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = version, server.URL, time.Nanosecond
	content = "another one"
	o = f.build(t)
	if hint := "Run again: " + server.URL + "/tesla/999.1/" + name + ".sha256sum, which says what it should be, is then asked for anew"; stage.ExitCode(o.err) != 11 ||
		!strings.Contains(o.err.Error(), "is not what it should be") || !strings.Contains(o.err.Error(), hint) {
		t.Errorf("%v", o.err)
	}
	// Which the server may have corrected since.
	sums = fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(content)), name)
	if o := f.build(t); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "is not a driver package") {
		t.Errorf("%v", o.err)
	}
	// One that names something else is none.
	sums = strings.Replace(sums, name, "NVIDIA-Linux-x86_64-999.2.run", 1)
	f = newFixture(t)
	f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = version, server.URL, time.Nanosecond
	if o := f.build(t); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "nor does the server name one") {
		t.Errorf("%v", o.err)
	}
}

// TestDigestOfAnotherServer: what one says of a package is not held against another's,
// but is what there is to know of it offline.
func TestDigestOfAnotherServer(t *testing.T) {
	t.Parallel()
	const name = "NVIDIA-Linux-x86_64-999.1.run"
	serve := func(content string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/" + name:
				_, _ = io.WriteString(w, content)
			case "/" + name + ".sha256sum":
				fmt.Fprintf(w, "%x  %s\n", sha256.Sum256([]byte(content)), name)
			default:
				http.NotFound(w, r)
			}
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	f := newFixture(t)
	f.options.DriverVersion, f.options.Pause = "999.1", time.Nanosecond
	mirror, another := serve("a package"), serve("another one")
	for _, from := range []string{mirror, another} { // each ends at the package, that is none
		if o := f.build(t, func(o *Options) { o.DriverBaseURL = from }); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "is not a driver package") {
			t.Errorf("%v\n%s", o.err, o.log)
		}
		kept, err := os.ReadFile(filepath.Join(f.share, ".builder/downloads", name+".sha256sum"))
		if !strings.HasSuffix(string(kept), "  "+from+"/"+name+"\n") || err != nil {
			t.Errorf("kept is %q, %v", kept, err)
		}
	}
	silent := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(silent.Close)
	f.write(t, "share/.builder/downloads/"+name, "another one") // it is removed, as it is no package
	if o := f.build(t, func(o *Options) { o.DriverBaseURL = silent.URL }); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "is not a driver package") {
		t.Errorf("of a server that says nothing: %v", o.err)
	}
	f.write(t, "share/.builder/downloads/"+name, "another one")
	if o := f.build(t, func(o *Options) { o.DriverBaseURL, o.Offline = mirror, true }); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "is not a driver package") {
		t.Errorf("offline: %v", o.err)
	}
}

// TestDriverFromAFolder is built from where it is.
func TestDriverFromAFolder(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", "tesla/" + testDriver} {
		f := newFixture(t)
		mirror := t.TempDir()
		name := "NVIDIA-Linux-x86_64-" + testDriver
		to := filepath.Join(mirror, at, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(filepath.Join(f.share, "cuda", name), to)); err != nil {
			t.Fatal(err)
		}
		f.options.DriverVersion, f.options.DriverBaseURL = testDriver, mirror
		o := f.mustBuild(t)
		if o.Driver != testDriver || strings.Contains(o.log, "download") {
			t.Errorf("%q: built %s\n%s", at, o.Driver, o.log)
		}
		if again := f.mustBuild(t); !again.Reused {
			t.Errorf("%q: it is built again", at)
		}
		if got := digestChecks(t, f); len(got) != 1 || got[0].Verdict != modules.NotCheckable || !strings.HasPrefix(got[0].Detail, "the package is from the folder "+mirror) {
			t.Errorf("%q: nothing is on record of its digest: %+v", at, got)
		}
		for _, wish := range []string{"", "535", "lts", "latest"} {
			if o := f.mustBuild(t, func(o *Options) { o.DriverVersion = wish }); o.Driver != testDriver {
				t.Errorf("%q: %q is %s", at, wish, o.Driver)
			}
		}
		if o := f.build(t, func(o *Options) { o.DriverVersion = "535.500.2" }); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), mirror) {
			t.Errorf("%q: one that is not there: %v", at, o.err)
		}
	}
}

// TestDigestInAFolder: a package in a folder that stands for a server is held against
// what is known of it, and what its folder says.
func TestDigestInAFolder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mirror := t.TempDir()
	f.options.DriverBaseURL, f.options.ModuleType = mirror, cuda.Proprietary
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(mirror, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const known, unknown, content = "NVIDIA-Linux-x86_64-570.207.run", "NVIDIA-Linux-x86_64-999.1.run", "a package"
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	put(known, content)
	put(unknown, content)
	put(known+".sha256sum", digest+"  "+known+"\n") // by whoever put it there
	for _, c := range []struct {
		name, version, sums string
		change              func(*Options)
		says                string
	}{
		{"of another digest than is known", "570.207", "", func(*Options) {}, "what " + mirror + " has as driver 570.207 is not what it should be: " + filepath.Join(mirror, known) + " has SHA-256 " + digest + ", not "},
		{"which is the one that is asked for", "570.207", "", func(o *Options) { o.DriverSHA256 = digest }, "is not a driver package of NVIDIA's"},
		{"of none that is known", "999.1", "", func(*Options) {}, "is not a driver package of NVIDIA's"},
		{"of none that is known, strictly", "999.1", "", func(o *Options) { o.Strict = true }, "nobody vouches for the driver package " + unknown},
		{"of the digest beside it", "999.1", digest, func(*Options) {}, "is not a driver package of NVIDIA's"},
		{"of another than is beside it", "999.1", strings.Repeat("0a", 32), func(*Options) {}, "what " + mirror + " has as driver 999.1 is not what it should be"},
	} {
		put(unknown+".sha256sum", c.sums+"  "+unknown+"\n")
		o := f.build(t, c.change, func(o *Options) { o.DriverVersion = c.version })
		if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, o.err, c.says)
		}
	}
}

// TestVersionThatIsChosen has a line of drivers asked for: the newest of it is built that
// runs the host's GPU, and the manifest says why.
func TestVersionThatIsChosen(t *testing.T) {
	t.Parallel()
	asked, gone := 0, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/releases.json" || gone {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"535": {"type": "lts branch", "driver_info": [{"release_version": "`+testDriver+`", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://x"}}]},
			"590": {"type": "production branch", "driver_info": [{"release_version": "590.48.01", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://x"}}]}}`)
	}))
	t.Cleanup(server.Close)
	f := newFixture(t)
	f.options.DriverBaseURL, f.options.Pause = server.URL, time.Nanosecond
	for name, value := range map[string]string{"vendor": "0x10de", "device": "0x1db1", "class": "0x030200"} { // a V100
		f.write(t, "host/sys/bus/pci/devices/0000:65:00.0/"+name, value+"\n")
	}
	f.options.DriverVersion = "latest"
	o := f.mustBuild(t)
	want := "the newest of all drivers that " + server.URL + "/releases.json has and that will do; 1 newer will not, 590.48.01: driver 590.48.01 runs none of this host's GPUs"
	if got := f.manifest(t).Driver; o.Driver != testDriver || !strings.HasPrefix(got.Chosen, want) || !strings.Contains(o.log, want) {
		t.Errorf("%s was built: %q, want %q", o.Driver, got.Chosen, want)
	}
	if o := f.build(t, func(o *Options) { o.DriverVersion = "production" }); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "none of the 1 drivers of the production branches") {
		t.Errorf("%v", o.err)
	}
	// What is there serves without the list, and is all that counts offline.
	gone = true
	if o := f.mustBuild(t, func(o *Options) { o.DriverVersion = "535" }); !strings.Contains(o.log, "the list of drivers cannot be had") || o.Driver == "" {
		t.Errorf("%s\n%s", o.Driver, o.log)
	}
	asked = 0
	if o := f.mustBuild(t, func(o *Options) { o.DriverVersion, o.Offline = "535", true }); !o.Reused || o.Driver != testDriver || asked > 0 {
		t.Errorf("offline: %s, reused: %v, and the server was asked %d times", o.Driver, o.Reused, asked)
	}
	for _, bad := range []string{"banana", "580.x", "58"} {
		if o := f.build(t, func(o *Options) { o.DriverVersion = bad }); stage.ExitCode(o.err) != 2 || !strings.Contains(o.err.Error(), "is no version of a driver") {
			t.Errorf("%s: %v", bad, o.err)
		}
	}
}

// TestListThatDoesNotCome: what is published serves after a short wait, where the network
// drops what is asked.
func TestListThatDoesNotCome(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-r.Context().Done():
		case <-end:
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(end) })
	f := newFixture(t)
	f.mustBuild(t)
	f.options.DriverVersion, f.options.DriverReleases, f.options.ReleasesWait = "535", server.URL+"/releases.json", 50*time.Millisecond
	begin := time.Now()
	o := f.mustBuild(t)
	if took := time.Since(begin); !o.Reused || took > time.Minute || asked.Load() > 1 {
		t.Errorf("reused: %v, in %s, and the server was asked %d times", o.Reused, took, asked.Load())
	}
	if says := server.URL + "/releases.json has not answered within 50ms"; strings.Count(o.log, says) != 1 || !strings.Contains(o.log, "the list of drivers cannot be had") {
		t.Errorf("it does not say %q once:\n%s", says, o.log)
	}
}

// TestFormOfAVersionThatIsChosen: of the line 570 the open modules, which are preferred,
// are known not to compile against the fixture's kernel, and the proprietary ones do.
func TestFormOfAVersionThatIsChosen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.writeDriver(t, "570.207", "")
	f.writeDriver(t, "570.195.03", "")
	f.options.DriverVersion, f.options.Offline = "570", true
	f.options.Allow = []string{"firmware"} // the fixture's modules name that of another version
	o := f.mustBuild(t)
	if o.Driver != "570.207" || o.ModuleType != cuda.Proprietary || !strings.Contains(o.log, "the open ones are known not to compile against this kernel") {
		t.Errorf("%s, %s\n%s", o.Driver, o.ModuleType, o.log)
	}
	text, err := os.ReadFile(o.Manifest)
	const chosen = `"chosen": "the newest of the line 570 that this share has, for its proprietary modules; for the preferred ones none of the 2 drivers of the line 570 that this share has will do here: 570.207: the open modules`
	if err != nil || !strings.Contains(string(text), chosen) || !strings.Contains(string(text), `"module_type": "proprietary"`) {
		t.Errorf("%v\n%s", err, text)
	}
	if again := f.mustBuild(t); !again.Reused {
		t.Errorf("it is built again:\n%s", again.log)
	}
	steps, err := Plan(t.Context(), f.options)
	if err != nil || !strings.Contains(fmt.Sprint(steps), "proprietary modules: the open ones are known not to compile against this kernel") {
		t.Errorf("%v, %v", steps, err)
	}
	// A form that is asked for, or that the GPUs need, has no other.
	refused := "none of the 2 drivers of the line 570 that this share has will do here: 570.207: the open modules of driver 570.207 are known not to compile"
	if o := f.build(t, open); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), refused) {
		t.Errorf("%v", o.err)
	}
	for name, value := range map[string]string{"vendor": "0x10de", "device": "0x2901", "class": "0x030200"} { // a B200
		f.write(t, "host/sys/bus/pci/devices/0000:65:00.0/"+name, value+"\n")
	}
	if o := f.build(t); stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), refused) {
		t.Errorf("%v", o.err)
	}
}

// TestNothingIsDownloadedInVain has the kernel's source be another's: where it is
// known what would be built from, nothing is fetched for that.
func TestNothingIsDownloadedInVain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no such driver", http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	f := newFixture(t)
	f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = "999.1", server.URL, time.Nanosecond
	f.options.DriverSHA256 = strings.Repeat("0a", 32)
	f.write(t, "source/Makefile", "VERSION = 6\nPATCHLEVEL = 2\nSUBLEVEL = 0\nEXTRAVERSION =\n")
	if o := f.build(t); stage.ExitCode(o.err) != 12 || asked.Load() > 0 {
		t.Errorf("%v, and the server was asked %d times", o.err, asked.Load())
	}
}

// digestChecks are the findings of what vouches for the package in the manifest.
func digestChecks(t *testing.T, f *fixture) (found []modules.Check) {
	t.Helper()
	for _, c := range f.manifest(t).Checks {
		if c.Name == cuda.DigestCheck {
			found = append(found, c)
		}
	}
	return found
}

// TestDigestOfTheDriver has the manifest say what vouches for the package.
func TestDigestOfTheDriver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	digest := f.digest(t)
	if got := digestChecks(t, f); len(got) > 0 {
		t.Errorf("nobody has said what it should be, and there is %+v", got)
	}
	f.mustBuild(t, rebuild, func(o *Options) { o.DriverSHA256 = strings.ToUpper(digest) })
	if got := digestChecks(t, f); len(got) != 1 || got[0].Verdict != modules.Passed || got[0].Detail != "the package's digest is the one that was asked for" {
		t.Errorf("%+v", got)
	}
	o := f.build(t, func(o *Options) { o.DriverSHA256 = strings.Repeat("0a", 32) })
	if stage.ExitCode(o.err) != 11 || !strings.Contains(o.err.Error(), "its digest is sha256:"+digest) ||
		!strings.Contains(o.err.Error(), "an unpacked folder's digest is the one that the manifest has") {
		t.Errorf("%v", o.err)
	}
}

// TestDigestThatWasHalfNoted leaves nothing of a run that was killed over it.
func TestDigestThatWasHalfNoted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	left := f.write(t, "share/.builder/digests/cuda/.NVIDIA-Linux-x86_64-"+testDriver+".json.tmp-1pvko0gwds", "{")
	f.mustBuild(t)
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", left, err)
	}
}

// TestDigestThatCannotBeRead is made anew, and of one that is there nothing is said.
func TestDigestThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const unknown = "no digest is known"
	f := newFixture(t)
	if o := f.mustBuild(t); strings.Contains(o.log, unknown) {
		t.Errorf("that there is none yet is nothing to tell:\n%s", o.log)
	}
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/kernel/nvidia/nv.c", "/* another source */\n")
	if o := f.mustBuild(t); strings.Contains(o.log, unknown) {
		t.Errorf("that the package is another is nothing to tell:\n%s", o.log)
	}
	noted, err := filepath.Glob(filepath.Join(f.share, ".builder/digests/*/*"))
	if err != nil || len(noted) != 1 {
		t.Fatalf("%q, %v", noted, err)
	}
	was, err := os.ReadFile(noted[0])
	if err := errors.Join(err, os.WriteFile(noted[0], []byte("{"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t); !o.Reused || !strings.Contains(o.log, unknown) {
		t.Errorf("reused: %v\n%s", o.Reused, o.log)
	}
	if is, err := os.ReadFile(noted[0]); string(is) != string(was) {
		t.Errorf("it is %q, want %q (%v)", is, was, err)
	}
}

// TestFormThatThePackageHas is built where it has not the one that is preferred.
func TestFormThatThePackageHas(t *testing.T) {
	t.Parallel()
	const noOthers = "the package has no others"
	f := newFixture(t)
	f.options.Allow = []string{breaks.Check} // of the open modules
	if o := f.mustBuild(t); strings.Contains(o.log, noOthers) {
		t.Errorf("it has:\n%s", o.log)
	}
	manifest := filepath.Join(f.driver(), ".manifest")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	open := strings.Replace(string(text), "kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n", "", 1)
	if err := errors.Join(os.WriteFile(manifest, []byte(open), 0o644), os.RemoveAll(filepath.Join(f.driver(), "kernel"))); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t); o.ModuleType != cuda.Open || !strings.Contains(o.log, noOthers) {
		t.Errorf("%+v\n%s", o.Result, o.log)
	}
}
