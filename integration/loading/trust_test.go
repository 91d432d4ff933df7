//go:build integration

package loading

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/node"
)

// keys are those of pkg/modules/signature's tests.
const keys = "../../pkg/modules/signature/testdata/"

// signed publishes stand-ins in a share of their own, changes them, and returns their
// folder, signed with a key.
func (b *bench) signed(t *testing.T, key string, change func(dir string, m *modules.Manifest)) string {
	t.Helper()
	target, err := kernel.Detect(t.Context(), nil, kernel.DetectOptions{Image: b.host.Image()})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := publish(t.Context(), filepath.Join(t.TempDir(), "share"), older, filepath.Join(needStandins(t), older), target)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, modules.ManifestFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.LoadDetached(signature.Options{Key: keys + key + ".key", Certificate: keys + key + ".pem"})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.SignDetached(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".p7s", sig, 0o644); err != nil {
		t.Fatal(err)
	}
	if change == nil {
		return dir
	}
	m, err := modules.ParseManifest(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	change(dir, &m)
	if text, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTrust has a kernel be given what somebody trusted has signed, and nothing of a
// share whose owner has replaced a module and the manifest that has its digest: which
// the kernel would take.
func TestTrust(t *testing.T) {
	b := needBench(t)
	machine := b.with(t, map[string]string{"/verified/README": "root's\n", "/run/README": "where the record is\n"})
	machine.Files["/trust/ours.pem"] = keys + "rsa.pem"
	replaced := func(dir string, m *modules.Manifest) {
		// One that this kernel takes: of a byte more, which stands for any.
		text, err := os.ReadFile(filepath.Join(dir, "nvidia.ko"))
		text = append(text, 0)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "nvidia.ko"), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		i := slices.IndexFunc(m.Modules, func(e modules.Entry) bool { return e.Name == "nvidia" })
		m.Modules[i].Size, m.Modules[i].SHA256 = int64(len(text)), hex.EncodeToString(sum[:])
	}
	for share, dir := range map[string]string{
		"/signed": b.signed(t, "rsa", nil), "/theirs": b.signed(t, "noskid", nil), "/tampered": b.signed(t, "rsa", replaced),
	} {
		if err := machine.Folder(share+"/modules/"+b.host.Release+"/"+older, dir); err != nil {
			t.Fatal(err)
		}
	}
	look := func(words string) plan.Step {
		return plan.Step{Run: builder(words), Read: []string{"/proc/modules", firmwarePath}}
	}
	const trusting = " --trust /trust --copy-to /verified"
	nothing := func(part string) func(*testing.T, plan.Result) {
		return func(t *testing.T, r plan.Result) {
			t.Helper()
			says(node.Untrusted.Name, part)(t, r)
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("loaded: %q", got)
			}
			if got := strings.TrimSpace(string(r.Read[firmwarePath])); got != own {
				t.Errorf("the search path for firmware is %q, want %q", got, own)
			}
		}
	}
	first := look("load --share /tampered" + trusting)
	first.Load, first.Write = card("0x2330"), []plan.Text{{Name: firmwarePath, Content: own}}
	b.boot(t, machine, []step{
		{"a replaced module", first, nothing("manifest.json.p7s: it is of something else")},
		{"another key", look("load --share /theirs" + trusting), nothing("it is by another key")},
		{"unsigned", look("load --driver-version " + older + trusting), nothing("there is no manifest.json.p7s beside it")},
		{"a replaced module, with nobody asked", look("load --share /tampered"), func(t *testing.T, r plan.Result) {
			if got := loadedModules(r); !slices.Contains(got, "nvidia") {
				t.Errorf("loaded: %q: this kernel does not take it, and the steps before prove nothing", got)
			}
		}},
		{"unload it", look("unload --share /tampered"), func(t *testing.T, r plan.Result) {
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("still loaded: %q", got)
			}
		}},
		{"signed", look("load --share /signed" + trusting), func(t *testing.T, r plan.Result) {
			got := loaded(t, r, node.Loaded, older)
			if diff := cmp.Diff([]string{"nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm"}, loadedModules(r)); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
			if path := strings.TrimSpace(string(r.Read[firmwarePath])); !strings.HasPrefix(path, "/verified/firmware-"+older+"-") || path != got.Firmware {
				t.Errorf("the search path for firmware is %q", path)
			}
			if strings.Contains(string(r.Ran.Stderr), "nobody vouches") {
				t.Errorf("%s", r.Ran.Stderr)
			}
		}},
		// The kernel looks for the GPU's firmware as soon as it is opened.
		{"open the GPU, the share's firmware replaced", plan.Step{
			Write: []plan.Text{{Name: "/signed/modules/" + b.host.Release + "/" + older + "/firmware/nvidia/" + older + "/gsp_tu10x.bin", Content: "evil\n"}},
			Open:  []string{"/dev/nvidia0"},
		}, func(t *testing.T, r plan.Result) {
			if len(r.Errors) > 0 {
				t.Errorf("%q", r.Errors)
			}
		}},
		{"unload", plan.Step{Close: true, Run: builder("unload --share /signed"), Read: []string{"/proc/modules", firmwarePath}}, func(t *testing.T, r plan.Result) {
			if got := loadedModules(r); len(got) > 0 {
				t.Errorf("still loaded: %q", got)
			}
			if got := strings.TrimSpace(string(r.Read[firmwarePath])); got != own {
				t.Errorf("the search path for firmware is %q, want %q", got, own)
			}
		}},
	})
}
