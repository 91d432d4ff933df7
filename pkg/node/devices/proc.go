package devices

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// GPU is one that the driver drives, or will.
type GPU struct {
	// Minor is the number in its device file's name.
	Minor uint32
	// Address is where it is on the PCI bus, "0000:65:00.0".
	Address string
	// UUID is "GPU-aa25b250-…" and Model what it is sold as; both are empty
	// while the driver does not say.
	UUID, Model string
	// Excluded says that the driver was told not to use it
	// (NVreg_ExcludedGpus).
	Excluded bool
}

// GPUsDir has a folder for each GPU that the driver has, named after its address.
const GPUsDir = "proc/driver/nvidia/gpus"

// GPUs are what the host's driver says of its GPUs, by minor number; while it
// says nothing, the PCI bus's display devices, numbered by address, as the
// driver will find them. Its error is of the load stage.
func GPUs(root *kernel.Root) ([]GPU, error) {
	var gpus []GPU
	for _, address := range root.List(GPUsDir) {
		g, err := gpu(root, address)
		if err != nil {
			return nil, err
		}
		gpus = append(gpus, g)
	}
	slices.SortFunc(gpus, func(a, b GPU) int { return cmp.Compare(a.Minor, b.Minor) })
	if len(gpus) > 0 {
		return gpus, nil
	}
	for n, d := range cuda.GPUs(kernel.PCIDevices(root)) {
		gpus = append(gpus, GPU{Minor: uint32(n), Address: d.Address})
	}
	return gpus, nil
}

// gpu reads what nv_procfs_read_gpu_info writes, "Device Minor: \t 0".
func gpu(root *kernel.Root, address string) (GPU, error) {
	name := GPUsDir + "/" + address + "/information"
	text, err := root.ReadFile(name)
	if err != nil {
		return GPU{}, stage.Wrap(stage.Load, err, "what the driver says of a GPU cannot be read", "check that the host's /proc is mounted")
	}
	says := fields(string(text))
	minor, err := strconv.ParseUint(says["Device Minor"], 10, 8)
	if err != nil {
		return GPU{}, stage.New(stage.Load, fmt.Sprintf("the driver does not say in /%s which number the GPU has", name),
			"look at the kernel's log: a GPU that fell off the bus cannot be used")
	}
	return GPU{Minor: uint32(minor), Address: address, UUID: says["GPU UUID"], Model: says["Model"], Excluded: says["GPU Excluded"] == "Yes"}, nil
}

// fields are the lines "name: value" of a text.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			all[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return all
}

// permissions are what a file of the driver's asks of device files.
type permissions struct {
	mode     fs.FileMode
	uid, gid int
	kept     bool
	// numbers are all that the file says that is a number.
	numbers map[string]uint32
}

// usual are the permissions where the driver asks for none.
var usual = permissions{mode: 0o666}

// permissionsFrom reads what a file of the driver's says of device files: lines
// such as "DeviceFileMode: 438". Where it is not there, or silent, nvidia-modprobe
// makes them root's and everybody's to use.
func permissionsFrom(root *kernel.Root, name string) permissions {
	p := usual
	p.numbers = map[string]uint32{}
	text, err := root.ReadFile(name)
	if err != nil {
		return p
	}
	for name, value := range fields(string(text)) {
		if n, err := strconv.ParseUint(value, 10, 32); err == nil {
			p.numbers[name] = uint32(n)
		}
	}
	if n, ok := p.numbers["DeviceFileMode"]; ok {
		p.mode = fs.FileMode(n) & fs.ModePerm
	}
	p.uid, p.gid = int(p.numbers["DeviceFileUID"]), int(p.numbers["DeviceFileGID"])
	for _, name := range []string{"ModifyDeviceFiles", "DeviceFileModify"} {
		if n, ok := p.numbers[name]; ok && n != 1 {
			p.kept = true
		}
	}
	return p
}

// characterDevices are the majors of /proc/devices by the name that a driver
// registered them under. Of a name that is there twice the first counts.
func characterDevices(root *kernel.Root) (map[string]uint32, error) {
	text, err := root.ReadFile("proc/devices")
	if err != nil {
		return nil, err
	}
	majors := map[string]uint32{}
	listed := false
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case strings.TrimSpace(line) == "Character devices:":
			listed = true
		case listed && len(words) == 0:
			return majors, nil
		case listed && len(words) == 2:
			n, err := strconv.ParseUint(words[0], 10, 32)
			if _, twice := majors[words[1]]; err == nil && !twice {
				majors[words[1]] = uint32(n)
			}
		}
	}
	return majors, nil
}
