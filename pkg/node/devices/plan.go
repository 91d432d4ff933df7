package devices

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// File is a device file as it is to be.
type File struct {
	// Path is relative to /dev and slash-separated: "nvidia0",
	// "nvidia-caps/nvidia-cap1".
	Path string
	// Major and Minor are its number; it is a character device.
	Major, Minor uint32
	// Mode is its permissions, UID and GID its owner.
	Mode     fs.FileMode
	UID, GID int
	// Kept says that the driver's parameters forbid making or changing it
	// (NVreg_ModifyDeviceFiles=0): something else on the host does.
	Kept bool
	// GPU says that it is a GPU's own, nvidia0 and so on. Opening such a file
	// brings the GPU up, which takes seconds where nothing else uses it.
	GPU bool
}

// Fixed numbers, as the driver registers them since long (nvidia-modprobe-utils.h).
const (
	ctlMinor      = 255
	modesetMinor  = 254
	nvswitchMinor = 255 // of nvidia-nvswitchctl
)

const (
	gpuParams      = "proc/driver/nvidia/params"
	nvswitchParams = "proc/driver/nvidia-nvswitch/permissions"
)

// Control is the path of the file that every program opens first.
const Control = "nvidiactl"

// Plan is the device files that the driver which the host runs wants, sorted
// by path, read from the root's proc and sys. Those of GPUs go by what the
// driver says of them, and by the PCI bus while it says nothing. Its error is
// of the load stage: no driver of NVIDIA's is registered with the kernel.
func Plan(root *kernel.Root) ([]File, error) {
	majors, err := characterDevices(root)
	if err != nil {
		return nil, stage.Wrap(stage.Load, err, "the kernel's list of devices cannot be read, so the device files' numbers are not known",
			"check that /proc is mounted, or name the host with --host-root")
	}
	p := planner{root: root, majors: majors}
	major, found := p.major("nvidia", "nvidiactl", "nvidia-frontend")
	if !found {
		return nil, stage.New(stage.Load, "no device of NVIDIA's driver is registered with the kernel (/proc/devices), so the module nvidia is not loaded and has no device files",
			"load it, and look at the kernel's log where it does not stay")
	}
	want := permissionsFrom(root, gpuParams)
	if err := p.gpus(major, want); err != nil {
		return nil, err
	}
	p.add(Control, major, ctlMinor, want)
	if _, registered := majors["nvidia-modeset"]; registered || root.Exists("sys/module/nvidia_modeset") {
		p.add("nvidia-modeset", major, modesetMinor, want)
	}
	if major, found := p.major("nvidia-uvm"); found {
		p.add("nvidia-uvm", major, 0, usual)
		p.add("nvidia-uvm-tools", major, 1, usual)
	}
	p.nvswitches()
	if err := p.capabilities(); err != nil {
		return nil, err
	}
	// The driver wants channel 0 made only where it was asked to.
	if major, found := p.major("nvidia-caps-imex-channels"); found && want.numbers["CreateImexChannel0"] == 1 {
		p.add("nvidia-caps-imex-channels/channel0", major, 0, want)
	}
	slices.SortFunc(p.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return p.files, nil
}

// ours are the paths that a plan has.
var ours = regexp.MustCompile(`^(nvidia([0-9]+|ctl|-modeset|-uvm|-uvm-tools|-nvswitchctl|-nvswitch[0-9]+)|nvidia-caps/nvidia-cap[0-9]+|nvidia-caps-imex-channels/channel[0-9]+)$`)

// Ours says whether a file is one that a plan may have had since the host was started:
// by its path, and since its number is nobody's else now.
func Ours(root *kernel.Root, f File) bool {
	majors, err := characterDevices(root)
	if err != nil || !ours.MatchString(f.Path) {
		return false
	}
	for name, major := range majors {
		if major == f.Major && !strings.HasPrefix(name, "nvidia") {
			return false
		}
	}
	return true
}

// planner gathers the files of one Plan.
type planner struct {
	root   *kernel.Root
	majors map[string]uint32
	files  []File
}

// major is the number of the first of names that is registered.
func (p *planner) major(names ...string) (uint32, bool) {
	for _, name := range names {
		if n, ok := p.majors[name]; ok {
			return n, true
		}
	}
	return 0, false
}

func (p *planner) add(name string, major, minor uint32, want permissions) {
	p.files = append(p.files, File{Path: name, Major: major, Minor: minor, Mode: want.mode, UID: want.uid, GID: want.gid, Kept: want.kept})
}

func (p *planner) gpus(major uint32, want permissions) error {
	gpus, err := GPUs(p.root)
	if err != nil {
		return err
	}
	for _, g := range gpus {
		// The driver refuses to open those that it was told to exclude.
		if !g.Excluded {
			p.add(fmt.Sprintf("nvidia%d", g.Minor), major, g.Minor, want)
			p.files[len(p.files)-1].GPU = true
		}
	}
	return nil
}

// nvswitches adds the switches between GPUs, numbered in the order in which
// the driver found them.
func (p *planner) nvswitches() {
	major, found := p.major("nvidia-nvswitch")
	switches := p.root.List(nvswitchDir)
	if !found || len(switches) == 0 {
		return
	}
	want := permissionsFrom(p.root, nvswitchParams)
	p.add("nvidia-nvswitchctl", major, nvswitchMinor, want)
	for n := range switches {
		p.add(fmt.Sprintf("nvidia-nvswitch%d", n), major, uint32(n), want)
	}
}

// imexCapability is the right to run the fabric's IMEX service, which makes its
// own device file: nothing else makes or opens it.
const imexCapability = "proc/driver/nvidia/capabilities/fabric-imex-mgmt"

// capabilities adds a device file for each file of the driver's trees of capabilities,
// which hold rights such as configuring MIG, and managing the fabric where there is one;
// but for the IMEX service's.
func (p *planner) capabilities() error {
	major, found := p.major("nvidia-caps")
	if !found {
		return nil
	}
	var walk func(name string, depth int) error
	walk = func(name string, depth int) error {
		dir, err := p.root.Path(name)
		if err != nil {
			return nil
		}
		entries, err := os.ReadDir(dir)
		if err != nil || depth > 8 {
			return nil
		}
		for _, e := range entries {
			file := path.Join(name, e.Name())
			if file == imexCapability {
				continue
			}
			if e.IsDir() {
				if err := walk(file, depth+1); err != nil {
					return err
				}
				continue
			}
			want := permissionsFrom(p.root, file)
			minor, ok := want.numbers["DeviceFileMinor"]
			if !ok {
				return stage.New(stage.Load, fmt.Sprintf("the driver's /%s does not say which device file it is for", file), "report this with the file's text")
			}
			p.add(fmt.Sprintf("nvidia-caps/nvidia-cap%d", minor), major, minor, want)
		}
		return nil
	}
	if err := walk(capabilitiesDir, 0); err != nil {
		return err
	}
	if len(p.root.List(nvswitchDir)) == 0 {
		return nil // every host has the right to manage a fabric, and few a fabric
	}
	return walk("proc/driver/nvidia-nvlink/capabilities", 0)
}

// capabilitiesDir is the driver's tree of capabilities of GPUs, and nvswitchDir has a
// folder for each switch that it has.
const (
	capabilitiesDir = "proc/driver/nvidia/capabilities"
	nvswitchDir     = "proc/driver/nvidia-nvswitch/devices"
)
