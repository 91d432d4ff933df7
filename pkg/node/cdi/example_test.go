package cdi_test

import (
	"fmt"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
)

// A host with one GPU, whose driver has one library.
func ExampleSpec() {
	spec := cdi.Spec(cdi.Options{
		Root: userspace.Root{Items: []userspace.Item{
			{Kind: userspace.Library, Path: "usr/lib64/libcuda.so.570.86.10", Names: []string{"libcuda.so.1"}},
		}},
		HostDir: "/home/core/share/driver/570.86.10",
		Files:   []devices.File{{Path: "nvidia0", Major: 195, GPU: true}, {Path: "nvidiactl", Major: 195, Minor: 255}},
		GPUs:    []devices.GPU{{UUID: "GPU-aa25b250-0000-4000-8000-000000000001"}},
		Arch:    kernel.X86_64,
	})
	for _, d := range spec.Devices {
		fmt.Printf("%s=%s: %s\n", spec.Kind, d.Name, d.ContainerEdits.DeviceNodes[0].Path)
	}
	for _, m := range spec.ContainerEdits.Mounts {
		fmt.Println(m.ContainerPath)
	}
	// Output:
	// nvidia.com/gpu=0: /dev/nvidia0
	// nvidia.com/gpu=GPU-aa25b250-0000-4000-8000-000000000001: /dev/nvidia0
	// nvidia.com/gpu=all: /dev/nvidia0
	// /usr/lib/x86_64-linux-gnu/libcuda.so.1
	// /usr/lib64/libcuda.so.1
}
