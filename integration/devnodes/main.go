// Command devnodes makes a GPU's and a capability's device file in the folder
// that it is given and says whether it could and whether they can be used, for
// the tests that run it in containers that may do more and less. There is no
// driver behind the files.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/k8sp/cuda/pkg/modules/nodes"
)

func main() {
	dev := os.Args[1]
	gpu := nodes.Node{Path: "nvidia0", Major: 195, Mode: 0o666, GPU: true}
	capability := nodes.Node{Path: "nvidia-caps/nvidia-cap1", Major: 241, Minor: 1, Mode: 0o400}
	all := []nodes.Node{gpu, capability}
	ctx := context.Background()
	made, err := nodes.Make(ctx, dev, all)
	fmt.Printf("made %d: %v\n", len(made), err)
	again, err := nodes.Make(ctx, dev, all)
	fmt.Printf("made %d more: %v\n", len(again), err)
	fmt.Println("check:", nodes.Check(dev, []nodes.Node{gpu}))
	fmt.Println("open:", nodes.Open(dev, gpu))
	_, err = nodes.Remove(ctx, dev, made)
	fmt.Println("removed:", err)
	fmt.Println("check:", nodes.Check(dev, []nodes.Node{gpu}))
}
