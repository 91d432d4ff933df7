package kernel_test

import (
	"fmt"

	"github.com/k8sp/cuda/pkg/kernel"
)

func ExampleParseRelease() {
	r, err := kernel.ParseRelease("4.7.3-coreos-r2")
	fmt.Println(r.Version, r.Flavour, r.Package, err)
	// Output: 4.7.3 coreos 2 <nil>
}
