package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/gittest"
	"github.com/k8sp/cuda/internal/makeself/makeselftest"
)

// nowhere is a URL at which nothing answers.
const nowhere = "http://127.0.0.1:1/linux.git"

// badInput is a way in which what a user gives can be wrong. Each starts from
// a share that holds an earlier result.
type badInput struct {
	name string
	// spoil makes the input bad and returns the arguments to run with.
	spoil func(t *testing.T, f *fixture) []string
	code  int
	// says are parts of the sentence that a user needs.
	says []string
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	groups := map[string][]badInput{
		"host": badHosts, "source": badSources, "driver": badDrivers, "download": badDownloads,
		"installer": badInstallers, "share": badShares, "usage": badUsage,
		"key": badKeys, "image": badImages,
	}
	for group, inputs := range groups {
		for _, tt := range inputs {
			t.Run(group+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				f.build(t)
				before := f.results(t)
				o := f.run(t, tt.spoil(t, f)...)
				if o.code != tt.code {
					t.Errorf("exit code %d, want %d", o.code, tt.code)
				}
				for _, want := range tt.says {
					if !strings.Contains(lastLine(o.stderr), want) {
						t.Errorf("the error does not say %q", want)
					}
				}
				if o.stdout != "" {
					t.Errorf("stdout %q, want nothing", o.stdout)
				}
				if after := f.results(t); after != before {
					t.Errorf("earlier results changed:\nbefore\n%s\nafter\n%s", before, after)
				}
				if t.Failed() {
					t.Log(o.stderr)
				}
			})
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

var badHosts = []badInput{
	{"a release that nobody can parse", func(t *testing.T, f *fixture) []string {
		for _, name := range []string{"proc/version", "proc/sys/kernel/osrelease"} {
			replace(t, filepath.Join(f.host, name), fixtureRelease, "banana-6")
		}
		return nil
	}, 10, []string{"banana-6"}},
	{"no config anywhere", func(t *testing.T, f *fixture) []string {
		remove(t, filepath.Join(f.host, "boot"))
		return nil
	}, 10, []string{"no config of kernel " + fixtureRelease, "proc/config.gz", "boot/config-" + fixtureRelease, "-v /boot:/host/boot:ro"}},
	{"a config that is not one", func(t *testing.T, f *fixture) []string {
		write(t, filepath.Join(f.host, "boot/config-"+fixtureRelease), 0o644, "<html>404</html>\n")
		return nil
	}, 10, []string{"boot/config-" + fixtureRelease + " is not a kernel config"}},
	{"a host root that is not there", func(t *testing.T, f *fixture) []string {
		return []string{"--host-root", filepath.Join(f.host, "absent")}
	}, 10, []string{"host root", "absent", "--host-root"}},
	{"a host root that is no archive", func(t *testing.T, f *fixture) []string {
		file := filepath.Join(t.TempDir(), "node.tar")
		write(t, file, 0o644, "not a tar")
		return []string{"--host-root", file}
	}, 10, []string{"node.tar"}},
	{"a capture that was interrupted", func(t *testing.T, f *fixture) []string {
		file := filepath.Join(t.TempDir(), "node.tar")
		if o := f.run(t, "capture", "--file", file); o.code != 0 {
			t.Fatal(o.stderr)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, 0o644, string(b[:len(b)-1024])) // all but the end mark
		return []string{"--host-root", file}
	}, 10, []string{"node.tar", "breaks off before its end mark", "record the host again"}},
	{"a kernel older than any that was tried", func(t *testing.T, f *fixture) []string {
		for _, name := range []string{"proc/version", "proc/sys/kernel/osrelease"} {
			replace(t, filepath.Join(f.host, name), fixtureRelease, "2.6.32")
		}
		return nil
	}, 10, []string{"2.6.32", "oldest"}},
	{"a kernel of another architecture", func(t *testing.T, f *fixture) []string {
		replace(t, filepath.Join(f.host, "boot/config-"+fixtureRelease), "CONFIG_X86_64", "CONFIG_ARM64")
		return nil
	}, 10, []string{"aarch64", "--build-arg CROSS=arm64"}},
}

// needSource takes away the tree that the first build left, and asks for
// other modules than it made, so that the source is needed again.
func needSource(t *testing.T, f *fixture, args ...string) []string {
	remove(t, filepath.Join(f.share, "linux"))
	return append(args, "--exclude-modules=nvidia-drm")
}

// api is a GitHub API stand-in that gives every question the same answer.
func api(t *testing.T, status int, header http.Header, body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return "--github-api-url=" + server.URL + "/api/v3/"
}

var badSources = []badInput{
	{"no matching ref", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--source-ref=v9.9.9")
	}, 12, []string{"tag v9.9.9", "branch v9.9.9"}},
	{"no ref that the release names", func(t *testing.T, f *fixture) []string {
		empty := filepath.Join(t.TempDir(), "empty.git")
		gittest.Run(t, "", "init", "--quiet", "--bare", empty)
		return needSource(t, f, "--clone-url="+empty)
	}, 12, []string{"v" + fixtureRelease, "v6.1.192-coreos", "coreos/v6.1.192", "tag v6.1.192", "--source-ref"}},
	{"the repository cannot be reached", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--clone-url="+nowhere)
	}, 12, []string{nowhere, "refused"}},
	{"the API's rate limit is spent", func(t *testing.T, f *fixture) []string {
		reset := time.Now().Add(42 * time.Minute)
		return needSource(t, f, "--clone-url="+nowhere, "--github-token=hunter2", api(t, 403, http.Header{
			"X-Ratelimit-Limit": {"60"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(reset.Unix())},
		}, `{"message": "API rate limit exceeded"}`))
	}, 12, []string{"rate limit", "token"}},
	{"the API knows no such repository", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--clone-url="+nowhere, api(t, 404, nil, `{"message": "Not Found"}`))
	}, 12, []string{"v6.1.192-coreos"}},
	{"the API is broken", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--clone-url="+nowhere, api(t, 500, nil, `oops`))
	}, 12, []string{"500"}},
	{"the API answers garbage", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--clone-url="+nowhere, api(t, 200, nil, `<html>`))
	}, 12, []string{"api/v3"}},
	{"a tag whose Makefile says another version", func(t *testing.T, f *fixture) []string {
		return needSource(t, f, "--source-ref=v6.1.193-coreos")
	}, 12, []string{"6.1.191", "6.1.192", "v6.1.193-coreos"}},
}

// runFile is a driver package of the given members, in NVIDIA's layout.
func runFile(t *testing.T, f *fixture, members ...makeselftest.Member) string {
	remove(t, f.driver(fixtureDriver))
	path := f.driver(fixtureDriver) + ".run"
	run := makeselftest.Run{Version: fixtureDriver, Arch: "x86_64", Payload: makeselftest.Gzip(t, makeselftest.Tar(t, members...))}
	write(t, path, 0o755, string(run.Bytes()))
	return path
}

func wholeRunFile(t *testing.T, f *fixture) string {
	var members []makeselftest.Member
	dir := f.driver(fixtureDriver)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		name, _ := filepath.Rel(dir, path)
		members = append(members, makeselftest.Member{Name: "./" + name, Content: read(t, path), Mode: int64(info.Mode().Perm())})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return runFile(t, f, members...)
}

// TestRunFile shows that the files that TestBadInput spoils are good ones.
func TestRunFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	wholeRunFile(t, f)
	f.build(t)
}

var badDrivers = []badInput{
	{"no driver", func(t *testing.T, f *fixture) []string {
		remove(t, filepath.Join(f.share, "cuda"))
		return nil
	}, 11, []string{"no NVIDIA driver package is in " /* SHARE/cuda */, "NVIDIA-Linux-x86_64-VERSION", "run.sh"}},
	{"another architecture's only", func(t *testing.T, f *fixture) []string {
		if err := os.Rename(f.driver(fixtureDriver), filepath.Join(f.share, "cuda", "NVIDIA-Linux-aarch64-"+fixtureDriver)); err != nil {
			t.Fatal(err)
		}
		return nil
	}, 11, []string{"NVIDIA-Linux-aarch64-" + fixtureDriver, "other architectures only"}},
	{"a version that is not there", func(t *testing.T, f *fixture) []string {
		f.writeDriver(t, "550.78")
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		return []string{"--driver-version=999.1", "--driver-base-url=" + server.URL}
	}, 11, []string{"999.1", "550.78, " + fixtureDriver}},
	{"a truncated .run", func(t *testing.T, f *fixture) []string {
		path := wholeRunFile(t, f)
		text := read(t, path)
		write(t, path, 0o755, text[:len(text)-100])
		return nil
	}, 11, []string{fixtureDriver + ".run", "download"}},
	{"an altered .run", func(t *testing.T, f *fixture) []string {
		path := wholeRunFile(t, f)
		text := []byte(read(t, path))
		text[len(text)-20] ^= 1
		write(t, path, 0o755, string(text))
		return nil
	}, 11, []string{fixtureDriver + ".run", "MD5", "download"}},
	{"a .run that climbs out of its folder", func(t *testing.T, f *fixture) []string {
		runFile(t, f, makeselftest.Member{Name: "./kernel/../../../evil", Content: "x"})
		return nil
	}, 11, []string{"evil"}},
	{"a .run that climbs out by a symlink", func(t *testing.T, f *fixture) []string {
		runFile(t, f,
			makeselftest.Member{Name: "./kernel", Link: "/tmp", Type: '2'},
			makeselftest.Member{Name: "./kernel/evil", Content: "x"})
		return nil
	}, 11, []string{"kernel"}},
	{"only proprietary modules, for a GPU that needs the open ones", func(t *testing.T, f *fixture) []string {
		f.gpu(t, "0x2342")
		return []string{"--allow=known-break"}
	}, 11, []string{"no open kernel modules", "10de:2342 (Grace Hopper)", "--module-type"}},
	{"a driver from before the GPU", func(t *testing.T, f *fixture) []string {
		f.gpu(t, "0x2901")
		return nil
	}, 11, []string{"10de:2901 (Blackwell or later)", "for which the 570 line of drivers was the first", "--driver-version", "--allow gpu"}},
	{"one from after it", func(t *testing.T, f *fixture) []string {
		f.gpu(t, "0x102d")
		return []string{"--dry-run"}
	}, 11, []string{"10de:102d (Kepler or earlier)", "for which the 470 line of drivers was the last"}},
	{"a folder without an installer", func(t *testing.T, f *fixture) []string {
		remove(t, filepath.Join(f.driver(fixtureDriver), "nvidia-installer"))
		return nil
	}, 11, []string{"nvidia-installer"}},
}

// rebuild makes the installer one that ends in script, which is a change of
// the driver, and so is built.
func rebuild(script string, args ...string) func(*testing.T, *fixture) []string {
	return func(t *testing.T, f *fixture) []string {
		f.writeInstaller(t, fixtureDriver, script)
		return args
	}
}

const failingCompile = `cat >>"$log" <<'END'
   cc -c nvidia/nv.c
   nvidia/nv.c:42:3: error: implicit declaration of function 'close_fd'
   nvidia/nv.c:99:9: error: 'other' undeclared
   make[1]: *** [Makefile:9: nv.o] Error 1
ERROR: The nvidia kernel module was not created.
ERROR: Installation has failed.  Please see the file '/var/log/nvidia-installer.log' for details.
END
exit 1`

var badInstallers = []badInput{
	{"one that fails to compile", rebuild(failingCompile), 14, []string{"nv.c:42:3: error: implicit declaration of function 'close_fd'", ".log"}},
	{"one that hangs", rebuild(`sleep 60`, "--build-timeout=300ms"), 14, []string{"did not end", "--build-timeout"}},
	{"one that exits 0 without the modules", rebuild(`:`), 14, []string{"nvidia-uvm", "reported success"}},
	{"one that exits 0 without one of them", rebuild(`cp "$modules"/nvidia.ko "$modules"/nvidia-uvm.ko "$modules"/nvidia-modeset.ko "$install"`), 14, []string{"nvidia-drm"}},
	{"one that is not executable", func(t *testing.T, f *fixture) []string {
		if err := os.Chmod(filepath.Join(f.driver(fixtureDriver), "nvidia-installer"), 0o644); err != nil {
			t.Fatal(err)
		}
		return nil
	}, 14, []string{"not executable"}},
	{"one that leaves a module that is not ELF", rebuild(`cp "$modules"/*.ko "$install"; echo junk >"$install/nvidia-uvm.ko"`), 15, []string{"nvidia_uvm", "ELF"}},
	{"one that leaves modules for another kernel", rebuild(`cp "$modules"/*.ko "$install"; sed -i 's/vermagic=6/vermagic=5/' "$install"/*.ko`), 15,
		[]string{"vermagic nvidia ", "vermagic nvidia_uvm", "vermagic nvidia_drm", "5.1.192-coreos-r1", fixtureRelease}},
}

var badShares = []badInput{
	{"one that is missing", func(t *testing.T, f *fixture) []string {
		return []string{"--share", filepath.Join(f.share, "absent")}
	}, 2, []string{"absent", "mount"}},
	{"one that is a file", func(t *testing.T, f *fixture) []string {
		return []string{"--share", filepath.Join(f.host, "proc/version")}
	}, 2, []string{"not a folder"}},
	{"another run holds it", func(t *testing.T, f *fixture) []string {
		lock, err := os.Open(filepath.Join(f.share, ".builder", "lock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lock.Close() })
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		return []string{"--no-wait"}
	}, 75, []string{"another builder holds"}},
}

var badUsage = []badInput{
	{"a flag that is not one", func(*testing.T, *fixture) []string { return []string{"--drivver-version=1"} }, 2, []string{"--drivver-version", "builder --help"}},
	{"a command that is not one", func(*testing.T, *fixture) []string { return []string{"bulid"} }, 2, []string{"bulid"}},
	{"a variable with a bad value", func(_ *testing.T, f *fixture) []string {
		f.environ = append(f.environ, "BUILDER_JOBS=many")
		return nil
	}, 2, []string{"BUILDER_JOBS"}},
	{"a module type that is not one", func(*testing.T, *fixture) []string { return []string{"--module-type=closed"} }, 2, []string{"closed"}},
	{"a module to exclude that is not one", func(*testing.T, *fixture) []string { return []string{"--exclude-modules=nvidia-dmr"} }, 2, []string{"nvidia-dmr"}},
	{"a module to build that is not one", func(*testing.T, *fixture) []string { return []string{"--modules=nvidia,nvidia-umv"} }, 2, []string{"nvidia-umv", "nvidia-uvm"}},
	{"modules to build and to exclude", func(*testing.T, *fixture) []string {
		return []string{"--modules=nvidia-uvm", "--exclude-modules=nvidia-drm"}
	}, 2, []string{"--modules", "--exclude-modules"}},
	{"a check to allow that is not one", func(*testing.T, *fixture) []string { return []string{"--allow=vermagick"} }, 2, []string{"vermagick", "vermagic"}},
	{"verify without a folder", func(*testing.T, *fixture) []string { return []string{"verify"} }, 2, []string{"one folder"}},
	{"verify of what is not there", func(*testing.T, *fixture) []string { return []string{"verify", "/absent/manifest.json"} }, 2, []string{"there is no /absent/manifest.json", "what a build prints"}},
	{"verify of a folder that holds nothing", func(t *testing.T, _ *fixture) []string { return []string{"verify", t.TempDir()} }, 15, []string{"manifest.json"}},
}

func replace(t *testing.T, path, old, new string) {
	t.Helper()
	write(t, path, 0o644, strings.ReplaceAll(read(t, path), old, new))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
