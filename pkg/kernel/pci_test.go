package kernel

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pciFiles are a device's in sysfs.
func pciFiles(address, vendor, device, class string) map[string]string {
	dir := "sys/bus/pci/devices/" + address + "/"
	return map[string]string{dir + "vendor": vendor + "\n", dir + "device": device + "\n", dir + "class": class + "\n", dir + "config": "\x00\x01"}
}

func hostWithDevices() map[string]string {
	k := smallKernel()
	files := change(hostFiles(k), map[string]string{smallSymvers: symversText(k)})
	for _, device := range []map[string]string{
		pciFiles("0000:65:00.0", "0x10de", "0x1eb8", "0x030200"), // Tesla T4, a 3D controller
		pciFiles("0000:17:00.0", "0x10de", "0x2204", "0x030000"), // GeForce RTX 3090, VGA
		pciFiles("0000:17:00.1", "0x10de", "0x1aef", "0x040300"), // its audio
		pciFiles("0000:00:02.0", "0x8086", "0x3e92", "0x030000"), // somebody else's
		pciFiles("0000:66:00.0", "garbage", "0x1eb8", "0x030200"),
	} {
		maps.Copy(files, device)
	}
	return files
}

func TestPCIDevices(t *testing.T) {
	t.Parallel()
	got := mustDetect(t, openFiles(t, hostWithDevices()), DetectOptions{}).PCI
	want := []PCIDevice{
		{Address: "0000:00:02.0", Vendor: 0x8086, Device: 0x3e92, Class: 0x030000},
		{Address: "0000:17:00.0", Vendor: 0x10de, Device: 0x2204, Class: 0x030000},
		{Address: "0000:17:00.1", Vendor: 0x10de, Device: 0x1aef, Class: 0x040300},
		{Address: "0000:65:00.0", Vendor: 0x10de, Device: 0x1eb8, Class: 0x030200},
		{Address: "0000:66:00.0", Device: 0x1eb8, Class: 0x030200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
