package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFeatures has Node Feature Discovery know of the driver, of what stands in its way,
// and no more of it once it is gone.
func TestFeatures(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir := filepath.Join(m.own, featureDir)
	write(t, filepath.Join(dir, "others"), "theirs=1\n")
	m.mount(t, dir, "tmpfs")
	file := filepath.Join(dir, featureFile)
	features := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		if want == "" && os.IsNotExist(err) {
			return
		}
		if err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if _, err := Load(m.context(t), m.options(func(o *LoadOptions) { o.DriverVersion = "1.2.3" })); err == nil {
		t.Fatal("there is no such driver")
	}
	release := m.options(nil).Kernel.Release()
	features("cuda-driver.state=no-version\ncuda-driver.release=" + release + "\n")
	left := filepath.Join(dir, "."+featureFile+".tmp-1") // by a run that was killed
	write(t, left, "half")
	m.load(t, nil)
	features("cuda-driver.state=ready\ncuda-driver.version=" + testDriver + "\ncuda-driver.release=" + release + "\ncuda-driver.form=proprietary\n")
	if _, err := os.Stat(left); err == nil {
		t.Error("what a run left is there")
	}
	// Where somebody stays the labels end with that.
	m.load(t, func(o *LoadOptions) { o.Stay = true })
	for range 2 {
		text, err := os.ReadFile(file)
		first, rest, _ := strings.Cut(string(text), "\n")
		until, parseErr := time.Parse(time.RFC3339, strings.TrimPrefix(first, "# +expiry-time="))
		if err != nil || parseErr != nil || time.Until(until) < featuresCount/2 || time.Until(until) > 2*featuresCount || !strings.HasPrefix(rest, "cuda-driver.state=ready\n") || strings.Contains(rest, "expiry") {
			t.Errorf("%q, %v, %v", text, err, parseErr)
		}
		if err := renew(file); err != nil {
			t.Fatal(err)
		}
	}
	m.unload(t)
	features("")
	if err := renew(file); err != nil {
		t.Error(err)
	}
	features("")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}

	without := newMachine(t)
	without.load(t, nil)
	if _, err := os.Stat(filepath.Join(without.own, featureDir)); err == nil {
		t.Error("a folder is made that nobody looks into")
	}
}

func TestLabelValue(t *testing.T) {
	for text, want := range map[string]string{"6.12.102+flatcar": "6.12.102_flatcar", "-x-": "x", strings.Repeat("a", 70): strings.Repeat("a", 63), "": "", "+": ""} {
		if got := labelValue(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
