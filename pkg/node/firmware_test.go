package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLoadRemindsOfFirmware has the kernel forget where firmware is, as when
// somebody else loaded the driver.
func TestLoadRemindsOfFirmware(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	want := m.published("firmware")
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	m.setFirmware(t, "/theirs")
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	// What was before the first load is somebody else's to know.
	all := slices.DeleteFunc(m.recorded(t), func(c change) bool { return !is[firmwarePath](c) })
	if !slices.Equal(all, []change{firmwarePath{want, "/theirs"}}) {
		t.Errorf("recorded: %+v", all)
	}
}

// TestLoadKeepsTheFirmwarePath has nobody who knows less put a guess in the
// place of what is set.
func TestLoadKeepsTheFirmwarePath(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, func(o *LoadOptions) { o.HostShare = "/srv/share" })
	want := "/srv/share/modules/" + testRelease + "/" + testDriver + "/firmware"
	m.setFirmware(t, want)
	if got := m.load(t, nil); got.Firmware != want {
		t.Errorf("%+v", got)
	}
	// A module more, with a guess for a path.
	if err := m.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	if got := m.load(t, nil); got.State != Loaded || got.Firmware != want {
		t.Errorf("%+v", got)
	}
	if got := m.firmwarePath(t); got != want {
		t.Errorf("the search path is %q, want %q", got, want)
	}
	// The host's mounts are not to be seen, and somebody has reset the path.
	m.setFirmware(t, "")
	remove(t, filepath.Join(m.host, "proc/1/mountinfo"))
	m.load(t, nil)
	if got := m.firmwarePath(t); len(got) > 0 {
		t.Errorf("the search path is %q, a guess", got)
	}
	// A driver of somebody else has its firmware from elsewhere.
	other := newMachine(t)
	other.kernel.Have("nvidia", testDriver, "")
	other.kernel.Have("nvidia_uvm", testDriver, "")
	if got := other.load(t, nil); got.State != AlreadyLoaded || got.Firmware != "" {
		t.Errorf("%+v", got)
	}
}

// TestLoadTellsOfNoFirmwarePathOfOthers has somebody set another path since, in
// which the firmware is as well, and a load of a module more.
func TestLoadTellsOfNoFirmwarePathOfOthers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.load(t, nil)
	if err := os.CopyFS(filepath.Join(m.host, "theirs"), os.DirFS(m.published("firmware"))); err != nil {
		t.Fatal(err)
	}
	m.setFirmware(t, "/theirs")
	if err := m.kernel.Remove("nvidia_uvm"); err != nil {
		t.Fatal(err)
	}
	if got := m.load(t, nil); got.State != Loaded || got.Firmware != "" || m.firmwarePath(t) != "/theirs" {
		t.Errorf("the search path is %q: %+v", m.firmwarePath(t), got)
	}
	if got := m.load(t, nil); got.State != AlreadyLoaded || got.Firmware != "" || m.firmwarePath(t) != "/theirs" {
		t.Errorf("the search path is %q: %+v", m.firmwarePath(t), got)
	}
}

// TestLoadTellsThatItGuesses has the host's mounts not be seen.
func TestLoadTellsThatItGuesses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	remove(t, filepath.Join(m.host, "proc/1/mountinfo"))
	if got, want := m.load(t, nil).Firmware, m.published("firmware"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	const guess, path = "the share is taken to lie there on the host", `"path":"`
	said := m.log.String()
	for _, dir := range []string{m.published("firmware"), filepath.Join(m.share, "driver", testDriver)} {
		if !slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			return strings.Contains(line, guess) && strings.Contains(line, path+dir+`"`)
		}) {
			t.Errorf("it is not said that %s is a guess:\n%s", dir, said)
		}
	}
	known := newMachine(t)
	if known.load(t, nil); strings.Contains(known.log.String(), guess) {
		t.Errorf("what is known is called a guess:\n%s", known.log.String())
	}
}

// TestLoadWithoutFirmware has no way to tell the kernel of firmware, on hosts
// that need it and that do not.
func TestLoadWithoutFirmware(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stage  func(t *testing.T, m *machine)
		change func(*LoadOptions)
		refuse bool
	}{
		{"a GPU that needs it", nil, nil, true},
		{"a GPU without a GSP", func(t *testing.T, m *machine) { m.gpu(t, volta) }, nil, false},
		{"no GPU", func(t *testing.T, m *machine) { remove(t, filepath.Join(m.host, "sys/bus/pci")) },
			func(o *LoadOptions) { o.TryWithoutDevice = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if tt.stage != nil {
				tt.stage(t, m)
			}
			remove(t, filepath.Join(m.own, "sys"), filepath.Join(m.host, "sys/module/firmware_class"))
			if !tt.refuse {
				if got := m.load(t, tt.change); got.Firmware != "" {
					t.Errorf("%+v", got)
				}
				return
			}
			if names, said := m.loadRefused(t, tt.change); !slices.Equal(names, []string{"read-only-sys"}) {
				t.Errorf("%q\n%s", names, said)
			}
		})
	}
}
