package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/cuda/fabric/fabrictest"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/stage"
)

// withSwitches gives the fixture's host the NVSwitches of an HGX H100.
func (f *fixture) withSwitches(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{"vendor": "0x10de", "device": "0x22a3", "class": "0x068000"} {
		f.write(t, "host/sys/bus/pci/devices/0000:07:00.0/"+name, value+"\n")
	}
}

// managers says whether a user-space side has the fabric manager, and by which archive.
func managers(t *testing.T, o outcome) (there bool, digest string) {
	t.Helper()
	text, err := os.ReadFile(o.UserSpace)
	if err != nil {
		t.Fatal(err)
	}
	var m userspace.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(filepath.Dir(o.UserSpace), fabric.Program))
	return err == nil, m.Fabric
}

// TestFabricManager lays it out where the host has NVSwitches, of the driver's very
// version, from NVIDIA's server or from the share.
func TestFabricManager(t *testing.T) {
	t.Parallel()
	content := fabrictest.Archive(t, testDriver, fabrictest.Whole)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	server := fabrictest.Serve(t, testDriver, content, digest)

	f := newFixture(t)
	f.options.RedistBaseURL = server.URL + "/redist"
	o := f.mustBuild(t)
	if there, of := managers(t, o); there || of != "" {
		t.Errorf("a host without switches has it: %s", of)
	}
	f.withSwitches(t)
	o = f.mustBuild(t)
	if there, of := managers(t, o); !there || of != "sha256:"+digest {
		t.Errorf("a host with switches: %t, of %q", there, of)
	}
	server.Close() // what is there serves
	if o = f.mustBuild(t); !o.Reused || strings.Contains(o.log, "laying it out again") {
		t.Errorf("again:\n%s", o.log)
	}
	f.options.FabricManager = FabricNever
	o = f.mustBuild(t)
	if there, _ := managers(t, o); !there {
		t.Error("it is taken away from the other hosts of the share")
	}
	// Another archive in the user's own folder is what the user wants.
	f.options.FabricManager = FabricAuto
	changed := map[string]string{"bin/nv-fabricmanager": "another", "etc/fabricmanager.cfg": "DAEMONIZE=1\n"}
	f.write(t, "share/cuda/"+fabrictest.Name(testDriver), string(fabrictest.Archive(t, testDriver, changed)))
	o = f.mustBuild(t)
	if there, of := managers(t, o); !there || of == "sha256:"+digest {
		t.Errorf("the user's own: %t, of %q", there, of)
	}
}

// TestFabricManagerThatCannotBeHad stops a build only where it was asked for.
func TestFabricManagerThatCannotBeHad(t *testing.T) {
	t.Parallel()
	server := fabrictest.Serve(t, testDriver, nil, strings.Repeat("0", 64))
	for _, tt := range []struct {
		when    string
		offline bool
		exit    int
		says    string
	}{
		{FabricAuto, false, 0, "CUDA fails there with error 802"},
		{FabricAuto, true, 0, "--offline forbids to download it"},
		{FabricAlways, false, 11, "cannot be downloaded"},
		{FabricAlways, true, 11, "--offline forbids to download it"},
		{FabricNever, false, 0, ""},
		{"sometimes", false, 2, "--fabric-manager is none of auto, always, never"},
	} {
		f := newFixture(t)
		f.withSwitches(t)
		f.options.RedistBaseURL, f.options.FabricManager, f.options.Offline, f.options.Pause = server.URL+"/redist", tt.when, tt.offline, 1
		o := f.build(t)
		log := o.log
		if o.err != nil {
			log += o.err.Error()
		}
		if got := stage.ExitCode(o.err); got != tt.exit || !strings.Contains(log, tt.says) {
			t.Errorf("%s, offline %t: exit code %d, want %d and %q\n%s", tt.when, tt.offline, got, tt.exit, tt.says, log)
		}
	}
}

// TestFabricManagerInARegistry: an artefact without it does not serve who wants it in any
// case, and is told of on a host that has NVSwitches.
func TestFabricManagerInARegistry(t *testing.T) {
	t.Parallel()
	switches := kernel.Target{PCI: []kernel.PCIDevice{{Vendor: 0x10de, Device: 0x22a3, Class: 0x068000}}}
	for _, tt := range []struct {
		name, when, has string
		target          kernel.Target
		fails           bool
		says            string
	}{
		{"a host without switches", FabricAuto, "", kernel.Target{}, false, ""},
		{"one with switches", FabricAuto, "", switches, false, "CUDA fails there with error 802"},
		{"a pull there, which has no such option", "", "", switches, false, "CUDA fails there with error 802"},
		{"what is wanted is there", FabricAlways, "sha256:1", switches, false, ""},
		{"it is not there", FabricAlways, "", kernel.Target{}, true, "is without NVIDIA's fabric manager"},
		{"nobody wants it", FabricNever, "", switches, false, ""},
	} {
		var log bytes.Buffer
		s := site{Options: Options{FabricManager: tt.when}}
		err := s.fabricServes(zerolog.New(&log).WithContext(t.Context()), registry.Artefact{Reference: "registry.example.com/cuda:1"}, tt.target, userspace.Manifest{Fabric: tt.has})
		said := log.String()
		if err != nil {
			said += err.Error()
		}
		if (err != nil) != tt.fails || (tt.says == "") != (said == "") || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %v\n%s", tt.name, err, said)
		}
	}
}

// TestFabricManagerOfACapture: a capture has the host's switches, so a build of it elsewhere
// lays the manager out as one on the host does.
func TestFabricManagerOfACapture(t *testing.T) {
	t.Parallel()
	content := fabrictest.Archive(t, testDriver, fabrictest.Whole)
	sum := sha256.Sum256(content)
	server := fabrictest.Serve(t, testDriver, content, hex.EncodeToString(sum[:]))
	f := newFixture(t)
	f.options.RedistBaseURL = server.URL + "/redist"
	f.withSwitches(t)
	capture := filepath.Join(t.TempDir(), "host.tar")
	if err := CaptureFile(t.Context(), f.host, capture); err != nil {
		t.Fatal(err)
	}
	if there, _ := managers(t, f.mustBuild(t, func(o *Options) { o.Host.Root = capture })); !there {
		t.Error("a build of the capture lays no fabric manager out")
	}
}
