package cuda_test

import (
	"fmt"
	"slices"

	"github.com/k8sp/cuda/pkg/cuda"
)

func ExampleCompareVersions() {
	versions := []string{"535.104", "550.78", "535.9"}
	slices.SortFunc(versions, cuda.CompareVersions)
	fmt.Println(versions)
	// Output: [535.9 535.104 550.78]
}
