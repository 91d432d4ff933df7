package modules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
)

// FuzzVermagic puts a module of any version magic before a kernel of any release
// and config: it passes if it is what that kernel compares it with, to the
// letter, and only then.
func FuzzVermagic(f *testing.F) {
	configs, err := filepath.Glob("../kernel/testdata/rootfs-*/boot/config-*")
	if err != nil || len(configs) == 0 {
		f.Fatal(configs, err)
	}
	for _, name := range configs {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("6.1.0-56-amd64", text, "6.1.0-56-amd64 SMP preempt mod_unload modversions ", false)
		f.Add("6.1.0-56-amd64", text, "6.1.0-49-amd64 SMP preempt mod_unload modversions ", true)
	}
	f.Add("6.12.103-flatcar", []byte("CONFIG_SMP=y\nCONFIG_PREEMPT_RT=y\n"), "6.12.103-flatcar SMP preempt_rt ", false)
	f.Add("5.10.1", []byte("CONFIG_GCC_PLUGIN_RANDSTRUCT=y\n"), "5.10.1 RANDSTRUCT_PLUGIN_0123", false)
	f.Fuzz(func(t *testing.T, release string, text []byte, magic string, versions bool) {
		r, err := kernel.ParseRelease(release)
		if err != nil {
			return
		}
		config, err := kernel.ParseConfig(text)
		if err != nil {
			return
		}
		target := kernel.Target{Release: r, Arch: kernel.X86_64, Config: config}
		want, whole := Vermagic(target)
		if !strings.HasPrefix(want, release+" ") || whole == strings.Contains(want[len(release):], "RANDSTRUCT") {
			t.Errorf("%q, whole: %v", want, whole)
		}
		m := Module{Name: "m", File: "m.ko", Vermagic: magic}
		m.ELF.InfoSections = 1
		m.ELF.HasVersions = versions
		verdict := checkVermagic(newGate([]Module{m}, target, Expect{}))[0].Verdict
		same := magic == want
		if config.Bool("MODVERSIONS") && versions {
			_, a, _ := strings.Cut(magic, " ")
			_, b, _ := strings.Cut(want, " ")
			same = strings.Contains(magic, " ") && a == b
		}
		switch {
		case magic == "":
			same = config.Bool("MODULE_FORCE_LOAD")
		case !whole:
			same = false
		}
		if (verdict == Passed) != same {
			t.Errorf("%q before a kernel of %q (whole: %v): %v", magic, want, whole, verdict)
		}
	})
}
