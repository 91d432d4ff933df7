package cuda

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestGPUs(t *testing.T) {
	t.Parallel()
	vga := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x2182, Class: 0x030000}
	audio := kernel.PCIDevice{Address: "0000:01:00.1", Vendor: 0x10de, Device: 0x1aeb, Class: 0x040300}
	other := kernel.PCIDevice{Address: "0000:02:00.0", Vendor: 0x1002, Device: 0x2182, Class: 0x030000}
	compute := kernel.PCIDevice{Address: "0000:03:00.0", Vendor: 0x10de, Device: 0x2330, Class: 0x030200}
	bridge := kernel.PCIDevice{Address: "0000:04:00.0", Vendor: 0x10de, Device: 0x22a3, Class: 0x068000}
	if diff := cmp.Diff([]kernel.PCIDevice{vga, compute}, GPUs([]kernel.PCIDevice{vga, audio, other, compute, bridge})); diff != "" {
		t.Errorf("GPUs (-want +got):\n%s", diff)
	}
	if got := GPUs([]kernel.PCIDevice{audio, other, bridge}); got != nil {
		t.Errorf("of none %v", got)
	}
}

// A family has the identifiers from its first to the one before the next's.
func TestFamilyOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, last uint16
		want        string
	}{
		{0x0000, 0x12ff, "Kepler or earlier"},
		{0x1300, 0x1dff, "Maxwell, Pascal or Volta"},
		{0x1e00, 0x207f, "Turing"},
		{0x2080, 0x217f, "Ampere"},
		{0x2180, 0x21ff, "Turing"},
		{0x2200, 0x22ff, "Ampere"},
		{0x2300, 0x233f, "Hopper"},
		{0x2340, 0x237f, "Grace Hopper"},
		{0x2380, 0x23ff, "Hopper"},
		{0x2400, 0x25ff, "Ampere"},
		{0x2600, 0x28ff, "Ada Lovelace"},
		{0x2900, 0xffff, "Blackwell or later"},
	} {
		for _, id := range []uint16{tt.first, tt.last} {
			if got := familyOf(id).name; got != tt.want {
				t.Errorf("%04x is %s, want %s", id, got, tt.want)
			}
		}
	}
}

func TestPrefer(t *testing.T) {
	t.Parallel()
	const p100, t4, a100, gtx1650, h100, gh200, l40, b200, rtx5090 = 0x15f8, 0x1eb8, 0x20b0, 0x2182, 0x2330, 0x2342, 0x26b5, 0x2901, 0x2b85
	tests := []struct {
		name, asked, version string
		gpus                 []uint16
		want                 string
		required             bool
		why                  string
	}{
		{"nothing seen, an old driver", "", "535.261.03", nil, Proprietary, false, "before 560"},
		{"nothing seen, a new driver", "auto", "560.28.03", nil, Open, false, "since 560"},
		{"before Turing", "auto", "570.86.10", []uint16{p100}, Proprietary, true, "10de:15f8 (Maxwell, Pascal or Volta)"},
		{"Turing and Ampere leave the choice", "", "550.78", []uint16{t4, a100, gtx1650}, Proprietary, false, "before 560"},
		{"Hopper and Ada too", "", "570.86.10", []uint16{h100, l40}, Open, false, "since 560"},
		{"the last of a line before", "", "559.99.99", []uint16{t4}, Proprietary, false, "before 560"},
		{"Grace Hopper", "", "535.161.08", []uint16{gh200}, Open, true, "10de:2342 (Grace Hopper)"},
		{"Blackwell", "", "570.86.10", []uint16{b200, rtx5090}, Open, true, "10de:2901 (Blackwell or later)"},
		{"one of several decides", "", "580.65.06", []uint16{l40, p100}, Proprietary, true, "10de:15f8"},
		{"the user decides", "proprietary", "580.65.06", []uint16{b200}, Proprietary, true, "--module-type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Prefer(tt.asked, Package{Version: tt.version}, devices(tt.gpus))
			if err != nil {
				t.Fatal(err)
			}
			if got.Type != tt.want || got.Required != tt.required || !strings.Contains(got.Why, tt.why) {
				t.Errorf("got %+v, want %s, required %v, because %q", got, tt.want, tt.required, tt.why)
			}
		})
	}
	_, err := Prefer("auto", Package{Version: "580.65.06"}, devices([]uint16{p100, b200}))
	if stage.ExitCode(err) != 11 || !strings.Contains(err.Error(), "10de:15f8") || !strings.Contains(err.Error(), "10de:2901") {
		t.Errorf("GPUs that no one form serves: %v", err)
	}
}

func devices(ids []uint16) []kernel.PCIDevice {
	var gpus []kernel.PCIDevice
	for _, id := range ids {
		gpus = append(gpus, kernel.PCIDevice{Address: "0000:65:00.0", Vendor: 0x10de, Device: id, Class: 0x030200})
	}
	return gpus
}

func TestPreferForGuests(t *testing.T) {
	t.Parallel()
	const a10, b200 = 0x2236, 0x2901
	for _, tt := range []struct {
		variant, version string
		gpus             []uint16
		want             string
	}{
		{"", "570.133.20", []uint16{a10}, Open},
		{"grid", "570.133.20", []uint16{a10}, Proprietary},
		{"grid-azure", "580.105.08", []uint16{a10}, Proprietary},
		{"grid", "580.105.08", []uint16{b200}, Open},
		{"grid", "580.105.08", nil, Open},
		{"grid", "535.261.03", nil, Proprietary},
	} {
		got, err := Prefer("auto", Package{Version: tt.version, Variant: tt.variant}, devices(tt.gpus))
		if err != nil || got.Type != tt.want {
			t.Errorf("%s %q, %x: %+v, %v, want %s", tt.version, tt.variant, tt.gpus, got, err, tt.want)
		}
	}
}

func TestPreferenceResolve(t *testing.T) {
	t.Parallel()
	source := func(folders ...string) Driver {
		d := Driver{Version: "535.261.03"}
		for _, folder := range folders {
			d.Manifest.Files = append(d.Manifest.Files, File{Path: folder + "/nvidia/nv.c", Type: "KERNEL_MODULE_SRC"})
		}
		return d
	}
	both, proprietary, open := source("kernel", "kernel-open"), source("kernel"), source("kernel-open")
	tests := []struct {
		name   string
		wish   Preference
		driver Driver
		want   string // empty: an error
	}{
		{"what is preferred", Preference{Type: Open}, both, Open},
		{"what there is", Preference{Type: Open}, proprietary, Proprietary},
		{"what there is, the other way", Preference{Type: Proprietary}, open, Open},
		{"what is required and there", Preference{Type: Open, Required: true}, both, Open},
		{"what is required and not there", Preference{Type: Open, Required: true, Why: "a GPU runs with no other"}, proprietary, ""},
		{"nothing", Preference{Type: Open}, source(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.wish.Resolve(tt.driver)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if err != nil && (stage.ExitCode(err) != 11 || !strings.Contains(err.Error(), tt.wish.Why)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	kepler := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x102d}
	volta := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x1db4}
	ampere := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x20b0}
	ada := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x27b8}
	graceHopper := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x2342}
	hopper := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x2330}
	blackwell := kernel.PCIDevice{Address: "0000:01:00.0", Vendor: 0x10de, Device: 0x2901}
	for _, tt := range []struct {
		gpu           kernel.PCIDevice
		form, version string
		want          string // part of why not
	}{
		{hopper, Proprietary, "535.261.03", ""},
		{hopper, Open, "595.45.04", ""},
		{graceHopper, Proprietary, "560.35.03", "Grace Hopper, which runs with the open modules only"},
		{graceHopper, Open, "560.35.03", ""},
		{volta, Proprietary, "580.159.04", ""},
		{volta, Proprietary, "580.999.99", ""},
		{volta, Proprietary, "581", "the 580 line of drivers was the last"},
		{volta, Proprietary, "590.10", "the 580 line of drivers was the last"},
		{volta, Open, "535.261.03", "runs with the proprietary modules only"},
		{blackwell, Proprietary, "575.1", "runs with the open modules only"},
		{blackwell, Open, "575.1", ""},
		{ada, Proprietary, "510.47.03", "Ada Lovelace, for which the 520 line of drivers was the first"},
		{hopper, Proprietary, "470.256.02", "Hopper, for which the 520 line of drivers was the first"},
		{blackwell, Open, "550.163.01", "the 570 line of drivers was the first"},
		{blackwell, Open, "570.86.15", ""},
		{ampere, Proprietary, "450.51.05", ""},
		{ampere, Proprietary, "440.118.02", "the 450 line of drivers was the first"},
		{kepler, Proprietary, "470.256.02", ""},
		{kepler, Proprietary, "510.47.03", "the 470 line of drivers was the last"},
	} {
		got := Serves(tt.form, tt.version, tt.gpu)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s %s on %04x: %q, want %q", tt.form, tt.version, tt.gpu.Device, got, tt.want)
		}
	}
	if HasGSP(volta) || !HasGSP(hopper) {
		t.Error("a GSP is in all since Turing, and in none before")
	}
}

func TestUnserved(t *testing.T) {
	t.Parallel()
	const k80, v100, l4 = 0x102d, 0x1db1, 0x27b8
	for _, tt := range []struct {
		form, version string
		gpus          []uint16
		refused       bool
	}{
		{Proprietary, "510.47.03", []uint16{l4}, true},
		{Proprietary, "590.48.01", []uint16{v100}, true},
		{Proprietary, "510.47.03", []uint16{l4, l4, k80}, true},
		{Proprietary, "550.163.01", []uint16{k80, l4}, false}, // one of them does
		{Proprietary, "510.47.03", nil, false},
		{Proprietary, "550.163.01", []uint16{l4}, false},
	} {
		err := Unserved(tt.form, tt.version, devices(tt.gpus))
		if (err != nil) != tt.refused {
			t.Errorf("%s %s on %x: %v", tt.form, tt.version, tt.gpus, err)
		}
		var failure *stage.Error
		if tt.refused && (!errors.As(err, &failure) || failure.Stage != stage.Driver || failure.Kind != UnservedCheck || !strings.Contains(failure.Reason, tt.version)) {
			t.Errorf("%s %s on %x: %v", tt.form, tt.version, tt.gpus, err)
		}
	}
}
