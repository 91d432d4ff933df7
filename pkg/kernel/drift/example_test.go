package drift_test

import (
	"fmt"

	"github.com/k8sp/cuda/pkg/kernel/drift"
)

// What only describes the tools is no change.
func ExampleCompare() {
	host := []byte("CONFIG_CC_VERSION_TEXT=\"gcc-12\"\nCONFIG_SMP=y\n")
	tree := []byte("CONFIG_CC_VERSION_TEXT=\"gcc-14\"\n# CONFIG_SMP is not set\n")
	fmt.Println(drift.Compare(host, tree))
	// Output: [SMP is y on the host and n in the tree]
}
