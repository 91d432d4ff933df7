package kernel

import (
	"testing"

	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// smallSample is a module whose struct module is of 848 bytes.
const smallSample = smallDrivers + "sample.ko"

// structModuleHosts are hosts with more and more sources of the size of struct
// module, each with a size of its own.
func structModuleHosts(t *testing.T) map[string]map[string]string {
	k := smallKernel()
	k.StructModule = 1024
	old := k
	old.Release, old.Banner = "6.1.99-flatcar", "Linux version 6.1.99-flatcar (build@pony) (gcc 12.2.0) #1 SMP"
	mute := k
	mute.StructModule = 0
	host := func(files map[string]string) map[string]string {
		return change(change(hostFiles(k), map[string]string{smallSymvers: symversText(k)}), files)
	}
	sample := readString(t, "../modules/testdata/ko/nvidia-drm.ko")
	types := string(imagetest.BTF(t, 1280))
	bzImage := string(k.BzImage(t))
	return map[string]map[string]string{
		"none":                      host(nil),
		"the image":                 host(map[string]string{"boot/vmlinuz": bzImage}),
		"an image that does not":    host(map[string]string{"boot/vmlinuz": string(mute.BzImage(t))}),
		"a module before the image": host(map[string]string{"boot/vmlinuz": bzImage, smallSample: sample}),
		"sysfs before a module":     host(map[string]string{"boot/vmlinuz": bzImage, smallSample: sample, btfFile: types}),
		"sysfs is damaged":          host(map[string]string{"boot/vmlinuz": bzImage, smallSample: sample, btfFile: types[:40]}),
		"the image, read for its exports, before sysfs": host(map[string]string{"boot/vmlinuz": bzImage, smallSymvers: "", btfFile: types}),
		"a kernel that does not compare": change(hostFiles(old), map[string]string{
			"lib/modules/6.1.99-flatcar/build/Module.symvers": symversText(old), "boot/vmlinuz": string(old.BzImage(t)),
			"proc/config.gz": "CONFIG_X86_64=y\nCONFIG_MODULES=y\n",
		}),
	}
}

func TestStructModule(t *testing.T) {
	t.Parallel()
	want := map[string]StructModule{
		"none":                      {},
		"the image":                 {1024, "boot/vmlinuz"},
		"an image that does not":    {},
		"a module before the image": {848, smallSample},
		"sysfs before a module":     {1280, btfFile},
		"sysfs is damaged":          {848, smallSample},
		"the image, read for its exports, before sysfs": {1024, "boot/vmlinuz"},
		"a kernel that does not compare":                {},
	}
	for name, files := range structModuleHosts(t) {
		if got := mustDetect(t, openFiles(t, files), DetectOptions{}).StructModule; got != want[name] {
			t.Errorf("%s: %+v, want %+v", name, got, want[name])
		}
	}
}

// TestSample takes the smallest of the host's modules that can be read.
func TestSample(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	files := map[string]string{
		smallSymvers:             symversText(k),
		smallDrivers + "a.ko":    "damaged",
		smallDrivers + "big.ko":  readString(t, "../modules/testdata/ko/nvidia.ko"),
		smallDrivers + "my-s.ko": readString(t, "../modules/testdata/ko/nvidia-drm.ko"),
	}
	got := mustDetect(t, openFiles(t, change(hostFiles(k), files)), DetectOptions{}).Sample
	want := Sample{Name: "my_s", Vermagic: "6.1.192-coreos-r1 SMP preempt mod_unload ", ThisModule: 848, From: smallDrivers + "my-s.ko"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
