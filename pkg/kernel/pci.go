package kernel

import (
	"strconv"
	"strings"
)

// pciDevices is where sysfs lists them (Documentation/ABI/testing/sysfs-bus-pci).
const pciDevices = "sys/bus/pci/devices"

// pciAttributes are the files that are read of a device.
var pciAttributes = []string{"class", "device", "vendor"}

// PCIDevices are the devices on the host's bus, sorted by address; none where
// the bus cannot be seen.
func PCIDevices(root *Root) []PCIDevice {
	var list []PCIDevice
	for _, address := range root.List(pciDevices) {
		list = append(list, pciDevice(root, address))
	}
	return list
}

// pciDevice is zero in what its files do not say.
func pciDevice(root *Root, address string) PCIDevice {
	number := func(name string, bits int) uint64 {
		text := root.Text(pciDevices + "/" + address + "/" + name)
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, bits)
		if err != nil {
			return 0
		}
		return n
	}
	return PCIDevice{
		Address: address,
		Vendor:  uint16(number("vendor", 16)),
		Device:  uint16(number("device", 16)),
		Class:   uint32(number("class", 32)),
	}
}
