package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/stage"
)

// attacker is who owns the shares of these tests, and nothing else, where the tests
// run as root.
const attacker = 1000

// give gives a folder and what is in it to the attacker.
func give(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		return // it is of whoever runs the tests, as is all else
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, attacker, attacker))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// specification leaves one of builder's form in a folder.
func specification(t *testing.T, dir string) (file string) {
	t.Helper()
	file, err := cdi.Write(dir, cdi.Spec(cdi.Options{Files: []devices.File{{Path: devices.Control}}}))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// forgery is a record of what no load has done, on a machine that has all of it, and
// who says so where it has not been left alone.
func forgery(t *testing.T, m *machine) (record string, intact func()) {
	t.Helper()
	for _, name := range []string{"xfs", "kvm_intel", "nvidia_wmi_ec_backlight", "gdrdrv"} {
		m.kernel.Have(name, "", "")
	}
	write(t, filepath.Join(m.host, "lib/modules", testRelease, "modules.dep"),
		"kernel/fs/xfs/xfs.ko:\nkernel/arch/x86/kvm/kvm-intel.ko:\nkernel/drivers/platform/x86/nvidia-wmi-ec-backlight.ko:\n")
	m.mount(t, m.own+"/dev", "devtmpfs")
	m.files = &fakeFiles{there: map[string]bool{"sda": true, "nvidia0": true, "../etc/shadow": true, "nvidia-caps/../sda": true}}
	theirs := t.TempDir()
	m.mount(t, theirs, "ext4")
	named := specification(t, filepath.Join(theirs, "specs"))
	nvidias := filepath.Join(theirs, "cdi", cdi.FileName)
	write(t, nvidias, `{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[{"name":"all","containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0"}]}}]}`)
	m.setFirmware(t, "/run/nvidia/driver/lib/firmware")
	file := func(path string, major uint32) change {
		return deviceFile{m.own + "/dev", devices.File{Path: path, Major: major}}
	}
	changes := []change{
		inTreeModule{"xfs"}, inTreeModule{"kvm_intel"}, driverModule{"xfs", testDriver}, driverModule{"nvidia_wmi_ec_backlight", testDriver}, driverModule{"gdrdrv", testDriver},
		firmwarePath{"/run/nvidia/driver/lib/firmware", "/home/attacker/firmware"},
		file("sda", 8), file("nvidia0", 1), file("../etc/shadow", 195), file("nvidia-caps/../sda", 195),
		cdiFolder{filepath.Dir(named), true}, cdiFolder{filepath.Dir(nvidias), true}, cdiFolder{"../../etc/cdi", false},
	}
	data, err := encode(with(nil, changes))
	if err != nil {
		t.Fatal(err)
	}
	return string(data), func() {
		t.Helper()
		m.called(t)
		if len(m.files.there) != 4 {
			t.Errorf("device files are left: %v", m.files.there)
		}
		for _, path := range []string{named, nvidias} {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		if got := m.firmwarePath(t); got != "/run/nvidia/driver/lib/firmware" {
			t.Errorf("the search path is %q", got)
		}
	}
}

// TestForgedRecordInTheShare has the share's owner write one, where builders before
// this one kept theirs: nothing of it is done, and it is told of, once.
func TestForgedRecordInTheShare(t *testing.T) {
	t.Parallel()
	for _, mounted := range []bool{true, false} {
		t.Run(fmt.Sprintf("run mounted %t", mounted), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			record, intact := forgery(t, m)
			if !mounted {
				m.unmount(t, m.own+runDir)
			}
			var files []string
			for _, host := range []string{"unknown", "0123456789abcdef"} {
				file := filepath.Join(m.share, "loaded", host, testBoot+".json")
				write(t, file, record)
				files = append(files, file)
			}
			give(t, m.share)
			m.unload(t)
			intact()
			if said := m.log.String(); strings.Count(said, "so it is not obeyed") != 1 || !strings.Contains(said, "builder prune --yes") {
				t.Errorf("%s", said)
			}
			for _, file := range files {
				if got := read(t, file); got != record {
					t.Errorf("%s is changed: %s", file, got)
				}
			}
		})
	}
}

// TestForgedRecord has one be where only root writes all the same, or be damaged: it
// is obeyed as far as load can have done what it tells, and the rest is told of and
// kept, but for modules of the kernel's own, which stay and are forgotten.
func TestForgedRecord(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	record, intact := forgery(t, m)
	write(t, m.place(t).file, record)
	for range 2 {
		names, said := m.unloadRefused(t)
		if !slices.Equal(names, []string{"not-undone"}) {
			t.Errorf("%q\n%s", names, said)
		}
		for _, part := range []string{
			`the module \"xfs\", which is none of NVIDIA's driver`, `the module \"nvidia_wmi_ec_backlight\", which is none`,
			`the device file \"sda\" (8:0)`, `the device file \"nvidia0\" (1:0)`, `the device file \"../etc/shadow\" (195:0)`,
			`the kernel's search path stays as it is`, `a CDI specification in \"../../etc/cdi\"`,
		} {
			if !strings.Contains(said, part) && !strings.Contains(said, strings.ReplaceAll(part, `\"`, `"`)) {
				t.Errorf("it does not say %s:\n%s", part, said)
			}
		}
		intact()
	}
	// A folder that has no specification of builder's is as if it were gone.
	if got := m.recorded(t); len(got) != 10 || slices.ContainsFunc(got, is[inTreeModule]) {
		t.Errorf("recorded: %+v", got)
	}
}

// TestForgedRecordOfLoads has loads not take a forged record for what they did.
func TestForgedRecordOfLoads(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	record, _ := forgery(t, m)
	write(t, m.place(t).file, record)
	m.setFirmware(t, "")
	if got := m.load(t, nil); !slices.Equal(got.Modules, testModules) {
		t.Errorf("%+v", got)
	}
	m.kernel.Calls = nil
	_, _ = Unload(m.context(t), m.options(nil))
	m.called(t, "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia")
}

// TestFirmwareBefore has the kernel be pointed at no folder that anybody but root can
// write to, whatever is recorded.
func TestFirmwareBefore(t *testing.T) {
	t.Parallel()
	of := func(host string) string { return filepath.Join("/share/modules", testRelease, host, "firmware") }
	for _, tt := range []struct {
		name, before, cmdline, want string
		unseen                      bool
	}{
		{"nothing", "", "", "", false},
		{"a folder of root's", "/opt/firmware", "", "/opt/firmware", false},
		{"one that is not there", "/opt/nvidia/firmware", "", "/opt/nvidia/firmware", false},
		{"one that others can write to", "/home/x/firmware", "", "", false},
		{"one that others can make", "/home/x/none", "", "", false},
		{"one behind a link of root's", "/opt/link/firmware", "", "", false},
		{"a file", "/opt/file", "", "", false},
		{"no path", "opt/firmware", "", "", false},
		{"one that is not to be seen", "/opt/firmware", "", "", true},
		{"the kernel's own in its place", "/home/x/firmware", "quiet firmware_class.path=/of/its/own -- firmware_class.path=/x", "/of/its/own", false},
		{"an earlier load's", of("1.2"), "", of("1.2"), false},
		{"an earlier load's for another kernel", "/share/modules/6.1/1.2/firmware", "", "", true},
		{"none of a load's", of("../.."), "", "", true},
		{"a folder of the share's beside a load's", of("mine"), "", "", false},
		{"nearly a load's", "/share/./modules/" + testRelease + "/1.2/firmware", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for _, name := range []string{"opt/firmware/README", "home/x/firmware/README", "opt/file", "share/README"} {
				write(t, filepath.Join(m.host, name), "")
			}
			chmod(t, filepath.Join(m.host, "home/x"), 0o777)
			chmod(t, filepath.Join(m.host, "share"), 0o777)
			link(t, "/home/x", filepath.Join(m.host, "opt/link"))
			write(t, filepath.Join(m.host, "proc/cmdline"), tt.cmdline+"\n")
			set := m.published("firmware")
			m.setFirmware(t, set)
			m.record(t, firmwarePath{set, tt.before})
			if tt.unseen {
				remove(t, filepath.Join(m.host, "opt"))
				chmod(t, m.host, 0o777)
			}
			m.unload(t)
			if got := m.firmwarePath(t); got != tt.want {
				t.Errorf("the search path is %q, want %q\n%s", got, tt.want, m.log.String())
			}
			m.recordedOnly(t)
		})
	}
}

// TestRollBackOfFirmware has a load that fails set the search path to what it was, which
// no record tells.
func TestRollBackOfFirmware(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	write(t, filepath.Join(m.host, "home/x/firmware/README"), "")
	chmod(t, filepath.Join(m.host, "home/x"), 0o777)
	m.setFirmware(t, "/home/x/firmware")
	m.kernel.Refuse["nvidia"] = unix.EIO
	m.loadRefused(t, nil)
	if got := m.firmwarePath(t); got != "/home/x/firmware" {
		t.Errorf("the search path is %q", got)
	}
}

// TestShareOfLinks has the share's owner have its folders lead to one of the host's:
// nothing is written there, nor given to them, nor removed.
func TestShareOfLinks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"loaded", "cdi"} {
		for _, mounted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, run mounted %t", name, mounted), func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				if !mounted {
					m.unmount(t, m.own+runDir)
				}
				etc := t.TempDir() // stands for /etc/cdi
				specification(t, etc)
				write(t, filepath.Join(etc, "unknown", "README"), "")
				if err := os.RemoveAll(filepath.Join(m.share, name)); err != nil {
					t.Fatal(err)
				}
				link(t, etc, filepath.Join(m.share, name))
				give(t, m.share)
				before := tree(t, etc)
				if name == "loaded" {
					if got := m.load(t, nil); got.State != Loaded {
						t.Errorf("%+v", got)
					}
				} else if _, err := Load(m.context(t), m.options(nil)); stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "cdi is a link") {
					t.Errorf("error %v", err)
				}
				if got := tree(t, etc); !slices.Equal(got, before) {
					t.Errorf("after load there is %q, and was %q", got, before)
				}
				_, _ = Unload(m.context(t), m.options(nil))
				if got := tree(t, etc); !slices.Equal(got, before) {
					t.Errorf("after unload there is %q, and was %q", got, before)
				}
			})
		}
	}
}

// tree is what is in a folder, with its owner.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		info, statErr := os.Lstat(path)
		if err = errors.Join(err, statErr); err == nil {
			list = append(list, fmt.Sprintf("%s of %d, %d bytes", path, info.Sys().(*syscall.Stat_t).Uid, info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRecordThatOthersCanWrite has one not be obeyed that is no file of root's alone.
func TestRecordThatOthersCanWrite(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]func(t *testing.T, m *machine, file string){
		"writable": func(t *testing.T, _ *machine, file string) { chmod(t, file, 0o666) },
		"a link": func(t *testing.T, m *machine, file string) {
			if err := os.Rename(file, filepath.Join(m.share, "record")); err != nil {
				t.Fatal(err)
			}
			link(t, filepath.Join(m.share, "record"), file)
		},
		"a pipe": func(t *testing.T, _ *machine, file string) {
			if err := errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"somebody else's": func(t *testing.T, _ *machine, file string) {
			if os.Getuid() != 0 {
				chmod(t, file, 0o622) // who is not root cannot give it away
			} else if err := os.Chown(file, attacker, attacker); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.load(t, nil)
			m.kernel.Calls = nil
			stage(t, m, m.place(t).file)
			if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"not-undone"}) {
				t.Errorf("%q\n%s", names, said)
			}
			m.called(t)
		})
	}
}

// TestUnloadWithoutARecord has nothing be written down of a load: what the kernel and
// builder's names tell of is undone, and nothing else.
func TestUnloadWithoutARecord(t *testing.T) {
	t.Parallel()
	of := func(t *testing.T) *machine {
		m, _ := withFiles(t)
		m.unmount(t, m.own+runDir)
		m.needs(t, "drm")
		if got := m.load(t, nil); len(got.Modules) != len(testModules) || !slices.Equal(got.InTree, []string{"drm"}) || got.CDI == "" {
			t.Fatalf("%+v", got)
		}
		m.kernel.Calls = nil
		return m
	}
	t.Run("again", func(t *testing.T) {
		t.Parallel()
		m := of(t)
		want := m.firmwarePath(t)
		if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != want {
			t.Errorf("%+v, want the firmware in %s", got, want)
		}
		if found := recordsIn(t, m.share); len(found) > 0 {
			t.Errorf("recorded: %q", found)
		}
	})
	for _, mounted := range []bool{true, false} {
		t.Run(fmt.Sprintf("run mounted %t", mounted), func(t *testing.T) {
			t.Parallel()
			m := of(t)
			if mounted {
				m.mount(t, m.own+runDir, "tmpfs")
			}
			got := m.unload(t)
			if got.Driver != testDriver || len(got.Modules) != len(testModules) || len(got.InTree) > 0 {
				t.Errorf("%+v", got)
			}
			m.called(t, "-nvidia_uvm", "-nvidia_drm", "-nvidia_modeset", "-nvidia")
			if _, err := os.Stat(filepath.Join(m.share, "cdi", cdi.FileName)); !os.IsNotExist(err) || m.firmwarePath(t) != "" || len(m.files.there) > 0 {
				t.Errorf("left: %v, %q, %v", err, m.firmwarePath(t), m.files.there)
			}
			if got := m.unload(t); got.Driver != "" || !strings.Contains(m.log.String(), "nothing to undo") {
				t.Errorf("again: %+v\n%s", got, m.log.String())
			}
		})
	}
	for name, stage := range map[string]func(t *testing.T, m *machine){
		"another build": func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "sys/module/nvidia/srcversion"), "ANOTHER\n")
		},
		"Flatcar's": func(t *testing.T, m *machine) {
			write(t, filepath.Join(m.host, "etc/extensions/nvidia-drivers-535.raw"), "")
		},
		"another share's": func(t *testing.T, m *machine) { remove(t, m.published("manifest.json")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := of(t)
			stage(t, m)
			m.unload(t)
			m.called(t)
			if m.firmwarePath(t) == "" || len(m.files.there) != 3 || !strings.Contains(m.log.String(), "not by builder as far as is to be seen") {
				t.Errorf("%q, %v\n%s", m.firmwarePath(t), m.files.there, m.log.String())
			}
		})
	}
	t.Run("device files that others make", func(t *testing.T) {
		t.Parallel()
		m := of(t)
		m.kernel.FilesMade = false
		m.kernel.Show()
		if got := m.unload(t); len(got.Files) > 0 || len(m.files.there) != 3 {
			t.Errorf("%+v, left: %v", got, m.files.there)
		}
	})
	t.Run("a later load that fails", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		m.unmount(t, m.own+runDir)
		m.load(t, func(o *LoadOptions) { o.Modules = []string{"nvidia"} })
		path := m.firmwarePath(t)
		m.kernel.Refuse["nvidia_uvm"], m.kernel.Calls = unix.EIO, nil
		m.loadRefused(t, nil)
		m.called(t, "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm", "-nvidia_drm", "-nvidia_modeset")
		if got := m.firmwarePath(t); got != path {
			t.Errorf("the search path is %q, want %q", got, path)
		}
	})
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		m := of(t)
		m.kernel.Hold("nvidia", "gdrdrv")
		if names, said := m.unloadRefused(t); !slices.Equal(names, []string{"in-use"}) {
			t.Errorf("%q\n%s", names, said)
		}
		m.called(t)
	})
}

// TestTurnHasAnEnd has another load hold the turn for ever.
func TestTurnHasAnEnd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	file := m.own + runDir + "/" + testBoot + ".lock"
	done, err := takeTurn(t.Context(), file, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(m.context(t), m.options(func(o *LoadOptions) { o.turn = time.Millisecond }))
	if stage.ExitCode(err) != 75 || !strings.Contains(err.Error(), file+" and did not end within 1ms") {
		t.Errorf("%v, with exit code %d", err, stage.ExitCode(err))
	}
	m.called(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := takeTurn(ctx, file, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	done()
	m.load(t, nil)
}

// TestTurnIsRoots has the file that is locked be one that nobody else can open, and so
// lock, and be no other file than that.
func TestTurnIsRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "boot.lock")
	write(t, file, "")
	for _, file := range []string{file, filepath.Join(dir, "new.lock"), filepath.Join(dir, "none/boot.lock")} {
		done, err := takeTurn(t.Context(), file, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", file, info.Mode())
		}
		done()
	}
	victim := filepath.Join(dir, "victim")
	write(t, victim, "whole")
	chmod(t, victim, 0o644)
	link(t, victim, filepath.Join(dir, "link.lock"))
	done, err := takeTurn(t.Context(), filepath.Join(dir, "link.lock"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	done()
	if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o644 || read(t, victim) != "whole" {
		t.Errorf("%v, %v", info, err)
	}
}

// TestWrittenRecord has what is written be what a builder before this one wrote, so
// that an update in the middle of a boot loses nothing.
func TestWrittenRecord(t *testing.T) {
	t.Parallel()
	data, err := encode(with(nil, everyChange[:3]))
	want := `[{"kind":"firmware","change":{"path":"/a","before":"/b"}},{"kind":"in-tree","change":{"name":"drm"}},{"kind":"module","change":{"name":"nvidia","driver":"1.2"}}]` + "\n"
	if err != nil || string(data) != want || !json.Valid(data) {
		t.Errorf("%v\n%s\n%s", err, data, want)
	}
}
