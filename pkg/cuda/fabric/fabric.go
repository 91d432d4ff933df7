// Package fabric knows the switches between the GPUs of HGX and DGX machines, and
// NVIDIA's fabric manager, a daemon without which CUDA does nothing there but fail with
// error 802 (cudaErrorSystemNotReady, "system not yet initialized").
//
// [Of] tells which kind of machine a host is, by its PCI bus. [Find] and [Fetch] have
// the fabric manager of a driver's very version, an archive of NVIDIA's
// redistributables, and [Unpack] what of it goes into a driver's root, whose
// [Program] it is.
//
// What a switch is, is from NVIDIA's open kernel modules (linux_nvswitch.c,
// nvswitch.c); of NVLink 5, whose switches are no devices of NVIDIA's, from the driver
// container of NVIDIA's GPU Operator (nvidia-driver, _assert_nvlink5_system), which looks
// for SW_MNG in the VPD of ConnectX-7 functions. Names and layout of the archives are
// those of https://developer.download.nvidia.com/compute/nvidia-driver/redist/.
package fabric

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Fabric is what a host has between its GPUs.
type Fabric struct {
	// Switches are NVSwitches that are devices of NVIDIA's: of HGX-2, and of HGX and DGX
	// with A100, H100 and H200.
	Switches []kernel.PCIDevice
	// Bridges are the functions by which the switches of NVLink 5 are managed (B200,
	// B300), which are no devices themselves.
	Bridges []kernel.PCIDevice
	// Rack are GPUs whose switches are in trays of their own, where the fabric manager
	// runs (GB200 NVL72 and its kin).
	Rack []kernel.PCIDevice
}

const (
	nvidia      = 0x10de
	mellanox    = 0x15b3
	bridgeOther = 0x068000
	display     = 0x03
)

// IsSwitch says whether a device is an NVSwitch. NVIDIA's module takes any bridge of
// NVIDIA's of this class and asks for its identifier then: nForce chipsets have such
// bridges, too. That of HGX-2 is in the proprietary modules alone.
func IsSwitch(d kernel.PCIDevice) bool {
	if d.Vendor != nvidia || d.Class != bridgeOther {
		return false
	}
	return d.Device == 0x1ac2 || d.Device == 0x1ae8 || d.Device&0xfff0 == 0x1af0 || d.Device&0xfff0 == 0x22a0
}

// rack are the identifiers of GPUs of racks: GB200 and GB300 (README of NVIDIA's open
// kernel modules, "Compatible GPUs").
var rack = map[uint16]bool{0x2941: true, 0x31c2: true}

// Of is what a host has, by its devices and, of those that may be bridges, their VPD,
// which a host that is nil does not show.
func Of(host *kernel.Root, devices []kernel.PCIDevice) Fabric {
	var f Fabric
	for _, d := range devices {
		switch {
		case IsSwitch(d):
			f.Switches = append(f.Switches, d)
		case d.Vendor == nvidia && d.Class>>16 == display && rack[d.Device]:
			f.Rack = append(f.Rack, d)
		case d.Vendor == mellanox && host != nil && managesSwitches(host, d):
			f.Bridges = append(f.Bridges, d)
		}
	}
	return f
}

// managesSwitches says whether a ConnectX function is that of a switch: its vital
// product data says so.
func managesSwitches(host *kernel.Root, d kernel.PCIDevice) bool {
	vpd, err := host.ReadFile("sys/bus/pci/devices/" + d.Address + "/vpd")
	return err == nil && bytes.Contains(vpd, []byte("SW_MNG"))
}

// Managed says whether a fabric manager has to run on the host itself.
func (f Fabric) Managed() bool { return len(f.Switches)+len(f.Bridges) > 0 }

// String says what there is: "4 NVSwitches (10de:22a3)"; "" where there is nothing.
func (f Fabric) String() string {
	var parts []string
	if n := len(f.Switches); n > 0 {
		parts = append(parts, fmt.Sprintf("%d NVSwitch%s (%04x:%04x)", n, plural(n, "es"), nvidia, f.Switches[0].Device))
	}
	if n := len(f.Bridges); n > 0 {
		parts = append(parts, fmt.Sprintf("NVLink 5 with %d function%s that manage%s its switches (SW_MNG at %s)", n, plural(n, "s"), plural(n-1, "s"), f.Bridges[0].Address))
	}
	if n := len(f.Rack); n > 0 {
		parts = append(parts, fmt.Sprintf("%d GPU%s of a rack (%04x:%04x)", n, plural(n, "s"), nvidia, f.Rack[0].Device))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, s string) string {
	if n == 1 {
		return ""
	}
	return s
}
