package cuda

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// UnservedCheck is the name of the check that a driver runs a GPU of the host that it
// is built for, as --allow takes it.
const UnservedCheck = "gpu"

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
	// since is the first line of drivers that runs any of them; empty where that is
	// older than all that builder builds.
	since string
	// last is the last line that runs them; empty where there is none yet.
	last string
}

// families begin where their identifiers do and end where the next one's do.
// From Turing on they are those of the table "Compatible GPUs" in the README
// of NVIDIA's open-gpu-kernel-modules (595.45.04), which lists none below
// 0x1e02; that Blackwell has no proprietary modules is in the chapter "Open
// Linux Kernel Modules" of the driver's own README, and so is Grace Hopper,
// whose identifiers nvidia-installer has (detect-self-hosted.h).
//
// Since is the first line whose table has one of a family (520.56.06 of Hopper,
// 535.146.02 of Grace Hopper, 570.86.15 of Blackwell; of Ada Lovelace 525.78.01, after
// the proprietary modules of 520.56.06 by their release notes), and of those before
// the first table what the release notes say: 410.57, 450.51.05 and 455.23.04. A GPU
// that came late in a line is not told from its family's first.
//
// Last is what NVIDIA announced with 580, and with 470 for Kepler, whose identifiers
// end before 0x1340, Maxwell's first.
var families = []family{
	{first: 0x0000, name: "Kepler or earlier", types: []string{Proprietary}, last: "470"},
	{first: 0x1300, name: "Maxwell, Pascal or Volta", types: []string{Proprietary}, last: "580"},
	{first: 0x1e00, name: "Turing", types: []string{Proprietary, Open}, since: "410"},
	{first: 0x2080, name: "Ampere", types: []string{Proprietary, Open}, since: "450"},
	{first: 0x2180, name: "Turing", types: []string{Proprietary, Open}, since: "410"},
	{first: 0x2200, name: "Ampere", types: []string{Proprietary, Open}, since: "455"},
	{first: 0x2300, name: "Hopper", types: []string{Proprietary, Open}, since: "520"},
	{first: 0x2340, name: "Grace Hopper", types: []string{Open}, since: "535"},
	{first: 0x2380, name: "Hopper", types: []string{Proprietary, Open}, since: "520"},
	{first: 0x2400, name: "Ampere", types: []string{Proprietary, Open}, since: "455"},
	{first: 0x2600, name: "Ada Lovelace", types: []string{Proprietary, Open}, since: "520"},
	{first: 0x2900, name: "Blackwell or later", types: []string{Open}, since: "570"},
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

// Serves says why modules of a form and of a driver version do not run a GPU;
// "" where they do, as far as its family tells.
func Serves(moduleType, version string, gpu kernel.PCIDevice) string {
	f := familyOf(gpu.Device)
	switch {
	case f.since != "" && CompareVersions(version, f.since) < 0:
		return fmt.Sprintf("it is %s, for which the %s line of drivers was the first, and these are of %s", f.name, f.since, version)
	case !slices.Contains(f.types, moduleType):
		return fmt.Sprintf("it is %s, which runs with the %s modules only, and these are the %s ones", f.name, strings.Join(f.types, " or "), moduleType)
	case f.last != "" && CompareVersions(version, nextLine(f.last)) >= 0:
		return fmt.Sprintf("it is %s, for which the %s line of drivers was the last, and these are of %s", f.name, f.last, version)
	}
	return ""
}

// nextLine is the version that all of a line come before.
func nextLine(line string) string {
	n, _ := strconv.Atoi(line) // of families
	return strconv.Itoa(n + 1)
}

// Unserved refuses to build modules of a driver that run none of a host's GPUs, of
// which there may be none to be seen. Its error is of the driver stage, and its kind
// [UnservedCheck].
func Unserved(moduleType, version string, gpus []kernel.PCIDevice) error {
	var whys []string
	for _, gpu := range gpus {
		if why := Serves(moduleType, version, gpu); why != "" {
			whys = append(whys, fmt.Sprintf("%s: %s", describe(gpu), why))
		}
	}
	if len(gpus) == 0 || len(whys) < len(gpus) {
		return nil
	}
	return &stage.Error{Stage: stage.Driver, Kind: UnservedCheck,
		Reason: fmt.Sprintf("driver %s runs none of this host's GPUs: %s", version, strings.Join(whys, "; ")),
		Hint:   fmt.Sprintf("choose another version with --driver-version, or the other form with --module-type; or, where the modules are for other hosts than this one, --allow %s", UnservedCheck),
	}
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

// Otherwise is the other form of a package's modules, which is required then: why says
// what is against the one that is preferred. It is not ok where the other would not do.
func (p Preference) Otherwise(pkg Package, why string) (other Preference, ok bool) {
	if p.Required || pkg.forGuests() {
		return Preference{}, false
	}
	return Preference{OtherForm(p.Type), true, why}, true
}

// OtherForm is [Open] of [Proprietary], and the other way about.
func OtherForm(form string) string {
	if form == Open {
		return Proprietary
	}
	return Open
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
