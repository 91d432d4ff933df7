// Command devnodes makes a GPU's and a capability's device file in the folder
// that it is given and says whether it could and whether they can be used, for
// the tests that run it in containers that may do more and less. There is no
// driver behind the files.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/k8sp/cuda/pkg/node/devices"
)

func main() {
	dev := os.Args[1]
	gpu := devices.File{Path: "nvidia0", Major: 195, Mode: 0o666, GPU: true}
	capability := devices.File{Path: "nvidia-caps/nvidia-cap1", Major: 241, Minor: 1, Mode: 0o400}
	all := []devices.File{gpu, capability}
	ctx := context.Background()
	made, err := devices.Make(ctx, dev, all)
	fmt.Printf("made %d: %v\n", len(made), err)
	again, err := devices.Make(ctx, dev, all)
	fmt.Printf("made %d more: %v\n", len(again), err)
	fmt.Println("check:", devices.Check(dev, []devices.File{gpu}))
	fmt.Println("open:", devices.Open(dev, gpu))
	_, err = devices.Remove(ctx, dev, made)
	fmt.Println("removed:", err)
	fmt.Println("check:", devices.Check(dev, []devices.File{gpu}))
}
