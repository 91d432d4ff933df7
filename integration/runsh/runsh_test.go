//go:build integration

package runsh

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCoreOS has the VM of a CoreOS box build the image for its kernel's line.
func TestCoreOS(t *testing.T) {
	t.Parallel()
	l := newLaptop(t, serve(t, toolkitName, toolkit(t, driverName, driver), nil))
	text, err := os.ReadFile(filepath.Join(checkout, "Vagrantfile"))
	if err != nil {
		t.Fatal(err)
	}
	const flatcar = `DISTRIBUTION = "flatcar"`
	if !strings.Contains(string(text), "\n"+flatcar) {
		t.Fatalf("the Vagrantfile has no %s", flatcar)
	}
	l.write(t, "Vagrantfile", []byte(strings.Replace(string(text), flatcar, `DISTRIBUTION = "coreos"`, 1)))
	expect(t, l.run(t), 0)
	want := slices.Clone(lines)
	want[2] = "vagrant [ssh] [-c] [docker build -t cuda --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS='10 9' /home/core/share]"
	if diff := cmp.Diff(want, l.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
}

// The lines that run.sh has for vagrant, in order.
var lines = []string{
	"vagrant [box] [update]",
	"vagrant [up]",
	"vagrant [ssh] [-c] [docker build -t cuda /home/core/share]",
	"vagrant [ssh] [-c] [docker run --privileged -v /home/core/share:/opt/share cuda]",
}

var driver = []byte("#!/bin/sh\n# a driver package\n")

func TestFreshMachine(t *testing.T) {
	t.Parallel()
	s := serve(t, toolkitName, toolkit(t, driverName, driver), nil)
	l := newLaptop(t, s)

	// From another folder: run.sh works on its own.
	expect(t, l.exec(t, "/", l.path("run.sh")), 0, "The toolkit is 3 MiB to download, and takes ", "Done. The modules and their manifest are under "+l.Dir+"/modules.")

	if diff := cmp.Diff(lines, l.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
	if got := l.read(t, "cuda/"+driverName); !bytes.Equal(got, driver) {
		t.Errorf("the driver in ./cuda is not the toolkit's: %q", got)
	}
	l.read(t, "cuda/toolkit-13.1.1/builds/cuda_nvcc/bin/nvcc")
	want := []string{driverName, toolkitName, "toolkit-13.1.1"}
	if diff := cmp.Diff(want, l.cuda(t)); diff != "" {
		t.Errorf("./cuda (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(l.path("cuda/toolkit-13.1.1")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the toolkit's folder: %v, %v; others cannot read it", info.Mode(), err)
	}

	// Again, without the archive, which nothing needs any more.
	if err := os.Remove(l.path("cuda/" + toolkitName)); err != nil {
		t.Fatal(err)
	}
	expect(t, l.run(t), 0, "CUDA 13.1.1 and its driver 590.48.01 are already unpacked in ./cuda.")
	if diff := cmp.Diff([]string{""}, s.Requests()); diff != "" {
		t.Errorf("downloads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Concat(lines, lines), l.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
}

func TestArchiveIsThereAlready(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	s := serve(t, toolkitName, archive, nil)
	l := newLaptop(t, s)
	l.write(t, "cuda/"+toolkitName, archive)
	expect(t, l.run(t), 0)
	if got := s.Requests(); len(got) != 0 {
		t.Errorf("downloads: %q, want none", got)
	}
}

func TestDownloads(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	const half = 1 << 20
	tests := map[string]struct {
		server   func(*server)
		part     []byte // of an earlier run
		requests []string
		says     []string
	}{
		"breaks once": {
			server:   func(s *server) { s.Breaks, s.BreakAfter = 1, half },
			requests: []string{"", "bytes=1048576-"},
			says:     []string{"The download broke (curl status 18), attempt 1 of 5.", "at 1048576 bytes"},
		},
		"an earlier run was interrupted": {
			part:     archive[:half],
			requests: []string{"bytes=1048576-"},
			says:     []string{"Resuming"},
		},
		"an earlier run had just finished": {
			part:     archive,
			requests: []string{},
			says:     []string{"Checking the SHA-256 of cuda/" + toolkitName + ".part"},
		},
		"the server cannot resume": {
			server:   func(s *server) { s.NoRanges = true },
			part:     archive[:half],
			requests: []string{"bytes=1048576-", ""},
			says:     []string{"The server cannot resume this download: starting again."},
		},
		"what is there is too long": {
			part:     append(slices.Clone(archive), "more"...),
			requests: []string{""},
			says:     []string{"is larger than the file on the server: starting again."},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, toolkitName, archive, test.server)
			l := newLaptop(t, s)
			if test.part != nil {
				l.write(t, "cuda/"+toolkitName+".part", test.part)
			}
			expect(t, l.run(t), 0, test.says...)
			if diff := cmp.Diff(test.requests, s.Requests()); diff != "" {
				t.Errorf("Range of each download (-want +got):\n%s", diff)
			}
			if !bytes.Equal(l.read(t, "cuda/"+toolkitName), archive) {
				t.Error("the archive is not what the server has")
			}
			if diff := cmp.Diff(lines, l.vagrant(t)); diff != "" {
				t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStops has every way to fail before the VM: a sentence, and no VM.
func TestStops(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	altered := slices.Clone(archive)
	altered[len(altered)-1000] ^= 1
	tests := map[string]struct {
		server  func(*server)
		laptop  func(*laptop)
		archive []byte // in ./cuda already
		says    string
		leaves  []string // in ./cuda
	}{
		"the file is another": {
			server: func(s *server) { s.Sends = altered },
			says:   ".part is not the file it should be, and is cuda/" + toolkitName + ".part.wrong now: its SHA-256 is ",
			leaves: []string{toolkitName + ".part.wrong"},
		},
		"the file was altered since": {
			archive: altered,
			says:    "cuda/" + toolkitName + " is not the file it should be, and is cuda/" + toolkitName + ".wrong now: its SHA-256 is ",
			leaves:  []string{toolkitName + ".wrong"},
		},
		"neither a toolkit nor none": {
			laptop: func(l *laptop) { l.Env["TOOLKIT"] = "perhaps" },
			says:   "run.sh: TOOLKIT is perhaps, and has to be yes or no.",
			leaves: []string{},
		},
		"a driver alone that nobody knows": {
			laptop: func(l *laptop) { l.Env["TOOLKIT"], l.Env["CUDA_DRIVER"] = "no", "999.1" },
			says:   "run.sh: no digest of NVIDIA-Linux-x86_64-999.1.run is known.",
			leaves: []string{},
		},
		"it breaks each time": {
			server: func(s *server) { s.Breaks, s.BreakAfter = 100, 1000 },
			says:   "run.sh: the download did not complete. Run this again to resume it",
			leaves: []string{toolkitName + ".part"},
		},
		"no such toolkit": {
			server: func(s *server) { s.Status = 404 },
			says:   "Check that CUDA_VERSION, CUDA_DRIVER, CUDA_SHA256 and CUDA_URL at the top of run.sh belong together.",
			leaves: []string{},
		},
		"not enough disk": {
			server: func(s *server) { s.Claims = 1 << 50 },
			says:   "run.sh: not enough disk space: 3221225472 MiB are needed in ",
			leaves: []string{},
		},
		"no server": {
			laptop: func(l *laptop) { l.Env["CUDA_URL"] = "http://127.0.0.1:1/" + toolkitName },
			says:   "run.sh: the download did not complete.",
			leaves: []string{},
		},
		"another driver inside": {
			laptop:  func(l *laptop) { l.Env["CUDA_DRIVER"] = "560.28.03" },
			archive: archive,
			says:    "holds no builds/NVIDIA-Linux-x86_64-560.28.03.run. Check CUDA_DRIVER at the top of run.sh.",
			leaves:  []string{toolkitName},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, toolkitName, archive, test.server)
			l := newLaptop(t, s)
			if test.archive != nil {
				l.write(t, "cuda/"+toolkitName, test.archive)
			}
			if test.laptop != nil {
				test.laptop(l)
			}
			expect(t, l.run(t), 1, test.says)
			if got := l.vagrant(t); got != nil {
				t.Errorf("vagrant was asked: %q", got)
			}
			if diff := cmp.Diff(test.leaves, l.cuda(t)); diff != "" {
				t.Errorf("./cuda (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWrongFileHeals: what was set aside is fetched anew by the next run.
func TestWrongFileHeals(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	s := serve(t, toolkitName, archive, func(s *server) { s.Sends = []byte("an error page") })
	l := newLaptop(t, s)
	expect(t, l.run(t), 1, "Run this again to fetch it anew.")
	s.send(nil)
	expect(t, l.run(t), 0)
	if !bytes.Equal(l.read(t, "cuda/"+toolkitName), archive) {
		t.Error("the archive is not what the server has")
	}
}

// TestDriverAlone fetches NVIDIA's package, whose digest the checkout knows, and no
// toolkit.
func TestDriverAlone(t *testing.T) {
	t.Parallel()
	s := serve(t, "", driver, nil)
	l := newLaptop(t, s)
	const name = "NVIDIA-Linux-x86_64-999.1.run"
	l.write(t, "pkg/cuda/digests/drivers.sha256", fmt.Appendf(nil, "%x  tesla/999.1/%s\n", sha256.Sum256(driver), name))
	l.Env["TOOLKIT"], l.Env["CUDA_DRIVER"], l.Env["DRIVER_URL"] = "no", "999.1", strings.TrimSuffix(s.URL, "/")
	expect(t, l.run(t), 0, "Downloading "+s.URL+"tesla/999.1/"+name, "The driver is cuda/"+name+".", "Done.")
	if diff := cmp.Diff([]string{name}, l.cuda(t)); diff != "" {
		t.Errorf("./cuda (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(lines, l.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
	expect(t, l.run(t), 0, "Checking the SHA-256 of cuda/"+name)
	if diff := cmp.Diff([]string{""}, s.Requests()); diff != "" {
		t.Errorf("downloads (-want +got):\n%s", diff)
	}
}

// TestAskedIsBuilt sets a newer driver aside for one that was asked for by name, and
// takes it from there when it is asked for. One that the user put there, with nothing
// asked for, is built, and run.sh says so.
func TestAskedIsBuilt(t *testing.T) {
	t.Parallel()
	s := serve(t, "", nil, nil)
	l := newLaptop(t, s)
	var digests []byte
	for _, version := range []string{"580.126.09", "590.48.01"} {
		name := "NVIDIA-Linux-x86_64-" + version + ".run"
		l.write(t, "cuda/"+name, []byte(version))
		digests = fmt.Appendf(digests, "%x  tesla/%s\n", sha256.Sum256([]byte(version)), version+"/"+name)
	}
	l.write(t, "pkg/cuda/digests/drivers.sha256", digests)
	l.Env["TOOLKIT"] = "no"
	for _, step := range []struct{ ask, says, aside string }{
		{"580.126.09", "cuda/NVIDIA-Linux-x86_64-590.48.01.run is newer than 580.126.09, and is cuda/NVIDIA-Linux-x86_64-590.48.01.run.aside now.", ".aside"},
		{"580.126.09", "Done.", ".aside"},
		{"590.48.01", "Done.", ""},
	} {
		l.Env["CUDA_DRIVER"] = step.ask
		expect(t, l.run(t), 0, step.says)
		want := []string{"NVIDIA-Linux-x86_64-580.126.09.run", "NVIDIA-Linux-x86_64-590.48.01.run" + step.aside}
		if diff := cmp.Diff(want, l.cuda(t)); diff != "" {
			t.Errorf("./cuda for %s (-want +got):\n%s", step.ask, diff)
		}
	}

	users := newLaptop(t, serve(t, toolkitName, toolkit(t, driverName, driver), nil))
	users.write(t, "cuda/NVIDIA-Linux-x86_64-999.1.run", []byte("the user's own"))
	expect(t, users.run(t), 0, "cuda/NVIDIA-Linux-x86_64-999.1.run is newer than "+driverVersion+", so its modules are built.")
	users.read(t, "cuda/NVIDIA-Linux-x86_64-999.1.run")
}

// TestMachinesThatCannot are told before anything is downloaded.
func TestMachinesThatCannot(t *testing.T) {
	t.Parallel()
	for says, tools := range map[string]map[string]string{
		"run.sh: this machine is arm64, and the VM that it would boot is for amd64.": {"uname": "#!/bin/sh\necho arm64\n"},
		"run.sh: VirtualBox is needed and is not installed.":                         {"uname": "#!/bin/sh\necho x86_64\n", "VBoxManage": ""},
	} {
		s := serve(t, toolkitName, nil, nil)
		l := newLaptop(t, s)
		bin := l.only(t, "dirname", "curl", "vagrant", "uname", "VBoxManage")
		for name, script := range tools {
			if err := os.Remove(filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
			if script != "" {
				if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		expect(t, l.run(t), 1, says)
		if got := s.Requests(); len(got) != 0 {
			t.Errorf("downloads: %q, want none", got)
		}
	}
}

// TestVagrantRefusesTheMachine, as it does without an NFS server, before anything is downloaded.
func TestVagrantRefusesTheMachine(t *testing.T) {
	t.Parallel()
	s := serve(t, toolkitName, nil, nil)
	l := newLaptop(t, s)
	l.Env["VAGRANT_FAIL"] = "validate"
	expect(t, l.run(t), 1, "run.sh: Vagrant cannot use this machine, see above.", "nfs-kernel-server")
	if got := s.Requests(); len(got) != 0 {
		t.Errorf("downloads: %q, want none", got)
	}
}

// TestBrokenArchive has an archive that its digest names and that does not
// unpack: what was there stays, what was half unpacked does not.
func TestBrokenArchive(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	s := serve(t, toolkitName, archive[:len(archive)-5000], nil)
	l := newLaptop(t, s)
	l.write(t, "cuda/NVIDIA-Linux-x86_64-550.78.run", []byte("the user's own"))
	expect(t, l.run(t), 1, "run.sh: cuda/"+toolkitName+" could not be unpacked, see above.")
	want := []string{"NVIDIA-Linux-x86_64-550.78.run", toolkitName}
	if diff := cmp.Diff(want, l.cuda(t)); diff != "" {
		t.Errorf("./cuda (-want +got):\n%s", diff)
	}
}

// TestVagrantFails stops at the line that failed, with its status.
func TestVagrantFails(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	for i, fail := range []string{
		"box update",
		"up",
		"ssh -c docker build -t cuda /home/core/share",
		"ssh -c docker run --privileged -v /home/core/share:/opt/share cuda",
	} {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			s := serve(t, toolkitName, archive, nil)
			l := newLaptop(t, s)
			l.Env["VAGRANT_FAIL"] = fail
			expect(t, l.run(t), 3, "run.sh: this failed with status 3, see above: vagrant "+fail)
			if diff := cmp.Diff(lines[:i+1], l.vagrant(t)); diff != "" {
				t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBoxWithoutServer(t *testing.T) {
	t.Parallel()
	archive := toolkit(t, driverName, driver)
	l := newLaptop(t, serve(t, toolkitName, archive, nil))
	l.Env["BOX_UPDATE"] = "no"
	expect(t, l.run(t), 0)
	if diff := cmp.Diff(lines[1:], l.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
}

// TestVagrantIsNotInstalled says so before it downloads gigabytes.
func TestVagrantIsNotInstalled(t *testing.T) {
	t.Parallel()
	s := serve(t, toolkitName, nil, nil)
	l := newLaptop(t, s)
	l.only(t, "dirname", "curl")
	expect(t, l.run(t), 1, "run.sh: vagrant is needed and is not installed.")
	if got := s.Requests(); len(got) != 0 {
		t.Errorf("downloads: %q, want none", got)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	l := newLaptop(t, serve(t, toolkitName, nil, nil))
	expect(t, l.exec(t, l.Dir, "./run.sh", "--help"), 1, "run.sh: it takes no arguments: edit the variables at its top")
}

// expect checks a run's status and what it says.
func expect(t *testing.T, got result, status int, says ...string) {
	t.Helper()
	if got.Status != status {
		t.Errorf("status %d, want %d", got.Status, status)
	}
	for _, want := range says {
		if !strings.Contains(got.Output, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("it says:\n%s", got.Output)
	}
}
