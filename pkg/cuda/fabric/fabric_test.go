package fabric

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/cuda/fabric/fabrictest"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

const version = "580.105.08"

func TestOf(t *testing.T) {
	t.Parallel()
	host, err := kernel.OpenRoot(testkit.WriteTree(t, map[string]string{
		"sys/bus/pci/devices/0000:05:00.0/vpd": "\x82\x1b\x00NVIDIA ConnectX-7\x90\x20\x00V3SW_MNG",
		"sys/bus/pci/devices/0000:06:00.0/vpd": "\x82\x1b\x00NVIDIA ConnectX-7\x90\x20\x00V3another",
	}))
	if err != nil {
		t.Fatal(err)
	}
	device := func(address string, vendor, id uint16, class uint32) kernel.PCIDevice {
		return kernel.PCIDevice{Address: address, Vendor: vendor, Device: id, Class: class}
	}
	for _, tt := range []struct {
		name    string
		devices []kernel.PCIDevice
		want    string
		managed bool
	}{
		{"a card", []kernel.PCIDevice{device("0000:01:00.0", 0x10de, 0x2330, 0x030200)}, "", false},
		{"an HGX H100", []kernel.PCIDevice{device("0000:01:00.0", 0x10de, 0x2330, 0x030200), device("0000:07:00.0", 0x10de, 0x22a3, 0x068000), device("0000:08:00.0", 0x10de, 0x22a3, 0x068000)}, "2 NVSwitches (10de:22a3)", true},
		{"an HGX A100's only one, passed through", []kernel.PCIDevice{device("0000:07:00.0", 0x10de, 0x1af1, 0x068000)}, "1 NVSwitch (10de:1af1)", true},
		{"nForce's bridge", []kernel.PCIDevice{device("0000:00:08.0", 0x10de, 0x0373, 0x068000)}, "", false},
		{"its sound of the same number", []kernel.PCIDevice{device("0000:01:00.1", 0x10de, 0x22a3, 0x040300)}, "", false},
		{"an HGX B200", []kernel.PCIDevice{device("0000:05:00.0", 0x15b3, 0x1021, 0x020700), device("0000:06:00.0", 0x15b3, 0x1021, 0x020700)},
			"NVLink 5 with 1 function that manages its switches (SW_MNG at 0000:05:00.0)", true},
		{"a GB200", []kernel.PCIDevice{device("0008:01:00.0", 0x10de, 0x2941, 0x030200), device("0009:01:00.0", 0x10de, 0x2941, 0x030200)}, "2 GPUs of a rack (10de:2941)", false},
	} {
		got := Of(host, tt.devices)
		if got.String() != tt.want || got.Managed() != tt.managed {
			t.Errorf("%s: %q %t, want %q %t", tt.name, got, got.Managed(), tt.want, tt.managed)
		}
	}
}

func TestFetchAndUnpack(t *testing.T) {
	t.Parallel()
	content := fabrictest.Archive(t, version, fabrictest.Whole)
	sum := sha256.Sum256(content)
	server := fabrictest.Serve(t, version, content, hex.EncodeToString(sum[:]))
	dir := t.TempDir()
	file, err := Fetch(t.Context(), kernel.X86_64, version, FetchOptions{Dir: dir, BaseURL: server.URL + "/redist"})
	if err != nil {
		t.Fatal(err)
	}
	if got := Find(kernel.X86_64, version, t.TempDir(), dir); got != file {
		t.Errorf("found %q, want %q", got, file)
	}
	files, err := Unpack(t.Context(), file, filepath.Join(dir, "unpacked"), kernel.X86_64, version)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		text, err := os.ReadFile(f.From)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %04o %s", f.Path, f.Mode, strings.TrimSpace(string(text))))
		if !Has(f.Path) {
			t.Errorf("%s passes for the driver's own", f.Path)
		}
	}
	want := []string{
		"usr/bin/nv-fabricmanager 0755 program", "usr/bin/nvidia-fabricmanager-start.sh 0755 script", "usr/bin/nvswitch-audit 0755 program", "usr/lib64/libnvfm.so.1 0644 library",
		"usr/share/nvidia/nvswitch/dgxh100_hgxh100_topology 0644 topology", "usr/share/nvidia/nvswitch/fabricmanager.cfg 0644 DAEMONIZE=1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	content := fabrictest.Archive(t, version, fabrictest.Whole)
	sum := sha256.Sum256(content)
	right := hex.EncodeToString(sum[:])
	for name, tt := range map[string]struct {
		digest  string
		arch    kernel.Arch
		version string
		says    string
	}{
		"another file":    {strings.Repeat("0", 64), kernel.X86_64, version, "cannot be downloaded"},
		"no digest":       {"", kernel.X86_64, version, "no index of NVIDIA's redistributables"},
		"another arch":    {right, kernel.AArch64, version, "it has none for linux-sbsa"},
		"another version": {right, kernel.X86_64, "1.2", "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fabrictest.Serve(t, version, content, tt.digest)
			dir := t.TempDir()
			_, err := Fetch(t.Context(), tt.arch, tt.version, FetchOptions{Dir: dir, BaseURL: server.URL + "/redist"})
			var failure *stage.Error
			if !errors.As(err, &failure) || failure.Stage != stage.Driver || !strings.Contains(err.Error(), tt.says) || failure.Hint == "" {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if got := Find(tt.arch, tt.version, dir); got != "" {
				t.Errorf("left %s", got)
			}
		})
	}
	// A proxy that reads what passes it (NVIDIA/gpu-operator#162).
	proxy := httptest.NewTLSServer(http.NotFoundHandler())
	defer proxy.Close()
	_, err := Fetch(t.Context(), kernel.X86_64, version, FetchOptions{Dir: t.TempDir(), BaseURL: proxy.URL, Pause: 1})
	var failure *stage.Error
	if !errors.As(err, &failure) || !strings.Contains(failure.Hint, "-e SSL_CERT_FILE=/ca.pem") {
		t.Errorf("%v", err)
	}
	if _, err := Fetch(t.Context(), kernel.X86_64, version, FetchOptions{BaseURL: "no place"}); stage.ExitCode(err) != 2 {
		t.Errorf("%v", err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	without := map[string]string{"bin/nvswitch-audit": "program", "etc/fabricmanager.cfg": ""}
	for name, content := range map[string][]byte{"no manager": fabrictest.Archive(t, version, without), "no archive": []byte("text"), "nothing": nil, "half": fabrictest.Archive(t, version, fabrictest.Whole)[:200]} {
		file := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Unpack(t.Context(), file, filepath.Join(t.TempDir(), "unpacked"), kernel.X86_64, version)
		if stage.ExitCode(err) != 11 {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(file, fabrictest.Archive(t, version, fabrictest.Whole), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(ctx, file, filepath.Join(t.TempDir(), "unpacked"), kernel.X86_64, version); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
