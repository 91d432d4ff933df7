package job

import (
	"errors"
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
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

func open(o *Options) { o.ModuleType = cuda.Open }

func allowBreak(o *Options) { o.Allow = []string{breaks.Check} }

// wantKnownBreak wants the failure of a pair that is known not to compile.
func wantKnownBreak(t *testing.T, err error, says ...string) {
	t.Helper()
	var failure *stage.Error
	if !errors.As(err, &failure) || failure.Kind != breaks.Check || stage.ExitCode(err) != 11 {
		t.Fatalf("%v, want one of the driver stage and of the kind %s", err, breaks.Check)
	}
	for _, part := range says {
		if !strings.Contains(failure.Error(), part) {
			t.Errorf("it does not say %q: %v", part, failure)
		}
	}
}

// TestKnownBreak: the fixture's driver, in its open form, does not build for its
// kernel, 6.1.192.
func TestKnownBreak(t *testing.T) {
	t.Parallel()
	says := []string{
		"the open modules of driver 535.261.03 are known not to compile against kernel 6.1.192-coreos-r1: nvidia/nv-pci.c calls pci_resize_resource() without its argument exclude_bars (Linux 6.1 from 6.1.178 on",
		"take driver 535.309.01, with --driver-version 535.309.01, or patch it with --driver-patches, or try all the same with --allow known-break",
	}
	f := newFixture(t)
	o := f.build(t, open)
	wantKnownBreak(t, o.err, says[0])
	if o.compiled() || strings.Contains(o.log, "driver unpacked") {
		t.Errorf("it went on:\n%s", o.log)
	}
	if !strings.Contains(strings.ToLower(o.err.Error()), says[1]) {
		t.Errorf("the hint is another: %v", o.err)
	}
	f.options.ModuleType = cuda.Open
	_, err := Plan(t.Context(), f.options)
	wantKnownBreak(t, err, says[0])

	if o := f.mustBuild(t, allowBreak); !o.compiled() || !strings.Contains(o.log, "trying all the same") {
		t.Errorf("%s", o.log)
	}
	m := f.manifest(t)
	var found []modules.Check
	for _, c := range m.Checks {
		if c.Name == breaks.Check {
			found = append(found, c)
		}
	}
	if len(found) != 1 || found[0].Verdict != modules.Failed || !strings.Contains(found[0].Detail, "pci_resize_resource") || strings.Join(m.Overridden, " ") != breaks.Check {
		t.Errorf("%+v, overridden %q", found, m.Overridden)
	}

	// What was built is proof enough, whatever the table knows.
	if o := f.mustBuild(t); !o.Reused {
		t.Errorf("built again:\n%s", o.log)
	}
	wantKnownBreak(t, f.build(t, rebuild).err)
}

// TestNoKnownBreak: the form that is built by default is not on record as anything.
func TestNoKnownBreak(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustBuild(t)
	for _, c := range f.manifest(t).Checks {
		if c.Name == breaks.Check {
			t.Errorf("nothing is known, and there is %+v", c)
		}
	}
}

// TestKnownBreakComesBeforeAnyDownload, and before the question who vouches for it.
func TestKnownBreakComesBeforeAnyDownload(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no such driver", http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	f := newFixture(t)
	f.options.DriverVersion, f.options.DriverBaseURL, f.options.Pause = "570.86.10", server.URL, time.Nanosecond
	wantKnownBreak(t, f.build(t).err, "the open modules of driver 570.86.10", "Take driver 580.126.09, with --driver-version 580.126.09, or build its proprietary modules with --module-type proprietary, or patch it")
	f.options.DriverSHA256 = strings.Repeat("0a", 32)
	wantKnownBreak(t, f.build(t).err)
	if asked.Load() > 0 {
		t.Errorf("the server was asked %d times", asked.Load())
	}
	f.options.ModuleType = cuda.Proprietary
	if o := f.build(t); stage.ExitCode(o.err) != 11 || asked.Load() == 0 || !strings.Contains(o.err.Error(), "404") {
		t.Errorf("%v, and the server was asked %d times", o.err, asked.Load())
	}
}

// TestNearestIsPublished: a driver that a hint names can be had, with a digest that is
// known. The table has 595.44.02 as the first of its branch, of which there is no package.
func TestNearestIsPublished(t *testing.T) {
	t.Parallel()
	for _, arch := range []kernel.Arch{kernel.X86_64, kernel.AArch64} {
		for _, c := range []struct{ kernel, driver, want string }{
			{"6.19.2", "590.48.01", "595.45.04"}, {"6.12.102", "590.44.01", "590.48.01"}, {"7.0.1", "590.48.01", "595.58.03"}, {"7.2.0", "590.48.01", "610.57.04"},
		} {
			got := nearest(setting{target: kernel.Target{Arch: arch}}, breaks.Pair{Kernel: breaks.Version(c.kernel), Driver: c.driver, Form: cuda.Open})
			if got != c.want || cuda.KnownDigest(arch, got) == "" {
				t.Errorf("%s, %s on %s: take driver %s, want %s", arch, c.driver, c.kernel, got, c.want)
			}
		}
	}
}

// TestKnownBreakOfTheFormThatThePackageHas is found once the package is unpacked, and
// the other form is no way out.
func TestKnownBreakOfTheFormThatThePackageHas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	manifest := filepath.Join(f.driver(), ".manifest")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	only := strings.Replace(string(text), "kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n", "", 1)
	if err := errors.Join(os.WriteFile(manifest, []byte(only), 0o644), os.RemoveAll(filepath.Join(f.driver(), "kernel"))); err != nil {
		t.Fatal(err)
	}
	o := f.build(t)
	wantKnownBreak(t, o.err, "the open modules of driver")
	if o.compiled() || strings.Contains(o.err.Error(), "--module-type") {
		t.Errorf("%v\n%s", o.err, o.log)
	}
}
