package cuda

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

const (
	pciVendor    = 0x10de
	displayClass = 0x03 // base class: VGA, 3D and other display controllers
)

// IsGPU says whether a device is a graphics device of NVIDIA's.
func IsGPU(d kernel.PCIDevice) bool { return d.Vendor == pciVendor && d.Class>>16 == displayClass }

// GPUs are those of a host's devices that are graphics devices of NVIDIA's.
func GPUs(devices []kernel.PCIDevice) []kernel.PCIDevice {
	var list []kernel.PCIDevice
	for _, d := range devices {
		if IsGPU(d) {
			list = append(list, d)
		}
	}
	return list
}

// family is a range of NVIDIA's PCI device identifiers, and the forms of the
// kernel modules that run its GPUs.
type family struct {
	first uint16
	name  string
	types []string
}

// families begin where their identifiers do and end where the next one's do.
// From Turing on they are those of the table "Compatible GPUs" in the README
// of NVIDIA's open-gpu-kernel-modules (595.45.04), which lists none below
// 0x1e02; that Blackwell has no proprietary modules is in the chapter "Open
// Linux Kernel Modules" of the driver's own README, and so is Grace Hopper,
// whose identifiers nvidia-installer has (detect-self-hosted.h).
var families = []family{
	{0x0000, "Volta or earlier", []string{Proprietary}},
	{0x1e00, "Turing", []string{Proprietary, Open}},
	{0x2080, "Ampere", []string{Proprietary, Open}},
	{0x2180, "Turing", []string{Proprietary, Open}},
	{0x2200, "Ampere", []string{Proprietary, Open}},
	{0x2300, "Hopper", []string{Proprietary, Open}},
	{0x2340, "Grace Hopper", []string{Open}},
	{0x2380, "Hopper", []string{Proprietary, Open}},
	{0x2400, "Ampere", []string{Proprietary, Open}},
	{0x2600, "Ada Lovelace", []string{Proprietary, Open}},
	{0x2900, "Blackwell or later", []string{Open}},
}

// familyOf is the family of a GPU by its device identifier.
func familyOf(device uint16) family {
	i := len(families) - 1
	for families[i].first > device {
		i--
	}
	return families[i]
}

// openFirst is the first line of drivers whose installer prefers the open
// modules where both forms would do.
const openFirst = "560"

// lastBeforeTuring is the last line of drivers that runs GPUs before Turing
// (NVIDIA's announcement with the release of 580).
const lastBeforeTuring = "581"

// Serves says why modules of a form and of a driver version do not run a GPU;
// "" where they do, as far as its family tells.
func Serves(moduleType, version string, gpu kernel.PCIDevice) string {
	f := familyOf(gpu.Device)
	switch {
	case !slices.Contains(f.types, moduleType):
		return fmt.Sprintf("it is %s, which runs with the %s modules only, and these are the %s ones", f.name, strings.Join(f.types, " or "), moduleType)
	case slices.Equal(f.types, []string{Proprietary}) && CompareVersions(version, lastBeforeTuring) >= 0:
		return fmt.Sprintf("it is %s, for which the 580 line of drivers was the last, and these are of %s", f.name, version)
	}
	return ""
}

// HasGSP says whether a GPU has the processor that runs the driver's GSP
// firmware, as all have since Turing.
func HasGSP(gpu kernel.PCIDevice) bool { return slices.Contains(familyOf(gpu.Device).types, Open) }

// Preference is the form of a driver's modules to build for a host.
type Preference struct {
	// Type is [Proprietary] or [Open].
	Type string
	// Required says that the other form would not do.
	Required bool
	// Why says what decided, for people.
	Why string
}

// Prefer decides which form of a driver's modules to build: what the user
// asked for ("proprietary" or "open"; "auto" and nothing are no wish), else
// what the host's GPUs run with, where they are seen and leave no choice, else
// what NVIDIA's own installer of that version prefers. Of a package for vGPU
// guests that is the proprietary one where GPUs are seen that it runs: the parts
// of Turing's and Ampere's GPUs that guests get have no GSP of their own, which
// their identifiers do not tell. Its error, of the driver stage, is GPUs that no
// one form serves.
func Prefer(asked string, p Package, gpus []kernel.PCIDevice) (Preference, error) {
	if asked != "" && asked != "auto" {
		return Preference{asked, true, "--module-type asks for it"}, nil
	}
	types := []string{Proprietary, Open}
	var only kernel.PCIDevice
	for _, gpu := range gpus {
		f := familyOf(gpu.Device)
		left := slices.DeleteFunc(slices.Clone(types), func(t string) bool { return !slices.Contains(f.types, t) })
		if len(left) == 0 {
			return Preference{}, stage.New(stage.Driver,
				fmt.Sprintf("no one form of the kernel modules runs both %s and %s of this host", describe(only), describe(gpu)),
				"say which of them is to run with --module-type proprietary or open")
		}
		if len(left) < len(types) {
			only = gpu
		}
		types = left
	}
	switch {
	case len(types) == 1:
		return Preference{types[0], true, describe(only) + " runs with no other"}, nil
	case p.forGuests() && len(gpus) > 0:
		return Preference{Proprietary, false, "a vGPU of this host may run with no other"}, nil
	case CompareVersions(p.Version, openFirst) >= 0:
		return Preference{Open, false, "NVIDIA's own choice since " + openFirst}, nil
	}
	return Preference{Proprietary, false, "NVIDIA's own choice before " + openFirst}, nil
}

func describe(gpu kernel.PCIDevice) string {
	return fmt.Sprintf("the GPU 10de:%04x (%s) at %s", gpu.Device, familyOf(gpu.Device).name, gpu.Address)
}

// Resolve is the form to build of a package that may not have every form.
func (p Preference) Resolve(d Driver) (string, error) {
	types := d.ModuleTypes()
	switch {
	case slices.Contains(types, p.Type):
		return p.Type, nil
	case p.Required || len(types) == 0:
		return "", stage.New(stage.Driver,
			fmt.Sprintf("driver %s has no %s kernel modules, and %s", d.Version, p.Type, p.Why),
			"choose another driver version with --driver-version, or another --module-type")
	}
	return types[0], nil
}
