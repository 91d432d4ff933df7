package cdi

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices"
)

// Kind is what the devices are called: nvidia.com/gpu=0, as NVIDIA's own
// specification has it.
const Kind = "nvidia.com/gpu"

// ChannelKind is what IMEX channels are called, by which GPUs of several nodes of a rack
// share memory: nvidia.com/imex-channel=0, as NVIDIA's own specification has it.
const ChannelKind = "nvidia.com/imex-channel"

// version is the lowest of the format that suffices: names of devices may begin
// with a digit since.
const version = "0.5.0"

// Options say what a specification is made of.
type Options struct {
	// Root is the driver's user-space side, and HostDir its Dir in the host's
	// mount namespace, where the runtime looks.
	Root    userspace.Root
	HostDir string
	// Files are the driver's device files, which are in the host's /dev, and
	// GPUs what they are for.
	Files []devices.File
	GPUs  []devices.GPU
	// Instances are the parts of them that are GPUs to programs (MIG).
	Instances []devices.Instance
	// Arch is the containers' architecture.
	Arch kernel.Arch
}

// environment has NVIDIA's own runtime, where a host has it too, leave a container
// alone: it goes by this variable, which images set to "all".
var environment = []string{"NVIDIA_VISIBLE_DEVICES=void"}

// mountOptions are those of every file.
var mountOptions = []string{"ro", "nosuid", "nodev", "rbind", "rprivate"}

// Spec is the specification: a device for each GPU by its number and by its
// UUID, one for each of its instances by both their numbers ("0:1"), as NVIDIA's
// generator names them, and all of them as "all". Each comes with the files that all
// GPUs share, the libraries and the programs. Without a GPU there is only "all".
func Spec(o Options) specs.Spec {
	spec := specs.Spec{Version: version, Kind: Kind, ContainerEdits: specs.ContainerEdits{
		Env:    slices.Clone(environment),
		Mounts: o.mounts(),
	}}
	for _, f := range o.Files {
		if slices.Contains(common, f.Path) {
			spec.ContainerEdits.DeviceNodes = append(spec.ContainerEdits.DeviceNodes, device(f))
		}
	}
	all := specs.Device{Name: "all"}
	var byUUID, instances []specs.Device
	for _, g := range o.GPUs {
		i := slices.IndexFunc(o.Files, func(f devices.File) bool { return f.GPU && f.Minor == g.Minor })
		if i < 0 {
			continue
		}
		edits := specs.ContainerEdits{DeviceNodes: []*specs.DeviceNode{device(o.Files[i])}}
		spec.Devices = append(spec.Devices, specs.Device{Name: strconv.Itoa(int(g.Minor)), ContainerEdits: edits})
		if strings.HasPrefix(g.UUID, "GPU-") {
			byUUID = append(byUUID, specs.Device{Name: g.UUID, ContainerEdits: edits})
		}
		all.ContainerEdits.DeviceNodes = append(all.ContainerEdits.DeviceNodes, edits.DeviceNodes...)
		for n, parts := range o.instances(g) {
			name := fmt.Sprintf("%d:%d", g.Minor, n)
			for _, node := range parts { // a GPU instance may have several compute instances
				if !slices.ContainsFunc(all.ContainerEdits.DeviceNodes, func(n *specs.DeviceNode) bool { return n.Path == node.Path }) {
					all.ContainerEdits.DeviceNodes = append(all.ContainerEdits.DeviceNodes, node)
				}
			}
			instances = append(instances, specs.Device{Name: name, ContainerEdits: specs.ContainerEdits{DeviceNodes: append(slices.Clone(edits.DeviceNodes), parts...)}})
		}
	}
	spec.Devices = append(slices.Concat(spec.Devices, instances, byUUID), all)
	if len(all.ContainerEdits.DeviceNodes) == 0 {
		// A device that edits nothing is none: name a file that all have.
		spec.Devices[0].ContainerEdits.DeviceNodes = spec.ContainerEdits.DeviceNodes
	}
	return spec
}

// Channels is the specification of IMEX channels, by the paths of their device files as
// [devices.Channels] has them.
func Channels(files []string) specs.Spec {
	spec := specs.Spec{Version: version, Kind: ChannelKind, ContainerEdits: specs.ContainerEdits{Env: slices.Clone(environment)}}
	for _, file := range files {
		number := strings.TrimPrefix(path.Base(file), "channel")
		node := device(devices.File{Path: file})
		spec.Devices = append(spec.Devices, specs.Device{Name: number, ContainerEdits: specs.ContainerEdits{DeviceNodes: []*specs.DeviceNode{node}}})
	}
	return spec
}

// instances are the device files of each of a GPU's instances, in their order.
func (o Options) instances(g devices.GPU) (list [][]*specs.DeviceNode) {
	for _, i := range o.Instances {
		if i.GPU != g.Minor {
			continue
		}
		var nodes []*specs.DeviceNode
		for _, path := range i.Files {
			nodes = append(nodes, device(devices.File{Path: path}))
		}
		list = append(list, nodes)
	}
	return list
}

// common are the device files that every program opens, whatever its GPU.
// Those of MIG and of switches are for those who set them up.
var common = []string{"nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl"}

func device(f devices.File) *specs.DeviceNode { return &specs.DeviceNode{Path: "/dev/" + f.Path} }

// programs are those that serve in a container. Others of a driver root look
// after a host.
var programs = []string{"nvidia-cuda-mps-control", "nvidia-cuda-mps-server", "nvidia-debugdump", "nvidia-persistenced", "nvidia-smi"}

// mounts are the files of the root, where a container's programs look for them.
func (o Options) mounts() []*specs.Mount {
	var mounts []*specs.Mount
	add := func(i userspace.Item, to string) {
		mounts = append(mounts, &specs.Mount{
			HostPath: path.Join(o.HostDir, i.Path), ContainerPath: to,
			Options: slices.Clone(mountOptions),
		})
	}
	for _, i := range o.Root.Items {
		switch i.Kind {
		case userspace.Library:
			for _, dir := range searched(o.Arch) {
				for _, name := range i.Names {
					add(i, path.Join(dir, name))
				}
			}
		case userspace.Program:
			if name := path.Base(i.Path); slices.Contains(programs, name) {
				add(i, path.Join("/usr/bin", name))
			}
		case userspace.Data:
			add(i, path.Join("/", i.Path))
		}
	}
	slices.SortFunc(mounts, func(a, b *specs.Mount) int { return strings.Compare(a.ContainerPath, b.ContainerPath) })
	return mounts
}

// searched are the folders that glibc's loader searches by itself: Debian's,
// by the architecture's name, and everybody else's.
func searched(arch kernel.Arch) []string {
	return []string{"/usr/lib/" + string(arch) + "-linux-gnu", "/usr/lib64"}
}
