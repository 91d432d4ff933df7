package job

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/kernel/probe"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

func sha256Of(path string) (string, int64, error) { return publish.DigestFile(path) }

// TestReuse is what makes a rerun build again, and what does not: how the host is
// looked at, and who vouches for what, makes no other modules.
func TestReuse(t *testing.T) {
	t.Parallel()
	driverDigest := newFixture(t).digest(t)
	inModule := kallsyms("_printk", "device_add", "ffffffffc0000000 r __ksymtab_drm_open\t[drm]\n")
	for _, c := range []struct {
		name   string
		change func(*testing.T, *fixture)
		option func(*Options)
		// differs is what the log names; "" where the earlier result serves.
		differs string
	}{
		{"nothing", nil, nil, ""},
		{"another version of the system", func(t *testing.T, f *fixture) {
			f.write(t, "host/etc/os-release", "ID=coreos\nVERSION_ID=1967.6.0\n")
		}, nil, ""},
		{"no system to be seen", func(t *testing.T, f *fixture) { f.remove(t, "etc/os-release") }, nil, ""},
		{"no addresses to be seen", func(t *testing.T, f *fixture) {
			f.write(t, "host/proc/kallsyms", strings.NewReplacer("ffffffff81", "0000000000", "c R", "0 R", "c r", "0 r", "18 R", "00 R").Replace(kallsyms("_printk", "device_add")))
		}, nil, ""},
		{"a module that is loaded now", func(t *testing.T, f *fixture) {
			f.write(t, "host/proc/kallsyms", inModule)
			f.write(t, "host/proc/modules", "drm 65536 0 - Live 0x0000000000000000\n")
		}, nil, ""},
		{"the kernel's image", func(t *testing.T, f *fixture) {
			f.write(t, "host/boot/vmlinuz-"+testRelease, string(kernelImage(t, nil)))
		}, nil, ""},
		{"a digest that was asked for", nil, func(o *Options) { o.DriverSHA256 = driverDigest }, ""},
		{"another builder", nil, func(o *Options) { o.Builder = "0.2.0" }, ""},
		{"more compilers at once", nil, func(o *Options) { o.Jobs = 7 }, ""},
		{"one that is asked for and preferred", nil, func(o *Options) { o.ModuleType = "proprietary" }, ""},

		{"as is asked", nil, rebuild, "as --rebuild asks"},
		{"another compiler by the same name", func(_ *testing.T, f *fixture) { f.tools.gcc = "gcc-12 (stand-in) 12.3.0" }, nil,
			"compiler (was gcc-12 (stand-in) 12.2.0, is gcc-12 (stand-in) 12.3.0)"},
		{"another driver package", func(t *testing.T, f *fixture) {
			f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/kernel/nvidia/nv.c", "/* another source */\n")
		}, nil, "driver package (was sha256:"},
		{"the other form", nil, func(o *Options) { o.ModuleType = "open" }, "module type (was proprietary, is open)"},
		{"fewer modules", nil, func(o *Options) { o.Exclude = []string{"nvidia-drm"} }, "excluded modules (was nothing, is "},
		{"debugging information", nil, func(o *Options) { o.Debug = true }, "debugging information (was nothing, is kept)"},
		{"another source", func(t *testing.T, f *fixture) { f.write(t, "source/Kconfig", "# one\n") }, nil, "source (was "},
		{"a ref of the source", nil, func(o *Options) { o.Source.Ref = "v6.1.192-coreos" }, "source ref (was nothing, is v6.1.192-coreos)"},
		{"the default repository, by name", nil, func(o *Options) { o.Source.Repository = "coreos/linux" }, ""},
		{"another config", func(t *testing.T, f *fixture) { f.write(t, "host/proc/config.gz", testConfig+"CONFIG_KSM=y\n") }, nil, "kernel config (was sha256:"},
		{"another export", func(t *testing.T, f *fixture) {
			f.write(t, "host/proc/kallsyms", kallsyms("_printk", "device_del"))
		}, nil, "device_add was exported, and is not; device_del was not exported, and is"},
		{"another class of export", func(t *testing.T, f *fixture) {
			f.write(t, "host/proc/kallsyms", kallsyms("device_add", "_printk"))
		}, nil, "_printk was for every module, and is for GPL-compatible modules only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.mustBuild(t)
			if c.change != nil {
				c.change(t, f)
			}
			option := c.option
			if option == nil {
				option = func(*Options) {}
			}
			o := f.build(t, option)
			if c.differs == "" {
				if o.err != nil || !o.Reused || o.compiled() {
					t.Errorf("%v, reused: %v, compiled: %v\n%s", o.err, o.Reused, o.compiled(), o.log)
				}
				return
			}
			if o.Reused || !strings.Contains(o.log, c.differs) {
				t.Errorf("%v, reused: %v; the log does not name %q:\n%s", o.err, o.Reused, c.differs, o.log)
			}
		})
	}
}

// digest is that of the fixture's driver package.
func (f *fixture) digest(t *testing.T) string {
	t.Helper()
	f.mustBuild(t)
	return strings.TrimPrefix(f.manifest(t).Driver.Digest, "sha256:")
}

func (f *fixture) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(f.host, name)); err != nil {
		t.Fatal(err)
	}
}

// TestForm: the form that is asked for is the one that was built, not the one that
// was preferred.
func TestForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Allow = []string{breaks.Check} // of the open modules
	text, err := os.ReadFile(filepath.Join(f.driver(), ".manifest"))
	if err != nil {
		t.Fatal(err)
	}
	only := strings.Replace(string(text), "kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n", "", 1)
	f.write(t, "share/cuda/NVIDIA-Linux-x86_64-"+testDriver+"/.manifest", only)
	if err := os.RemoveAll(filepath.Join(f.driver(), "kernel")); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t); o.ModuleType != "open" {
		t.Fatalf("built %s", o.ModuleType)
	}
	if o := f.mustBuild(t); !o.Reused {
		t.Errorf("built again:\n%s", o.log)
	}
	if o := f.mustBuild(t, func(o *Options) { o.ModuleType = "open" }); !o.Reused {
		t.Errorf("what was built is asked for, and built again:\n%s", o.log)
	}
	if o := f.build(t, func(o *Options) { o.ModuleType = "proprietary" }); stage.ExitCode(o.err) != 11 {
		t.Errorf("what the package has not is asked for: %v, reused: %v", o.err, o.Reused)
	}
}

// TestReuseWithKeys: which keys a kernel is seen to hold makes no other modules.
func TestReuseWithKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(t, "host/proc/config.gz", testConfig+"CONFIG_MODULE_SIG=y\n")
	f.mustBuild(t)
	f.write(t, "host/proc/keys", `02be5da6 I------     1 perm 1f030000     0     0 asymmetri mine: 27599812c5aeb519ccc0af3a284876029627c485: X509.rsa 9627c485 []
0b0e9d3f I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 1
`)
	if o := f.mustBuild(t); !o.Reused {
		t.Errorf("built again:\n%s", o.log)
	}
}

// TestReuseOfWhatWasBuiltAhead has a node run the kernel whose image is all that
// the build saw.
func TestReuseOfWhatWasBuiltAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image func(*imagetest.Kernel)
		node  func(*testing.T, *fixture)
		want  string
	}{
		"the same": {nil, nil, ""},
		"the same build": {nil, func(t *testing.T, f *fixture) {
			f.write(t, "host/sys/kernel/notes", string(imagetest.Notes("\x0a\x0b")))
		}, ""},
		"another build": {nil, func(t *testing.T, f *fixture) {
			f.write(t, "host/sys/kernel/notes", string(imagetest.Notes("\x0a\x0c")))
		}, "kernel build (was 0a0b, is 0a0c)"},
		"with another option": {func(k *imagetest.Kernel) { k.Config += "CONFIG_KSM=y\n" }, nil, "kernel config (was sha256:"},
		"with another export": {func(k *imagetest.Kernel) { k.Exports = append(k.Exports, image.Symbol{Name: "zap_vma_ptes"}) }, nil,
			"zap_vma_ptes was exported, and is not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			path := f.write(t, "share/vmlinuz", string(kernelImage(t, c.image)))
			ahead := f.mustBuild(t, func(o *Options) {
				o.Host = Host{Root: t.TempDir(), Image: path}
			})
			if ahead.Reused {
				t.Fatal("there is nothing yet to be reused")
			}
			if c.node != nil {
				c.node(t, f)
			}
			o := f.mustBuild(t)
			if o.Reused != (c.want == "") || !strings.Contains(o.log, c.want) {
				t.Errorf("reused: %v; the log does not name %q:\n%s", o.Reused, c.want, o.log)
			}
		})
	}
}

// TestGateRunsNow: what was published for a kernel does not serve once the gate
// finds that it is another than this kernel's own modules, though the kernel is the same.
func TestGateRunsNow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hostModule(t, "SMP")
	f.mustBuild(t)
	f.hostModule(t, "SMX")
	o := f.build(t)
	if stage.ExitCode(o.err) != 15 || !o.compiled() || !strings.Contains(o.log, "would not do for this kernel any more") {
		t.Errorf("%v, compiled: %v\n%s", o.err, o.compiled(), o.log)
	}
}

// TestResultOfAnotherFormat is built again, and not called damaged.
func TestResultOfAnotherFormat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.mustBuild(t)
	if err := os.WriteFile(o.Manifest, []byte(`{"schema": 1, "inputs": "sha256:00", "modules": []}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t); o.Reused || !strings.Contains(o.log, "another builder's format") || strings.Contains(o.log, "damaged") {
		t.Errorf("reused: %v\n%s", o.Reused, o.log)
	}
}

// TestDamagedResult is built again.
func TestDamagedResult(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.mustBuild(t)
	path := filepath.Join(filepath.Dir(o.Manifest), "nvidia.ko")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := f.mustBuild(t); o.Reused || !strings.Contains(o.log, "an earlier result is damaged") {
		t.Errorf("reused: %v\n%s", o.Reused, o.log)
	}
}

// TestReuseSweeps: what a run that died left beside the results that serve is gone
// after the next one, which publishes nothing; a dry run leaves it.
func TestReuseSweeps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	before := f.published(t)
	for _, name := range []string{"modules/" + testRelease + "/." + testDriver, "driver/." + testDriver} {
		f.write(t, "share/"+name+"-00000000000a/manifest.json", "{}")
		f.write(t, "share/"+name+"-00000000000a.1/manifest.json", "{}")
		if err := os.Symlink("x", filepath.Join(f.share, name+".tmp-abc")); err != nil {
			t.Fatal(err)
		}
	}
	left := f.published(t)
	if _, err := Plan(t.Context(), f.options); err != nil || f.published(t) != left {
		t.Errorf("a dry run changed what is there: %v", err)
	}
	if o := f.mustBuild(t); !o.Reused || f.published(t) != before {
		t.Errorf("reused: %v; what is left is\n%s", o.Reused, f.published(t))
	}
}

// TestMoreToKnow: what an earlier build did not find out is looked for once, and not on
// every run.
func TestMoreToKnow(t *testing.T) {
	t.Parallel()
	versions, err := kernel.ParseConfig([]byte("CONFIG_MODVERSIONS=y\n"))
	if err != nil {
		t.Fatal(err)
	}
	found := func(string) (string, error) { return "/usr/bin/pahole", nil }
	missing := func(string) (string, error) { return "", command.ErrNotFound }
	crcs := func(detail string) []modules.Check {
		return []modules.Check{{Name: modules.SourceCRCsCheck, Verdict: modules.NotCheckable, Detail: detail}}
	}
	layout := []modules.Check{{Name: modules.LayoutCheck, Verdict: modules.NotCheckable, Detail: probe.NoPahole}}
	for name, tt := range map[string]struct {
		asked    bool
		config   kernel.Config
		lookPath func(string) (string, error)
		checks   []modules.Check
		more     bool
	}{
		"not asked for":                 {false, versions, found, crcs(modules.SourceCRCsNotAsked), false},
		"asked for now":                 {true, versions, found, crcs(modules.SourceCRCsNotAsked), true},
		"asked for now, of older":       {true, versions, found, nil, true},
		"asked for before, and not had": {true, versions, found, crcs("the host's tree has headers"), false},
		"of a kernel without versions":  {true, kernel.Config{}, found, nil, false},
		"without pahole then and now":   {false, versions, missing, layout, false},
		"without pahole then":           {false, versions, found, layout, true},
	} {
		p := project{site: site{Options: Options{SourceCRCs: tt.asked, LookPath: tt.lookPath}}, setting: setting{target: kernel.Target{Config: tt.config}}}
		if why := p.moreToKnow(modules.Manifest{Checks: tt.checks}); (why != "") != tt.more {
			t.Errorf("%s: %q", name, why)
		}
	}
}
