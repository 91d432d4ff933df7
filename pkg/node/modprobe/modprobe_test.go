package modprobe

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// dump is a configuration as `modprobe --showconfig` prints it, sorted.
func (c Config) dump() (lines []string) {
	for name := range c.blacklist {
		lines = append(lines, "blacklist "+name)
	}
	for name, settings := range c.options {
		for _, s := range settings {
			lines = append(lines, strings.Join(strings.Fields("options "+name+" "+s.Text), " "))
		}
	}
	for name, s := range c.install {
		lines = append(lines, "install "+name+" "+s.Text)
	}
	slices.Sort(lines)
	return lines
}

// TestReadAsModprobe reads what the real modprobe has read: testdata/host is a root, and
// testdata/showconfig what `modprobe --showconfig` of kmod 34 printed of it, without the
// aliases and what came with the kernel, its command line among it.
func TestReadAsModprobe(t *testing.T) {
	t.Parallel()
	root, err := kernel.OpenRoot("testdata/host")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("testdata/showconfig")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(recorded)) {
		line = strings.Join(strings.Fields(line), " ")
		kind, rest, _ := strings.Cut(line, " ")
		module, _, _ := strings.Cut(rest, " ")
		// Of several commands modprobe runs the first.
		if kind == "install" && slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(w, kind+" "+module+" ") }) {
			continue
		}
		want = append(want, line)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if diff := cmp.Diff(want, Read(root).dump()); diff != "" {
		t.Errorf("-modprobe +got:\n%s", diff)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"etc/modprobe.d/10-nvidia.conf":     "options nvidia NVreg_A=1\n",
		"usr/lib/modprobe.d/10-nvidia.conf": "options nvidia NVreg_A=2\nblacklist nvidia-drm\n", // masked
		"usr/lib/modprobe.d/20-more.conf":   "options nvidia NVreg_B=1 \\\n  NVreg_C=2\n#options nvidia NVreg_D=1\ninstall nvidia-uvm /bin/false\n",
		"run/modprobe.d/00-first.conf":      "blacklist nvidia_modeset\n",
		"etc/modprobe.d/README":             "options nvidia NVreg_E=1\n",
		"proc/cmdline":                      `quiet nvidia.NVreg_A=3 nvidia-drm.modeset=1 modprobe.blacklist=nouveau,nvidia-modeset nvidia.NVreg_R="a=1; b=2" root=/dev/sda9 nvidia.NVreg_Flag` + "\n",
	}
	root, err := kernel.OpenRoot(testkit.WriteTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	c := Read(root)
	want := []Setting{
		{"NVreg_A=1", "/etc/modprobe.d/10-nvidia.conf"}, {"NVreg_B=1   NVreg_C=2", "/usr/lib/modprobe.d/20-more.conf"},
		{"NVreg_A=3", commandLine}, {`NVreg_R="a=1; b=2"`, commandLine}, {"NVreg_Flag", commandLine},
	}
	if diff := cmp.Diff(want, c.Options("nvidia")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]Setting{{"modeset=1", commandLine}}, c.Options("nvidia_drm")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := slices.Sorted(maps.Keys(c.blacklist)); !slices.Equal(got, []string{"nouveau", "nvidia_modeset"}) || c.Blacklisted("nvidia_modeset") != "/run/modprobe.d/00-first.conf" {
		t.Errorf("%v", c.blacklist)
	}
	if got, is := c.Install("nvidia_uvm"); !is || got != (Setting{"/bin/false", "/usr/lib/modprobe.d/20-more.conf"}) {
		t.Errorf("%+v", got)
	}
	if _, is := c.Install("nvidia"); is || c.Blacklisted("nvidia") != "" {
		t.Error("what is said of nvidia is of another")
	}
}

// TestMasked has a link to /dev/null hide what a distribution ships.
func TestMasked(t *testing.T) {
	t.Parallel()
	dir := testkit.WriteTree(t, map[string]string{"usr/lib/modprobe.d/a.conf": "options nvidia NVreg_A=2\n", "etc/modprobe.d/README": ""})
	if err := os.Symlink("/dev/null", filepath.Join(dir, "etc/modprobe.d/a.conf")); err != nil {
		t.Fatal(err)
	}
	root, err := kernel.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := Read(root).dump(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{`"nvidia.NVreg_R=a b" x.y=z`, `nvidia.a="`, `.=`, `modprobe.blacklist=`} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, line, text string) {
		c := Config{options: map[string][]Setting{}, blacklist: map[string]string{}, install: map[string]Setting{}}
		c.commandLine(line)
		c.file(text, "/x")
		for name, settings := range c.options {
			if name == "" || strings.Contains(name, "-") || len(settings) == 0 {
				t.Errorf("%q: %q", name, settings)
			}
		}
	})
}
