package devices

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// TestInstances reads the folders of an A100 in parts: a half, and a quarter that is
// computed on by two, by their numbers and not by their names.
func TestInstances(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gpu0/mig/gi14/access": "129", "gpu0/mig/gi14/ci0/access": "130", "gpu0/mig/gi2/access": "21", "gpu0/mig/gi2/ci0/access": "22", "gpu0/mig/gi2/ci1/access": "23",
		"gpu0/mig/gi3/access": "30", "gpu1/mig/gi0/access": "300", "gpu1/mig/gi0/ci0/access": "301", "mig/config": "1", "mig/monitor": "2"}
	tree := map[string]string{"proc/driver/nvidia/capabilities/gpu0/mig/gi9/ci0/access": "nothing\n"}
	for name, minor := range files {
		tree["proc/driver/nvidia/capabilities/"+name] = "DeviceFileMinor: " + minor + "\nDeviceFileMode: 292\nDeviceFileModify: 1\n"
	}
	root, err := kernel.OpenRoot(testkit.WriteTree(t, tree))
	if err != nil {
		t.Fatal(err)
	}
	cap := func(minors ...string) (list []string) {
		for _, m := range minors {
			list = append(list, "nvidia-caps/nvidia-cap"+m)
		}
		return list
	}
	want := []Instance{{0, 2, 0, cap("21", "22")}, {0, 2, 1, cap("21", "23")}, {0, 14, 0, cap("129", "130")}, {1, 0, 0, cap("300", "301")}}
	if diff := cmp.Diff(want, Instances(root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
