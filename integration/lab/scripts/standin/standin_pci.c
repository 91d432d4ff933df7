/*
 * Stands in for a slot with a graphics card of NVIDIA's: a PCI bus of its own,
 * with one device that has an identity and nothing else.
 */
#include <linux/module.h>
#include <linux/pci.h>

#define BUS 0x65

static ushort device = 0x2330; /* an H100 */
module_param(device, ushort, 0);

static u32 config[64];
static struct pci_bus *bus;
static struct pci_sysdata sysdata = { .node = NUMA_NO_NODE };

static int config_read(struct pci_bus *b, unsigned int devfn, int where, int size, u32 *value)
{
	if (b->number != BUS || devfn != 0 || where >= (int)sizeof(config)) {
		*value = ~0;
		return devfn ? PCIBIOS_DEVICE_NOT_FOUND : PCIBIOS_SUCCESSFUL;
	}
	*value = config[where / 4] >> (where % 4 * 8);
	if (size < 4)
		*value &= (1U << (size * 8)) - 1;
	return PCIBIOS_SUCCESSFUL;
}

static int config_write(struct pci_bus *b, unsigned int devfn, int where, int size, u32 value)
{
	return PCIBIOS_SUCCESSFUL; /* no base addresses, and nothing to switch */
}

static struct pci_ops operations = { .read = config_read, .write = config_write };

static int __init standin_init(void)
{
	LIST_HEAD(resources);

	config[PCI_VENDOR_ID / 4] = device << 16 | PCI_VENDOR_ID_NVIDIA;
	config[PCI_CLASS_REVISION / 4] = PCI_CLASS_DISPLAY_3D << 16 | 0xa1;
	pci_lock_rescan_remove();
	bus = pci_scan_root_bus(NULL, BUS, &operations, &sysdata, &resources);
	if (bus)
		pci_bus_add_devices(bus);
	pci_unlock_rescan_remove();
	return bus ? 0 : -ENODEV;
}

static void __exit standin_exit(void)
{
	pci_lock_rescan_remove();
	pci_stop_root_bus(bus);
	pci_remove_root_bus(bus);
	pci_unlock_rescan_remove();
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("GPL");
